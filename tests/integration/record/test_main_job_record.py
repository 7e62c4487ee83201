"""The main job and the record: refused inside a pause the pages stay up; after it the log is whole.

One workspace, one story: every test goes on where the one before it stopped.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.kill_anywhere import write_posts
from tests.fakes.job_process import TINY_MODEL, JobProcess, free_port, run_mynah, wait_until

from mynah.record.pausing import PauseTerms, lift_pause, order_pause, sign_release
from mynah.record.record import Record
from mynah.record.statements import (
    Body,
    CheckpointSaved,
    ModelServed,
    ModelWithdrawn,
    Progress,
    RunDeclared,
)
from mynah.record.verify import verify_log
from mynah.workspace import Workspace, file_sha256

OPTIONS = (
    *TINY_MODEL,
    *("--set", "schedule.num_steps=40", "--set", "schedule.max_minutes=1000"),
    *("--set", "pool=bench", "--set", "record_every_s=0.1"),
)


@dataclass(frozen=True, slots=True)
class Story:
    """Where it happens."""

    posts: Path
    workspace: Path

    @property
    def record(self) -> Record:
        return Record.open(self.workspace)

    @property
    def bodies(self) -> list[Body]:
        return [statement.body for _, statement in self.record.statements()]

    @property
    def options(self) -> tuple[str | Path, ...]:
        return ("--posts", self.posts, *OPTIONS)

    def up(self):
        with JobProcess(self.workspace, [*self.options, "--exit-when-done"]) as job:
            code = job.process.wait(100)
            return code, job.log.read_text()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("story")
    posts = place / "posts.csv"
    write_posts(posts)
    Workspace(place / "network").create()
    return Story(posts, place / "network")


@pytest.fixture(scope="module")
def order(story: Story) -> str:
    until_us = time.time_ns() // 1000 + 3_600_000_000
    return order_pause(story.record, PauseTerms(above="10", until_us=until_us, reason="wait")).id


def test_a_refused_training_leaves_the_pages_up_and_the_base_answering(story: Story, order: str):
    with JobProcess(story.workspace, story.options) as job:
        wait_until(lambda: "Serving." in job.log.read_text(), what="the end of the stages")
        health = job.health()
        assert health["stage"] == "train"
        assert health["model"].startswith("scratch-")
        said = job.log.read_text()
        assert f"is paused: order {order[:12]} of mynah-" in said
        assert "above 10 FLOP: wait" in said
        assert job.terminate() == 0
    kinds = [body.kind for body in story.bodies]
    assert kinds == ["pause-ordered", "model-served"]
    code, said = story.up()
    assert (code, "Traceback" in said) == (1, False)
    assert not list(story.workspace.glob("models/mynah-*"))


def test_after_the_lift_the_same_command_trains_serves_and_records(story: Story, order: str):
    record = story.record
    lift_pause(record, order, release=sign_release(record, order))
    code, said = story.up()
    assert code == 0, said
    bodies = story.bodies
    (declared,) = [body for body in bodies if isinstance(body, RunDeclared)]
    assert (declared.parents, declared.pool, declared.num_devices) == ((), "bench", 1)
    assert declared.planned_basis.startswith("exact")
    progress = [body for body in bodies if isinstance(body, Progress)]
    assert progress[-1].is_final
    assert progress[-1].flop == declared.planned_flop  # nothing was killed
    (run,) = (story.workspace / "runs").iterdir()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert str(rows[-1]["flop"]) == declared.planned_flop
    (made,) = [body for body in bodies if isinstance(body, CheckpointSaved)]
    assert made.lineage_flop == declared.planned_flop
    base, trained = [body for body in bodies if isinstance(body, ModelServed)]
    model = story.workspace / "models" / trained.model
    assert trained.digest == file_sha256(model / "model.q8_0.gguf")
    assert trained.made_from == made.digest
    (withdrawn,) = [body for body in bodies if isinstance(body, ModelWithdrawn)]
    assert (withdrawn.model, withdrawn.digest) == (base.model, base.digest)
    assert (model / "model.sig").is_file()


def test_a_stranger_finds_nothing_wrong(story: Story):
    record = story.record
    log, keys = record.folder / "log", [str(record.key)]
    report = verify_log(log, keys=keys, files=story.workspace, num_workers=1)
    assert [claim for claim in report.claims if claim.verdict == "contradicted"] == []


def test_the_same_command_again_trains_nothing_and_says_who_answers(story: Story):
    before = len(story.bodies)
    code, said = story.up()
    assert code == 0, said
    kinds = [body.kind for body in story.bodies[before:]]
    assert kinds == ["model-served", "model-withdrawn"]  # the base, for the while it answered


def test_a_model_made_here_is_a_parent_with_its_whole_lineage(story: Story):
    (made,) = [body for body in story.bodies if isinstance(body, CheckpointSaved)]
    base = story.workspace / "models" / made.name
    again = run_mynah(
        *("up", story.workspace, *story.options, "--base", base),
        *("--exit-when-done", "--port", str(free_port()), "--set", "schedule.num_steps=3"),
    )
    assert again.returncode == 0, again.stderr
    second = [body for body in story.bodies if isinstance(body, RunDeclared)][-1]
    (parent,) = second.parents
    assert (parent.name, parent.digest, parent.basis) == (made.name, made.digest, "record")
    child = [body for body in story.bodies if isinstance(body, CheckpointSaved)][-1]
    assert int(child.lineage_flop) == int(made.lineage_flop) + int(second.planned_flop)


def test_a_deleted_record_is_no_way_round(story: Story):
    aside = story.workspace.with_name("aside")
    (story.workspace / "record").rename(aside)
    code, said = story.up()
    assert code == 3
    assert "mynah record restore" in said
    assert not (story.workspace / "record" / "log" / "checkpoint").exists()
    aside.rename(story.workspace / "record")


def test_posts_are_removed_without_the_record_and_the_receipt_waits_for_it(story: Story):
    aside = story.workspace.with_name("aside")
    (story.workspace / "record").rename(aside)
    refused = run_mynah("posts", "forget", story.workspace, "posts:7")
    assert refused.returncode == 3, refused.stdout
    assert "taken back, but the record cannot say so" in refused.stderr
    assert len(list((story.workspace / "takedowns").glob(".*.pending"))) == 1
    aside.rename(story.workspace / "record")
    done = run_mynah("posts", "forget", story.workspace, "posts:7", "--json")
    receipt = json.loads(done.stdout)
    assert receipt["record"]["ids"] == ["posts:7"]
    assert not list((story.workspace / "takedowns").glob(".*.pending"))
