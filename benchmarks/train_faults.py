"""Kill workers at random moments; does training end as it would have, and how long does it stall?

``elastic``: one mesh of two processes; each kill starts both again from the last checkpoint.
``replicas``: two replica groups under torchft; each kill leaves the other group at work. It is the
trainer itself on a tiny model, a checkpoint every two seconds, in float32; a step waits 0.4 s until
the last kill, so that a run outlives twenty. Kills come up to six seconds after all processes take
part again. What is done is kept in ``--folder``: the same command goes on from there.

    python benchmarks/train_faults.py elastic --kills 20 --folder /tmp/faults
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import reporting

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.fakes.launched_run import LaunchedRun  # noqa: E402
from tests.fakes.tiny_network import make_tiny_network  # noqa: E402

from mynah.config import dump_toml  # noqa: E402
from mynah.record.record import Record  # noqa: E402
from mynah.record.verify import verify_log  # noqa: E402
from mynah.train import CheckpointConfig, LayoutConfig, read_result  # noqa: E402

START = """
import sys
from pathlib import Path
from mynah.train.launching import Processes, launch
size, groups, restarts, run, *others = sys.argv[1:]
processes = Processes(group_size=int(size), num_groups=int(groups), max_restarts=int(restarts))
command = [sys.executable, "-m", "tests.fakes.replica_worker", run, *others]
launch(command, processes, logs=Path(run, "ranks"))
"""
PLACES = {"elastic": (2, 1), "replicas": (1, 2)}
"""Processes of a group, and groups."""
LAYOUTS = {"elastic": LayoutConfig(shard=2), "replicas": LayoutConfig(replicate=2)}
STEP_S = "0.4"
MAX_DELAY_S = 6.0
POLL_S = 0.01
TAIL_BYTES = 4096
"""Of the metrics; a line has a tenth."""


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def prepare(folder: Path, way: str, num_steps: int) -> None:
    """Write the recipes, once."""
    if (folder / "killed").is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = make_tiny_network(folder).config(
        num_steps=num_steps,
        layout=LAYOUTS[way],
        replicas="torchft" if way == "replicas" else "mesh",
        precision="float32",
        checkpoint=CheckpointConfig(every_s=2.0),
    )
    for name in ("unbroken", "killed"):
        (folder / name / "run").mkdir(parents=True)
        (folder / name / "run" / "recipe.toml").write_text(dump_toml(config))


class Chaos:
    """A run at work, and what is done to it."""

    def __init__(self, run: Path, way: str, *, kills: int, rng: random.Random) -> None:
        self.run = run
        self.rng = rng
        self.num_kills = kills
        size, groups = PLACES[way]
        self.num_groups = groups
        self.log = run.parent / "kills.jsonl"
        text = self.log.read_text() if self.log.is_file() else ""
        self.killed: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        places = (size, groups, kills + 1)
        others = (run, run.parent / "run-model", os.getpid(), run.parent)
        slow = run / "slow"
        if not self.is_over:
            slow.write_text(STEP_S)
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, (*places, *others))],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )
        self.seen = self.step()
        self.seen_s = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether all kills are done."""
        return len(self.killed) >= self.num_kills

    def row(self) -> dict[str, Any]:
        """The newest whole line of the metrics."""
        path = self.run / "metrics.jsonl"
        text = path.read_bytes()[-TAIL_BYTES:] if path.is_file() else b""
        lines = text.splitlines(keepends=True)[-2:]
        return next((json.loads(x) for x in reversed(lines) if x.endswith(b"\n")), {"step": 0})

    def step(self) -> int:
        """The newest step that the metrics tell of."""
        return self.row()["step"]

    def workers(self) -> list[psutil.Process]:
        """Processes that train and live."""
        found: list[psutil.Process] = []
        for worker in psutil.Process(self.process.pid).children():
            try:
                if worker.status() != psutil.STATUS_ZOMBIE and "RANK" in worker.environ():
                    found.append(worker)
            except psutil.Error:
                continue
        return found

    def wait_for_step(self, *, seconds: float = 300.0) -> float:
        """Wait for another step than the last; return the seconds since that one."""
        deadline_s = time.monotonic() + seconds
        while (step := self.step()) == self.seen and self.process.poll() is None:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"no step for {seconds:g} s; the logs are in {self.run / 'ranks'}")
            time.sleep(POLL_S)
        passed_s = time.monotonic() - self.seen_s
        self.seen, self.seen_s = step, time.monotonic()
        return passed_s

    def is_whole(self) -> bool:
        """Whether all processes took part in the newest step."""
        row = self.row()
        return row["step"] > 0 and row.get("num_groups", self.num_groups) == self.num_groups

    def kill_one(self) -> None:
        """Kill any process; note how long no step ended."""
        victim = self.rng.choice(self.workers())
        place = victim.environ()
        victim.kill()
        # In a mesh the checkpoint is older than the newest step, and steps are done again.
        before = self.seen
        stall_s = self.wait_for_step()
        fact = {"group": place["REPLICA_GROUP_ID"], "rank": place["RANK"], "step": before}
        self.killed.append(fact | {"stall_s": round(stall_s, 3)})
        with self.log.open("a") as stream:
            stream.write(json.dumps(self.killed[-1]) + "\n")
        say(f"kill {len(self.killed)} of {self.num_kills}: {self.killed[-1]}")

    def drive(self) -> None:
        """Do all kills, let the run end."""
        try:
            while not self.is_over and self.process.poll() is None:
                self.wait_for_step()
                if not self.is_whole():
                    continue
                until_s = time.monotonic() + self.rng.uniform(0.0, MAX_DELAY_S)
                while time.monotonic() < until_s and self.process.poll() is None:
                    self.wait_for_step() if self.step() != self.seen else time.sleep(POLL_S)
                if self.process.poll() is None:
                    self.kill_one()
            (self.run / "slow").unlink(missing_ok=True)
            if self.process.wait() != 0:
                raise SystemExit(f"the run failed; its logs are in {self.run / 'ranks'}")
        finally:
            self.process.terminate()
            self.process.wait()


def report(folder: Path, way: str, killed: list[dict[str, Any]]) -> list[str]:
    """Compare the two runs, step by step."""
    wanted, got = (
        {row["step"]: row for row in LaunchedRun.rows_of(folder / name / "run") if row["step"]}
        for name in ("unbroken", "killed")
    )
    last = max(wanted)
    if wanted.keys() != got.keys():
        raise SystemExit(f"the runs have {len(wanted)} and {len(got)} steps")
    worst = max(abs(got[step]["loss"] / wanted[step]["loss"] - 1.0) for step in wanted)
    results = [read_result(folder / name / "run") for name in ("unbroken", "killed")]
    record = Record.open(folder / "killed")
    claims = verify_log(record.folder / "log", keys=[str(record.key)], num_workers=1).claims
    broken = [claim for claim in claims if claim.verdict == "contradicted"]
    stalls = [kill["stall_s"] for kill in killed]
    size, groups = PLACES[way]
    return [
        f"- {groups} group(s) of {size} process(es), {len(killed)} kills (SIGKILL), {last} steps",
        f"- final loss without faults {wanted[last]['loss']!r}, with them {got[last]['loss']!r}",
        f"- largest relative difference of any step's loss: {worst:.3g}",
        "- bits per byte held out: "
        + ", with them ".join(f"{result.bits_per_byte!r}" for result in results if result),
        f"- FLOP counted: {wanted[last]['flop']}, with them {got[last]['flop']}",
        f"- claims of the record that are contradicted: {len(broken)} of {len(claims)}",
        "- seconds from the last step before a kill to the next: "
        f"median {statistics.median(stalls):.2f}, longest {max(stalls):.2f}"
        if stalls
        else "- no kill",
        "",
        "| kill | group | rank | at step | seconds without a step |",
        "|---|---|---|---|---|",
        *(
            f"| {number} | {kill['group']} | {kill['rank']} | {kill['step']} | {kill['stall_s']} |"
            for number, kill in enumerate(killed, start=1)
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=sorted(PLACES))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="scratch of this way alone")
    options = parser.parse_args()
    folder, way = options.folder, options.way
    prepare(folder, way, options.steps)
    killed: list[dict[str, Any]] = []
    for name, kills in (("unbroken", 0), ("killed", options.kills)):
        say(f"{way}: {name}")
        run = folder / name / "run"
        chaos = Chaos(run, way, kills=kills, rng=random.Random(options.seed))
        chaos.drive()
        killed = chaos.killed
    if len(killed) < options.kills:
        raise SystemExit(f"the run ended after {len(killed)} kills: give it more --steps")
    title = {
        "elastic": "Kills in one mesh: every process starts again",
        "replicas": "Kills among replica groups: the others go on",
    }[way]
    reporting.write(f"train_faults_{way}", title, report(folder, way, killed))


if __name__ == "__main__":
    main()
