"""What is known of accelerators: rates, memory, links, power and price, by name.

Reads ``hardware.toml`` of this package and any file of the same form; writes nothing.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from mynah.errors import ConfigError

__all__ = ["Accelerator", "accelerators", "find_accelerator"]

Rate = Annotated[float, Field(gt=0, lt=1e9)]
OWN_FILE = Path(__file__).with_name("hardware.toml")
PRECISIONS = ("float16", "bfloat16", "float8", "float4")


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Accelerator:
    """One kind of GPU, as clusters are built of it."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """As its maker and the memory it comes with call it."""
    peak_tflops: Mapping[str, Rate]
    """Dense TFLOP/s of the datasheet, by precision: float16, bfloat16, float8 or float4."""
    measured_tflops: Mapping[str, Rate]
    """Dense TFLOP/s of the best matrix product that somebody measured."""
    memory_gb: Rate
    """Memory, in 10^9 bytes as makers count."""
    memory_gb_per_s: Rate
    """Bandwidth of that memory."""
    scale_up_gb_per_s: Rate
    """To the others of its scale-up domain (NVLink or its like), GB/s of one direction."""
    scale_up_size: Annotated[int, Field(ge=1, le=10_000)]
    """Accelerators of one such domain."""
    nic_gb_per_s: Rate
    """To the rest of the cluster, GB/s of one direction and accelerator."""
    num_cores: Annotated[int, Field(ge=1, le=10_000)]
    """Processors that a matrix product is dealt over (SM, CU)."""
    power_w: Rate
    """Thermal design power of one accelerator."""
    rental_usd_per_h: tuple[Rate, Rate]
    """Cheapest and dearest on-demand price of one hour."""
    year: Annotated[int, Field(ge=2000, le=2100)] = 2025
    """When it was first sold."""
    is_measured: bool = True
    """Whether ``measured_tflops`` were; on assumed ones nothing is calibrated."""
    aliases: tuple[str, ...] = ()
    """Other names it goes by."""

    @model_validator(mode="after")
    def _check(self) -> "Accelerator":
        for rates in (self.peak_tflops, self.measured_tflops):
            unknown = sorted(set(rates) - set(PRECISIONS))
            if unknown or not rates:
                raise ValueError(f"precisions are {', '.join(PRECISIONS)}, found {unknown}")
        if self.rental_usd_per_h[0] > self.rental_usd_per_h[1]:
            raise ValueError("rental_usd_per_h goes from cheapest to dearest")
        return self

    @property
    def half(self) -> str:
        """The 16-bit precision that its products run in."""
        return "bfloat16" if "bfloat16" in self.measured_tflops else "float16"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    __pydantic_config__ = ConfigDict(extra="forbid")

    accelerator: list[Accelerator]
    """Tables of the file, in its order."""


@cache
def accelerators(path: Path | None = None) -> Mapping[str, Accelerator]:
    """Return all that are known, by name.

    Args:
        path: A file with more of them; one of a known name takes its place.

    Raises:
        ConfigError: The file is missing, or wrong.
    """
    known = _read(OWN_FILE)
    return known if path is None else {**known, **_read(path)}


def _read(path: Path) -> dict[str, Accelerator]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        found = TypeAdapter(_File).validate_python(raw)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="name a TOML file of accelerators"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", hint="it must be TOML in UTF-8") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {place}: {first['msg']}",
            hint="copy a table of docs/reference/plan.md and change its numbers",
        ) from error
    return {one.name: one for one in found.accelerator}


def find_accelerator(name: str, path: Path | None = None) -> Accelerator:
    """Return one by its name or an alias, upper or lower case.

    Args:
        name: Such as ``H100-SXM-80GB`` or ``h100``.
        path: A file with more of them.

    Raises:
        ConfigError: Nobody is called so; the hint names the nearest.
    """
    known = accelerators(path)
    names = {word.casefold(): one for one in known.values() for word in (*one.aliases, one.name)}
    found = names.get(name.strip().casefold())
    if found is not None:
        return found
    near = difflib.get_close_matches(name.strip().casefold(), names, n=3, cutoff=0.4)
    nearest = ", ".join(dict.fromkeys(names[word].name for word in near)) or ", ".join(known)
    raise ConfigError(
        f"no accelerator is called {name!r}",
        hint=f"did you mean {nearest}? Others come from a file: --hardware FILE",
    )
