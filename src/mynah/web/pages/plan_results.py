"""The right side of the Plan page: each part in its place, drawn anew when there is something new.

Reads plans; writes nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from mynah.errors import MynahError
from mynah.plan.budget import Outline
from mynah.plan.frontier import Point, Weather
from mynah.plan.planning import Plan
from mynah.record.thresholds import Threshold
from mynah.web.markup import box, error_note, text
from mynah.web.pages.plan_bars import show_memory, show_times
from mynah.web.pages.plan_charts import (
    frontier_options,
    frontier_words,
    goodput_options,
    goodput_words,
)
from mynah.web.pages.plan_figures import (
    brief_words,
    headline,
    show_failures,
    show_layouts,
    show_notes,
    show_rejected,
    show_run,
    show_step,
    show_thresholds,
)
from mynah.web.pages.plan_mesh import show_mesh

__all__ = ["Results"]


class Results:
    """What is known of the plan so far. Made inside the element that is to hold it.

    Args:
        thresholds: Those of the house.
        brief: Where the answer stands in a line.
    """

    def __init__(self, thresholds: Sequence[Threshold], brief: TextElement) -> None:
        self.limits = thresholds
        self.brief = brief
        self.charts: dict[str, ui.echart] = {}
        self.wrong = box("div")
        with box("div", "plan-results") as self.whole:
            with box("section", "card"):
                self._build_head()
            self._build_cost()
            with box("section", "section"):
                text("h2", "The layout")
                self.mesh = _place(240)
            with box("section", "section"):
                text("h2", "What breaks")
                with box("div", "two"):
                    self.weather = _place(320)
                    self.failures = _place(240)
            self._build_choice()
            with box("section", "section"):
                text("h2", "The same on the command line")
                self.command = _place(56)

    def _build_head(self) -> None:
        with box("div", "curve-head"):
            self.head = text("h2", "\u2026", "curve-result")
            with box("p", "plan-status is-live", role="status") as self.status:
                box("span", "dot", aria_hidden="true")
                self.status_words = text("span", "Reading what you ask for")
        self.run = _place(96)
        self.notes = box("div")

    def _build_cost(self) -> None:
        with box("div", "two section"):
            with box("section"):
                text("h2", "More GPUs, fewer days")
                self.frontier = _place(320)
            with box("section"):
                text("h2", "Memory of the fullest GPU")
                self.memory = _place(240)

    def _build_choice(self) -> None:
        with box("section", "section"):
            text("h2", "The fastest layouts")
            self.layouts = _place(240)
        with box("div", "two section"):
            with box("section"):
                text("h2", "Why the others are out")
                self.rejected = _place(160)
            with box("section"):
                text("h2", "Thresholds of compute")
                self.thresholds = _place(160)

    @property
    def is_working(self) -> bool:
        """Whether it says that something is being worked out."""
        return "is-live" in self.status.classes

    def say(self, words: str) -> None:
        """What is being worked out now; nothing when all is there."""
        self.status_words.text = words
        self.status.classes(add="is-live" if words else "", remove="" if words else "is-live")

    def show_error(self, error: MynahError) -> None:
        """Say what is wrong in place of all figures."""
        self.say("")
        self.brief.text = "This cannot be planned: see below"
        self.whole.set_visibility(False)
        self.wrong.clear()
        with self.wrong:
            error_note(error)

    def show_sketch(self, outline: Outline) -> None:
        """Draw what is known at once; the rest stands back until it is true again."""
        self._show_run(outline)
        self.whole.classes(add="is-sketch")

    def _show_run(self, outline: Outline) -> None:
        self.wrong.clear()
        self.whole.set_visibility(True)
        self.head.text = headline(outline)
        self.brief.text = brief_words(outline)
        _fill(self.run, show_run, outline)

    def show_plan(self, plan: Plan, command: str) -> None:
        """Draw everything but the curves around it.

        Args:
            plan: What was found.
            command: The command line that finds the same.
        """
        self._show_run(plan.outline)
        self.whole.classes(remove="is-sketch")
        _fill(self.notes, show_notes, plan.notes)
        _fill(self.memory, show_memory, plan.best)
        _fill(self.mesh, _show_layout, plan)
        _fill(self.failures, show_failures, plan)
        _fill(self.layouts, show_layouts, plan.search.ranked)
        _fill(self.rejected, show_rejected, plan.search)
        _fill(self.thresholds, show_thresholds, plan.outline.flop, self.limits)
        _fill(self.command, _show_command, command)

    def show_frontier(self, plan: Plan, points: tuple[Point, ...]) -> None:
        """Draw days and money on more and on fewer GPUs."""
        chosen = plan.config.gpus
        options = frontier_options(points, chosen=chosen)
        self._show_chart(self.frontier, options, frontier_words(points, chosen=chosen))

    def show_weather(self, plan: Plan, weather: tuple[Weather, ...]) -> None:
        """Draw goodput at other failure rates."""
        rate = plan.config.failures.failures_per_accelerator_hour
        share = plan.goodput.goodput
        options = goodput_options(weather, rate=rate, goodput=share)
        self._show_chart(self.weather, options, goodput_words(weather, rate=rate, goodput=share))

    def _show_chart(self, place: Element, options: dict[str, Any], words: str) -> None:
        """Draw a chart, in the same element as before, so that nothing jumps."""
        chart = self.charts.get(str(place.id))
        if chart is None:
            place.clear()
            with place:
                chart = ui.echart(options, renderer="svg").classes("chart")
            chart.props["role"] = "img"
            self.charts[str(place.id)] = chart
        chart.options.clear()
        chart.options.update(options)
        chart.props["aria-label"] = words
        chart.update()


def _place(height: int) -> Element:
    """Where a part will stand, with something grey until it does."""
    with box("div", "plan-place") as place:
        box("div", "skeleton", aria_hidden="true").style(f"height: {height}px")
    return place


def _fill(place: Element, show: Callable[..., None], *what: object) -> None:
    place.clear()
    with place:
        show(*what)


def _show_layout(plan: Plan) -> None:
    show_step(plan)
    show_times(plan.best)
    show_mesh(plan.best.candidate.layout, plan.outline.shape,
              per_node=plan.cluster.accelerators_per_node)  # fmt: skip


def _show_command(command: str) -> None:
    with box("div", "command-line"):
        with box("code"):
            for word in command.split():  # a line ends between two words, not after a hyphen
                text("span", f"{word} ")
        text("button", "Copy", "button small", type="button", data_copy=command)
