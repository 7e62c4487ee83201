"""A pause order in the middle of kills, restarts, wrong clocks and edits: does the pause hold?

Each trial trains a tiny model in a process of its own, in a workspace and with keys of its own.
The process is killed with ``kill -9`` at random moments, a pause is ordered, and then, while it
is in force, the process is started again and again: under another clock, after an edit of the
settings or the recipe, without the record, without the register, in a copy of the workspace
elsewhere. Whatever was deleted is put back, the order is lifted by its party, and the run ends.
Afterwards the log is verified from scratch. ``make test`` does a few trials with the same code.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.shifted_worker import run_worker
from tests.fakes.tiny_network import Network, make_tiny_network

from mynah.record.identity import Identity
from mynah.record.model_signature import model_digest
from mynah.record.pausing import PauseTerms, lift_pause, order_pause, sign_release
from mynah.record.record import Record
from mynah.record.statements import Paused, PauseLifted, PauseOrdered, Progress, Resumed
from mynah.record.verify import verify_log
from mynah.train import CheckpointConfig, latest_checkpoint

logger = logging.getLogger(__name__)

LIMIT_S = 60.0
NUM_STEPS = 30
DAY_S = 86_400
FOREVER_S = 4000 * DAY_S
PAUSED = 1
"""Exit code of a process that an order stopped or refused."""


@dataclass(slots=True)
class Trial:
    """One workspace on its way through a pause."""

    folder: Path
    network: Network
    draw: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=lambda: [])

    @property
    def workspace(self) -> Path:
        """Where it trains."""
        return self.folder / "network"

    @property
    def run(self) -> Path:
        """The one run."""
        return self.workspace / "runs" / "abcdef123456"

    @property
    def identity(self) -> Identity:
        """Keys of this trial alone."""
        return Identity.open(self.folder / "keys")

    def prepare(self) -> None:
        """Write the recipe and the settings."""
        self.run.parent.mkdir(parents=True)
        every_s = self.draw.choice([0.0, 0.05, 1e6])
        config = self.network.config(
            num_steps=NUM_STEPS,
            checkpoint=CheckpointConfig(every_s=every_s),
            record_every_s=0.02,
        )
        self.network.write_run(self.run, config)
        (self.workspace / "mynah.toml").write_text("posts = []\n")

    def start(self, *, shift_s: float = 0.0, workspace: Path | None = None) -> "Worker":
        """Start the process that trains."""
        self.counts["starts"] += 1
        return Worker(workspace or self.workspace, self.run.name, self.folder, shift_s)

    def num_steps(self) -> int:
        """Lines of steps so far."""
        path = self.run / "metrics.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def run_for(self, num_steps: int) -> "Worker":
        """Start, and return when it has done so many steps more, or has ended."""
        worker, before = self.start(), self.num_steps()
        deadline_s = time.monotonic() + LIMIT_S
        while worker.is_alive() and not before <= self.num_steps() - num_steps:
            before = min(before, self.num_steps())  # a resume takes lines back
            assert time.monotonic() < deadline_s, worker.said()
            time.sleep(0.002)
        return worker


class Worker:
    """The real worker in a process forked from one that has imported torch already."""

    context = multiprocessing.get_context("forkserver")

    def __init__(self, workspace: Path, run: str, folder: Path, shift_s: float) -> None:
        self.log = folder / "worker.log"
        self.log.write_bytes(b"")
        self.process = self.context.Process(
            target=run_worker, args=(workspace, run, folder / "keys", self.log, shift_s)
        )
        self.process.start()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.is_alive()

    def kill(self) -> None:
        """Kill -9."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        self.process.join(LIMIT_S)
        assert self.process.exitcode is not None, self.said()
        return self.process.exitcode

    def said(self) -> str:
        """Its last lines."""
        return self.log.read_text()[-2000:]


def order(trial: Trial, record: Record) -> str:
    """Order a pause that covers the run; return its id."""
    above = str(trial.draw.choice([0, 10**6, 4 * 10**9]))
    until_us = time.time_ns() // 1000 + 3600 * 10**6
    return order_pause(record, PauseTerms(above=above, until_us=until_us, reason="chaos")).id


# What is done to a paused run: each returns what puts things right again.


def wrong_clock(trial: Trial) -> Callable[[], object]:
    """Start it years away, either way."""
    shift_s = trial.draw.choice([-1, 1]) * trial.draw.uniform(120, FOREVER_S)
    worker = trial.start(shift_s=shift_s)
    if worker.end() == 0:
        trial.faults.append(f"trained under a clock that is wrong by {shift_s:.0f} s")
    return lambda: None


def edited_settings(trial: Trial) -> Callable[[], object]:
    """Raise every threshold that a workspace can name."""
    path = trial.workspace / "mynah.toml"
    path.write_text("posts = []\n[record]\nenabled = false\npause = false\n")
    return lambda: path.write_text("posts = []\n")


def edited_recipe(trial: Trial) -> Callable[[], object]:
    """Make the run look small, or its base harmless."""
    path = trial.run / "recipe.toml"
    before = path.read_text()
    edit = trial.draw.choice(
        [
            (f"num_steps = {NUM_STEPS}", "num_steps = 1"),
            ("is_scratch = false", "is_scratch = true"),
            ('pool = "local"', 'pool = "elsewhere"'),
        ]
    )
    assert edit[0] in before, edit
    path.write_text(before.replace(*edit))
    return lambda: path.write_text(before)


def no_record(trial: Trial) -> Callable[[], object]:
    """Delete the log."""
    aside = trial.folder / "aside"
    (trial.workspace / "record").rename(aside)

    def put_back() -> None:
        shutil.rmtree(trial.workspace / "record", ignore_errors=True)
        aside.rename(trial.workspace / "record")

    return put_back


def no_register(trial: Trial) -> Callable[[], object]:
    """Delete what the register was folded to, wherever it is kept."""
    for path in trial.folder.rglob("register.json"):
        path.unlink()
    return lambda: None


def no_counts(trial: Trial) -> Callable[[], object]:
    """Delete what the run knows of its own use."""
    for name in ("spent.json", "metrics.jsonl"):
        (trial.run / name).unlink(missing_ok=True)
    return lambda: None


def copied(trial: Trial) -> Callable[[], object]:
    """Train in a copy of the workspace, with its record or without."""
    copy = trial.folder / "copy"
    shutil.copytree(trial.workspace, copy)
    if trial.draw.random() < 0.5:
        shutil.rmtree(copy / "record")
    worker = trial.start(workspace=copy)
    if worker.end() == 0 or (copy / "models").exists():
        trial.faults.append("trained in a copy")
    return lambda: shutil.rmtree(copy)


def restarted(trial: Trial) -> Callable[[], object]:
    """Do nothing but start it again."""
    return lambda: None


def killed(trial: Trial) -> Callable[[], object]:
    """Kill it somewhere between its start and its refusal."""
    worker = trial.start()
    time.sleep(trial.draw.uniform(0.0, 0.6))
    if worker.is_alive():
        worker.kill()
    return lambda: None


DEEDS = (
    *(wrong_clock, edited_settings, edited_recipe, no_record, no_register, no_counts),
    *(copied, restarted, killed),
)


def run_trial(trial: Trial) -> list[str]:
    """Go through a pause; return what went wrong."""
    trial.prepare()
    for _ in range(trial.draw.randrange(3)):
        worker = trial.run_for(trial.draw.randrange(1, 6))
        if worker.is_alive():
            trial.counts["kills before"] += 1
            worker.kill()
    record = Record.open(trial.workspace, identity=trial.identity)
    order_id = order_somewhere(trial, record)
    worker = trial.start()  # whatever went before: this one stops, and says so in the log
    if worker.end() != PAUSED:
        trial.faults.append(f"exit code {worker.end()} after the order: {worker.said()}")
        return trial.faults
    check_paused(trial, record, order_id)
    return trial.faults


def order_somewhere(trial: Trial, record: Record) -> str:
    """Order the pause while the run is going on, or while it is not."""
    if trial.draw.random() < 0.3:
        trial.counts["ordered while nothing runs"] += 1
        return order(trial, record)
    worker = trial.run_for(trial.draw.randrange(1, 5))
    order_id = order(trial, record)
    trial.counts["ordered in the middle"] += 1
    if trial.draw.random() < 0.3:
        time.sleep(trial.draw.uniform(0.0, 0.03))
        if worker.is_alive():
            worker.kill()
            trial.counts["killed while it paused"] += 1
    elif worker.end() != PAUSED:
        trial.faults.append(f"exit code {worker.end()} when ordered to stop: {worker.said()}")
    return order_id


def check_paused(trial: Trial, record: Record, order_id: str) -> None:
    """Do what may be done to a paused run, then lift the order and let it end."""
    checkpoint = latest_checkpoint(trial.run / "checkpoints")
    before = model_digest(checkpoint).hex if checkpoint else ""
    for deed in trial.draw.choices(DEEDS, k=3):
        trial.counts[deed.__name__.replace("_", " ")] += 1
        put_right = deed(trial)
        worker = trial.start()
        if worker.end() == 0:
            trial.faults.append(f"trained after {deed.__name__}: {worker.said()}")
        put_right()
        now = latest_checkpoint(trial.run / "checkpoints")
        if now != checkpoint or (model_digest(now).hex if now else "") != before:
            trial.faults.append(f"another checkpoint after {deed.__name__}: {now}")
    lift_pause(record, order_id, release=sign_release(record, order_id))
    worker = trial.start()
    if worker.end() != 0:
        trial.faults.append(f"exit code {worker.end()} after the lift: {worker.said()}")
    check_log(trial, record, before)


def check_log(trial: Trial, record: Record, paused_digest: str) -> None:
    """Fold the log by hand, and verify it from scratch."""
    flop, is_ordered, is_paused, seen = 0, False, False, Counter[str]()
    for index, statement in record.statements():
        body = statement.body
        seen[body.kind] += 1
        if isinstance(body, PauseOrdered):
            is_ordered = True
        elif isinstance(body, PauseLifted):
            is_ordered = False
        elif isinstance(body, Progress):
            if (is_ordered or is_paused) and int(body.flop) > flop:
                trial.faults.append(f"leaf {index}: progress inside the pause")
            flop = max(flop, int(body.flop))
        elif isinstance(body, Paused | Resumed):
            is_paused = isinstance(body, Paused)
            if body.checkpoint != paused_digest:
                trial.faults.append(f"leaf {index}: {body.kind} at another checkpoint")
    trial.counts["progress leaves"] += seen["progress"]
    if seen["paused"] and seen["paused"] != seen["resumed"]:
        trial.faults.append(f"{seen['paused']} times paused, {seen['resumed']} times resumed")
    rows = [json.loads(row) for row in (trial.run / "metrics.jsonl").read_text().splitlines()]
    if rows[-1]["step"] != NUM_STEPS or flop < int(rows[-1]["flop"]):
        trial.faults.append("the run did not end, or the record counts less than the run")
    key = str(record.key)
    report = verify_log(record.folder / "log", keys=[key], num_workers=1)
    trial.faults += [f"{c.what}: {c.detail}" for c in report.claims if c.verdict == "contradicted"]


def chaos(folder: Path, *, num_trials: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Go through so many pauses; return what was done and what went wrong."""
    # The server of forks imports by itself; it finds the tests where this process does.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    Worker.context.set_forkserver_preload(["tests.fakes.shifted_worker"])
    made = folder / "made"
    made.mkdir()
    network = make_tiny_network(made)
    counts, faults = Counter[str](), list[str]()
    for number in range(num_trials):
        draw = random.Random(seed * 1_000_003 + number)
        trial = Trial(folder / f"trial{number}", network, draw, counts)
        faults += [f"trial {number} (seed {seed}): {fault}" for fault in run_trial(trial)]
        shutil.rmtree(trial.folder)
        logger.info("trial %d: %d faults so far", number, len(faults))
    return counts, faults


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        counts, faults = chaos(Path(scratch), num_trials=asked.trials, seed=asked.seed)
    from reporting import write

    lines = [
        f"{asked.trials} runs, seed {asked.seed}, in {time.monotonic() - began_s:.0f} s: "
        f"{len(faults)} faults.",
        "",
        "| what | how often |",
        "|---|---|",
        *(f"| {name} | {number} |" for name, number in sorted(counts.items())),
        "",
        *(f"- {fault}" for fault in faults),
    ]
    write("pause_chaos", "A pause holds through kills, clocks and edits", lines)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
