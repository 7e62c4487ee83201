"""One open Plan page: what is asked, and how the answer comes bit by bit.

While a slider moves a sketch follows it; the layouts are searched in a thread, and a newer question
puts the older aside.
"""

import asyncio
from collections.abc import Callable

from nicegui import ui
from nicegui.events import GenericEventArguments

from mynah.errors import MynahError
from mynah.plan.sketch import sketch
from mynah.web.house import House
from mynah.web.markup import box, text
from mynah.web.pages.plan_answers import Answers, Superseded
from mynah.web.pages.plan_asked import Asked, command_of, config_of
from mynah.web.pages.plan_inputs import show_inputs
from mynah.web.pages.plan_results import Results

__all__ = ["PlanPage"]

CALM_S = 0.35
"""A question that stands so long is worth a search."""


class PlanPage:
    """Fields, and the answer to what they ask.

    Args:
        house: Whose thresholds count.
        answers: Of all pages of the process.
        asked: What the address asks.
    """

    def __init__(self, house: House, answers: Answers, asked: Asked) -> None:
        self.house = house
        self.answers = answers
        self.asked = asked
        self.client = ui.context.client
        self.question = 0
        """Counts what was asked; only the newest is answered."""

    def build(self) -> None:
        """Lay out the fields and an empty answer."""
        with box("div", "plan"):
            with box("div", "plan-asked"):
                show_inputs(self.asked).on("typed", self._typed, args=["detail"])
                # On a phone the answer is below the fields: this stays in sight beside them.
                brief = text("p", "", "plan-brief", aria_hidden="true")
            with box("div", "plan-answer"):
                self.results = Results(self.house.thresholds, brief)

    async def _typed(self, event: GenericEventArguments) -> None:
        asked = Asked.of({name: str(value) for name, value in event.args["detail"].items()})
        if asked != self.asked:
            self.asked = asked
            await self.answer()

    async def answer(self) -> None:
        """Answer what is asked now: a sketch at once, then the plan, then the curves around it."""
        self.question += 1
        question = self.question
        try:
            await self._answer(question)
        except Superseded:
            return
        except MynahError as error:
            if not self._is_old(question):
                self.results.show_error(error)

    async def _answer(self, question: int) -> None:
        asked, tell = self.asked, self._teller(question)
        config = config_of(asked)
        if not self.answers.is_known(config):
            rough = await asyncio.to_thread(sketch, config)
            self._check(question)
            self.results.show_sketch(rough)
            self.results.say("Trying layouts")
            await asyncio.sleep(CALM_S)
        plan = await self.answers.plan(config, tell)
        self._check(question)
        self.results.show_plan(plan, command_of(asked))
        points = await self.answers.points(plan, tell)
        self._check(question)
        self.results.show_frontier(plan, points)
        weather = await self.answers.weather(plan, tell)
        self._check(question)
        self.results.show_weather(plan, weather)
        self.results.say("")

    def _is_old(self, question: int) -> bool:
        return question != self.question or self.client.is_deleted

    def _check(self, question: int) -> None:
        if self._is_old(question):
            raise Superseded

    def _teller(self, question: int) -> Callable[[str, float], None]:
        """Says how far it is, from any thread, and stops what nobody waits for."""
        loop = asyncio.get_running_loop()

        def show(what: str, share: float) -> None:
            if not self._is_old(question) and self.results.is_working:
                self.results.say(f"Working out {what}, {share:.0%}".replace("%", " %"))

        def tell(what: str, share: float) -> None:
            self._check(question)
            loop.call_soon_threadsafe(show, what, share)

        return tell
