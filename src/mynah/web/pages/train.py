"""The Train page: is the model getting better, how fast, and what does it sound like now.

Follows the run of the house by its files, a second at a time.
"""

from collections.abc import Mapping

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from mynah.web.house import House
from mynah.web.markup import box, link, text
from mynah.web.pages.curve import curve_options, show_legend
from mynah.web.record_facts import RunFacts, recorded_runs
from mynah.web.runs import Curve, MetricsTail, RunResult, Sample, list_runs, read_samples
from mynah.web.shell import shell
from mynah.web.status import stage_line
from mynah.web.wording import duration, exact_number, flop_exact, flop_words, short_number

__all__ = ["register_train"]

_LEAD = "Watch your model learn. Fewer bits for each byte of posts it has never seen is better."


def register_train(house: House) -> None:
    """Put the page at ``/train``."""

    @ui.page("/train")
    def train_page() -> None:
        with shell(house, "Train", lead=_LEAD):
            TrainPage(house).build()


class TrainPage:
    """One open Train page; every part follows the run by itself."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.run = house.run
        self.curve = Curve()
        self.tail = MetricsTail(house.run / "metrics.jsonl") if house.run else None
        self.shown_samples: tuple[Sample, ...] = ()
        self.shown_runs: list[tuple[str, RunResult | None]] = []
        self.stage_items: dict[str, tuple[Element, TextElement]] = {}
        self.chart: ui.echart | None = None

    def build(self) -> None:
        """Lay out the page in the order of what one wants to know."""
        with box("section", "card"):
            with box("div", "curve-head"):
                self.headline = text("p", "", "curve-result")
                self.legend = show_legend()
            self.place = box("div", "curve-place")
        self.figures = box("dl", "stats section")
        with box("section", "section"):
            text("h2", "The same questions, before and after")
            self.samples = box("div", "samples")
        with box("section", "section"):
            text("h2", "The job")
            self.stages = box("ol", "stages")
        with box("section", "section"):
            text("h2", "Runs")
            self.runs = box("div", "table-wrap")
        self._refresh(is_first=True)
        ui.timer(1.0, self._refresh)

    def _refresh(self, *, is_first: bool = False) -> None:
        if self.house.run != self.run:
            ui.navigate.reload()  # another run began
            return
        rows = self.tail.read() if self.tail else []
        self.curve.add(rows)
        if rows or is_first:
            self._draw_curve()
            self._draw_figures()
        self._draw_headline()
        self._draw_stages()
        self._draw_samples(is_first=is_first)
        self._draw_runs(is_first=is_first)

    @property
    def _is_finished(self) -> bool:
        return self.run is not None and (self.run / "result.json").exists()

    def _draw_headline(self) -> None:
        result = RunResult.read(self.run) if self.run else None
        if result is not None:
            self.headline.text = result.headline
        elif self.curve.heldout:
            now = self.curve.heldout[-1][1]
            self.headline.text = f"{now:.3f} bits per byte on held-out posts"
        else:
            self.headline.text = "Training has not begun"

    def _draw_curve(self) -> None:
        has_points = bool(self.curve.heldout or self.curve.loss)
        self.legend.set_visibility(has_points)
        if not has_points:
            self.place.clear()
            with self.place:
                text("p", "Your posts are read, cleaned and split first. Then the base model is "
                     "measured, and every few steps the model that learns.", "quiet")  # fmt: skip
            return
        options = curve_options(self.curve, is_live=not self._is_finished)
        if self.chart is None:
            self.place.clear()
            with self.place:
                self.chart = ui.echart(options, renderer="svg").classes("chart")
                self.chart.props["role"] = "img"
                self.chart.props["aria-label"] = "Held-out bits per byte over training steps"
            return
        self.chart.options.clear()
        self.chart.options.update(options)
        self.chart.update()

    def _draw_figures(self) -> None:
        last = self.curve.last
        self.figures.clear()
        self.figures.set_visibility(bool(last))
        if not last:
            return
        with self.figures:
            _figure("Tokens per second", short_number(last["tokens_per_s"]),
                    "Tokens the trainer learns from in a second")  # fmt: skip
            if (mfu := last.get("mfu")) is not None:
                _figure("Model FLOP use", f"{mfu:.0%}".replace("%", " %"),
                        "Share of the machine's peak that is the model's arithmetic")  # fmt: skip
            if not self._is_finished and (left := last.get("remaining_s")) is not None:
                _figure("Time left", duration(left), f"{exact_number(round(left))} seconds")
            _figure("Tokens seen", short_number(last["tokens"]),
                    f"{exact_number(last['tokens'])} tokens so far, repeats counted")  # fmt: skip
            _figure("Step", exact_number(last["step"]), "Optimizer steps so far")
            if (loss := last.get("loss")) is not None:
                _figure(
                    "Training loss", f"{loss:.2f}", "Nats per token on the posts it learns from"
                )

    def _draw_stages(self) -> None:
        if [stage.name for stage in self.house.stages] != list(self.stage_items):
            self.stages.clear()
            with self.stages:
                self.stage_items = {s.name: _stage_item(s.title) for s in self.house.stages}
        for stage in self.house.stages:
            item, line = self.stage_items[stage.name]
            live = " is-live" if stage.state == "running" else ""
            item.classes(replace=f"is-{stage.state}{live}")
            line.text = stage_line(stage)

    def _draw_samples(self, *, is_first: bool) -> None:
        samples = read_samples(self.run) if self.run else ()
        if samples == self.shown_samples and not is_first:
            return
        self.shown_samples = samples
        self.samples.clear()
        with self.samples:
            if not samples:
                text("p", "The base model answers three prompts before training begins.", "quiet")
            for sample in samples:
                with box("div", "sample"):
                    text("h3", sample.prompt)
                    _said("Before", sample.before)
                    _said("After", sample.after)

    def _draw_runs(self, *, is_first: bool) -> None:
        runs = list_runs(self.house.workspace.runs)
        if runs == self.shown_runs and not is_first:
            return
        self.shown_runs = runs
        self.runs.clear()
        with self.runs:
            if runs:
                _runs_table(runs, recorded_runs(self.house.record))
            else:
                text("p", "No run yet.", "quiet")


def _figure(name: str, value: str, meaning: str) -> None:
    with box("div", "stat", title=meaning):
        text("dt", name)
        text("dd", value)


def _stage_item(title: str) -> tuple[Element, TextElement]:
    with box("li") as item:
        box("span", "dot", aria_hidden="true")
        text("span", title)
        line = text("span", "", "stage-line")
    return item, line


def _said(when: str, words: str | None) -> None:
    with box("div", "said"):
        text("p", when)
        if words is None:
            text("p", "Comes when training ends.", "quiet")
        else:
            text("p", words)


def _runs_table(runs: list[tuple[str, RunResult | None]], recorded: Mapping[str, RunFacts]) -> None:
    columns = ("Run", "Bits per byte", "Steps", "Tokens", "Time", "Peak memory")
    with box("table", "data"):
        with box("thead"), box("tr"):
            for name in (*columns, "FLOP, lineage included") if recorded else columns:
                text("th", name, "" if name in ("Run", "Bits per byte") else "right")
        with box("tbody"):
            for name, result in runs:
                with box("tr"):
                    with ui.element("td"):
                        text("code", name)
                    _result_cells(result)
                    if recorded:
                        _recorded_cell(recorded.get(name))


def _recorded_cell(run: RunFacts | None) -> None:
    with box("td", "right"):
        if run is None:
            text("span", "not recorded", "quiet")
        elif run.lineage is None:
            link("unknown", f"/log/leaf/{run.leaf}",
                 title="It descends from a model whose FLOP nobody declared")  # fmt: skip
        else:
            link(flop_words(run.lineage), f"/log/leaf/{run.leaf}", title=flop_exact(run.lineage))


def _result_cells(result: RunResult | None) -> None:
    if result is None:
        text("td", "not finished", "quiet", colspan="5")
        return
    text("td", result.headline)
    text("td", exact_number(result.steps), "right")
    text("td", short_number(result.tokens), "right", title=exact_number(result.tokens))
    text("td", duration(result.seconds), "right")
    text("td", f"{result.peak_memory_bytes / 2**30:.1f} GiB", "right",
         title=f"{exact_number(result.peak_memory_bytes)} bytes")  # fmt: skip
