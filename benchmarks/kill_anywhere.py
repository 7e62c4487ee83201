"""Kill the main job at random moments until it has been killed often; nothing may be lost.

Writes made-up posts, then for each of several workspaces starts `mynah up` again and again, each
time with `kill -9` at a random moment, either on its whole process group or on the parent alone.
Once a job gets through, the workspace must hold what an unbroken run makes: the same artifacts,
the same weights bit for bit, every step once. Writes ``results/kill_anywhere_*.md``.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mynah.corpus import CORPUS_KIND, DIALOGUES_KIND
from mynah.posts import POSTS_KIND
from mynah.record.model_signature import MODEL_SIGNATURE
from mynah.search import SEARCH_KIND, SearchIndex, parse_query
from mynah.workspace import file_sha256, latest_artifact

KINDS = {"posts": POSTS_KIND, "corpus": CORPUS_KIND, "dialogues": DIALOGUES_KIND}
PLACES = ("harbour", "market", "library", "station", "garden", "bridge", "stadium", "bakery")
DEEDS = (
    "opens late",
    "closes early",
    "was repaired",
    "is crowded",
    "stays quiet",
    "smells of rain",
)
QUERIES = ("harbour", "library quiet", "from:writer3", '"closes early"')
ORPHAN_LIMIT_S = 30.0
STAGE_NONE = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is run: the same command every time."""

    posts: Path
    num_steps: int

    def start(self, workspace: Path, log: Path) -> "subprocess.Popen[bytes]":
        """Start it in a process group of its own."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {
            "depth": 2,
            "vocab_size": 400,
            "data.tokens_per_step": 512,
            "schedule.num_steps": self.num_steps,
            "schedule.max_minutes": 1000,
            "evaluate_every_s": 0.4,
            "checkpoint.every_s": 0.3,
        }
        command = [str(Path(sys.executable).with_name("mynah")), "up", str(workspace)]
        command += ["--posts", str(self.posts), "--base", "scratch", "--port", str(port)]
        command += [f"--set={name}={value}" for name, value in settings.items()]
        with log.open("wb") as stderr:
            return subprocess.Popen(
                [*command, "--exit-when-done"],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill."""

    workspace: int
    after_s: float
    stage: str
    whole_group: bool
    orphan_s: float | None
    """How long the worker outlived its parent; ``None``: the next start did not wait for it."""


def write_posts(path: Path, *, num_posts: int = 400) -> None:
    """Write the same made-up posts every time."""
    draw = random.Random(11)
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "likes"])
        for number in range(num_posts):
            words = f"{draw.choice(PLACES)} {draw.choice(DEEDS)} and the {draw.choice(PLACES)}"
            text = f"The {words} {draw.choice(DEEDS)}, said number {draw.randrange(10**6)}"
            when = f"2025-03-{1 + number % 28:02d}T{number % 24:02d}:00:00Z"
            table.writerow([number, f"writer{number % 9}", when, text, number % 50])


def facts(workspace: Path) -> dict[str, object]:
    """Everything of a finished workspace that must not depend on how often it was killed."""
    found: dict[str, object] = {}
    for room, kind in KINDS.items():
        artifact = latest_artifact(workspace / room, kind=kind)
        assert artifact is not None, f"no {room}"
        artifact.verify()
        found[room] = artifact.digest
    found["search"] = _search_facts(workspace)
    (run,) = [run for run in (workspace / "runs").iterdir() if (run / "result.json").is_file()]
    result = json.loads((run / "result.json").read_bytes())
    for name in ("steps", "tokens", "bits_per_byte", "base_bits_per_byte", "skipped_steps"):
        found[name] = result[name]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [(row["step"], row.get("loss"), row.get("lr")) for row in rows]
    for path in sorted((workspace / "models").glob("*/*")):
        if path.name == MODEL_SIGNATURE:  # ECDSA draws a number for each signature
            continue
        found[f"models/{path.parent.name}/{path.name}"] = file_sha256(path)
    return found


def _search_facts(workspace: Path) -> str:
    """Tantivy names its files at random, so what is compared is what is found."""
    artifact = latest_artifact(workspace / "search", kind=SEARCH_KIND)
    assert artifact is not None, "no search"
    index = SearchIndex(artifact)
    found: list[object] = [index.num_posts]
    for query in QUERIES:
        result = index.search(parse_query(query), limit=50)
        found += [result.num_matches, [(c.post.id, round(c.score, 6)) for c in result.candidates]]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def leftovers(workspace: Path) -> list[str]:
    """What is half written in a finished workspace."""
    return [str(path.relative_to(workspace)) for path in workspace.rglob("*.writing")]


def workers_of(workspace: Path) -> list[int]:
    """Processes that train this workspace now."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if b"mynah.job.worker" in line and any(p.startswith(os.fsencode(workspace)) for p in line):
            found.append(int(folder.name))
    return found


def stage_of(log: Path) -> str:
    """The last stage that a killed job had begun."""
    begun = [line for line in log.read_text().splitlines() if line.endswith(" ...")]
    return begun[-1].strip().removesuffix(" ...") if begun else STAGE_NONE


def kill(process: "subprocess.Popen[bytes]", *, whole_group: bool) -> None:
    """Kill -9 and return when it is dead."""
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def wait_for_orphans(workspace: Path) -> float:
    """Return after how many seconds no worker is left; they must notice by themselves."""
    began_s = time.monotonic()
    while workers_of(workspace):
        assert time.monotonic() < began_s + ORPHAN_LIMIT_S, "a worker survives its parent"
        time.sleep(0.02)
    return time.monotonic() - began_s


def run_to_end(job: Job, workspace: Path, log: Path) -> float:
    """Run without a kill; return its seconds."""
    began_s = time.monotonic()
    process = job.start(workspace, log)
    code = process.wait(300)
    assert code == 0, f"exit code {code}: {log.read_text()}"
    return time.monotonic() - began_s


def run_killed(
    job: Job, workspace: Path, log: Path, *, draw: random.Random, usual_s: float, most: int
) -> list[Kill]:
    """Start the job and kill it, at most ``most`` times, until it gets through; then let it."""
    kills: list[Kill] = []
    while len(kills) < most:
        after_s = draw.uniform(0.5, usual_s)
        whole_group = draw.random() < 0.5
        process = job.start(workspace, log)
        try:
            code = process.wait(after_s)
        except subprocess.TimeoutExpired:
            stage = stage_of(log)
            kill(process, whole_group=whole_group)
            # Half of the time the next start meets the worker that lost its parent.
            orphan_s = wait_for_orphans(workspace) if whole_group or draw.random() < 0.5 else None
            number = int(workspace.name.removeprefix("killed"))
            one = Kill(
                workspace=number,
                after_s=after_s,
                stage=stage,
                whole_group=whole_group,
                orphan_s=orphan_s,
            )
            kills.append(one)
            continue
        assert code == 0, f"exit code {code}: {log.read_text()}"
        break
    run_to_end(job, workspace, log)
    wait_for_orphans(workspace)
    return kills


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kills-per-workspace", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=60)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        job = Job(posts=place / "posts.csv", num_steps=asked.steps)
        write_posts(job.posts)
        usual_s = run_to_end(job, place / "unbroken", place / "log")
        expected = facts(place / "unbroken")
        kills: list[Kill] = []
        rows: list[str] = []
        number = 0
        while len(kills) < asked.kills:
            workspace = place / f"killed{number}"
            most = min(asked.kills_per_workspace, asked.kills - len(kills))
            more = run_killed(job, workspace, place / "log", draw=draw, usual_s=usual_s, most=most)
            found = facts(workspace)
            differing = [name for name in expected if expected[name] != found.get(name)]
            left = leftovers(workspace)
            same = "yes" if not differing and found.keys() == expected.keys() else "NO"
            rows.append(f"| {number} | {len(more)} | {same} {differing or ''} | {len(left)} |")
            print(rows[-1], flush=True)
            kills += more
            number += 1
    _report(usual_s, kills, rows)
    if any("NO" in row or not row.endswith("| 0 |") for row in rows):
        sys.exit(1)


def _report(usual_s: float, kills: list[Kill], rows: list[str]) -> None:
    # Imported here: the tests use the rest of this file.
    from reporting import write

    lines = [
        f"An unbroken run takes {usual_s:.1f} s from the command to its end. Each job below was "
        "killed with `kill -9` at a random moment of it and started again.",
        "",
        "| workspace | kills | equal to the unbroken run | half-written files left |",
        "|---|---|---|---|",
        *rows,
        "",
        "Compared: digests of the artifacts posts, corpus and dialogues; what four searches find "
        "and in which order; loss and learning rate of every step, each step once; result; "
        "SHA-256 of every file of both models.",
        "",
        "| # | workspace | killed after (s) | in the stage | killed | worker gone after (s) |",
        "|---|---|---|---|---|---|",
    ]
    for number, one in enumerate(kills, start=1):
        what = "the process group" if one.whole_group else "the parent alone"
        gone = "not waited for" if one.orphan_s is None else f"{one.orphan_s:.2f}"
        lines.append(
            f"| {number} | {one.workspace} | {one.after_s:.2f} | {one.stage} | {what} | {gone} |"
        )
    write("kill_anywhere", "Killed at random moments, the job loses nothing", lines)


if __name__ == "__main__":
    main()
