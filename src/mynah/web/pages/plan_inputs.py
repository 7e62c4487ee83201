"""The fields on the left of the Plan page: sliders that step through round numbers, and boxes."""

import json

from nicegui import ui

from mynah.errors import ConfigError
from mynah.plan.failures import FailureConfig
from mynah.plan.hardware import accelerators, find_accelerator
from mynah.web.markup import box, text
from mynah.web.pages.plan_asked import Asked
from mynah.web.wording import exact_number

__all__ = ["show_inputs"]

GPU_STOPS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048,
             3072, 4096, 6144, 8192, 10_000, 12_288, 16_384, 24_576, 32_768, 49_152, 65_536,
             100_000)  # fmt: skip
DAY_STOPS = (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 75, 90, 105, 120, 150, 180, 240, 300, 365)
USD_STOPS = tuple(digit * 10**power for power in range(2, 10) for digit in (1, 2, 3, 5, 7))
SERVED_STOPS = tuple(digit * 10.0**power for power in range(10, 16) for digit in (1, 2, 5))
RATE_STOPS = tuple(
    float(f"{digit}e{power}") for power in range(-6, -3) for digit in (1, 1.4, 1.8, 2.4, 3.5, 5, 7)
)
"""Where the sliders stop: even steps of a logarithm, round numbers."""
USUAL_SERVED = "10 T"
"""Tokens to begin with where a model is to be cheap to serve."""


def show_inputs(asked: Asked) -> ui.element:
    """Lay out the form; the script tells it ``typed`` with its fields whenever they change."""
    form = box("form", "plan-form card", action="/plan", method="get", data_live="",
               aria_label="What you have", autocomplete="off")  # fmt: skip
    with form:
        _slider("gpus", "GPUs", asked.gpus, [exact_number(n) for n in GPU_STOPS])
        _kind(asked.gpu)
        _slider("days", "Days", asked.days, [str(n) for n in DAY_STOPS], none="no limit")
        _slider("budget", "Budget, USD", asked.budget,
                [exact_number(n) for n in USD_STOPS], none="no limit")  # fmt: skip
        _aim(asked.serve_tokens)
        _slider("failure_rate", "Failure rate", asked.failure_rate, [_rate(r) for r in RATE_STOPS],
                none="as published", rest=RATE_STOPS.index(1.8e-5))  # fmt: skip
        _rate_help()
        # Without a script the form is sent as it is.
        with box("noscript"):
            text("button", "Plan", "button", type="submit")
    return form


def _slider(
    name: str, label: str, typed: str, stops: list[str], *, none: str = "", rest: int | None = None
) -> None:
    """A field to type into, over a slider that walks through its stops.

    Args:
        name: Of the flag.
        label: What it is, for people.
        typed: What is in it.
        stops: Of the slider.
        none: What an empty field means; empty where it means nothing.
        rest: Stop where the slider waits while the field is empty; without it, a stop of its own.
    """
    place = f"plan-{name}"
    with box("div", "field slider"):
        text("label", label, for_=place)
        field = box("input", "input", id=place, name=name, inputmode="decimal",
                    spellcheck="false", data_usual=USUAL_SERVED)  # fmt: skip
        # An attribute: as a property Vue would write it over what is typed, at every update.
        field.props["^value"] = exact_number(int(typed)) if typed.isdecimal() else typed
        if none:
            field.props["placeholder"] = none
        if rest is not None:
            field.props["aria-describedby"] = f"{place}-help"
        slider = box("input", "range", type="range", min="0", step="1", data_slides=place,
                     aria_label=f"{label}, by steps")  # fmt: skip
        walked = [*stops, ""] if none and rest is None else stops
        slider.props["max"] = str(len(walked) - 1)
        slider.props["data-stops"] = json.dumps(walked)
        slider.props["data-none"] = none
        slider.props["data-rest-stop"] = "" if rest is None else str(rest)


def _rate_help() -> None:
    published = FailureConfig().failures_per_accelerator_hour
    with box("p", "field-help", id="plan-failure_rate-help"):
        text("span", f"Per GPU and hour. Published: {_rate(published.low)} to "
             f"{_rate(published.high)}. ")  # fmt: skip
        text("button", "Use those", "linklike", type="button", data_clear="plan-failure_rate")


def _rate(rate: float) -> str:
    return f"{rate:.2g}".replace("e-0", "e-")


def _kind(chosen: str) -> None:
    known = list(accelerators())
    try:
        chosen = find_accelerator(chosen).name
    except ConfigError:
        known.append(chosen)  # what was asked for stays to be seen, beside the error
    with box("div", "field"):
        text("label", "GPU", for_="plan-gpu")
        with box("select", "input", id="plan-gpu", name="gpu"):
            for name in known:
                option = text("option", name, value=name)
                if name == chosen:
                    option.props["selected"] = True


def _aim(served: str) -> None:
    """What the model is to be best at: an empty number of tokens is the lowest loss."""
    with box("fieldset", "field aim"):
        text("legend", "Make it best at", "field-name")
        with box("div", "choices"):
            for value, words in (("", "lowest loss"), ("serve", "cheap to serve")):
                with box("label", "choice"):
                    radio = box("input", "", type="radio", name="aim", data_aim=value)
                    radio.props["^value"] = value
                    if bool(served) == bool(value):
                        radio.props["checked"] = True
                    text("span", words)
    with box("div", "aim-served", data_served=""):
        _slider("serve_tokens", "Tokens it will read and write", served,
                [_tokens(count) for count in SERVED_STOPS])  # fmt: skip


def _tokens(count: float) -> str:
    for limit, letter in ((1e15, "e15"), (1e12, "T"), (1e9, "B")):
        if count >= limit:
            return f"{count / limit:g} {letter}" if letter != "e15" else f"{count / limit:g}e15"
    return exact_number(count)
