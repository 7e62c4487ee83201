"""`kill -9` at random moments, then the same command again: nothing is lost or doubled.

Three kills here; ``make soak`` does twenty with the same code and writes down what it saw.
"""

import random

from benchmarks.kill_anywhere import (
    Job,
    facts,
    leftovers,
    run_killed,
    run_to_end,
    workers_of,
    write_posts,
)

SEED = 5
LATEST_KILL_S = 8.0
"""On a busy machine the next run may take half the time of the one that was measured."""
NUM_KILLS = 3


def test_a_job_killed_three_times_ends_as_one_that_never_was(tmp_path):
    job = Job(posts=tmp_path / "posts.csv", num_steps=40)
    write_posts(job.posts)
    usual_s = run_to_end(job, tmp_path / "unbroken", tmp_path / "log")
    expected = facts(tmp_path / "unbroken")
    draw = random.Random(SEED)
    latest_s = min(0.9 * usual_s, LATEST_KILL_S)
    num_kills = 0
    for number in range(NUM_KILLS):  # a job that gets through between two kills is one of several
        workspace = tmp_path / f"killed{number}"
        most = NUM_KILLS - num_kills
        kills = run_killed(job, workspace, tmp_path / "log", draw=draw, usual_s=latest_s, most=most)
        assert facts(workspace) == expected, f"seed {SEED}: {kills}"
        assert leftovers(workspace) == [], f"seed {SEED}: {kills}"
        assert workers_of(workspace) == []
        num_kills += len(kills)
        if num_kills == NUM_KILLS:
            break
    assert num_kills, f"seed {SEED}: no kill came before the job's end"
    assert [step for step, _, _ in expected["metrics"]] == list(range(41))
