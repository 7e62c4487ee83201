"""Bars of a plan that are made of parts: memory against what a GPU has, the seconds of a step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mynah.plan.layout_times import PARTS
from mynah.plan.search import Judged
from mynah.web.markup import box, number, text
from mynah.web.pages.plan_wording import percent
from mynah.web.wording import exact_number

__all__ = ["Part", "show_memory", "show_parts", "show_times"]

MEMORY_NAMES: Mapping[str, str] = {
    "parameters": "Weights",
    "gathered_weights": "Weights, gathered",
    "gradients": "Gradients",
    "optimizer": "Optimizer state",
    "activations": "Activations",
    "workspace": "Work space",
    "overhead": "Overhead",
}
TIME_NAMES: Mapping[str, str] = {
    "products": "Matrix products",
    "attention": "Attention",
    "moving": "Norms, activations",
    "recompute": "Computing again",
    "tensor": "Tensor ranks' traffic",
    "exchange": "Experts' traffic",
    "context": "Context ranks' traffic",
    "gather": "Gathering weights",
    "launch": "Waiting for the host",
    "head": "Output and loss",
    "bubble": "Waiting in the pipeline",
    "send": "From stage to stage",
    "reduce": "Reducing gradients",
    "optimizer": "Optimizer",
}
LEAST_DRAWN = 0.005
"""Share of a bar below which a part is left out."""


def show_memory(best: Judged) -> None:
    """A bar of what the fullest GPU holds, by kind, against what it has."""
    capacity, needed = best.capacity_bytes, best.needed_bytes
    parts = [
        Part(MEMORY_NAMES.get(name, _plain(name)), size, f"{exact_number(round(size))} bytes")
        for name, size in best.memory_bytes.items()
    ]
    label = f"{_gb(needed)} of {_gb(capacity)} in use"
    text("p", f"{label}, {percent(needed / capacity)}", "note")
    show_parts(parts, whole=capacity, words=_gb, label=label, has_line=True)


def show_times(best: Judged) -> None:
    """A bar of what the seconds of a step go to."""
    parts = [
        Part(TIME_NAMES.get(name, _plain(name)), seconds, f"{PARTS[name]}: {seconds:.4g} s")
        for name, seconds in sorted(best.times.items(), key=lambda item: -item[1])
    ]
    whole = sum(part.size for part in parts)
    text("p", "Where the time of a step goes", "note parts-title")
    show_parts(parts, whole=whole, words=lambda some: percent(some / whole),
               label="Where the time of a step goes")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of a bar."""

    name: str
    size: float
    exact: str
    """What it is, for hovering."""


def show_parts(
    parts: Sequence[Part],
    *,
    whole: float,
    words: Callable[[float], str],
    label: str,
    has_line: bool = False,
) -> None:
    """A bar that is made of parts, and their names below it.

    Args:
        parts: From the left.
        whole: What the parts leave of it is free; what is too much goes on behind its end.
        words: How a size is written.
        label: What the bar is, for who cannot see it.
        has_line: Whether the end of the whole is a line not to be crossed.
    """
    shown = [part for part in parts if part.size > LEAST_DRAWN * whole]
    used = sum(part.size for part in parts)
    width = max(whole, used)
    said = "; ".join(f"{part.name} {words(part.size)}" for part in shown)
    with box("div", "parts-bar", role="img", aria_label=f"{label}: {said}"):
        for place, part in enumerate(shown):
            stretch = box("span", "parts-part", title=f"{part.name}: {part.exact}")
            shade = _shade(place, len(shown))
            stretch.style(f"width:{100 * part.size / width:.3f}%;--shade:{shade}%")
        if has_line:
            box("i", "parts-line").style(f"left:{100 * whole / width:.3f}%")
    with box("ul", "parts"):
        for place, part in enumerate(shown):
            with box("li"):
                box("i", "swatch shaded").style(f"--shade:{_shade(place, len(shown))}%")
                text("span", part.name)
                number(words(part.size), part.exact, "right")
        if whole - used > LEAST_DRAWN * whole:
            with box("li"):
                box("i", "swatch")
                text("span", "Free")
                number(words(whole - used), "What is left", "right")


def _plain(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _shade(place: int, count: int) -> int:
    return round(100 - 78 * place / max(count - 1, 1))


def _gb(size: float) -> str:
    gigabytes = size / 1e9
    return f"{gigabytes:.1f} GB" if gigabytes < 100 else f"{gigabytes:.0f} GB"
