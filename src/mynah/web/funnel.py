"""From read to learned: how many posts each step kept, what it left out, and why.

Reads the manifests of the post store and the corpus; writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FunnelStep", "funnel_steps"]

_REASONS = {
    "opted_out": "Its author opted out of training",
    "too_short": "Too short to learn from",
    "duplicate": "Same words as another post",
    "near_duplicate": "Nearly the same as another post",
}
"""What the corpus calls a reason, as a person would say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """A step that posts reach, or a reason why some do not reach the next."""

    name: str
    count: int
    meaning: str = ""
    is_loss: bool = False
    reason: str = ""
    """Of a loss: ``rejected``, or the corpus's own word; empty when there is nothing to open."""


def funnel_steps(
    posts: Mapping[str, Any] | None, corpus: Mapping[str, Any] | None
) -> list[FunnelStep]:
    """Lay out the counts of both manifests from the widest to the narrowest.

    Args:
        posts: ``counts`` of the post store; nothing is known without it.
        corpus: ``counts`` of the corpus; ``None`` while it is being built.
    """
    if posts is None:
        return []
    losses = [
        _loss("Rows that could not be read", posts["num_rejected"], "rejected"),
        _loss("Private or direct, never kept", posts["num_private"]),
        _loss("The same post twice in the export", posts.get("num_duplicates", 0)),
    ]
    num_read = int(posts["num_posts"]) + sum(loss.count for loss in losses)
    steps = [FunnelStep(name="Read", count=num_read, meaning="Rows in what you gave"), *losses]
    found = FunnelStep(name="Found by search", count=int(posts["num_posts"]),
                       meaning="Posts in the store; the assistant answers from these")  # fmt: skip
    steps.append(found)
    if corpus is not None:
        steps += _corpus_steps(corpus)
    return [step for step in steps if step.count or not step.is_loss]


def _corpus_steps(corpus: Mapping[str, Any]) -> list[FunnelStep]:
    excluded: Mapping[str, int] = corpus["excluded"]
    losses = [
        _loss(_REASONS.get(reason, reason.replace("_", " ").capitalize()), count, reason)
        for reason, count in sorted(excluded.items(), key=lambda entry: -entry[1])
    ]
    heldout = FunnelStep(name="Held out to measure with", count=int(corpus["num_heldout"]),
                         meaning="Never learned from, so that the curve is honest",
                         is_loss=True)  # fmt: skip
    learned = FunnelStep(name="Learned from",
                         count=int(corpus["num_documents"]) - heldout.count,
                         meaning="Posts that the model trains on")  # fmt: skip
    return [*losses, heldout, learned]


def _loss(name: str, count: int, reason: str = "") -> FunnelStep:
    return FunnelStep(name=name, count=int(count), is_loss=True, reason=reason)
