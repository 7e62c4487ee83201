"""Every way to run a shape on a cluster, and the fastest of those that fit.

Pure. All candidates are arrays: rules, memory and times are computed for a hundred thousand at
once. Those that are shown differ from each other in more than a detail, see ``KIND``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mynah.errors import ConfigError
from mynah.model import LlamaConfig
from mynah.plan.constants import CALIBRATED, SPREAD_DENSE, SPREAD_SPARSE, Constants
from mynah.plan.layout_grid import Candidates, candidates_of
from mynah.plan.layout_memory import capacity_bytes, memory_by_kind, rank_bytes
from mynah.plan.layout_rules import TOO_FEW_ROWS, Question, Wanted, rows_of
from mynah.plan.layout_times import Times, layout_times
from mynah.plan.layouts import Candidate, Cluster, Grid, setups_of
from mynah.plan.ranges import Range
from mynah.plan.setups import Floats
from mynah.plan.shapes import flop_per_token

__all__ = ["NO_ROOM", "Judged", "Search", "Wanted", "judge", "search_layouts", "search_worlds"]

Ints = NDArray[np.int64]
FOREIGN = "TPU"
"""How accelerators are called that torch's own kernels do not run on."""
LEAST_OVERHEAD, MOST_OVERHEAD = (1.05, 2e9), (1.20, 4e9)
"""Memory held over what tensors need, and bytes on top; the middle is that of ``memory``, where the
sources are."""
NO_ROOM = "more memory than an accelerator has"
"""The last reason to reject a candidate."""
KIND = ("tensor", "context", "pipeline", "expert", "recompute", "precision")
"""What a layout must differ in from every faster one to be shown. How ranks are split into
``replicate`` and ``shard``, stages, schedule, rows at a time and compiling are chosen for it; how
many groups there are is told apart where they live and die apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A candidate with its figures."""

    candidate: Candidate
    num_accelerators: int
    num_rows: int
    """Rows, of ``micro_rows`` each, that every data rank computes in a step."""
    row_tokens: int
    """Tokens of a row of context length."""
    step_s: Range
    """Seconds of a step."""
    tokens_per_s: Range
    """Of one accelerator."""
    mfu: Range
    """Model FLOP, causal attention counted half, over the 16-bit peak of the datasheet."""
    times: Mapping[str, float]
    """Likeliest seconds of a step by what they go to; ``layout_times.PARTS`` says what each is."""
    memory_bytes: Mapping[str, float]
    """Bytes of the fullest rank by kind, as ``mynah train rehearse`` names them, and overhead."""
    capacity_bytes: float
    """That an accelerator has."""

    @property
    def batch_rows(self) -> int:
        """Rows of context length of a step, over all ranks."""
        return self.num_rows * self.candidate.micro_rows * self.candidate.layout.num_data

    @property
    def batch_tokens(self) -> int:
        """Tokens of a step."""
        return self.batch_rows * self.row_tokens

    @property
    def needed_bytes(self) -> float:
        """Bytes of the fullest rank in all."""
        return sum(self.memory_bytes.values())

    @property
    def needed(self) -> Range:
        """The same between what an allocator loses at best and at worst."""
        tensors = self.needed_bytes - self.memory_bytes["overhead"]
        return Range(
            low=tensors * LEAST_OVERHEAD[0] + LEAST_OVERHEAD[1],
            middle=self.needed_bytes,
            high=tensors * MOST_OVERHEAD[0] + MOST_OVERHEAD[1],
        )

    @property
    def fits(self) -> bool:
        """Whether there is room."""
        return self.needed_bytes <= self.capacity_bytes

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        layout = self.candidate.layout
        return {
            "layout": self.candidate.name,
            "pipeline": layout.pipeline,
            "replicate": layout.replicate,
            "shard": layout.shard,
            "expert": layout.expert,
            "context": layout.context,
            "tensor": layout.tensor,
            "schedule": layout.schedule,
            "stages_per_rank": layout.stages_per_rank,
            "recompute": layout.recompute,
            "micro_rows": self.candidate.micro_rows,
            "precision": self.candidate.precision,
            "is_compiled": self.candidate.is_compiled,
            "num_accelerators": self.num_accelerators,
            "batch_tokens": self.batch_tokens,
            "step_s": self.step_s.to_json(),
            "tokens_per_s_per_accelerator": self.tokens_per_s.to_json(),
            "mfu": self.mfu.to_json(),
            "seconds_by_part": dict(self.times),
            "memory_bytes": dict(self.memory_bytes),
            "needed_bytes": self.needed.to_json(),
            "capacity_bytes": self.capacity_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was found."""

    ranked: tuple[Judged, ...]
    """The fastest, each unlike the others; the first is the best."""
    num_tried: int
    """Combinations that were looked at."""
    num_fitting: int
    """Of those, how many the trainer runs and the memory holds."""
    rejected: Mapping[str, int]
    """How many of the others each reason kept out; one counts for the first that it breaks."""

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "layouts": [one.to_json() for one in self.ranked],
            "num_tried": self.num_tried,
            "num_fitting": self.num_fitting,
            "rejected": dict(self.rejected),
        }


def search_layouts(
    config: LlamaConfig, cluster: Cluster, wanted: Wanted, *, constants: Constants = CALIBRATED
) -> Search:
    """Find the fastest layouts of ``config`` that fit on all of ``cluster``.

    Args:
        config: The model.
        cluster: All of its accelerators train.
        wanted: What a step is to be.
        constants: Of the step model.

    Raises:
        ConfigError: The accelerator has no precision that the trainer has, or nothing fits; the
            message counts the reasons, the hint says what would help.
    """
    return search_worlds(
        config, cluster, wanted, worlds=[cluster.num_accelerators], constants=constants
    )


def search_worlds(
    config: LlamaConfig,
    cluster: Cluster,
    wanted: Wanted,
    *,
    worlds: Sequence[int],
    constants: Constants = CALIBRATED,
) -> Search:
    """Find the layouts that train most in a second, each on one of several numbers of ranks.

    Args:
        config: The model.
        cluster: Its machines and network; how many there are is said by ``worlds``.
        wanted: What a step is to be.
        worlds: Numbers of accelerators, such as may be left when some stand by.
        constants: Of the step model.

    Raises:
        ConfigError: As ``search_layouts``.
    """
    asked = Question(config=config, cluster=cluster, wanted=wanted)
    _check(asked)
    found = candidates_of(asked, worlds)
    rows = rows_of(found.grid, wanted.batch_rows)
    held = rank_bytes(config, found.grid, row_tokens=wanted.row_tokens, num_rows=rows)
    fits = held <= capacity_bytes(cluster.accelerator.memory_gb)
    rejected = found.rejected | ({NO_ROOM: int((~fits).sum())} if not fits.all() else {})
    if not fits.any():
        raise _nothing(asked, found, held)
    grid, rows = found.grid.take(fits), rows[fits]
    times = _times(asked, grid, rows, constants)
    tokens = rows * grid.micro * grid.num_data * wanted.row_tokens
    kind = (*KIND, "replicate") if wanted.is_parted else KIND
    order = _unlike(grid, np.argsort(-tokens / times.step_s, kind="stable"), kind)
    shown = [number for number, _ in zip(order, range(wanted.num_shown), strict=False)]
    return Search(
        ranked=tuple(_judged(asked, grid, rows, times, number) for number in shown),
        num_tried=found.num_tried,
        num_fitting=int(fits.sum()),
        rejected=rejected,
    )


def judge(asked: Question, candidate: Candidate, *, constants: Constants = CALIBRATED) -> Judged:
    """Return the figures of one candidate that breaks no rule, whether it fits or not."""
    grid = Grid.of([candidate])
    rows = rows_of(grid, asked.wanted.batch_rows)
    return _judged(asked, grid, rows, _times(asked, grid, rows, constants), 0)


def _check(asked: Question) -> None:
    """Refuse an accelerator that cannot train, and a step of less than a row."""
    kind, wanted = asked.cluster.accelerator, asked.wanted
    if kind.name.startswith(FOREIGN):
        raise ConfigError(
            f"{kind.name} is not trained on by mynah, whose trainer is torch with CUDA or ROCm",
            hint="plan for a GPU; mynah plan predict knows what others reached on it",
        )
    if "bfloat16" not in kind.measured_tflops:
        raise ConfigError(
            f"{kind.name} has no bfloat16, in which mynah trains",
            hint="plan for Ampere or newer, such as --gpu A100-SXM-80GB",
        )
    if wanted.batch_tokens < wanted.row_tokens:
        raise ConfigError(
            f"a step of {wanted.batch_tokens:,} tokens is less than a row of {wanted.row_tokens:,}",
            hint="raise the tokens of a step, or shorten the rows",
        )


def _nothing(asked: Question, found: Candidates, held: Floats) -> ConfigError:
    """No candidate is left."""
    num, kind = asked.cluster.num_accelerators, asked.cluster.accelerator
    if len(held):
        least, room = float(held.min()) / 1e9, capacity_bytes(kind.memory_gb) / 1e9
        return ConfigError(
            f"none of {found.num_tried:,} layouts fits on {num:,} {kind.name}: the leanest needs "
            f"{least:,.1f} GB of {room:,.1f}",
            hint="take more accelerators, ones with more memory, a smaller model or shorter rows",
        )
    rows, row = asked.wanted.batch_rows, asked.wanted.row_tokens
    if TOO_FEW_ROWS in found.rejected:
        return ConfigError(
            f"none of {found.num_tried:,} layouts can run on {num:,} {kind.name}: {TOO_FEW_ROWS}, "
            f"{rows:,} of {row:,} tokens",
            hint="take fewer accelerators, a larger step or shorter rows",
        )
    most = max(found.rejected, key=lambda name: found.rejected[name])
    return ConfigError(
        f"none of {found.num_tried:,} layouts can run on {num:,} {kind.name}; the most frequent "
        f"reason: {most}",
        hint="take another number of accelerators",
    )


def _times(asked: Question, grid: Grid, rows: Ints, constants: Constants) -> Times:
    setups = setups_of(
        asked.config,
        asked.cluster,
        grid,
        row_tokens=asked.wanted.row_tokens,
        batch_rows=rows * grid.micro * grid.num_data,
    )
    return layout_times(asked.config, grid, setups, constants)


def _unlike(grid: Grid, order: NDArray[Any], kind: Sequence[str]) -> Iterator[int]:
    """Of the order, the first of each kind."""
    table = np.stack([getattr(grid, name) for name in kind], axis=1)[order]
    _, first = np.unique(table, axis=0, return_index=True)
    yield from (int(order[place]) for place in np.sort(first))


def _judged(asked: Question, grid: Grid, rows: Ints, times: Times, number: int) -> Judged:
    config, kind, wanted = asked.config, asked.cluster.accelerator, asked.wanted
    candidate, num_rows = grid.candidate(number), int(rows[number])
    step_s, world = float(times.step_s[number]), candidate.layout.world_size
    tokens = num_rows * candidate.micro_rows * candidate.layout.num_data * wanted.row_tokens
    low, high = SPREAD_SPARSE if config.num_experts else SPREAD_DENSE
    middle = tokens / step_s / world
    speed = Range(low=middle * low, middle=middle, high=middle * high)
    flop = flop_per_token(config, row_tokens=wanted.row_tokens)
    peak = kind.peak_tflops[kind.half] * 1e12
    memory = memory_by_kind(config, candidate, row_tokens=wanted.row_tokens, num_rows=num_rows)
    return Judged(
        candidate=candidate,
        num_accelerators=world,
        num_rows=num_rows,
        row_tokens=wanted.row_tokens,
        step_s=Range(low=step_s / high, middle=step_s, high=step_s / low),
        tokens_per_s=speed,
        mfu=speed.through(lambda some: some * flop / peak),
        times={name: float(seconds[number]) for name, seconds in times.parts.items()},
        memory_bytes=memory,
        capacity_bytes=capacity_bytes(kind.memory_gb),
    )
