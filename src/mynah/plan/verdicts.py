"""Why a layout is out, or how far behind the best and by what.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mynah.errors import ConfigError
from mynah.model import LlamaConfig
from mynah.plan.layout_memory import capacity_bytes, memory_by_kind
from mynah.plan.layout_rules import RULES, Question, Wanted, rows_of
from mynah.plan.layout_times import PARTS
from mynah.plan.layouts import Candidate, Cluster, Grid
from mynah.plan.search import Judged, Search, judge, search_layouts

__all__ = ["Verdict", "why"]

WORTH_SAYING = 0.005
"""Share of a step from which on a part is named."""
HUNDREDTH = 0.005
"""Slower by less is as fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is to be said of one layout."""

    candidate: Candidate
    reasons: tuple[str, ...]
    """Every reason why it is out, each with its numbers; none where it is in."""
    judged: Judged | None
    """Its figures, as if it were in; ``None`` where it cannot be computed."""
    best: Judged | None
    """The fastest that fits; ``None`` where nothing does."""

    @property
    def is_in(self) -> bool:
        """Whether it runs and fits."""
        return not self.reasons

    @property
    def behind(self) -> float | None:
        """Share by which an accelerator does less in a second than in the best layout.

        Below zero where it does more, as a layout may that has no room. ``None`` without figures.
        """
        if self.judged is None or self.best is None:
            return None
        return 1.0 - self.judged.tokens_per_s.middle / self.best.tokens_per_s.middle

    @property
    def costs(self) -> Mapping[str, float]:
        """What each part takes more for a token than in the best layout, over the best's whole.

        By ``layout_times.PARTS``, the largest first; below zero where it takes less. They add up to
        its time for a token over the best's, less one. Empty without figures.
        """
        if self.judged is None or self.best is None:
            return {}
        own, best = _seconds_a_token(self.judged), _seconds_a_token(self.best)
        whole = sum(best.values())
        shares = {name: (own[name] - best[name]) / whole for name in PARTS}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))

    @property
    def text(self) -> str:
        """Sentences for a person."""
        if self.reasons:
            return "\n".join(
                [f"{self.candidate.name} is out:", *(f"- {one}" for one in self.reasons)]
            )
        behind = self.behind
        assert behind is not None, "what is in has figures"
        assert self.best is not None, "what is in is behind a best, or is it"
        if behind < HUNDREDTH:
            return (
                f"{self.candidate.name} is in, and as fast as the best, {self.best.candidate.name}"
            )
        said = (
            f"{self.candidate.name} is in, {behind:.1%} behind the best, {self.best.candidate.name}"
        )
        lines = [
            f"- {share:+.1%} {PARTS[name]}"
            for name, share in self.costs.items()
            if abs(share) >= WORTH_SAYING
        ]
        return "\n".join([f"{said}; of its time for a token:", *lines])

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "layout": self.candidate.name,
            "is_in": self.is_in,
            "reasons": list(self.reasons),
            "figures": None if self.judged is None else self.judged.to_json(),
            "best": None if self.best is None else self.best.candidate.name,
            "behind": self.behind,
            "costs": dict(self.costs),
        }


def why(
    config: LlamaConfig,
    cluster: Cluster,
    wanted: Wanted,
    candidate: Candidate,
    *,
    found: Search | None = None,
) -> Verdict:
    """Say why a layout is out, or how far it is behind the best.

    Args:
        config: The model.
        cluster: Where it would run.
        wanted: What a step is to be.
        candidate: From ``parse_candidate``.
        found: The search of the same three, where it has been made.
    """
    asked = Question(config=config, cluster=cluster, wanted=wanted)
    grid = Grid.of([candidate])
    broken = [rule for rule in RULES if not rule.holds(grid, asked)[0]]
    reasons = [rule.says(grid, asked) for rule in broken]
    judged = None
    if not any(rule.is_structural for rule in broken):
        reasons += _memory_reasons(asked, candidate, grid)
        judged = judge(asked, candidate) if rows_of(grid, wanted.batch_rows)[0] else None
    return Verdict(
        candidate=candidate,
        reasons=tuple(reasons),
        judged=judged,
        best=_best(config, cluster, wanted) if found is None else found.ranked[0],
    )


def _best(config: LlamaConfig, cluster: Cluster, wanted: Wanted) -> Judged | None:
    try:
        return search_layouts(config, cluster, wanted).ranked[0]
    except ConfigError:
        return None  # nothing fits: then every layout has its own reason


def _memory_reasons(asked: Question, candidate: Candidate, grid: Grid) -> list[str]:
    """Whether there is room, in the smallest step that such a layout takes if need be."""
    rows = np.maximum(rows_of(grid, asked.wanted.batch_rows), grid.pipeline)
    kinds = memory_by_kind(
        asked.config, candidate, row_tokens=asked.wanted.row_tokens, num_rows=int(rows[0])
    )
    needed, room = sum(kinds.values()), capacity_bytes(asked.cluster.accelerator.memory_gb)
    if needed <= room:
        return []
    largest = sorted(kinds.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{name.replace('_', ' ')} {size / 1e9:,.1f}" for name, size in largest)
    return [f"it needs {needed / 1e9:,.1f} GB of {room / 1e9:,.1f}: {parts}"]


def _seconds_a_token(judged: Judged) -> dict[str, float]:
    """Seconds of an accelerator for a token, by part."""
    tokens = judged.batch_tokens / judged.num_accelerators
    return {name: seconds / tokens for name, seconds in judged.times.items()}
