"""Files for Kubeflow Trainer: a TrainJob and the runtime that it names.

Pure: a launch in, texts by file name out. Fields are those of ``trainer.kubeflow.org/v1alpha1`` as
of Kubeflow Trainer 2.3; since 2.2 a runtime has no ``numProcPerNode`` (kubeflow/trainer#3239).
"""

from mynah.errors import ConfigError
from mynah.plan.launch_config import Launch
from mynah.plan.launch_pods import (
    Manifest,
    as_yaml,
    check_site,
    header,
    lighthouse_address,
    lighthouse_pod,
    metadata,
    node_pod,
)
from mynah.plan.launch_scripts import LIGHTHOUSE_PORT, node_script

__all__ = ["trainjob_files"]

TRAINER_LABEL = "trainer.kubeflow.org/trainjob-ancestor-step"
"""By which the Trainer finds the job that it gives nodes and torchrun's variables to."""
MAX_GROUPS = 28
"""A pod has 32 search domains; three or four are the cluster's own."""


def trainjob_files(launch: Launch) -> dict[str, str]:
    """A TrainingRuntime, how nodes of this site are, and a TrainJob, what runs on them.

    With torchft a TrainJob for each replica group, and a Deployment for the lighthouse.

    Args:
        launch: Checked.

    Raises:
        ConfigError: The image, the volume or the keys are not named, or there are too many groups.
    """
    check_site(launch)
    if launch.num_groups > MAX_GROUPS:
        raise ConfigError(
            f"pods of {MAX_GROUPS} TrainJobs find each other by name, the launch has "
            f"{launch.num_groups} replica groups",
            hint="take the format jobset or slurm, or lower layout.replicate",
        )
    jobs = [_trainjob(launch, group) for group in range(launch.num_groups)]
    files = {"runtime.yaml": as_yaml([_runtime(launch)])}
    if launch.is_parted:
        files["lighthouse.yaml"] = as_yaml(_lighthouse_service(launch))
    start = f"kubectl apply {' '.join(f'-f {name}' for name in files)} -f trainjob.yaml"
    return files | {"trainjob.yaml": header(launch, start) + as_yaml(jobs)}


def _runtime(launch: Launch) -> Manifest:
    pod = node_pod(launch, subdomains=_names(launch))
    job = {
        "metadata": {"labels": {TRAINER_LABEL: "trainer"}},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": launch.name, "namespace": launch.site.namespace},
        "spec": {
            "mlPolicy": {"numNodes": launch.nodes_per_group, "torch": {}},
            "template": {
                "spec": {
                    "network": {"publishNotReadyAddresses": True},
                    "successPolicy": {"operator": "All", "targetReplicatedJobs": ["node"]},
                    "failurePolicy": {"maxRestarts": launch.max_restarts},
                    "replicatedJobs": [{"name": "node", "template": job}],
                }
            },
        },
    }


def _names(launch: Launch) -> list[str]:
    """Of the TrainJobs, and of the services by which their pods are found."""
    if not launch.is_parted:
        return [launch.name]
    return [f"{launch.name}-{group}" for group in range(launch.num_groups)]


def _trainjob(launch: Launch, group: int) -> Manifest:
    """The Trainer gives torchrun's own variables (PET_*) and takes no others of these names."""
    script = node_script(launch, max_restarts=0, is_alone=False)
    place = 'NODE_RANK="$PET_NODE_RANK" MAIN_ADDRESS="$PET_MASTER_ADDR"\n'
    script = script.replace("set -euo pipefail\n", f"set -euo pipefail\n{place}", 1)
    env = [
        {"name": "REPLICA_GROUP_ID", "value": str(group)},
        lighthouse_address(f"{launch.name}-lighthouse"),
    ]
    trainer: Manifest = {
        "numNodes": launch.nodes_per_group,
        "numProcPerNode": launch.num_accelerators_per_node,
        "command": ["/bin/bash", "-c"],
        "args": [script],
        **({"env": env} if launch.is_parted else {}),
    }
    limit = {"activeDeadlineSeconds": launch.time_limit_s} if launch.time_limit_s else {}
    runtime = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": launch.name}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": metadata(launch, _names(launch)[group]),
        "spec": {"runtimeRef": runtime, **limit, "trainer": trainer},
    }


def _lighthouse_service(launch: Launch) -> list[Manifest]:
    name = f"{launch.name}-lighthouse"
    labels = {"app.kubernetes.io/name": name}
    meta = {"name": name, "namespace": launch.site.namespace, "labels": labels}
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": lighthouse_pod(launch),
        },
    }
    service = {"selector": labels, "ports": [{"name": "lighthouse", "port": LIGHTHOUSE_PORT}]}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": deployment},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
    ]
