"""Pods of a launch on Kubernetes, and YAML as a person reads it.

Pure: a launch in, plain dicts and text out, in the words of the core API (v1).
"""

from collections.abc import Sequence
from typing import Any

import yaml

from mynah.errors import ConfigError
from mynah.plan.launch_config import Launch
from mynah.plan.launch_scripts import LIGHTHOUSE_PORT, health_script, lighthouse_command

__all__ = [
    "Manifest",
    "as_yaml",
    "check_site",
    "header",
    "lighthouse_address",
    "lighthouse_pod",
    "metadata",
    "node_pod",
]

Manifest = dict[str, Any]
"""A resource of Kubernetes, or a part of one."""
NO_SPARES = (
    "# Kubernetes puts a pod whose node fails on any that is free: keep {} of them free.",
    "# No pod waits in their place.",
)


def node_pod(
    launch: Launch, *, subdomains: Sequence[str], script: str = "", env: Sequence[Manifest] = ()
) -> Manifest:
    """Return the pod of one node: its health check goes first, in a container of its own.

    Args:
        launch: Checked.
        subdomains: Of the jobs whose pods talk to each other; those of replica groups do so by
            their bare names, which Kubernetes itself looks for in none of them.
        script: What the node runs; empty where a TrainJob says it.
        env: Variables that the script needs.
    """
    suffix = f"{launch.site.namespace}.svc.{launch.site.cluster_domain}"
    searches = [f"{subdomain}.{suffix}" for subdomain in subdomains]
    main: Manifest = {
        "name": "node",
        "image": launch.site.image,
        **({"command": ["/bin/bash", "-c"], "args": [script]} if script else {}),
        **({"env": list(env)} if env else {}),
        **_equipment(launch),
        **_liveness(launch),
    }
    check = {
        "name": "health-check",
        "image": launch.site.image,
        "command": ["/bin/bash", "-c"],
        "args": [health_script(launch)],
        **_equipment(launch),
    }
    resource = launch.site.accelerator_resource
    taint = {"key": resource, "operator": "Exists", "effect": "NoSchedule"}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": launch.grace_s,
        **({"dnsConfig": {"searches": searches}} if launch.is_parted else {}),
        **({"tolerations": [taint]} if launch.device == "cuda" else {}),
        "initContainers": [check],
        "containers": [main],
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": launch.site.volume_claim}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
        ],
    }


def lighthouse_pod(launch: Launch) -> Manifest:
    """Return the pod of torchft's lighthouse; it holds nothing."""
    return {
        "containers": [
            {
                "name": "lighthouse",
                "image": launch.site.image,
                "command": lighthouse_command(),
                "ports": [{"containerPort": LIGHTHOUSE_PORT}],
                "readinessProbe": {"tcpSocket": {"port": LIGHTHOUSE_PORT}, "periodSeconds": 5},
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
            }
        ]
    }


def _equipment(launch: Launch) -> Manifest:
    site = launch.site
    limits: dict[str, int] = {}
    if launch.device == "cuda":
        limits[site.accelerator_resource] = launch.num_accelerators_per_node
    if site.network_resource:
        limits[site.network_resource] = 1
    # RDMA pins the memory that adapters read.
    locked = {"securityContext": {"capabilities": {"add": ["IPC_LOCK"]}}}
    return {
        **({"resources": {"limits": limits}} if limits else {}),
        **(locked if site.network_resource else {}),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "shared", "mountPath": site.mount},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _liveness(launch: Launch) -> Manifest:
    """An accelerator that falls off its bus while the others go on waiting for it.

    Not the training itself: a rank that hangs writes down where, and ends by itself.
    """
    if launch.device != "cuda" or not launch.site.accelerator_resource.startswith("nvidia.com/"):
        return {}
    count = launch.num_accelerators_per_node
    command = f'test "$(nvidia-smi --list-gpus | wc -l)" -ge {count}'
    return {
        "livenessProbe": {
            "exec": {"command": ["/bin/bash", "-c", command]},
            "periodSeconds": 60,
            "timeoutSeconds": 30,
            "failureThreshold": 3,
        }
    }


def check_site(launch: Launch) -> None:
    """Refuse a launch whose pods would lose what they write.

    Raises:
        ConfigError: The image, the volume or the keys are not named.
    """
    site = launch.site
    needed = {"image": site.image, "volume_claim": site.volume_claim, "keys": site.keys}
    missing = [f"site.{name}" for name, value in needed.items() if not value]
    if missing:
        raise ConfigError(
            f"a pod needs {', '.join(missing)}: what a container keeps for itself is lost with it",
            hint="name the image, the claim of the shared disk, and a folder on it for the keys",
        )


def metadata(launch: Launch, name: str) -> Manifest:
    """Name a job, where it lives and the queue that admits it."""
    labels = {"app.kubernetes.io/name": "mynah"}
    if launch.site.queue:
        labels["kueue.x-k8s.io/queue-name"] = launch.site.queue
    return {"name": name, "namespace": launch.site.namespace, "labels": labels}


def lighthouse_address(host: str) -> Manifest:
    """Return the variable by which a group finds its lighthouse."""
    return {"name": "TORCHFT_LIGHTHOUSE", "value": f"http://{host}:{LIGHTHOUSE_PORT}"}


def header(launch: Launch, start: str) -> str:
    """Comment of a file: what it starts, how, and what happens when something breaks."""
    nodes = launch.nodes_per_group
    lines = [
        f"# {launch.name}: {nodes} nodes of {launch.num_accelerators_per_node} accelerators"
        + (f" in each of {launch.num_groups} groups." if launch.is_parted else "."),
        f"# Start it: {start}",
        "# When a pod fails, all that waits for it starts again from the last checkpoint. A pod",
        f"# that is asked to go has {launch.grace_s} s to save one. A rank that hangs ends itself",
        "# (health.hang_after_s of the recipe).",
    ]
    if launch.num_spare_nodes:
        lines += [line.format(launch.num_spare_nodes) for line in NO_SPARES]
    return "\n".join(lines) + "\n"


class _Dumper(yaml.SafeDumper):
    """Scripts as blocks of lines; lists indented below their key; no references."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def as_yaml(documents: Sequence[Manifest]) -> str:
    """Write documents as YAML, one after another, keys in their order."""
    return "---\n".join(
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=1000) for one in documents
    )
