"""The whole job on a slice of the real sample: as a person starts it, uses it and stops it.

One workspace, one story: every test goes on where the one before it stopped.
"""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.job_process import TINY_MODEL, JobProcess, run_mynah, wait_until

NUM_ROWS = 600
NUM_HEADER_ROWS = 3
QUERY = "America"
OPTIONS = (*TINY_MODEL, "--set", "evaluate_every_s=2", "--set", "checkpoint.every_s=1")
STAGES = (
    "Read the posts",
    "Index them for search",
    "Load the base model",
    "Clean and tokenise",
    "Train",
    "Quantise the new model",
)


@dataclass(slots=True)
class Asked:
    """What one request saw."""

    stage: str
    path: str
    status: int
    model: str = ""


@dataclass(slots=True)
class Asker:
    """Asks for posts and answers from a thread, all the time."""

    job: JobProcess
    key: str
    seen: list[Asked] = field(default_factory=lambda: [])
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        base = f"http://127.0.0.1:{self.job.port}"
        headers = {"Authorization": f"Bearer {self.key}"}
        question = {"messages": [{"role": "user", "content": f"What about {QUERY}?"}]}
        with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
            while not self.is_over.is_set():
                health = client.get("/healthz").json()
                found = client.get("/v1/search", params={"q": QUERY})
                self.seen.append(Asked(health["stage"], "search", found.status_code))
                if health["model"]:
                    body = {**question, "max_tokens": 12}
                    said = client.post("/v1/chat/completions", json=body)
                    model = said.json().get("model", "")
                    self.seen.append(Asked(health["stage"], "chat", said.status_code, model))
                time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Story:
    """Where it happens."""

    posts: Path
    workspace: Path

    @property
    def options(self) -> tuple[str | Path, ...]:
        return ("--posts", self.posts, *OPTIONS)

    def run_folders(self) -> set[Path]:
        return set((self.workspace / "runs").iterdir())

    def snapshots(self) -> dict[str, set[str]]:
        rooms = ("posts", "search", "corpus", "dialogues")
        return {room: {p.name for p in (self.workspace / room).iterdir()} for room in rooms}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, sample_tab: Path) -> Story:
    place = tmp_path_factory.mktemp("story")
    lines = sample_tab.read_text().splitlines(keepends=True)
    posts = place / "slice.tab"
    posts.write_text("".join(lines[: NUM_HEADER_ROWS + NUM_ROWS]))
    return Story(posts, place / "network")


@pytest.fixture(scope="module")
def first(story: Story) -> Iterator[tuple[JobProcess, Asker]]:
    """The first run: trained, swapped in, still serving."""
    with JobProcess(story.workspace, [*story.options, "--train-minutes", "0.1"]) as job:
        wait_until(lambda: job.health().get("search"), what="search")
        asker = Asker(job, job.key)
        thread = threading.Thread(target=asker.run)
        thread.start()
        try:
            job.wait_for_stage("train")
            campaign = ["--title", "Flags", "--text", "Flags of all sizes", "--keyword", QUERY]
            campaign += ["--link", "https://example.org/flags", "--bid", "0.20", "--budget", "5"]
            added = run_mynah("ads", "add", story.workspace, *campaign)
            assert added.returncode == 0, added.stderr
            wait_until(lambda: "Put it to work         mynah-" in job.log.read_text(), what="swap")
            num_seen = len(asker.seen)
            wait_until(lambda: len(asker.seen) > num_seen + 4, what="answers after the swap")
        finally:
            asker.is_over.set()
            thread.join()
        yield job, asker


def kept(log: str) -> dict[str, bool]:
    """Which stages said in their last line that they were skipped."""
    return {
        title: line.endswith("(kept)")
        for title in STAGES
        for line in log.splitlines()
        if line.startswith(f"  {title:<22} ") and not line.endswith(" ...")
    }


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_search_and_the_base_answer_while_the_model_is_trained(first):
    _, asker = first
    training = [asked for asked in asker.seen if asked.stage == "train"]
    assert {asked.path for asked in training} == {"search", "chat"}
    assert any(asked.model.startswith("scratch-") for asked in training)


def test_no_request_fails_not_even_during_the_swap(first):
    _, asker = first
    assert [asked for asked in asker.seen if asked.status != 200] == []
    models = [asked.model.split("-")[0] for asked in asker.seen if asked.path == "chat"]
    assert models == sorted(models, reverse=True)  # scratch, then mynah, and never back
    assert set(models) == {"scratch", "mynah"}


def test_the_trained_model_is_the_one_served(first):
    job, _ = first
    headers = {"Authorization": f"Bearer {job.key}"}
    listed = httpx.get(f"http://127.0.0.1:{job.port}/v1/models", headers=headers).json()["data"]
    assert [model["id"].split("-")[0] for model in listed] == ["mynah"]


def test_a_campaign_added_from_a_terminal_is_seen_by_the_next_search(first):
    job, _ = first
    headers = {"Authorization": f"Bearer {job.key}"}
    url = f"http://127.0.0.1:{job.port}/v1/search"
    found = httpx.get(url, params={"q": QUERY}, headers=headers).json()
    assert found["num_matches"] > 0
    assert found["ad"]["title"] == "Flags"


def test_held_out_posts_are_predicted_better(first, story):
    (run,) = story.run_folders()
    result = json.loads((run / "result.json").read_bytes())
    assert result["bits_per_byte"] < 0.95 * result["base_bits_per_byte"]
    assert result["num_resumed_steps"] == 0
    rows = metrics(run)
    assert [row["step"] for row in rows] == list(range(result["steps"] + 1))
    curve = [row["heldout_bits_per_byte"] for row in rows if "heldout_bits_per_byte" in row]
    assert curve[0] == result["base_bits_per_byte"]
    assert curve[-1] == result["bits_per_byte"]
    samples = json.loads((run / "samples.json").read_bytes())
    assert samples
    assert all(row["before"] is not None and row["after"] is not None for row in samples)


def test_it_ends_when_asked_and_leaves_no_process(first):
    job, _ = first
    assert job.terminate() == 0
    assert "Traceback" not in job.log.read_text()
    with pytest.raises(ProcessLookupError):
        os.killpg(job.process.pid, 0)


def test_the_same_command_again_skips_every_stage(first, story):
    before = story.snapshots(), story.run_folders()
    began_s = time.monotonic()
    again = run_mynah(
        "up", story.workspace, *story.options, "--train-minutes", "0.1", "--exit-when-done"
    )
    assert again.returncode == 0, again.stderr
    assert time.monotonic() - began_s < 20.0
    assert kept(again.stderr) == dict.fromkeys(STAGES, True)
    assert "Admin key" not in again.stderr
    assert (story.snapshots(), story.run_folders()) == before


def test_other_minutes_train_anew_and_a_stop_is_gone_on_from(first, story):
    """Stopped in the middle it saves a checkpoint; the next run goes on from there."""
    snapshots, runs = story.snapshots(), story.run_folders()
    options = [*story.options, "--train-minutes", "0.06"]
    with JobProcess(story.workspace, options) as job:
        job.wait_for_stage("train")
        (run,) = wait_until(lambda: story.run_folders() - runs, what="a new run")
        file = run / "metrics.jsonl"
        wait_until(lambda: file.exists() and len(metrics(run)) > 5, what="five steps")
        assert job.terminate() == 0
        assert "stopped; the same command goes on from here" in job.log.read_text()
        assert kept(job.log.read_text()) == dict.fromkeys(STAGES[:4], True)
    (checkpoint,) = (run / "checkpoints").glob("step-*")
    assert checkpoint.name == f"step-{metrics(run)[-1]['step']:08d}"
    done = run_mynah("up", story.workspace, *options, "--exit-when-done")
    assert done.returncode == 0, done.stderr
    assert story.snapshots() == snapshots
    result = json.loads((run / "result.json").read_bytes())
    assert result["num_resumed_steps"] == int(checkpoint.name.removeprefix("step-"))
    assert [row["step"] for row in metrics(run)] == list(range(result["steps"] + 1))


def test_the_other_commands_work_on_the_workspace(first, story):
    searched = run_mynah("search", "run", story.workspace, QUERY, "--json", "--limit", "2")
    assert searched.returncode == 0, searched.stderr
    assert len([json.loads(line) for line in searched.stdout.splitlines()]) == 2
    nothing = run_mynah("search", "run", story.workspace, "xyzzyplugh")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    read = run_mynah("posts", "read", story.posts)
    assert f"{NUM_ROWS:,} posts" in read.stdout

    shown = run_mynah("ads", "show", story.workspace, "--json")
    assert json.loads(shown.stdout)["report"]["num_impressions"] > 0
    key = run_mynah("keys", "add", story.workspace)
    assert key.stdout.startswith("mk_")


def test_a_question_from_a_terminal_is_answered_by_the_newest_model(first, story):
    asked = run_mynah("chat", "run", story.workspace, f"What do they say about {QUERY}?")
    assert asked.returncode in (0, 1), asked.stderr
    assert asked.stdout.strip()
    assert "Traceback" not in asked.stderr
