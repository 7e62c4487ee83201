"""Ways to run a shape with mynah's trainer, one by one or a hundred thousand at a time.

Pure. A ``Candidate`` is one of them, with a name that can be read back; ``Grid`` holds many as
arrays; ``setups_of`` says what the step model and the memory model are to think of them: what the
trainer overlaps, gathers and keeps is written here, once.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from mynah.errors import ConfigError
from mynah.model import LlamaConfig
from mynah.plan.hardware import Accelerator
from mynah.plan.setups import (
    Attention,
    Degrees,
    Floats,
    Machines,
    Recompute,
    Setups,
    Shapes,
    Sharding,
    Stacks,
    Work,
)
from mynah.train.layout import LayoutConfig

__all__ = [
    "PRECISIONS",
    "RECOMPUTE",
    "SCHEDULES",
    "Candidate",
    "Cluster",
    "Grid",
    "Precision",
    "parse_candidate",
    "setups_of",
]

Precision = Literal["bfloat16", "float8"]
Ints = NDArray[np.int64]

SCHEDULES = ("1f1b", "interleaved", "zero_bubble")
"""Orders of a pipeline; a grid holds their places in this list."""
RECOMPUTE = ("nothing", "layers")
"""What is computed again; likewise."""
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float8")
"""Of matrix products; likewise."""
SHORT = {"bfloat16": "bf16", "float8": "fp8"}
LARGEST_NODE = 8
"""Accelerators of the largest machine; a larger scale-up domain is a rack of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Accelerators of one kind, and what joins them."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    accelerator: Accelerator
    """Which kind."""
    num_accelerators: Annotated[int, Field(ge=1)]
    """That train; spare ones are not counted."""
    accelerators_per_node: Annotated[int, Field(ge=1, le=256)] = 8
    """Of one machine."""
    network_gb_per_s: Annotated[float, Field(gt=0)] | None = None
    """GB/s of one direction from each accelerator to other machines; without it, what machines of
    the kind are sold with."""
    pod_size: Annotated[int, Field(ge=1)] | None = None
    """Accelerators that reach each other at the full rate of the network; without it, all."""
    oversubscription: Annotated[float, Field(ge=1)] = 1.0
    """Rate of the network within a pod over that between pods."""

    @property
    def scale_up_size(self) -> int:
        """Accelerators of one scale-up domain, as these machines have it."""
        size = self.accelerator.scale_up_size
        return size if size > LARGEST_NODE else min(size, self.accelerators_per_node)

    @property
    def nic_gb_per_s(self) -> float:
        """GB/s of one direction from each accelerator to other machines."""
        return self.network_gb_per_s or self.accelerator.nic_gb_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run a shape with mynah's trainer."""

    layout: LayoutConfig
    micro_rows: int = 1
    """Rows of context length that a rank computes at a time: ``data.batch_tokens`` over them."""
    precision: Precision = "bfloat16"
    is_compiled: bool = False
    """Whether layers are compiled."""

    @property
    def name(self) -> str:
        """Canonical text, which ``parse_candidate`` reads; degrees of 1 are left out."""
        one = self.layout
        degrees = {
            "replicate": one.replicate,
            "shard": one.shard,
            "expert": one.expert,
            "context": one.context,
            "tensor": one.tensor,
            "pipeline": one.pipeline,
            "stages": one.stages_per_rank,
        }
        words = [f"{key}={value}" for key, value in degrees.items() if value != 1]
        if one.pipeline > 1:
            words.append(f"schedule={one.schedule}")
        if one.recompute != "nothing":
            words.append(f"recompute={one.recompute}")
        words += [f"micro={self.micro_rows}", SHORT[self.precision]]
        return " ".join([*words, *(["compiled"] if self.is_compiled else [])])


DEGREES = ("replicate", "shard", "expert", "context", "tensor", "pipeline", "stages", "micro")
CHOICES = {"schedule": SCHEDULES, "recompute": RECOMPUTE}
FLAGS: dict[str, tuple[str, object]] = {
    "bf16": ("precision", "bfloat16"),
    "bfloat16": ("precision", "bfloat16"),
    "fp8": ("precision", "float8"),
    "float8": ("precision", "float8"),
    "compiled": ("is_compiled", True),
}
ALSO = {"stages_per_rank": "stages", "micro_rows": "micro"}
MAX_DEGREE = 10_000_000


def parse_candidate(text: str) -> Candidate:
    """Read a candidate's name: ``key=value`` and bare words in any order.

    What is missing is 1, ``1f1b``, ``nothing``, ``bf16``, not compiled. Words may be parted by
    spaces or commas.

    Raises:
        ConfigError: A word is unknown, stands twice, or its value is none that it can have.
    """
    found: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        key, value = _word(word)
        if key in found:
            raise ConfigError(
                f"the layout says {key} twice: {text!r}", hint="name every degree once"
            )
        found[key] = value
    if not found:
        raise ConfigError(
            "the layout is empty", hint="write it as a plan does: replicate=4 shard=8 tensor=8"
        )
    own = {name: found.pop(name) for name in ("precision", "is_compiled") if name in found}
    micro, stages = found.pop("micro", 1), found.pop("stages", 1)
    layout = LayoutConfig(**found, stages_per_rank=stages)
    return Candidate(layout=layout, micro_rows=micro, **own)


def _word(word: str) -> tuple[str, Any]:
    """Field and value of one word."""
    key, equals, text = word.casefold().partition("=")
    key = ALSO.get(key, key)
    if not equals:
        if key in FLAGS:
            return FLAGS[key]
        raise _unknown(word, (*FLAGS, *(f"{name}=..." for name in (*DEGREES, *CHOICES))))
    if key in CHOICES:
        if text not in CHOICES[key]:
            raise ConfigError(
                f"{key} is {text!r} in a layout", hint=f"choose {', '.join(CHOICES[key])}"
            )
        return key, text
    if key not in DEGREES:
        raise _unknown(key, (*DEGREES, *CHOICES))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_DEGREE:
        raise ConfigError(
            f"{key} is {text!r} in a layout", hint=f"give a whole number from 1 to {MAX_DEGREE:,}"
        )
    return key, int(text)


def _unknown(word: str, known: Sequence[str]) -> ConfigError:
    near = difflib.get_close_matches(word, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return ConfigError(f"a layout has no {word!r}", hint=f"{meant}It is made of {', '.join(known)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """N candidates as arrays of whole numbers."""

    replicate: Ints
    shard: Ints
    expert: Ints
    context: Ints
    tensor: Ints
    pipeline: Ints
    stages: Ints
    schedule: Ints
    """Place in ``SCHEDULES``."""
    recompute: Ints
    """Place in ``RECOMPUTE``."""
    micro: Ints
    precision: Ints
    """Place in ``PRECISIONS``."""
    compiled: Ints
    """1 where layers are compiled."""

    def __len__(self) -> int:
        return len(self.tensor)

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> "Grid":
        """The same as arrays."""
        rows = [
            (
                one.layout.replicate,
                one.layout.shard,
                one.layout.expert,
                one.layout.context,
                one.layout.tensor,
                one.layout.pipeline,
                one.layout.stages_per_rank,
                SCHEDULES.index(one.layout.schedule),
                RECOMPUTE.index(one.layout.recompute),
                one.micro_rows,
                PRECISIONS.index(one.precision),
                int(one.is_compiled),
            )
            for one in candidates
        ]
        table = np.array(rows, dtype=np.int64).reshape(len(rows), len(fields(cls)))
        names = [one.name for one in fields(cls)]
        return cls(**{name: table[:, place].copy() for place, name in enumerate(names)})

    def take(self, which: NDArray[Any]) -> "Grid":
        """Some of them, by a mask or by numbers."""
        return Grid(**{one.name: getattr(self, one.name)[which] for one in fields(self)})

    def candidate(self, number: int) -> Candidate:
        """One of them."""
        layout = LayoutConfig(
            pipeline=int(self.pipeline[number]),
            replicate=int(self.replicate[number]),
            shard=int(self.shard[number]),
            expert=int(self.expert[number]),
            context=int(self.context[number]),
            tensor=int(self.tensor[number]),
            schedule=SCHEDULES[self.schedule[number]],
            stages_per_rank=int(self.stages[number]),
            recompute=RECOMPUTE[self.recompute[number]],
        )
        return Candidate(
            layout=layout,
            micro_rows=int(self.micro[number]),
            precision=PRECISIONS[self.precision[number]],
            is_compiled=bool(self.compiled[number]),
        )

    @property
    def num_data(self) -> Ints:
        """Ranks that read different documents."""
        return self.replicate * self.shard

    @property
    def world_size(self) -> Ints:
        """Ranks that each needs."""
        return self.num_data * self.context * self.tensor * self.pipeline

    @property
    def num_stages(self) -> Ints:
        """Stretches that each cuts the layers into."""
        return self.pipeline * self.stages


def setups_of(
    config: LlamaConfig,
    cluster: Cluster,
    candidates: Sequence[Candidate] | Grid,
    *,
    row_tokens: int,
    batch_rows: int | Ints,
) -> Setups:
    """Say what the step model and the memory model are to think of each candidate.

    Args:
        config: The model.
        cluster: Where it would run.
        candidates: Ways to run it.
        row_tokens: Tokens of a row of context length.
        batch_rows: Such rows of one step over all ranks; one number, or one a candidate.
    """
    grid = candidates if isinstance(candidates, Grid) else Grid.of(candidates)
    count = len(grid)
    return Setups(
        shapes=_shapes(config, count),
        work=Work(
            row_tokens=np.full(count, float(row_tokens)),
            batch_rows=np.broadcast_to(np.asarray(batch_rows, dtype=np.float64), (count,)),
            micro_rows=_floats(grid.micro),
            bits=np.where(grid.precision == PRECISIONS.index("float8"), 8.0, 16.0),
            is_row_scaled=np.zeros(count),
            recompute=np.where(grid.recompute > 0, Recompute.LAYERS, Recompute.NOTHING),
        ),
        degrees=Degrees(
            tensor=_floats(grid.tensor),
            is_sequence_cut=np.ones(count),
            pipeline=_floats(grid.pipeline),
            stages=_floats(grid.stages),
            data=_floats(grid.num_data),
            context=_floats(grid.context),
            expert=_floats(grid.expert),
            sharding=np.where(grid.world_size > 1, Sharding.WEIGHTS, Sharding.NOTHING),
            replicate=_floats(grid.replicate),
        ),
        machines=_machines(cluster, grid),
        stacks=_stacks(grid),
    )


def _floats(values: Ints) -> Floats:
    return values.astype(np.float64)


def _shapes(config: LlamaConfig, count: int) -> Shapes:
    values = {
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "inner": config.intermediate_size,
        "attention_share": 1,
        "is_gated": 1,
        "vocab": config.vocab_size,
        "tables": 1 if config.tie_word_embeddings else 2,
        "experts": config.num_experts,
        "experts_per_token": config.num_experts_per_token,
        "expert_inner": config.expert_intermediate_size,
        "shared_experts": config.num_shared_experts,
        "dense_layers": config.num_dense_layers,
    }
    return Shapes(**{name: np.full(count, float(value)) for name, value in values.items()})


def _machines(cluster: Cluster, grid: Grid) -> Machines:
    kind, count = cluster.accelerator, len(grid)
    rate, peak = kind.measured_tflops[kind.half], kind.peak_tflops[kind.half]
    low = kind.measured_tflops.get("float8", rate)
    is_low = grid.precision == PRECISIONS.index("float8")
    values = {
        "flop_per_s": rate * 1e12,
        "peak_flop_per_s": peak * 1e12,
        "cores": kind.num_cores,
        "memory_bytes": kind.memory_gb * 1e9,
        "memory_bytes_per_s": kind.memory_gb_per_s * 1e9,
        "scale_up_bytes_per_s": kind.scale_up_gb_per_s * 1e9,
        "scale_up_size": cluster.scale_up_size,
        "nic_bytes_per_s": cluster.nic_gb_per_s * 1e9,
        "pod_size": np.inf if cluster.pod_size is None else cluster.pod_size,
        "oversubscription": cluster.oversubscription,
        "is_hopper": kind.year >= 2022,
        "is_measured": kind.is_measured,
    }
    return Machines(
        low_flop_per_s=np.where(is_low, low, rate) * 1e12,
        **{name: np.full(count, float(value)) for name, value in values.items()},
    )


def _stacks(grid: Grid) -> Stacks:
    """What mynah's trainer does; see ``mynah.train.parallelize`` and its neighbours."""
    count = len(grid)
    # torch's RMSNorm is one kernel, compiled or not; the rotation is operators of its own until
    # it is compiled, a twentieth of what an RMSNorm by operators would move.
    values = {
        "attention": Attention.FLASH_2,
        "is_norm_fused": 1,
        "overlaps_tensor": 0,
        "overlaps_data": 1,
        "gathers_by_rank": 0,
        "sends_whole": 0,
        "gradient_bytes": 4,
        "gathers_logits": 0,
        "is_context_even": 1,
        "hides_context": 0,
        "logit_bytes": 0,
    }
    return Stacks(
        is_fused=_floats(grid.compiled),
        keeps_gathered=_floats((grid.pipeline > 1).astype(np.int64)),
        **{name: np.full(count, float(value)) for name, value in values.items()},
    )
