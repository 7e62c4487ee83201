"""Which ranks are slow, said once it lasts; and garbage collected when all ranks do."""

import gc
import logging
import time
import weakref
from dataclasses import dataclass, field

import pytest
import torch

from mynah.train.health import HealthConfig, StepTimes, collecting_garbage
from mynah.train.world import World


@dataclass(frozen=True)
class Crowd(World):
    """Rank 0 of several of which the others' times are given: what they add is scripted."""

    size: int = 4
    factors: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    """Time of each rank as a multiple of this one's."""

    def gather(self, value: float) -> list[float]:
        return [value * factor for factor in self.factors]

    def gather_objects(self, value: object) -> list[object]:
        return [f"node{rank}" for rank in range(self.size)]


CONFIG = HealthConfig(report_every_steps=2, straggler_ratio=1.5)


def run(times: StepTimes, steps: range) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    for step in steps:
        with times.own():
            time.sleep(1e-4)
        rows.append(times.after_step(step, flop=1e6))
    return rows


def test_ranks_are_compared_now_and_then() -> None:
    rows = run(StepTimes(CONFIG, Crowd(factors=[1.0, 1.0, 3.0, 1.0])), range(1, 5))
    assert [bool(row) for row in rows] == [False, True, False, True]
    assert rows[1]["slowest_rank"] == 2
    ratio = rows[1]["rank_step_time_max_s"] / rows[1]["rank_step_time_median_s"]
    assert ratio == pytest.approx(3.0)
    assert rows[1]["rank_step_time_median_s"] > 1e-4


def test_slow_ranks_are_named_when_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    world = Crowd(factors=[1.0, 2.0, 1.0, 4.0])
    times = StepTimes(HealthConfig(report_every_steps=1, straggler_ratio=1.5), world)
    run(times, range(1, 3))
    assert not caplog.records
    run(times, range(3, 4))
    assert caplog.records[-1].levelno == logging.WARNING
    said = caplog.messages[-1]
    assert said.startswith("step 3: 2 of 4 ranks are slow")
    assert said.endswith("rank 3 on node3 (4.00), 1 on node1 (2.00)")


def test_a_rank_that_recovers_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    world = Crowd(factors=[1.0, 1.0, 1.0, 4.0])
    times = StepTimes(HealthConfig(report_every_steps=1), world)
    run(times, range(1, 3))
    world.factors[3] = 1.0
    run(times, range(3, 4))
    world.factors[3] = 4.0
    run(times, range(4, 6))
    assert not caplog.records


def test_a_rank_that_is_alone_measures_nothing() -> None:
    times = StepTimes(HealthConfig(report_every_steps=1), World())
    assert run(times, range(1, 4)) == [{}] * 3


def test_comparing_takes_no_random_number() -> None:
    before = torch.get_rng_state()
    run(StepTimes(CONFIG, Crowd()), range(1, 5))
    assert torch.equal(torch.get_rng_state(), before)


class Knot:
    def __init__(self) -> None:
        self.itself = self


def test_garbage_waits_for_the_step_that_all_ranks_agreed_on() -> None:
    assert gc.isenabled()
    with collecting_garbage(HealthConfig(gc_every_steps=4)) as collect:
        assert not gc.isenabled()
        knot = weakref.ref(Knot())
        for step in range(1, 4):
            collect(step)
            assert knot() is not None
        collect(4)
        assert knot() is None
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with pytest.raises(RuntimeError), collecting_garbage(HealthConfig()):
            raise RuntimeError
        assert not gc.isenabled()
    finally:
        gc.enable()
