"""The whole way from an export to a corpus, at one million posts and at ten.

`mynah posts add` and `mynah corpus build` as a person runs them, each in a process of its own, on
planted posts (`plant_duplicates`): read, sorted into the store, cleaned, languages told, judged,
private details taken out, duplicates found, threads, a tokenizer trained, tokens written. CPU
seconds are user and system time of the process. Memory is its peak resident size, pages of mapped
files included, and that of its anonymous pages alone, sampled: the system can take the others back
at any time.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import reporting
from plant_duplicates import plant

CLI = "from mynah.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Took:
    """What one command took."""

    cpu_s: float
    wall_s: float
    peak_bytes: int
    anonymous_bytes: int
    """Peak of what cannot be taken back, sampled every fifth of a second."""
    said: str


def mynah(*arguments: object) -> Took:
    """Run one command to its end."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", CLI, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    peaks = [0]
    sampler = threading.Thread(target=sample_anonymous, args=(process.pid, peaks), daemon=True)
    sampler.start()
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"mynah {arguments[0]} failed")
    return Took(
        usage.ru_utime + usage.ru_stime,
        time.perf_counter() - begun,
        usage.ru_maxrss * 1024,
        max(peaks),
        said,
    )


def sample_anonymous(pid: int, peaks: list[int]) -> None:
    """Watch a process until it is gone."""
    while True:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return
        if found := re.search(r"RssAnon:\s+(\d+) kB", status):
            peaks.append(int(found[1]) * 1024)
        time.sleep(0.2)


def row(rows: int, step: str, took: Took) -> str:
    per_post = f"{1e6 * took.cpu_s / rows:.2f} | {1e6 * took.wall_s / rows:.2f}"
    memory = f"{took.peak_bytes / 2**30:.2f} | {took.anonymous_bytes / 2**30:.2f}"
    return f"| {rows:,} | {step} | {took.cpu_s:.1f} | {took.wall_s:.1f} | {per_post} | {memory} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real posts")
    parser.add_argument("--folder", type=Path, required=True, help="scratch, elsewhere")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    options = parser.parse_args()
    lines = [
        " ".join((__doc__ or "").split()),
        "",
        "| posts | step | CPU s | wall s | CPU us a post | wall us a post | peak GiB | "
        "anonymous GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    whole: list[tuple[float, float]] = []
    notes: list[str] = []
    for rows in options.rows:
        posts, _ = plant(options.data, options.folder, rows)
        workspace = Path(tempfile.mkdtemp(dir=options.folder))
        shutil.rmtree(workspace)
        added = mynah("posts", "add", workspace, posts)
        built = mynah("corpus", "build", workspace, "--json")
        counts = json.loads(built.said)
        lines += [row(rows, "posts add", added), row(rows, "corpus build", built)]
        whole.append(((added.cpu_s + built.cpu_s) / rows, (added.wall_s + built.wall_s) / rows))
        left_out = ", ".join(f"{reason} {count:,}" for reason, count in counts["excluded"].items())
        notes.append(
            f"- {rows:,}: {counts['num_documents']:,} documents, {counts['num_tokens']:,} tokens, "
            f"encoded by {counts['encoder']}; left out: {left_out}"
        )
        shutil.rmtree(workspace)
    ratios = [last / first for first, last in zip(whole[0], whole[-1], strict=True)]
    lines += ["", *notes, ""]
    lines.append(
        f"CPU time a post at {options.rows[-1]:,} over that at {options.rows[0]:,}: "
        f"{ratios[0]:.2f}; wall time: {ratios[1]:.2f}"
    )
    reporting.write("corpus_scale", "From an export to a corpus, at scale", lines)


if __name__ == "__main__":
    main()
