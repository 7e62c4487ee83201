"""Files for Kubernetes with JobSet: one job of all nodes, or one of each replica group.

Pure: a launch in, texts by file name out. Fields are those of ``jobset.x-k8s.io/v1alpha2``.
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
from mynah.plan.launch_scripts import node_script

__all__ = ["jobset_files"]

JOB_INDEX = "metadata.labels['jobset.sigs.k8s.io/job-index']"
"""Which of a JobSet's jobs of one name a pod belongs to, from 0."""
NODE_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
"""Which pod of its job it is, from 0."""
NEEDS_RESTART_JOB = "# Needs a JobSet that knows the action RestartJob (of 2026; jobset#1152).\n"
MAX_GROUPS = 1024
"""Of jobs that a JobSet starts again one by one; its types say so."""


def jobset_files(launch: Launch) -> dict[str, str]:
    """One JobSet: a job of the nodes, or one of each replica group and one of the lighthouse.

    Args:
        launch: Checked.

    Raises:
        ConfigError: The image, the volume or the keys are not named, or there are too many groups.
    """
    check_site(launch)
    if launch.num_groups > MAX_GROUPS:
        raise ConfigError(
            f"a JobSet starts {MAX_GROUPS} groups again one by one, the launch has "
            f"{launch.num_groups}",
            hint="lower layout.replicate and raise layout.shard, or take the format slurm",
        )
    pod = node_pod(
        launch,
        subdomains=[launch.name],
        script=node_script(launch, max_restarts=0, is_alone=False),
        env=_env(launch),
    )
    group = {
        "name": "node",
        "replicas": launch.num_groups,
        **({"dependsOn": [{"name": "lighthouse", "status": "Ready"}]} if launch.is_parted else {}),
        "template": {
            "spec": {
                "completionMode": "Indexed",
                "completions": launch.nodes_per_group,
                "parallelism": launch.nodes_per_group,
                **_job_limits(launch),
                "template": {"spec": pod},
            }
        },
    }
    jobset = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata(launch, launch.name),
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "successPolicy": {"operator": "All", "targetReplicatedJobs": ["node"]},
            "failurePolicy": _failure_policy(launch),
            "replicatedJobs": [*([_lighthouse_job(launch)] if launch.is_parted else []), group],
        },
    }
    says = header(launch, "kubectl apply -f jobset.yaml")
    if launch.is_parted:
        says += NEEDS_RESTART_JOB
    return {"jobset.yaml": says + as_yaml([jobset])}


def _job_limits(launch: Launch) -> Manifest:
    """A pod that fails fails its job: whoever restarts it restarts all that waits for it."""
    limit = {"activeDeadlineSeconds": launch.time_limit_s} if launch.time_limit_s else {}
    return {"backoffLimit": 0, **limit}


def _failure_policy(launch: Launch) -> Manifest:
    rules: list[Manifest] = [
        {
            "name": "timeIsUp",
            "action": "FailJobSet",
            "onJobFailureReasons": ["DeadlineExceeded"],
        }
    ]
    if launch.is_parted:
        rules.append({"name": "oneGroup", "action": "RestartJob", "targetReplicatedJobs": ["node"]})
    return {"maxRestarts": launch.max_restarts, "rules": rules}


def _env(launch: Launch) -> list[Manifest]:
    host = f"{launch.name}-node-$(REPLICA_GROUP_ID)-0.{launch.name}"
    lighthouse = f"{launch.name}-lighthouse-0-0.{launch.name}"
    return [
        {"name": "REPLICA_GROUP_ID", "valueFrom": {"fieldRef": {"fieldPath": JOB_INDEX}}},
        {"name": "NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": NODE_INDEX}}},
        {"name": "MAIN_ADDRESS", "value": host},
        *([lighthouse_address(lighthouse)] if launch.is_parted else []),
    ]


def _lighthouse_job(launch: Launch) -> Manifest:
    pod = lighthouse_pod(launch)
    return {
        "name": "lighthouse",
        "replicas": 1,
        "template": {
            "spec": {
                "completionMode": "Indexed",
                "completions": 1,
                "parallelism": 1,
                "backoffLimit": 0,
                "template": {"spec": {"restartPolicy": "Never", **pod}},
            }
        },
    }
