"""What ``mynah plan run`` is asked, and what of it is absurd or contradicts itself.

Reads a TOML file of these fields, and the shape that a recipe names; writes nothing.
"""

import difflib
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field

from mynah.config import load_config, parse_config
from mynah.errors import ConfigError
from mynah.model import LlamaConfig
from mynah.plan.checkpointing import StorageConfig
from mynah.plan.failures import FailureConfig
from mynah.plan.layouts import Precision
from mynah.plan.shapes import PUBLISHED, Sparsity
from mynah.plan.solver import MAX_DAYS

__all__ = ["PlanConfig", "checked", "load_plan_config", "recipe_values", "shape_of"]

MAX_GPUS = 10_000_000
MAX_NODE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanConfig:
    """What is asked. Of days, usd, tokens and a shape at least one; see ``budget.Budget``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    gpus: int
    """Accelerators that there are; spare nodes are taken from them."""
    gpu: str = "H100-SXM-80GB"
    """Name of the accelerator."""
    hardware: str = ""
    """TOML file with more accelerators; empty for none."""
    accelerators_per_node: int = 8
    """Accelerators of one machine."""
    network_gb_per_s: Annotated[float, Field(gt=0, lt=1e5)] | None = None
    """GB/s of one direction from each accelerator to other machines; without it, what machines of
    the kind are sold with."""
    pod_size: Annotated[int, Field(ge=1)] | None = None
    """Accelerators that reach each other at the full rate of the network; without it, all."""
    oversubscription: Annotated[float, Field(ge=1, le=1000)] = 1.0
    """Rate of the network within a pod over that between pods."""
    days: float | None = None
    """Days of wall-clock time, at most."""
    usd: float | None = None
    """USD of the whole bill, at most."""
    tokens: float | None = None
    """Tokens of the run."""
    recipe: str = ""
    """Recipe whose table ``shape`` is the model; empty for none. Its optimizer is kept."""
    model: str = ""
    """Published model whose shape is taken, such as ``Llama 3.1 70B``; empty for none."""
    shape: LlamaConfig | None = None
    """The model's shape itself."""
    served_tokens: float = 0.0
    """Tokens that the model is to read and write in service; 0 asks for the lowest loss."""
    sparsity: Sparsity | None = None
    """Experts of a shape that is not given; without it, a dense model."""
    vocab_size: Annotated[int, Field(ge=256, le=10_000_000)] = 128_256
    """Words of the tokenizer of a shape that is not given."""
    row_tokens: int = 8192
    """Tokens of a row: the context that documents are read in."""
    batch_tokens: float | None = None
    """Tokens of a step, at most; without it, those of the recipe, or else the largest step that
    still helps."""
    precisions: tuple[Precision, ...] = ("bfloat16",)
    """Of matrix products; float8 has to be asked for, since it changes what is computed."""
    usd_per_gpu_hour: float | None = None
    """USD of an accelerator's hour; without it, rental prices from cheapest to dearest."""
    is_reserved: bool = False
    """Whether accelerators are rented for a year rather than on demand."""
    spares: int | None = None
    """Spare nodes; without it, as many as let the cluster train most."""
    replicas: Literal["mesh", "torchft"] = "mesh"
    """Whether replica groups live and die apart."""
    failures: FailureConfig = field(default_factory=FailureConfig)
    """What breaks, and what follows."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Where checkpoints go."""
    kg_co2_per_kwh: float | None = None
    """Kilograms of CO2 equivalent of a kilowatt-hour; without it, no carbon is stated."""
    num_shown: Annotated[int, Field(ge=1, le=1000)] = 10
    """Layouts that are wanted."""
    num_trials: Annotated[int, Field(ge=10, le=10_000)] = 1_000
    """How often the run is played through."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything that is drawn."""


def load_plan_config(path: Path, *, overrides: tuple[str, ...] = ()) -> PlanConfig:
    """Read a TOML file of ``PlanConfig``'s fields.

    Raises:
        ConfigError: It is missing, no TOML, or a field of it is wrong.
    """
    return checked(load_config(PlanConfig, path, overrides=overrides))


def checked(config: PlanConfig) -> PlanConfig:
    """Return a config whose fields are what they should be and do not contradict each other.

    What days, money and tokens allow is checked by ``budget.outline``.

    Raises:
        ConfigError: The first thing that is wrong.
    """
    limits = {
        "--gpus": (config.gpus, 1, MAX_GPUS, "accelerators"),
        "accelerators_per_node": (config.accelerators_per_node, 1, MAX_NODE, "accelerators"),
        "row_tokens": (config.row_tokens, 64, 10_000_000, "tokens"),
        "batch_tokens": (config.batch_tokens, config.row_tokens, 1e12, "tokens"),
        "spares": (config.spares, 0, MAX_GPUS, "nodes"),
        "--days": (config.days, 1e-9, MAX_DAYS, "days"),
        "--budget": (config.usd, 1e-9, 1e15, "USD"),
        "--tokens": (config.tokens, 1e6, 1e17, "tokens"),
    }
    for name, (value, least, most, unit) in limits.items():
        if value is not None and not least <= value <= most:
            way = "" if name.startswith("--") else f": --set {name}=NUMBER"  # has no flag
            raise ConfigError(
                f"{name} is {value:,.10g} {unit}",
                hint=f"give from {least:,.10g} to {most:,.10g}{way}",
            )
    _check_shapes(config)
    limits_given = (config.days, config.usd, config.tokens, config.shape)
    if all(one is None for one in limits_given) and not (config.recipe or config.model):
        raise ConfigError(
            f"{config.gpus:,} accelerators are given, and nothing that says for how long",
            hint="give --days, --budget, --tokens, --recipe or --model",
        )
    if config.usd_per_gpu_hour is not None and config.is_reserved:
        raise ConfigError(
            "a price of your own is given, and a discount on rental prices",
            hint="leave out --set is_reserved=true, and give the price that you pay",
        )
    if not config.precisions:
        raise ConfigError("no precision is given", hint="name bfloat16, float8 or both")
    return parse_config(PlanConfig, asdict(config), source="plan")


def _check_shapes(config: PlanConfig) -> None:
    given = {"--recipe": config.recipe, "--model": config.model, "a shape": config.shape}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise ConfigError(
            f"{' and '.join(named)} each say what the model is", hint="give one of them"
        )
    if named and config.sparsity is not None:
        raise ConfigError(
            f"{named[0]} says what the model is, and experts are asked for besides",
            hint="leave out --set sparsity.num_experts=..., or leave the shape to the planner",
        )


def shape_of(config: PlanConfig) -> LlamaConfig | None:
    """Return the shape that is given, if any.

    Raises:
        ConfigError: The recipe has none, cannot be read, or nobody published such a model.
    """
    if config.recipe:
        values = recipe_values(Path(config.recipe))
        shape = values.get("shape")
        if not isinstance(shape, dict):
            raise ConfigError(
                f"{config.recipe} has no table [shape]",
                hint="plan with a recipe that says the model's shape, or with --model",
            )
        return parse_config(
            LlamaConfig, cast("dict[str, Any]", shape), source=f"{config.recipe}: shape"
        )
    return published_shape(config.model) if config.model else config.shape


def recipe_values(path: Path) -> dict[str, Any]:
    """Read a recipe as plain values, unchecked.

    Raises:
        ConfigError: It cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror or error}", hint="name a recipe, such as one of recipes/"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error


def published_shape(name: str) -> LlamaConfig:
    """Return the shape of a published model, upper or lower case.

    Raises:
        ConfigError: None is called so; the hint names the nearest.
    """
    known = {one.name.casefold(): one for one in PUBLISHED}
    found = known.get(name.strip().casefold())
    if found is not None:
        return found.config
    near = difflib.get_close_matches(name.strip().casefold(), known, n=3, cutoff=0.3)
    names = [known[one].name for one in near] or [one.name for one in PUBLISHED]
    raise ConfigError(
        f"no published model is called {name!r}", hint=f"did you mean {', '.join(names)}?"
    )
