"""Files for SkyPilot: a managed job on Kubernetes, and the volume that it keeps its work on.

Pure: a launch in, texts by file name out. Fields are those of SkyPilot 0.14.
"""

from mynah.errors import ConfigError
from mynah.plan.launch_config import Launch
from mynah.plan.launch_pods import Manifest, as_yaml
from mynah.plan.launch_scripts import health_script, node_script

__all__ = ["skypilot_files"]

FOLDER = "~/mynah-launch"
RUN = f"""\
export NODE_RANK="$SKYPILOT_NODE_RANK"
MAIN_ADDRESS=$(head -n 1 <<< "$SKYPILOT_NODE_IPS")
export MAIN_ADDRESS
bash {FOLDER}/node.sh
"""


def skypilot_files(launch: Launch) -> dict[str, str]:
    """The task, its volume and the scripts that a node is given.

    Args:
        launch: Checked.

    Raises:
        ConfigError: Groups that live apart, or spare nodes: SkyPilot has neither; or the volume,
            the keys or the accelerator are not named.
    """
    _check(launch)
    site = launch.site
    count = launch.num_accelerators_per_node
    resources: Manifest = {
        "infra": "k8s",
        **({"accelerators": f"{site.accelerator}:{count}"} if launch.device == "cuda" else {}),
        **({"image_id": f"docker:{site.image}"} if site.image else {}),
        "job_recovery": {"max_restarts_on_errors": launch.max_restarts},
    }
    scripts = {
        "node.sh": node_script(launch, max_restarts=0, is_alone=True),
        "health_check.sh": health_script(launch),
    }
    task: Manifest = {
        "name": launch.name,
        "num_nodes": launch.num_nodes,
        "resources": resources,
        "volumes": {site.mount: site.volume_claim},
        "file_mounts": {f"{FOLDER}/{name}": f"./{name}" for name in scripts},
        **({} if site.image else {"setup": "python -m pip install mynah"}),
        "run": RUN,
    }
    volume: Manifest = {
        "name": site.volume_claim,
        "type": "k8s-pvc",
        "infra": "k8s",
        "use_existing": True,
        "config": {"namespace": site.namespace, "access_mode": "ReadWriteMany"},
    }
    header = (
        "# Once: sky volumes apply volume.yaml\n"
        "# Then, in this folder: sky jobs launch task.yaml\n"
        "# When a node is lost or a process dies, SkyPilot starts the task again, from the last\n"
        "# checkpoint.\n"
    )
    return {
        "task.yaml": header + as_yaml([task]),
        "volume.yaml": as_yaml([volume]),
        **scripts,
    }


def _check(launch: Launch) -> None:
    if launch.is_parted:
        raise ConfigError(
            "replicas is 'torchft': a task of SkyPilot is one cluster that is started again as a "
            "whole, and cannot reach a lighthouse beside it",
            hint="take the format jobset, trainjob or slurm, or set replicas = 'mesh'",
        )
    if launch.num_spare_nodes:
        raise ConfigError(
            f"num_spare_nodes is {launch.num_spare_nodes}: SkyPilot keeps no spare nodes, it looks "
            "for another when one is lost",
            hint="set num_spare_nodes = 0",
        )
    needed = {"volume_claim": launch.site.volume_claim, "keys": launch.site.keys}
    if launch.device == "cuda":
        needed["accelerator"] = launch.site.accelerator
    missing = [f"site.{name}" for name, value in needed.items() if not value]
    if missing:
        raise ConfigError(
            f"a task of SkyPilot needs {', '.join(missing)}",
            hint="name the claim of the shared disk, a folder on it for the keys, and what "
            "SkyPilot calls the accelerator (sky gpus list)",
        )
