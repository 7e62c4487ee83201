"""Plans of the pages are made once, and given up when nobody waits for them."""

import asyncio

import pytest
from tests.fakes.small_plan import CONFIG

from mynah.errors import ConfigError
from mynah.plan.frontier import FACTORS
from mynah.plan.planning import PlanConfig
from mynah.web.pages.plan_answers import MAX_KEPT, RATES, Answers, Superseded


def silent(what: str, share: float) -> None:
    assert what
    assert 0 <= share <= 1


def test_a_plan_is_kept_with_the_curves_around_it() -> None:
    async def ask() -> None:
        answers = Answers()
        assert not answers.is_known(CONFIG)
        plan = await answers.plan(CONFIG, silent)
        assert answers.is_known(CONFIG)
        assert await answers.plan(CONFIG, silent) is plan
        points = await answers.points(plan, silent)
        assert 1 < len(points) <= len(FACTORS) + 1
        assert await answers.points(plan, silent) is points
        weather = await answers.weather(plan, silent)
        assert [one.failures_per_accelerator_hour for one in weather] == [*RATES]

    asyncio.run(ask())


def test_what_nobody_waits_for_is_given_up() -> None:
    def leave(what: str, share: float) -> None:
        raise Superseded

    async def ask() -> None:
        answers = Answers()
        with pytest.raises(Superseded):
            await answers.plan(CONFIG, leave)
        assert not answers.is_known(CONFIG)
        await answers.plan(CONFIG, silent)

    asyncio.run(ask())


def test_an_impossible_plan_is_refused_each_time() -> None:
    async def ask() -> None:
        answers = Answers()
        for _ in range(2):
            with pytest.raises(ConfigError):
                await answers.plan(PlanConfig(gpus=0, days=1.0), silent)

    asyncio.run(ask())


def test_only_the_newest_are_kept() -> None:
    async def ask() -> None:
        answers = Answers()
        plan = await answers.plan(CONFIG, silent)
        for number in range(MAX_KEPT):
            answers.kept[number] = plan
        await answers.plan(CONFIG, silent)
        answers.kept.pop(0)
        assert answers.is_known(CONFIG)
        answers.kept["more"] = answers.kept["other"] = plan
        await answers.points(plan, silent)
        assert len(answers.kept) == MAX_KEPT

    asyncio.run(ask())
