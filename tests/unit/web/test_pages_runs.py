import json
from pathlib import Path
from typing import Any

from mynah.web.runs import Curve, MetricsTail, RunResult, list_runs, read_samples, thinned

RESULT = {
    "base_bits_per_byte": 1.62,
    "bits_per_byte": 1.31,
    "steps": 240,
    "tokens": 491_520,
    "seconds": 240.0,
    "tokens_per_s": 2_048.0,
    "peak_memory_bytes": 3 * 2**30,
    "model": "town",
}


def step_row(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "loss": 4.0 - step / 10, "tokens": step * 100, **more}


def append(path: Path, *rows: dict[str, Any]) -> None:
    with path.open("a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def test_the_tail_reads_only_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = MetricsTail(path)
    assert tail.read() == []
    append(path, step_row(1), step_row(2))
    assert [row["step"] for row in tail.read()] == [1, 2]
    assert tail.read() == []
    append(path, step_row(3))
    assert [row["step"] for row in tail.read()] == [3]


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    tail = MetricsTail(path)
    assert [row["step"] for row in tail.read()] == [1]
    with path.open("a") as stream:
        stream.write('p": 2}\n')
    assert [row["step"] for row in tail.read()] == [2]


def test_a_line_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 2}\n')
    assert [row["step"] for row in MetricsTail(path).read()] == [1, 2]


def test_a_file_that_was_cut_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append(path, *(step_row(step) for step in range(1, 9)))
    tail = MetricsTail(path)
    tail.read()
    path.write_text(json.dumps(step_row(1)) + "\n")
    assert [row["step"] for row in tail.read()] == [1]


def test_the_curve_starts_at_the_base_model() -> None:
    curve = Curve()
    curve.add([{"step": 0, "heldout_bits_per_byte": 1.62, "elapsed_s": 0}])
    assert curve.base == 1.62
    assert curve.last == {}
    curve.add([step_row(1), step_row(2, heldout_bits_per_byte=1.5)])
    assert curve.heldout == [(0, 1.62), (2, 1.5)]
    assert [step for step, _ in curve.loss] == [1, 2]
    assert curve.last["step"] == 2


def test_a_step_that_comes_again_replaces_what_followed_it() -> None:
    curve = Curve()
    curve.add([step_row(step) for step in range(1, 6)])
    curve.add([step_row(3, loss=9.0)])
    assert [step for step, _ in curve.loss] == [1, 2, 3]
    assert curve.loss[-1] == (3, 9.0)


def test_a_value_that_is_no_number_leaves_no_point() -> None:
    curve = Curve()
    curve.add([step_row(1, loss=float("nan")), step_row(2, loss=None)])
    assert curve.loss == []


def test_thinning_keeps_the_last_point() -> None:
    points = [(step, float(step)) for step in range(1, 1002)]
    thin = thinned(points, limit=100)
    assert len(thin) <= 102
    assert thin[-1] == points[-1]
    assert thinned(points[:50], limit=100) == points[:50]


def test_the_result_says_by_how_much(tmp_path: Path) -> None:
    run = tmp_path / "run-1"
    run.mkdir()
    assert RunResult.read(run) is None
    (run / "result.json").write_text(json.dumps(RESULT))
    result = RunResult.read(run)
    assert result is not None
    assert result.headline == "1.62 \u2192 1.31 bits per byte, 19 % fewer"


def test_runs_are_listed_whether_finished_or_not(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    for name in ("a", "b", "empty"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        append(tmp_path / name / "metrics.jsonl", step_row(1))
    (tmp_path / "a" / "result.json").write_text(json.dumps(RESULT))
    found = dict(list_runs(tmp_path))
    assert set(found) == {"a", "b"}
    assert found["b"] is None


def test_samples_wait_for_their_second_half(tmp_path: Path) -> None:
    assert read_samples(tmp_path) == ()
    rows = [{"prompt": "The ferry", "before": "is a boat", "after": None}]
    (tmp_path / "samples.json").write_text(json.dumps(rows))
    (sample,) = read_samples(tmp_path)
    assert (sample.before, sample.after) == ("is a boat", None)
