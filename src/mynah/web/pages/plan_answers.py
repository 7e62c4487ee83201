"""Plans that the pages of this process have asked for: made in a thread, two at a time, and kept.

Reads and writes nothing else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from mynah.plan.frontier import FACTORS, Point, Weather, frontier, goodput_by_rate
from mynah.plan.planning import Plan, PlanConfig, make_plan

__all__ = ["Answers", "Superseded"]

T = TypeVar("T")
Tell = Callable[[str, float], None]
"""Told what is being worked out and the share that is done; raises ``Superseded`` to stop it."""

MAX_KEPT = 48
"""Answers; a plan holds some kilobytes."""
RATES = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4)
"""Failures per GPU and hour of the curve: around all that was published."""


class Superseded(Exception):
    """Nobody waits for this answer any more."""


class Answers:
    """Makes a plan, and keeps it for whoever asks for the same."""

    def __init__(self) -> None:
        self.kept: OrderedDict[Hashable, Any] = OrderedDict()
        # The model answers on the same few cores. Two: what nobody waits for any more may take
        # seconds to notice.
        self.turn = asyncio.Semaphore(2)

    def is_known(self, config: PlanConfig) -> bool:
        """Whether the plan is there without any work."""
        return ("plan", config) in self.kept

    async def plan(self, config: PlanConfig, tell: Tell) -> Plan:
        """Make the plan.

        Raises:
            ConfigError: As ``make_plan``.
            Superseded: By ``tell``.
        """
        return await self._once(("plan", config), lambda: make_plan(config, on_progress=tell))

    async def points(self, plan: Plan, tell: Tell) -> tuple[Point, ...]:
        """The frontier around a plan."""

        def drawn() -> tuple[Point, ...]:
            found: list[Point] = []
            for point in frontier(plan):
                tell("more and fewer GPUs", len(found) / (len(FACTORS) + 1))
                found.append(point)
            return tuple(found)

        return await self._once(("points", plan.config), drawn)

    async def weather(self, plan: Plan, tell: Tell) -> tuple[Weather, ...]:
        """Goodput around a plan's failure rate."""

        def drawn() -> tuple[Weather, ...]:
            found: list[Weather] = []
            for one in goodput_by_rate(plan, RATES):
                tell("other failure rates", len(found) / len(RATES))
                found.append(one)
            return tuple(found)

        return await self._once(("weather", plan.config), drawn)

    async def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        async with self.turn:
            if key not in self.kept:
                self.kept[key] = await asyncio.to_thread(make)
                while len(self.kept) > MAX_KEPT:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(key)
            return cast("T", self.kept[key])
