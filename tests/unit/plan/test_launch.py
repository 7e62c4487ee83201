"""Launch files: what they say, what is refused, and that their fields are those that exist."""

import re
import shlex
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from mynah.config import override_config
from mynah.errors import ConfigError
from mynah.plan.launch import FORMATS, Launch, Site, launch_files
from mynah.plan.launch_slurm import slurm_time
from mynah.plan.node_check import check_node
from mynah.train import LayoutConfig, Recipe

SITE = Site(
    keys="/shared/keys",
    image="registry.example/mynah:1",
    volume_claim="shared-disk",
    namespace="lab",
    queue="train",
    partition="gpu",
    account="lab",
    accelerator="H100",
    network_resource="rdma/ib",
)
LAUNCH = Launch(
    recipe="/shared/recipes/70b 512.toml",  # a name that a shell would cut in two
    workspace="/shared/my-network",
    layout=LayoutConfig(replicate=4, shard=16, tensor=8),
    num_nodes=64,
    num_accelerators_per_node=8,
    overrides=("checkpoint.every_s=600", 'pool="a b"'),
    num_spare_nodes=4,
    max_restarts=7,
    time_limit_s=90_000,
    site=SITE,
)
APART = replace(LAUNCH, replicas="torchft")
NO_SPARES = replace(LAUNCH, num_spare_nodes=0)
CASES = [
    *((name, NO_SPARES if name == "skypilot" else LAUNCH) for name in FORMATS),
    *((name, APART) for name in FORMATS if name != "skypilot"),
]
IDS = [f"{name}-{launch.replicas}" for name, launch in CASES]
each_case = pytest.mark.parametrize(("name", "launch"), CASES, ids=IDS)


@cache
def files_of(launch: Launch, name: str) -> dict[str, str]:
    return launch_files(launch, name)


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def scripts_in(value: object) -> list[str]:
    """Every text of more than one line in a document: they are all shell."""
    if isinstance(value, dict):
        return [script for one in value.values() for script in scripts_in(one)]
    if isinstance(value, list):
        return [script for one in value for script in scripts_in(one)]
    return [value] if isinstance(value, str) and "\n" in value else []


def shell_of(files: dict[str, str]) -> list[str]:
    found = [text for file, text in files.items() if file.endswith((".sh", ".sbatch"))]
    for file, text in files.items():
        if file.endswith(".yaml"):
            found += scripts_in(documents(text))
    return found


def torchrun_words(files: dict[str, str]) -> list[str]:
    """What follows the torchrun that trains, as a shell cuts it."""
    (script,) = {text for text in shell_of(files) if "exec " in text and "mynah train" in text}
    line = script.split("exec ", 1)[1]
    words = shlex.split(line.replace("\\\n", ""))
    return words[words.index("torchrun") + 1 :]


@each_case
def test_every_script_is_shell(name: str, launch: Launch):
    scripts = shell_of(files_of(launch, name))
    assert scripts
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


@each_case
def test_torchrun_understands_its_arguments(name: str, launch: Launch):
    told = get_args_parser().parse_args(torchrun_words(files_of(launch, name)))
    assert told.nnodes == str(launch.num_nodes // launch.num_groups)
    assert told.nproc_per_node == "8"
    assert told.max_restarts == (7 if name == "torchrun" else 0), "one of them starts again"
    assert told.shutdown_timeout == 280, "a checkpoint must fit, and be over before the kill"
    assert told.rdzv_backend == "c10d"
    assert told.module
    assert told.training_script == "mynah"


@each_case
def test_mynah_understands_its_arguments(name: str, launch: Launch):
    """Values make the recipe that was asked for."""
    words = torchrun_words(files_of(launch, name))
    told = get_args_parser().parse_args(words).training_script_args
    assert told[:5] == ["train", "run", LAUNCH.recipe, "--workspace", LAUNCH.workspace]
    assert {word for word in told if word.startswith("--")} == {"--workspace", "--set"}
    recipe = override_config(Recipe(), [one for one in told[5:] if one != "--set"])
    assert recipe.layout == launch.layout
    assert recipe.replicas == launch.replicas
    assert recipe.checkpoint.every_s == 600
    assert recipe.pool == "a b"


@each_case
def test_health_keys_and_the_store_are_seen_to(name: str, launch: Launch):
    files = files_of(launch, name)
    text = "\n".join(shell_of(files))
    assert "mynah.plan.node_check --device cuda" in text
    assert "nvidia-smi --list-gpus" in text
    assert "test -w /shared/my-network" in text
    assert "export MYNAH_KEYS=/shared/keys" in text
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in text
    if launch.num_groups > 1:
        assert "--min_replicas" in "".join(files.values())


@each_case
def test_files_are_the_same_each_time_and_plain(name: str, launch: Launch):
    files = files_of(launch, name)
    assert files == launch_files(launch, name)
    for text in files.values():
        assert text.isascii()
        assert "\t" not in text
        assert not re.search(r" +$", text, re.M)


def test_a_cpu_asks_for_no_accelerator():
    launch = replace(NO_SPARES, device="cpu")
    for name in FORMATS:
        text = "".join(files_of(launch, name).values())
        assert "nvidia" not in text
        assert "gpus-per-node" not in text
        assert "--device cpu" in text


# Slurm


def directives(text: str) -> dict[str, str]:
    """Those that sbatch reads: they end where commands begin."""
    lines = text.splitlines()
    commands = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    found = [line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")]
    assert len(found) == sum(line.startswith("#SBATCH") for line in lines[:commands])
    return {one.partition("=")[0]: one.partition("=")[2] for one in found}


def test_slurm_directives():
    """All of them exist: sbatch 22.05 takes these (sbatch -v --test-only lists what it read)."""
    read = directives(files_of(LAUNCH, "slurm")["train.sbatch"])
    assert read == {
        "job-name": "mynah",
        "output": "%x-%j.log",
        "open-mode": "append",
        "nodes": "68",
        "ntasks-per-node": "1",
        "gpus-per-node": "8",
        "partition": "gpu",
        "account": "lab",
        "time": "1-01:00:00",
        "signal": "B:USR1@300",
        "exclusive": "",
        "requeue": "",
        "no-kill": "",
    }


def test_slurm_groups_are_an_array_and_a_lighthouse():
    files = files_of(APART, "slurm")
    read = directives(files["train.sbatch"])
    assert (read["array"], read["nodes"]) == ("0-3", "17")
    assert "gpus-per-node" not in directives(files["lighthouse.sbatch"])
    assert "lighthouse.sbatch" in files["submit.sh"]


@pytest.mark.parametrize(
    ("seconds", "told"), [(1, "0-00:00:01"), (3_661, "0-01:01:01"), (864_000, "10-00:00:00")]
)
def test_slurm_time(seconds: int, told: str):
    assert slurm_time(seconds) == told


# Kubernetes


def jobset(launch: Launch) -> dict[str, Any]:
    (document,) = documents(files_of(launch, "jobset")["jobset.yaml"])
    assert document["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    return document


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return job["template"]["spec"]["template"]["spec"]


def test_a_jobset_starts_again_and_keeps_its_checkpoints():
    spec = jobset(LAUNCH)["spec"]
    assert spec["failurePolicy"]["maxRestarts"] == 7
    assert spec["failurePolicy"]["rules"] == [
        {
            "name": "timeIsUp",
            "action": "FailJobSet",
            "onJobFailureReasons": ["DeadlineExceeded"],
        }
    ]
    assert spec["successPolicy"] == {"operator": "All", "targetReplicatedJobs": ["node"]}
    (job,) = spec["replicatedJobs"]
    assert job["template"]["spec"]["completions"] == 64
    assert job["template"]["spec"]["backoffLimit"] == 0
    pod = pod_of(job)
    assert pod["terminationGracePeriodSeconds"] == 300
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared-disk"}
    check, main = pod["initContainers"][0], pod["containers"][0]
    for container in (check, main):
        assert container["volumeMounts"][0] == {"name": "shared", "mountPath": "/shared"}
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 8, "rdma/ib": 1}
    assert "nvidia-smi" in main["livenessProbe"]["exec"]["command"][2]


def test_groups_of_a_jobset_start_again_one_by_one():
    spec = jobset(APART)["spec"]
    lighthouse, group = spec["replicatedJobs"]
    assert group["replicas"] == 4
    assert group["dependsOn"] == [{"name": "lighthouse", "status": "Ready"}]
    assert group["template"]["spec"]["completions"] == 16
    assert spec["failurePolicy"]["rules"][1] == {
        "name": "oneGroup",
        "action": "RestartJob",
        "targetReplicatedJobs": ["node"],
    }
    env = {one["name"]: one.get("value") for one in pod_of(group)["containers"][0]["env"]}
    assert env["MAIN_ADDRESS"] == "mynah-node-$(REPLICA_GROUP_ID)-0.mynah"
    assert env["TORCHFT_LIGHTHOUSE"] == "http://mynah-lighthouse-0-0.mynah:29510"
    assert pod_of(group)["dnsConfig"]["searches"] == ["mynah.lab.svc.cluster.local"]
    assert pod_of(lighthouse)["containers"][0]["readinessProbe"]["tcpSocket"]["port"] == 29510


def test_kubernetes_fills_in_nothing_of_a_script():
    """It replaces $(NAME) in arguments where NAME is a variable; a command is none."""
    for launch in (LAUNCH, APART):
        for name in ("jobset", "trainjob"):
            for script in shell_of(files_of(launch, name)):
                assert not re.search(r"\$\([A-Za-z_][A-Za-z0-9_]*\)", script)
                assert "$$" not in script


def test_a_trainjob_names_its_runtime_and_its_nodes():
    files = files_of(LAUNCH, "trainjob")
    (runtime,), (job,) = documents(files["runtime.yaml"]), documents(files["trainjob.yaml"])
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["spec"]["runtimeRef"]["kind"] == runtime["kind"] == "TrainingRuntime"
    assert job["metadata"]["namespace"] == runtime["metadata"]["namespace"]
    assert job["spec"]["trainer"]["numNodes"] == 64
    assert job["spec"]["trainer"]["numProcPerNode"] == 8
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "train"
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    # How the Trainer finds the pods and the container that it changes.
    label = "trainer.kubeflow.org/trainjob-ancestor-step"
    assert node["template"]["metadata"]["labels"][label] == "trainer"
    assert node["name"] == pod_of(node)["containers"][0]["name"] == "node"
    assert not any(env["name"].startswith("PET_") for env in job["spec"]["trainer"].get("env", []))


def test_groups_of_trainjobs_share_a_lighthouse():
    files = files_of(APART, "trainjob")
    deployment, service = documents(files["lighthouse.yaml"])
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    jobs = documents(files["trainjob.yaml"])
    assert [job["metadata"]["name"] for job in jobs] == [f"mynah-{group}" for group in range(4)]
    for group, job in enumerate(jobs):
        env = {one["name"]: one["value"] for one in job["spec"]["trainer"]["env"]}
        assert env["REPLICA_GROUP_ID"] == str(group)
        assert env["TORCHFT_LIGHTHOUSE"] == f"http://{service['metadata']['name']}:29510"


# SkyPilot: its schemas come only with all of it (sky/utils/schemas.py of skypilot 0.14.1,
# get_task_schema, _get_single_resources_schema and get_volume_schema), so the fields stand here.

TASK_FIELDS = {"name", "num_nodes", "resources", "volumes", "file_mounts", "setup", "run", "envs"}
RESOURCES_FIELDS = {"infra", "accelerators", "image_id", "job_recovery"}
RECOVERY_FIELDS = {"strategy", "max_restarts_on_errors", "recover_on_exit_codes"}
VOLUME_FIELDS = {"name", "type", "infra", "size", "use_existing", "config"}
VOLUME_CONFIG_FIELDS = {"namespace", "access_mode", "storage_class_name"}


@pytest.mark.parametrize("image", ["", SITE.image])
def test_skypilot_fields(image: str):
    files = files_of(replace(NO_SPARES, site=replace(SITE, image=image)), "skypilot")
    (task,), (volume,) = documents(files["task.yaml"]), documents(files["volume.yaml"])
    assert set(task) <= TASK_FIELDS
    assert set(task["resources"]) <= RESOURCES_FIELDS
    assert set(task["resources"]["job_recovery"]) <= RECOVERY_FIELDS
    assert set(volume) <= VOLUME_FIELDS
    assert set(volume["config"]) <= VOLUME_CONFIG_FIELDS
    assert task["resources"]["accelerators"] == "H100:8"
    assert task["volumes"] == {"/shared": volume["name"]}
    assert ("setup" in task) == (not image)
    assert {Path(source).name for source in task["file_mounts"].values()} <= set(files)


# What cannot be


@pytest.mark.parametrize(
    ("change", "name", "error", "hint"),
    [
        ({"num_nodes": 63}, "slurm", "512 ranks", "spare nodes are not counted"),
        ({"num_nodes": 0}, "slurm", "num_nodes", "recipes"),
        ({"name": "My Run"}, "slurm", "name", "recipes"),
        ({"workspace": "my-network"}, "slurm", "workspace", "recipes"),
        ({"workspace": "/home/me"}, "jobset", "share /shared", "site.mount"),
        ({"grace_s": 5}, "slurm", "grace_s", "recipes"),
        ({"overrides": ("a\nb",)}, "slurm", "overrides", "recipes"),
        ({"site": replace(SITE, partition="a; reboot")}, "slurm", "partition", "recipes"),
        ({"site": replace(SITE, image="", keys="")}, "jobset", "site.image, site.keys", "claim"),
        ({"site": replace(SITE, volume_claim="")}, "trainjob", "site.volume_claim", "claim"),
        ({"replicas": "torchft", "num_spare_nodes": 3}, "slurm", "3 spare nodes", "multiple of 4"),
        ({}, "skypilot", "num_spare_nodes is 4", "num_spare_nodes = 0"),
        ({"replicas": "torchft"}, "skypilot", "torchft", "jobset"),
        ({"num_spare_nodes": 0, "site": Site(keys="/shared/k")}, "skypilot", "volume", "sky gpus"),
        ({}, "helm", "'helm'", "torchrun, slurm, jobset, trainjob, skypilot"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], name: str, error: str, hint: str):
    with pytest.raises(ConfigError) as refused:
        launch_files(replace(LAUNCH, **change), name)
    assert error in refused.value.message
    assert hint in refused.value.hint


def test_one_group_has_nobody_to_live_apart_from():
    launch = replace(APART, layout=LayoutConfig(shard=64, tensor=8))
    with pytest.raises(ConfigError, match=r"layout\.replicate is 1"):
        launch_files(launch, "slurm")


@pytest.mark.parametrize(("name", "groups"), [("trainjob", 29), ("jobset", 1025)])
def test_too_many_groups_are_refused(name: str, groups: int):
    layout = LayoutConfig(replicate=groups, shard=8)
    launch = replace(APART, layout=layout, num_nodes=groups, num_spare_nodes=0)
    with pytest.raises(ConfigError, match=str(groups)) as refused:
        launch_files(launch, name)
    assert "slurm" in refused.value.hint


def test_a_node_is_checked_where_it_is(monkeypatch: pytest.MonkeyPatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_node("cpu")


def test_a_node_without_the_accelerator_is_not_well(monkeypatch: pytest.MonkeyPatch):
    import torch

    from mynah.errors import MachineError

    if torch.cuda.is_available():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(MachineError, match="no accelerator"):
        check_node("cuda")
