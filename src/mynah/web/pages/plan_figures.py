"""What a plan says in numbers and tables: the run, its layouts, what is left out, thresholds."""

from collections.abc import Sequence
from dataclasses import replace

from mynah.plan.budget import Outline
from mynah.plan.costs import passed
from mynah.plan.planning import Plan
from mynah.plan.ranges import Range
from mynah.plan.search import Judged, Search
from mynah.plan.wording import count_words
from mynah.record.thresholds import Threshold
from mynah.web.markup import box, number, text
from mynah.web.pages.plan_wording import (
    Figure,
    days_words,
    money_words,
    percent,
    seconds_words,
    show_figures,
    span_words,
)
from mynah.web.wording import exact_number, flop_exact, flop_words, plural, sentence

__all__ = [
    "brief_words",
    "headline",
    "show_failures",
    "show_layouts",
    "show_notes",
    "show_rejected",
    "show_run",
    "show_step",
    "show_thresholds",
]


def headline(outline: Outline) -> str:
    """What can be trained, in a line."""
    weights, tokens = count_words(outline.all_weights), count_words(outline.tokens.middle)
    active = ""
    if outline.shape.num_experts:
        active = f" ({count_words(outline.active_weights)} active)"
    spoken = weights.rstrip("kMBT").partition(".")[0]
    article = "An" if spoken.startswith("8") or spoken in ("11", "18") else "A"
    return f"{article} {weights} model{active} on {tokens} tokens"


def brief_words(outline: Outline) -> str:
    """The run in a short line."""
    size = f"{count_words(outline.all_weights)} on {count_words(outline.tokens.middle)}"
    costs = outline.costs
    return f"{size} \u00b7 {days_words(costs.days.middle)} \u00b7 {money_words(costs.usd.middle)}"


def show_run(outline: Outline) -> None:
    """Time, money, loss, compute: what anybody asks first."""
    costs = outline.costs
    show_figures(
        [
            Figure(name="Time", value=costs.days, words=days_words, unit="days",
                   meaning="Wall-clock time, failures included"),
            Figure(name="Money", value=costs.usd, words=money_words, unit="USD",
                   meaning="The whole bill: rented GPUs are 60 to 70 % of it"),
            Figure(name="Size", value=replace(outline.best_weights, middle=outline.all_weights),
                   words=count_words, unit="weights",
                   meaning="Weights of the model, and what the published laws would take"),
            Figure(name="Tokens", value=outline.tokens, words=count_words, unit="tokens",
                   meaning="Tokens that the model learns from"),
            Figure(name="Expected loss", value=outline.loss, words="{:.2f}".format,
                   unit="nats a token", meaning="By the laws, to compare plans with"),
            Figure(name="Compute", value=outline.flop, words=lambda flop: flop_words(int(flop)),
                   unit="FLOP", meaning="Floating-point operations of the run"),
            Figure(name="GPU-hours", value=costs.gpu_hours, words=count_words, unit="hours",
                   meaning="Hours of all GPUs that are paid for, spare ones included"),
            Figure(name="Energy", value=costs.energy_mwh, words=_energy, unit="MWh",
                   meaning="At the meter of the building"),
        ]
    )  # fmt: skip


def _energy(mwh: float) -> str:
    if mwh < 1:
        return f"{mwh * 1e3:.3g} kWh"
    return f"{count_words(mwh / 1e3)} GWh" if mwh >= 1e3 else f"{mwh:.3g} MWh"


def show_step(plan: Plan) -> None:
    """How fast a step of the best layout is."""
    best = plan.best
    show_figures(
        [
            Figure(name="Step", value=best.step_s, words=seconds_words, unit="s",
                   meaning=f"Seconds of a step of {exact_number(best.batch_tokens)} tokens"),
            Figure(name="Tokens per second", value=plan.tokens_per_s, words=count_words,
                   unit="tokens/s", meaning="Of all GPUs, while nothing is broken"),
            Figure(name="Per GPU", value=best.tokens_per_s, words=count_words, unit="tokens/s",
                   meaning="Tokens per second of one GPU"),
            Figure(name="Model FLOP use", value=best.mfu, words=percent,
                   meaning="Share of the datasheet's 16-bit peak that is the model's arithmetic"),
        ]
    )  # fmt: skip


def show_failures(plan: Plan) -> None:
    """What breaks and what is done about it."""
    checkpoint = plan.checkpoint
    show_figures(
        [
            Figure(name="Goodput", value=plan.goodput.goodput, words=percent,
                   meaning="Share of the time that makes progress"),
            Figure(name="Interrupted every", value=_hours_as_days(plan.mtti_h), words=days_words,
                   unit="days", meaning="Time between two interruptions"),
            Figure(name="Failures", value=plan.goodput.num_failures, words=_count,
                   meaning="Unplanned interruptions of the run"),
            Figure(name="Checkpoint every", value=Range.exactly(plan.checkpoint_interval_s),
                   words=seconds_words, unit="s", meaning="Best time of training between two"),
            Figure(name="Checkpoint size", value=Range.exactly(checkpoint.size_bytes),
                   words=_bytes, unit="bytes",
                   meaning="Weights and optimizer state"),
            Figure(name="Spare nodes", value=Range.exactly(plan.num_spare_nodes), words=_count,
                   meaning="Nodes that wait for one to break, of those that are paid for"),
        ]
    )  # fmt: skip


def _hours_as_days(hours: Range) -> Range:
    return hours.through(lambda some: some / 24)


def _count(count: float) -> str:
    return exact_number(round(count))


def _bytes(size: float) -> str:
    for limit, unit in ((1e12, "TB"), (1e9, "GB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size / 1e6:.3g} MB"


_DEGREES = (
    ("replicate", "Replicas", "Copies of the model"),
    ("shard", "Shard", "GPUs that weights and optimizer state are shared out over"),
    ("context", "Context", "GPUs that each row's tokens are cut over"),
    ("tensor", "Tensor", "GPUs that each matrix is cut over"),
    ("pipeline", "Pipeline", "GPUs that the layers are cut over"),
    ("stages_per_rank", "Stages", "Stretches of layers on each rank of the pipeline"),
)


def show_layouts(ranked: Sequence[Judged]) -> None:
    """The fastest layouts, one a row; a degree of one is a dash."""
    used = [one for one in _DEGREES if any(getattr(j.candidate.layout, one[0]) > 1 for j in ranked)]
    experts = any(j.candidate.layout.expert > 1 for j in ranked)
    if experts:
        used.append(("expert", "Expert", "GPUs that the experts of a layer are dealt over"))
    with box("div", "table-wrap"), box("table", "data plan-layouts"):
        with box("thead"), box("tr"):
            text("th", "Tokens/s per GPU")
            for _, name, meaning in used:
                text("th", name, "right", title=meaning)
            for name, meaning in (
                ("Micro", "Rows that a rank computes at a time"),
                ("MFU", "Model FLOP use"),
                ("Memory", "Of the fullest GPU"),
            ):
                text("th", name, "right", title=meaning)
            text("th", "Manner")
        with box("tbody"):
            for place, judged in enumerate(ranked):
                _layout_row(judged, [(name, label) for name, label, _ in used], is_best=not place)


def _layout_row(judged: Judged, used: list[tuple[str, str]], *, is_best: bool) -> None:
    candidate = judged.candidate
    with box("tr", "is-best" if is_best else "", title=candidate.name) as row:
        if is_best:
            row.props["aria-current"] = "true"
        with box("td", "run-name"):
            rate = judged.tokens_per_s
            number(count_words(rate.middle), f"{exact_number(rate.middle)} tokens per second")
            text("span", span_words(rate, count_words), "note span")
            with box("div", "layout-name"):  # a phone has no room for columns
                text("span", f"tokens/s per GPU, MFU {percent(judged.mfu.middle)}, "
                     f"{judged.needed_bytes / 1e9:.0f} GB", "note")  # fmt: skip
                text("code", candidate.name)
        for name, _ in used:
            degree = getattr(candidate.layout, name)
            text("td", exact_number(degree) if degree > 1 else "\u2013", "right")
        text("td", str(candidate.micro_rows), "right")
        text("td", percent(judged.mfu.middle), "right", title=span_words(judged.mfu, percent))
        text("td", f"{judged.needed_bytes / 1e9:.0f} GB", "right",
             title=f"{exact_number(round(judged.needed_bytes))} bytes")  # fmt: skip
        text("td", _manner(judged))


def _manner(judged: Judged) -> str:
    candidate = judged.candidate
    words: list[str] = []
    if candidate.precision != "bfloat16":
        words.append("8 bits")
    if candidate.is_compiled:
        words.append("compiled")
    if candidate.layout.pipeline > 1:
        words.append(candidate.layout.schedule.replace("_", " "))
    if candidate.layout.recompute != "nothing":
        words.append(f"recomputes {candidate.layout.recompute}")
    return ", ".join(words)


def show_rejected(search: Search) -> None:
    """Why the others are out, the commonest reason first."""
    text("p", f"{plural(search.num_tried, 'layout')} looked at, "
         f"{exact_number(search.num_fitting)} run and fit.", "note")  # fmt: skip
    counts = sorted(search.rejected.items(), key=lambda item: -item[1])
    most = max((count for _, count in counts), default=1)
    with box("ul", "rejected"):
        for reason, count in counts:
            with box("li"):
                text("span", sentence(reason).removesuffix("."))
                with box("span", "bar", aria_hidden="true"):
                    box("span").style(f"width:{100 * count / most:.2f}%")
                number(_short(count), f"{exact_number(count)} layouts", "right")


def _short(count: int) -> str:
    return count_words(count) if count >= 10_000 else exact_number(count)


def show_thresholds(flop: Range, known: Sequence[Threshold]) -> None:
    """Which thresholds so much compute passes, or may, and which it does not reach."""
    found = {one.threshold: one.is_certain for one in passed(flop, known)}
    with box("ul", "thresholds"):
        for one in sorted(known, key=lambda one: one.amount):
            state, dot = _PASSED[found.get(one)]
            with box("li", title=one.source):
                with box("span", "state"):
                    box("span", f"dot {dot}", aria_hidden="true")
                    text("span", state)
                text("span", one.name)
                number(f"{flop_words(one.amount)} FLOP", flop_exact(one.amount), "note")


_PASSED = {
    True: ("passed", "is-warn"),
    False: ("perhaps passed", "is-warn half"),
    None: ("not reached", "is-idle"),
}


def show_notes(notes: Sequence[str]) -> None:
    """What whoever reads the plan ought to know."""
    if not notes:
        return
    with box("ul", "plan-notes"):
        for note in notes:
            text("li", sentence(note))
