"""All candidates of a question, as one grid, without those that no rule lets through.

Pure. Degrees are the divisors of the number of ranks, so that none is left out; numbers that could
be anything (stages, rows at a time) come from short lists. A rule is asked as soon as it can
answer, and counts for all that would have followed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mynah.plan.layout_rules import RULES, Question
from mynah.plan.layouts import PRECISIONS, RECOMPUTE, SCHEDULES, Grid

__all__ = ["Candidates", "candidates_of"]

Ints = NDArray[np.int64]

STAGES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16)
"""Stages on a rank of an interleaved pipeline. More send more often than they save waiting."""
MICRO_TOKENS = 65_536
"""Most tokens of all rows that a data rank computes at a time: products fill their tiles long
before that."""
SHARE_TOKENS = 1024
"""Fewest tokens of a row on each context rank, where rows are one at a time: shorter shares wait
for keys longer than they compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What is left of all combinations."""

    grid: Grid
    num_tried: int
    rejected: dict[str, int]
    """Combinations by the first rule that each broke."""


def candidates_of(asked: Question, worlds: Sequence[int]) -> Candidates:
    """Return every candidate that the rules let through.

    Args:
        asked: Model, cluster and step.
        worlds: Numbers of ranks; as a rule that of the cluster's accelerators.
    """
    return _Builder(asked).build(worlds)


class _Builder:
    """A grid that grows field by field."""

    def __init__(self, asked: Question) -> None:
        self.asked = asked
        self.rejected = {rule.name: 0 for rule in RULES}
        self.micro = _powers(MICRO_TOKENS // asked.wanted.row_tokens)
        wanted = asked.wanted
        self.manners = [
            (recompute, PRECISIONS.index(precision), int(is_compiled))
            for recompute, precision, is_compiled in product(
                range(len(RECOMPUTE)), wanted.precisions, wanted.is_compiled
            )
        ]

    def build(self, worlds: Sequence[int]) -> Candidates:
        degrees = _table(row for world in worlds for row in self._degrees(world))
        grid = _grown(_grid(degrees), {"micro": np.array([[one] for one in self.micro])})
        orders = {int(p): self._orders(int(p)) for p in np.unique(grid.pipeline)}
        follow = np.array([len(orders[int(p)]) for p in grid.pipeline]) * len(self.manners)
        num_tried = int(follow.sum())
        grid = self._allowed(grid, follow)
        parts = [
            _grown(
                grid.take(grid.pipeline == p), {"schedule": order[:, :1], "stages": order[:, 1:]}
            )
            for p, order in orders.items()
        ]
        grid = _joined(parts)
        grid = self._allowed(grid, np.full(len(grid), len(self.manners)))
        manners = np.array(self.manners)
        names = ("recompute", "precision", "compiled")
        grid = _grown(grid, {name: manners[:, [at]] for at, name in enumerate(names)})
        grid = self._allowed(grid, np.ones(len(grid), dtype=np.int64))
        return Candidates(
            grid=grid,
            num_tried=num_tried,
            rejected={name: count for name, count in self.rejected.items() if count},
        )

    def _degrees(self, world: int) -> Iterator[tuple[int, ...]]:
        """Tensor, context, pipeline, replicate, shard and expert."""
        config, wanted = self.asked.config, self.asked.wanted
        most_context = max(1, wanted.row_tokens // SHARE_TOKENS)
        for tensor in _divisors(world, most=self.asked.cluster.scale_up_size):
            for context in _divisors(world // tensor, most=most_context):
                rest = world // tensor // context
                for pipeline in _divisors(rest, most=config.num_hidden_layers):
                    data = rest // pipeline
                    for shard in _divisors(data, most=data):
                        for expert in self._experts(shard):
                            yield tensor, context, pipeline, data // shard, shard, expert

    def _experts(self, shard: int) -> list[int]:
        num_experts = self.asked.config.num_experts
        return [one for one in _divisors(shard, most=max(1, num_experts)) if num_experts % one == 0]

    def _orders(self, pipeline: int) -> Ints:
        """Schedules, each with stages."""
        if pipeline == 1:
            return np.array([[0, 1]])
        looped, folded = SCHEDULES.index("interleaved"), SCHEDULES.index("zero_bubble")
        rows = [(0, 1), (folded, 2), *((looped, stages) for stages in STAGES)]
        return np.array(rows)

    def _allowed(self, grid: Grid, follow: Ints) -> Grid:
        """Without those that break a rule; each counts for the ``follow`` that would come of it."""
        for rule in RULES[1:]:  # the first holds by construction
            holds = rule.holds(grid, self.asked)
            self.rejected[rule.name] += int(follow[~holds].sum())
            grid, follow = grid.take(holds), follow[holds]
        return grid


def _powers(most: int) -> list[int]:
    return [2**exponent for exponent in range(max(1, most).bit_length())]


def _divisors(number: int, *, most: int) -> list[int]:
    limit = min(number, most)
    return [one for one in range(1, limit + 1) if number % one == 0]


def _table(rows: Iterable[tuple[int, ...]]) -> Ints:
    return np.array(list(rows), dtype=np.int64).reshape(-1, 6)


def _grid(degrees: Ints) -> Grid:
    """One process but for these degrees."""
    count = len(degrees)
    values: dict[str, Any] = {one.name: np.ones(count, dtype=np.int64) for one in fields(Grid)}
    for name in ("schedule", "recompute", "precision", "compiled"):
        values[name] = np.zeros(count, dtype=np.int64)
    for at, name in enumerate(("tensor", "context", "pipeline", "replicate", "shard", "expert")):
        values[name] = degrees[:, at]
    return Grid(**values)


def _grown(grid: Grid, choices: dict[str, Ints]) -> Grid:
    """Each candidate with each of the choices, which are columns of equally many rows."""
    num_choices = len(next(iter(choices.values())))
    repeated = grid.take(np.repeat(np.arange(len(grid)), num_choices))
    columns = {name: np.tile(column[:, 0], len(grid)) for name, column in choices.items()}
    return replace(repeated, **columns)


def _joined(grids: Sequence[Grid]) -> Grid:
    return Grid(
        **{
            one.name: np.concatenate([getattr(grid, one.name) for grid in grids])
            for one in fields(Grid)
        }
    )
