"""The Plan page: what so many GPUs can train, in which layout, at what cost, and what breaks.

Its address holds all that is asked. Reads facts of hardware; writes nothing.
"""

import asyncio
from functools import cache
from typing import TYPE_CHECKING

from nicegui import ui
from starlette.requests import Request

from mynah.web.house import House
from mynah.web.shell import shell

if TYPE_CHECKING:
    from mynah.web.pages.plan_answers import Answers

__all__ = ["register_plan"]

_LEAD = "See what your GPUs can train, in which layout, at what cost, and what breaks on the way."


def register_plan(house: House) -> None:
    """Put the page at ``/plan``."""

    @cache
    def answers() -> "Answers":
        # The planner brings the trainer along: seconds that no other page should wait for.
        from mynah.web.pages.plan_answers import Answers

        return Answers()

    @ui.page("/plan", response_timeout=30)
    async def plan_page(request: Request) -> None:
        kept = await asyncio.to_thread(answers)
        from mynah.web.pages.plan_asked import Asked
        from mynah.web.pages.plan_page import PlanPage

        page = PlanPage(house, kept, Asked.of(request.query_params))
        with shell(house, "Plan", lead=_LEAD):
            page.build()
        await ui.context.client.connected()
        await page.answer()
