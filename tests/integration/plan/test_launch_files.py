"""Launch files where they meet what reads them: public schemas, shellcheck, torchrun, a Slurm."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.job_process import MYNAH, free_port
from tests.fakes.varied_posts import write_varied_posts
from typer.testing import CliRunner

from mynah.cli import app
from mynah.plan.launch import FORMATS, Launch, Site, launch_files
from mynah.train import LayoutConfig

PATH = f"{MYNAH.parent}{os.pathsep}{os.environ['PATH']}"
ROOT = Path(__file__).parents[3]
LAUNCH = Launch(
    recipe="/shared/recipes/70b_512gpu.toml",
    workspace="/shared/my-network",
    layout=LayoutConfig(replicate=4, shard=16, tensor=8),
    num_nodes=64,
    num_accelerators_per_node=8,
    overrides=("checkpoint.every_s=600",),
    num_spare_nodes=4,
    time_limit_s=90_000,
    site=Site(
        keys="/shared/keys",
        image="registry.example/mynah:1",
        volume_claim="shared-disk",
        queue="train",
        partition="gpu",
        account="lab",
        accelerator="H100",
        network_resource="rdma/ib",
    ),
)
APART = replace(LAUNCH, replicas="torchft")


def documents(text: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(text))


# Public schemas


def kinds() -> dict[str, Any]:
    """Types generated from the public schemas, by kind; they ship what the API servers check."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="pip install -e '.[test]'")
    return {
        "JobSet": models.JobsetV1alpha2JobSet,
        "TrainJob": models.TrainerV1alpha1TrainJob,
        "TrainingRuntime": models.TrainerV1alpha1TrainingRuntime,
    }


def lost(given: object, kept: object, place: str = "") -> list[str]:
    """Fields that a type does not have: it drops them without a word."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [
            fault
            for key, value in given.items()
            for fault in (
                lost(value, kept[key], f"{place}.{key}") if key in kept else [f"{place}.{key}"]
            )
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [fault for i, (a, b) in pairs for fault in lost(a, b, f"{place}[{i}]")]
    return [] if given == kept else [place]


@pytest.mark.parametrize("name", ["jobset", "trainjob"])
@pytest.mark.parametrize("launch", [LAUNCH, APART], ids=["mesh", "torchft"])
def test_manifests_have_the_fields_of_the_public_schemas(name: str, launch: Launch):
    types = kinds()
    checked = 0
    for file, text in launch_files(launch, name).items():
        for document in documents(text):
            if document["kind"] in types:
                kept = types[document["kind"]].from_dict(document).to_dict()
                assert lost(document, kept) == [], file
                checked += 1
    assert checked == (1 if name == "jobset" else 1 + launch.num_groups)


def test_a_field_that_a_schema_has_not_is_seen():
    """Kubeflow Trainer 2.2 has dropped numProcPerNode of a runtime; older examples have it."""
    types = kinds()
    (runtime,) = documents(launch_files(LAUNCH, "trainjob")["runtime.yaml"])
    runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"] = "auto"
    kept = types["TrainingRuntime"].from_dict(runtime).to_dict()
    assert lost(runtime, kept) == [".spec.mlPolicy.torch.numProcPerNode"]


# Shell


@pytest.mark.parametrize("launch", [LAUNCH, APART], ids=["mesh", "torchft"])
def test_shellcheck_finds_nothing(launch: Launch, tmp_path: Path):
    shellcheck = shutil.which("shellcheck", path=PATH)
    if shellcheck is None:
        pytest.skip("needs shellcheck: pip install -e '.[test]'")
    for name in FORMATS:
        if name == "skypilot":
            continue  # its scripts are those of torchrun
        for file, text in launch_files(launch, name).items():
            (tmp_path / f"{name}-{file}").write_text(text)
    scripts = sorted(str(path) for path in tmp_path.iterdir() if path.suffix in (".sh", ".sbatch"))
    done = subprocess.run([shellcheck, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# torchrun


def test_the_scripts_of_torchrun_train(tmp_path: Path):
    """One node of two processes: health check, rendezvous, training, and a good end."""
    posts = write_varied_posts(tmp_path / "posts.csv", num_posts=150)
    added = CliRunner().invoke(app, ["posts", "add", str(tmp_path / "network"), str(posts)])
    assert added.exit_code == 0, added.output
    launch = Launch(
        recipe=str(ROOT / "recipes" / "scratch_cpu.toml"),
        workspace=str(tmp_path / "network"),
        layout=LayoutConfig(shard=2),
        num_nodes=1,
        num_accelerators_per_node=2,
        overrides=(
            *("depth=2", "vocab_size=400", "num_threads=1", "schedule.num_steps=2"),
            *("data.tokens_per_step=512", "data.batch_tokens=512", "schedule.max_minutes=1000"),
            *("data.heldout_max_tokens=400", "evaluate_every_s=1000"),
        ),
        device="cpu",
        max_restarts=0,
        time_limit_s=300,
        port=free_port(),
        site=Site(
            mount=str(tmp_path),
            health_check="test -d /tmp",
        ),
    )
    done = run_node(launch, tmp_path / "launch")
    assert done.returncode == 0, done.stderr
    assert "look at it: mynah train show" in done.stderr
    (result,) = (tmp_path / "network" / "runs").glob("*/result.json")
    assert '"steps": 2' in result.read_text()


def test_a_node_that_is_not_well_starts_nothing(tmp_path: Path):
    (tmp_path / "network").mkdir()
    launch = Launch(
        recipe="/nowhere.toml",
        workspace=str(tmp_path / "network"),
        layout=LayoutConfig(),
        num_nodes=1,
        num_accelerators_per_node=1,
        device="cuda",
        site=Site(mount=str(tmp_path), setup="nvidia-smi() { printf 'GPU 0: lost\\n' >&2; }"),
    )
    done = run_node(launch, tmp_path / "launch")
    assert done.returncode != 0
    assert "torchrun" not in done.stderr
    assert "nowhere" not in done.stderr


def run_node(launch: Launch, folder: Path) -> "subprocess.CompletedProcess[str]":
    folder.mkdir()
    for file, text in launch_files(launch, "torchrun").items():
        (folder / file).write_text(text)
    place = {"NODE_RANK": "0", "MAIN_ADDRESS": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", str(folder / "node.sh")],
        env=os.environ | place | {"PATH": PATH},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# Slurm: its commands are stood in for, so that it is the batch script which is tried.

STAND_INS = {
    "sinfo": 'cat "$SLURM_SUBMIT_DIR/responding"',
    "sbatch": 'echo "sbatch $*" >> "$SLURM_SUBMIT_DIR/said"',
    "scancel": 'kill -TERM "$(cat "$SLURM_SUBMIT_DIR/step")"',
    "scontrol": """
        if [ "$1" = show ]; then tr , '\\n' <<< "$3"; else
            echo "scontrol $*" >> "$SLURM_SUBMIT_DIR/said"
        fi""",
    "srun": """
        while [ "$1" != bash ]; do
            if [ "$1" = --nodelist ]; then IFS=, read -ra nodes <<< "$2"; fi
            if [ "$1" = --ntasks ]; then SLURM_NTASKS="$2"; fi
            shift
        done
        # A step has as many tasks as its job unless it says otherwise.
        if [ "$SLURM_NTASKS" -ne "${#nodes[@]}" ]; then exit 90; fi
        echo $$ > "$SLURM_SUBMIT_DIR/step"
        pids=()
        for rank in "${!nodes[@]}"; do
            SLURMD_NODENAME="${nodes[rank]}" SLURM_PROCID="$rank" "$@" &
            pids+=($!)
        done
        trap 'kill -TERM "${pids[@]}"' TERM
        worst=0
        for pid in "${pids[@]}"; do
            code=0
            wait "$pid" || code=$?
            while kill -0 "$pid" 2> /dev/null; do code=0; wait "$pid" || code=$?; done
            if [ "$code" -gt "$worst" ]; then worst=$code; fi
        done
        exit "$worst"
    """,
}
NODE = """
echo "train $SLURMD_NODENAME $NODE_RANK $MAIN_ADDRESS" >> said
if [ -e wait ]; then
    trap 'echo "saved $SLURMD_NODENAME" >> said; exit 1' TERM
    touch "ready-$SLURMD_NODENAME"
    while :; do sleep 0.1; done
fi
if [ -e "dies-$SLURMD_NODENAME" ]; then
    rm "dies-$SLURMD_NODENAME"
    echo "$SLURMD_NODENAME" >> broken
    exit 9
fi
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """Four nodes, n1 to n4, and a job that trains on two of them."""
    launch = replace(
        LAUNCH,
        layout=LayoutConfig(shard=16),
        num_nodes=2,
        num_spare_nodes=2,
        max_restarts=2,
        site=Site(),
    )
    for file, text in launch_files(launch, "slurm").items():
        (tmp_path / file).write_text(text)
    (tmp_path / "node.sh").write_text(NODE)
    (tmp_path / "health_check.sh").write_text('! grep -qx "$SLURMD_NODENAME" broken\n')
    (tmp_path / "responding").write_text("n3\nn2\nn1\nn4\n")
    for file in ("broken", "said"):
        (tmp_path / file).touch()
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def start(cluster: Path) -> "subprocess.Popen[str]":
    job = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "n1,n2,n3,n4", "SLURM_NTASKS": "4"}
    path = f"{cluster / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "train.sbatch"],
        cwd=cluster,
        env=os.environ | job | {"SLURM_SUBMIT_DIR": str(cluster), "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_job(cluster: Path) -> tuple[int, list[str], str]:
    process = start(cluster)
    output, _ = process.communicate(timeout=60)
    return process.returncode, sorted((cluster / "said").read_text().splitlines()), output


def test_a_job_trains_on_as_many_nodes_as_it_needs(cluster: Path):
    code, said, output = run_job(cluster)
    assert code == 0, output
    assert said == ["train n1 0 n1", "train n2 2 n1"]


def test_a_broken_node_is_left_out_when_it_starts_again(cluster: Path):
    (cluster / "dies-n1").touch()
    code, said, output = run_job(cluster)
    assert code == 0, output
    assert {"train n1 0 n1", "train n2 0 n2", "train n3 2 n2"} <= set(said)
    assert len(said) == 4


def test_excluded_and_silent_nodes_are_left_out(cluster: Path):
    (cluster / "excluded_nodes.txt").write_text("n2\n")
    (cluster / "responding").write_text("n4\nn3\nn2\n")
    code, said, output = run_job(cluster)
    assert code == 0, output
    assert said == ["train n3 0 n3", "train n4 2 n3"]


def test_with_too_few_good_nodes_another_job_takes_over(cluster: Path):
    (cluster / "broken").write_text("n1\nn2\nn4\n")
    code, said, output = run_job(cluster)
    assert code == 1, output
    assert said == ["sbatch --exclude n1,n2,n4 train.sbatch"]
    assert (cluster / "excluded_nodes.txt").read_text() == "n1\nn2\nn4\n"
    assert "1 nodes are well, 2 are needed" in output


def test_a_check_that_nobody_passes_excludes_nobody(cluster: Path):
    (cluster / "health_check.sh").write_text("exit 1\n")
    code, said, output = run_job(cluster)
    assert (code, said) == (1, [])
    assert "no node passes" in output
    assert (cluster / "excluded_nodes.txt").read_text() == ""


def test_restarts_have_an_end(cluster: Path):
    (cluster / "node.sh").write_text("echo start >> said; exit 7\n")
    code, said, output = run_job(cluster)
    assert code == 7
    assert said == ["start"] * 6, "two nodes, once and twice again"
    assert "exit code 7 after 2 restarts" in output


def test_before_its_time_is_up_a_job_saves_and_queues_again(cluster: Path):
    (cluster / "wait").touch()
    process = start(cluster)
    appear([cluster / "ready-n1", cluster / "ready-n2"])
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    said = (cluster / "said").read_text().splitlines()
    assert sorted(said[:-1])[:2] == ["saved n1", "saved n2"]
    assert said[-1] == "scontrol requeue 42"


def appear(paths: Sequence[Path]) -> None:
    deadline_s = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline_s, f"{paths} did not appear"
        time.sleep(0.02)
