"""What is asked of a plan: as it is typed, as an address, as the command line, as a config.

All are the same words, so that a link, a reload and a terminal give the same plan. Pure.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from shlex import quote
from urllib.parse import urlencode

from mynah.errors import ConfigError
from mynah.plan.failures import FailureConfig
from mynah.plan.planning import PlanConfig
from mynah.plan.ranges import Range

__all__ = ["Asked", "as_number", "command_of", "config_of"]

POWERS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
"""Letters that people put behind a number."""
RATE_FIELD = "failures.failures_per_accelerator_hour"
"""What the command line sets where the page has a slider."""
MAX_RATE = 0.1
"""Failures per GPU and hour; ten hours from one to the next, on a single GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The fields as they were typed; the names are those of the command line's flags."""

    gpus: str = "10,000"
    gpu: str = "H100-SXM-80GB"
    days: str = "90"
    budget: str = ""
    serve_tokens: str = ""
    failure_rate: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Read an address: what it does not name is as usual, what it leaves empty is empty.

        Of days and budget one is enough, so that either in an address puts the other aside.
        """
        known = {one.name: query[one.name].strip()[:40] for one in fields(cls) if one.name in query}
        if "budget" in known and "days" not in known:
            known["days"] = ""
        return cls(**known)

    @property
    def query(self) -> str:
        """The page's address with every field in it, the empty ones, too."""
        return urlencode({one.name: getattr(self, one.name) for one in fields(self)})

    def number(self, name: str) -> float | None:
        """What a field says; ``None`` if it is empty.

        Raises:
            ConfigError: It is no number.
        """
        typed = str(getattr(self, name))
        return as_number(typed, flag=_flag(name)) if typed else None


def _flag(name: str) -> str:
    return RATE_FIELD if name == "failure_rate" else f"--{name.replace('_', '-')}"


def as_number(typed: str, *, flag: str) -> float:
    """Read ``10,000``, ``$2.5 M``, ``6.1T`` or ``1.8e-5``.

    Raises:
        ConfigError: It is no such number; the message names the flag.
    """
    plain = re.sub(r"[\s,_$]|USD", "", typed)
    found = re.fullmatch(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)([kKmMbBgGtT]?)", plain)
    if found is None:
        raise ConfigError(
            f"{flag} is {typed!r}: that is no number",
            hint="write it as 10,000 or 2.5e7, or with a letter for its thousands: 25 M",
        )
    value = float(found[1]) * POWERS.get(found[2].casefold(), 1.0)
    if not math.isfinite(value):
        raise ConfigError(f"{flag} is {typed!r}: that is no number", hint="give a smaller one")
    return value


def config_of(asked: Asked) -> PlanConfig:
    """What the fields ask for, as the command line would.

    Raises:
        ConfigError: A field is no number, or none that can be asked for.
    """
    gpus, rate = asked.number("gpus"), asked.number("failure_rate")
    if gpus is None:
        raise ConfigError(
            "nothing says how many accelerators there are", hint="give --gpus, such as --gpus 512"
        )
    if gpus != int(gpus):
        raise ConfigError(f"--gpus is {gpus:g}", hint="give a whole number")
    failures = FailureConfig()
    if rate is not None:
        if not 0 <= rate <= MAX_RATE:
            raise ConfigError(
                f"{RATE_FIELD} is {rate:g}",
                hint=f"give from 0 to {MAX_RATE:g}; published clusters have about 1.8e-5",
            )
        failures = FailureConfig(failures_per_accelerator_hour=Range.exactly(rate))
    return PlanConfig(
        gpus=int(gpus),
        gpu=asked.gpu,
        days=asked.number("days"),
        usd=asked.number("budget"),
        served_tokens=asked.number("serve_tokens") or 0.0,
        failures=failures,
    )


def command_of(asked: Asked) -> str:
    """The command line that gives the same plan.

    Raises:
        ConfigError: A field is no number.
    """
    words = ["mynah plan run"]
    for name in ("gpus", "gpu", "days", "budget", "serve_tokens"):
        typed = str(getattr(asked, name))
        if typed:
            number = None if name == "gpu" else asked.number(name)
            words.append(f"{_flag(name)} {quote(typed) if number is None else f'{number:.10g}'}")
    if (rate := asked.number("failure_rate")) is not None:
        words.append(f"--set {RATE_FIELD}={rate!r}")
    return " ".join(words)
