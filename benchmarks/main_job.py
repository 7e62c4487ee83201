"""The main job on the sample, as a user runs it: when what answers, how long, how much memory.

Starts `mynah up` in a fresh workspace, watches it from outside, runs it a second time, then asks
20 fixed questions of the base model and of the trained one (`answers.py`). Writes a result file.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import answers
import httpx
import psutil
import reporting

TARGETS = {
    "page answers search": 60.0,
    "base model answers": 90.0,
    "whole job": 540.0,
    "second run serves": 20.0,
}


class Watch:
    """Peak memory of a process and its children: proportional shares, sampled twice a second."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.peak_bytes = 0
        self.parts: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            parts: dict[str, int] = {}
            try:
                family = [self.process, *self.process.children(recursive=True)]
                for member in family:
                    name = (
                        "trainer" if "mynah.job.worker" in " ".join(member.cmdline()) else "server"
                    )
                    parts[name] = parts.get(name, 0) + member.memory_full_info().pss
            except psutil.Error:
                continue
            if sum(parts.values()) > self.peak_bytes:
                self.peak_bytes, self.parts = sum(parts.values()), parts

    def stop(self) -> None:
        """End the sampling."""
        self._ended.set()
        self._thread.join()


def wait_for(probe, started: float, process: subprocess.Popen) -> float:
    """Seconds from ``started`` until ``probe`` says yes."""
    while True:
        try:
            if probe():
                return time.monotonic() - started
        except httpx.HTTPError:
            pass
        if process.poll() is not None:
            raise SystemExit(f"mynah up ended with {process.returncode}")
        time.sleep(0.1)


def start(workspace: Path, port: int, minutes: float, log: Path) -> subprocess.Popen:
    """Start `mynah up` with the environment's interpreter."""
    command = Path(sys.executable).with_name("mynah")
    arguments = [str(workspace), "--port", str(port), "--train-minutes", str(minutes)]
    with log.open("ab") as stream:
        return subprocess.Popen([str(command), "up", *arguments], stdout=stream, stderr=stream)


def stop(process: subprocess.Popen) -> None:
    """Ctrl-C, then wait."""
    process.terminate()
    process.wait(90)


def first_run(workspace: Path, port: int, minutes: float, log: Path) -> dict:
    """Time the job from nothing."""
    times = {}
    started = time.monotonic()
    process = start(workspace, port, minutes, log)
    watch = Watch(psutil.Process(process.pid))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: httpx.get(f"{url}/healthz").json()["search"], started, process)
        wait_for(lambda: "mk_" in log.read_text(), started, process)  # printed after the page
        key = re.search(r"mk_\S+", log.read_text())[0]
        client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60.0
        )

        def finds() -> bool:
            page = client.get("/search?q=jobs")
            return (
                page.status_code == 200
                and client.get("/v1/search", params={"q": "jobs"}).json()["num_matches"] > 0
            )

        def answers_now() -> bool:
            body = {"messages": [{"role": "user", "content": "What is said about jobs?"}]}
            return client.post("/v1/chat/completions", json=body).status_code == 200

        times["page answers search"] = wait_for(finds, started, process)
        times["base model answers"] = wait_for(answers_now, started, process)
        times["whole job"] = wait_for(
            lambda: "mynah-" in str(client.get("/healthz").json()["model"]), started, process
        )
        wait_for(answers_now, started, process)
    finally:
        watch.stop()
        stop(process)
    return {"times": times, "peak_bytes": watch.peak_bytes, "parts": watch.parts}


def second_run(workspace: Path, port: int, minutes: float, log: Path) -> float:
    """Time the same command again until the trained model is there."""
    started = time.monotonic()
    process = start(workspace, port, minutes, log)
    try:
        return wait_for(
            lambda: "mynah-" in str(httpx.get(f"http://127.0.0.1:{port}/healthz").json()["model"]),
            started,
            process,
        )
    finally:
        stop(process)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="training minutes")
    parser.add_argument("--port", type=int, default=8470)
    parser.add_argument("--workspace", type=Path, help="kept when named; must not exist")
    options = parser.parse_args()
    folder = options.workspace or Path(tempfile.mkdtemp(prefix="mynah-bench-")) / "sample"
    log = folder.parent / "up.log"
    log.unlink(missing_ok=True)
    first = first_run(folder, options.port, options.minutes, log)
    first["times"]["second run serves"] = second_run(folder, options.port, options.minutes, log)
    run = next((folder / "runs").glob("*/result.json"))
    result = json.loads(run.read_text())
    fewer = 100.0 * (1.0 - result["bits_per_byte"] / result["base_bits_per_byte"])
    peak_gb = first["peak_bytes"] / 1e9
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in first["parts"].items())
    lines = ["| what | target | measured |", "|---|---|---|"]
    for name, seconds in first["times"].items():
        lines.append(f"| {name}, seconds | at most {TARGETS[name]:.0f} | {seconds:.1f} |")
    lines += [
        f"| peak memory of all processes, GB (PSS) | under 6 | {peak_gb:.2f} ({parts}) |",
        f"| held-out bits per byte | at least 15% fewer | {result['base_bits_per_byte']:.3f} -> "
        f"{result['bits_per_byte']:.3f}, {fewer:.1f}% fewer |",
        f"| training, tokens/s (serving at the same time) | at least 180 | "
        f"{result['tokens_per_s']:.0f} |",
        "",
        f"Training: {result['tokens']:,} tokens in {result['steps']} steps, "
        f"{result['seconds']:.0f} s; trainer's peak resident size "
        f"{result['peak_memory_bytes'] / 1e9:.2f} GB.",
        "",
        *answers.compare(folder),
    ]
    reporting.write("main_job", "The main job on the sample", lines)


if __name__ == "__main__":
    main()
