"""Which candidates can run: the trainer's rules, and the planner's own, over arrays.

Pure. The trainer's are those of ``mynah.train.layout.check_layout``, which refuses one layout with
one reason; here a hundred thousand are looked at, and every reason of one is told. A test holds
the two together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from mynah.model import LlamaConfig
from mynah.plan.layouts import PRECISIONS, RECOMPUTE, SCHEDULES, Cluster, Grid, Precision

__all__ = ["RULES", "TOO_FEW_ROWS", "Question", "Rule", "Wanted", "rows_of"]

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
TOO_FEW_ROWS = "a step has too few rows for so many data ranks"
"""Name of the rule that more tokens in a step would keep."""
MAX_GROUPS = 4096
"""Replica groups that ``goodput`` plays."""
FIRST_FLOAT8_YEAR = 2022
"""Hopper's; ``mynah.train.float8`` refuses older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a step is to be, and which layouts are looked at."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    row_tokens: Annotated[int, Field(ge=1)]
    """Tokens of a row: the context that a document is read in."""
    batch_tokens: Annotated[int, Field(ge=1)]
    """Tokens of a step, at most; a layout takes the largest step that its ranks share evenly."""
    precisions: tuple[Precision, ...] = ("bfloat16",)
    """Of matrix products. float8 has to be asked for: it changes what is computed."""
    is_compiled: tuple[bool, ...] = (False, True)
    """Whether layers are compiled; both are tried."""
    num_shown: Annotated[int, Field(ge=1, le=1000)] = 10
    """Layouts that are wanted, the fastest first."""
    is_parted: bool = False
    """Only layouts whose ``replicate`` groups are whole machines, so that they live and die apart
    (torchft)."""

    @property
    def batch_rows(self) -> int:
        """Rows of a step, at most; at least one."""
        return max(1, self.batch_tokens // self.row_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A model, a cluster and what is wanted of them."""

    config: LlamaConfig
    cluster: Cluster
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that a candidate must hold to."""

    name: str
    """Said of all that it keeps out."""
    holds: Callable[[Grid, Question], Flags]
    says: Callable[[Grid, Question], str]
    """The reason, with numbers, of the one candidate of a grid that breaks it."""
    is_own: bool = False
    """Whether it is the planner's own, not the trainer's."""
    is_structural: bool = True
    """Whether a layout that breaks it cannot be computed at all."""


def rows_of(grid: Grid, batch_rows: int) -> Ints:
    """Rows, of ``micro`` each, that every data rank computes in a step; 0 where a step has too few.

    The largest step of at most ``batch_rows`` that comes out even. A pipeline takes at least a row
    for each of its ranks, since fewer leave most of them idle, and the interleaved schedule rounds
    of equally many; see ``mynah.train.pipeline.Pipeline.num_rows``.
    """
    most = batch_rows // (grid.num_data * grid.micro)
    rounds = most // grid.pipeline
    even = rounds * (most // np.maximum(rounds, 1))
    rows = np.where(grid.schedule == INTERLEAVED, even, most)
    return np.where(rows >= grid.pipeline, rows, 0)


ZERO_BUBBLE, INTERLEAVED = SCHEDULES.index("zero_bubble"), SCHEDULES.index("interleaved")
FLOAT8, LAYERS = PRECISIONS.index("float8"), RECOMPUTE.index("layers")


def _sides(config: LlamaConfig) -> dict[str, int]:
    return {
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
    }


def _divides(grid: Grid, asked: Question) -> Flags:
    return np.logical_and.reduce(
        [side % grid.tensor == 0 for side in _sides(asked.config).values()]
    )


def _says_divides(grid: Grid, asked: Question) -> str:
    tensor = int(grid.tensor[0])
    odd = [f"{name} {side:,}" for name, side in _sides(asked.config).items() if side % tensor]
    return f"tensor={tensor} does not divide {', '.join(odd)}"


def _pieces(grid: Grid) -> Ints:
    return np.where(grid.context > 1, 2 * grid.context, 1) * grid.tensor


def _says_pieces(grid: Grid, asked: Question) -> str:
    row = int(grid.micro[0]) * asked.wanted.row_tokens
    return f"rows of {row:,} tokens do not divide into {int(_pieces(grid)[0]):,} pieces"


def _deals(grid: Grid, asked: Question) -> Flags:
    return (grid.shard % grid.expert == 0) & (asked.config.num_experts % grid.expert == 0)


def _says_deals(grid: Grid, asked: Question) -> str:
    sides = {"shard": int(grid.shard[0]), "the number of experts": asked.config.num_experts}
    odd = [f"{name} {side:,}" for name, side in sides.items() if side % int(grid.expert[0])]
    return f"expert={grid.expert[0]} does not divide {', '.join(odd)}"


def _schedules(grid: Grid, asked: Question) -> Flags:
    is_piped = grid.pipeline > 1
    first = np.where(is_piped, grid.stages == 1, (grid.stages == 1) & (grid.schedule == 0))
    looped, folded = is_piped & (grid.stages >= 2), is_piped & (grid.stages == 2)
    return np.select(
        [grid.schedule == INTERLEAVED, grid.schedule == ZERO_BUBBLE], [looped, folded], first
    )


def _says_schedules(grid: Grid, asked: Question) -> str:
    name = SCHEDULES[grid.schedule[0]]
    if grid.pipeline[0] == 1:
        return f"without a pipeline there is nothing to schedule: {name}, stages={grid.stages[0]}"
    needs = {"1f1b": "1 stage", "interleaved": "2 stages or more", "zero_bubble": "2 stages"}
    return f"schedule {name} needs {needs[name]} on a rank, not {grid.stages[0]}"


def _says_step(grid: Grid, asked: Question) -> str:
    have, micro = asked.wanted.batch_rows, int(grid.micro[0])
    need = int(grid.num_data[0] * grid.micro[0] * grid.pipeline[0])
    each = f"{micro} rows each" if micro > 1 else "a row each"
    piped = f", {grid.pipeline[0]} times for the pipeline's ranks" if grid.pipeline[0] > 1 else ""
    return (
        f"a step of {asked.wanted.batch_tokens:,} tokens has {have:,} rows of "
        f"{asked.wanted.row_tokens:,}; {grid.num_data[0]:,} data ranks with {each}{piped} need "
        f"{need:,}"
    )


def _parts(grid: Grid, asked: Question) -> Flags:
    a_group = grid.world_size // grid.replicate
    is_whole = a_group % asked.cluster.accelerators_per_node == 0
    is_parted = (grid.replicate > 1) & (grid.replicate <= MAX_GROUPS) & is_whole
    return is_parted | (not asked.wanted.is_parted)


def _computes(grid: Grid, asked: Question) -> Flags:
    kind = asked.cluster.accelerator
    is_able = "float8" in kind.measured_tflops and kind.year >= FIRST_FLOAT8_YEAR
    return (grid.precision != FLOAT8) | is_able


RULES = (
    Rule(
        name="the ranks are not as many as the accelerators",
        is_structural=False,
        holds=lambda grid, asked: grid.world_size == asked.cluster.num_accelerators,
        says=lambda grid, asked: (
            f"it has {grid.world_size[0]:,} ranks, there are "
            f"{asked.cluster.num_accelerators:,} accelerators"
        ),
    ),
    Rule(
        name="tensor does not divide the model's heads, MLP or vocabulary",
        holds=_divides,
        says=_says_divides,
    ),
    Rule(
        name="a model with experts is not cut over tensor",
        holds=lambda grid, asked: (grid.tensor == 1) | (asked.config.num_experts == 0),
        says=lambda grid, asked: (
            f"tensor={grid.tensor[0]}: a model with experts is not cut over it"
        ),
    ),
    Rule(
        name="rows do not divide over context and tensor",
        holds=lambda grid, asked: grid.micro * asked.wanted.row_tokens % _pieces(grid) == 0,
        says=_says_pieces,
    ),
    Rule(
        name="there are no experts to deal out",
        holds=lambda grid, asked: (grid.expert == 1) | (asked.config.num_experts > 0),
        says=lambda grid, asked: f"expert={grid.expert[0]}: the model has no experts",
    ),
    Rule(name="expert does not divide shard and the experts", holds=_deals, says=_says_deals),
    Rule(name="a schedule with the wrong stages", holds=_schedules, says=_says_schedules),
    Rule(
        name="more stages than layers",
        holds=lambda grid, asked: grid.num_stages <= asked.config.num_hidden_layers,
        says=lambda grid, asked: (
            f"{grid.num_stages[0]} stages, the model has {asked.config.num_hidden_layers} layers"
        ),
    ),
    Rule(
        name="a pipeline cannot hold tied embeddings",
        holds=lambda grid, asked: (grid.pipeline == 1) | (not asked.config.tie_word_embeddings),
        says=lambda grid, asked: (
            f"pipeline={grid.pipeline[0]}: both of its ends would hold the tied embedding"
        ),
    ),
    Rule(
        name="zero_bubble cannot compute layers again",
        holds=lambda grid, asked: (grid.schedule != ZERO_BUBBLE) | (grid.recompute != LAYERS),
        says=lambda grid, asked: "schedule zero_bubble splits a backward pass that computes again",
    ),
    Rule(
        name="compiled layers cannot be cut over tensor",
        holds=lambda grid, asked: (grid.compiled == 0) | (grid.tensor == 1),
        says=lambda grid, asked: (
            f"compiled with tensor={grid.tensor[0]}: torch would compute something else"
        ),
    ),
    Rule(
        name="compiled layers cannot run zero_bubble",
        holds=lambda grid, asked: (grid.compiled == 0) | (grid.schedule != ZERO_BUBBLE),
        says=lambda grid, asked: "schedule zero_bubble splits a backward pass that is compiled",
    ),
    Rule(
        name="float8 has not been tried with tensor",
        holds=lambda grid, asked: (grid.precision != FLOAT8) | (grid.tensor == 1),
        says=lambda grid, asked: f"fp8 with tensor={grid.tensor[0]}: nobody has compared the two",
    ),
    Rule(
        name="float8 needs an accelerator that has it",
        holds=_computes,
        says=lambda grid, asked: f"{asked.cluster.accelerator.name} has no 8-bit products",
        is_own=True,
    ),
    Rule(
        name="experts compute in 16 bits",
        holds=lambda grid, asked: (grid.precision != FLOAT8) | (asked.config.num_experts == 0),
        says=lambda grid, asked: "fp8: the matrices of experts stay in 16 bits, most of the work",
        is_own=True,
    ),
    Rule(
        name="replica groups are not of whole machines",
        holds=_parts,
        says=lambda grid, asked: (
            f"replicate={grid.replicate[0]} makes no 2 to {MAX_GROUPS:,} groups of whole machines "
            "that could live and die apart"
        ),
        is_own=True,
        is_structural=False,
    ),
    Rule(
        name=TOO_FEW_ROWS,
        holds=lambda grid, asked: rows_of(grid, asked.wanted.batch_rows) > 0,
        says=_says_step,
        is_own=True,
        is_structural=False,
    ),
)
"""In the order in which they are counted."""
