"""What is said at once is near what is found, and refused in the same words."""

import pytest
from tests.fakes.small_plan import CONFIG, small_plan

from mynah.errors import ConfigError
from mynah.plan.failures import FailureConfig
from mynah.plan.planning import PlanConfig, make_plan
from mynah.plan.ranges import Range
from mynah.plan.sketch import sketch


def test_a_sketch_is_near_the_plan() -> None:
    found, plan = sketch(CONFIG), small_plan().outline
    assert found.costs.days == plan.costs.days
    assert found.costs.usd.middle == pytest.approx(plan.costs.usd.middle, rel=0.05)
    assert found.flop.low < plan.flop.middle < found.flop.high
    assert found.all_weights == pytest.approx(plan.all_weights, rel=0.3)


@pytest.mark.parametrize(
    "config",
    [
        PlanConfig(gpus=0, days=30.0),
        PlanConfig(gpus=64),
        PlanConfig(gpus=64, days=-1.0),
        PlanConfig(gpus=64, usd=3.0),
        PlanConfig(gpus=64, days=1.0, gpu="H1000"),
    ],
    ids=["no GPUs", "no end", "days below zero", "no money", "no such GPU"],
)
def test_it_refuses_what_a_plan_refuses(config: PlanConfig) -> None:
    with pytest.raises(ConfigError) as rough:
        sketch(config)
    with pytest.raises(ConfigError) as whole:
        make_plan(config)
    assert (
        rough.value.message.split(" is too little")[0]
        == (whole.value.message.split(" is too little")[0])
    )
    assert rough.value.hint.split(", or")[0] == whole.value.hint.split(", or")[0]


def test_failures_cost_time() -> None:
    wild = FailureConfig(failures_per_accelerator_hour=Range.exactly(1e-2))
    rough = sketch(PlanConfig(gpus=512, days=30.0, failures=wild))
    calm = sketch(PlanConfig(gpus=512, days=30.0))
    assert rough.flop.middle < 0.8 * calm.flop.middle


def test_a_cluster_that_never_breaks_can_be_sketched() -> None:
    never = FailureConfig(
        failures_per_accelerator_hour=Range.exactly(0.0), planned_per_day=Range.exactly(0.0)
    )
    assert sketch(PlanConfig(gpus=8, days=3.0, failures=never)).tokens.middle > 0
