import io

import pytest
from rich.console import Console

from mynah.errors import DataError
from mynah.job.stages import STAGES, Reporter
from mynah.web import Stage


@pytest.fixture
def reporter(console):
    return Reporter([Stage(name, title) for name, title in STAGES.items()], console=console)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_stage_runs_and_is_done(reporter, console):
    with reporter.stage("read") as stage:
        assert reporter.stages["read"].state == "running"
        stage(3, 10, note="posts.csv")
        assert (stage.stage.done, stage.stage.total) == (3, 10)
        stage.result = "10 posts"
    assert reporter.stages["read"].state == "done"
    assert reporter.stages["read"].note == "10 posts"
    assert "Read the posts         10 posts (0.0 s)" in printed(console)


def test_a_stage_that_was_there_says_so(reporter, console):
    with reporter.stage("corpus") as stage:
        stage.skip("9 documents")
    assert reporter.stages["corpus"].state == "skipped"
    assert "9 documents (kept)" in printed(console)


def test_an_error_marks_its_stage_and_goes_on_up(reporter):
    with pytest.raises(DataError), reporter.stage("read"):
        raise DataError("no posts", hint="give some")
    assert reporter.stages["read"].state == "failed"
    assert reporter.stages["read"].note == "error: no posts\nhint: give some"


def test_what_is_shown_is_no_markup_and_is_not_wrapped():
    """A folder may be called ``[/bold]``, and a path is copied from the terminal."""
    console = Console(file=io.StringIO(), width=40)
    reporter = Reporter([Stage("read", "Read the posts")], console=console)
    result = "listed in /home/anna/a network [/bold]/rejected.jsonl"
    with reporter.stage("read") as stage:
        stage.result = result
    assert result in printed(console)


def test_a_note_with_brackets_can_be_drawn_on_a_terminal():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    reporter = Reporter([Stage("read", "Read the posts")], console=console)
    with reporter.stage("read") as stage:
        stage(1, 2, note="posts [/x].csv")
    assert reporter.stages["read"].state == "done"
