"""From read to learned: how many posts each step kept, what it left out, and why.

Reads the manifests of the post store and the corpus; writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["REJECTED", "FunnelStep", "funnel_headline", "funnel_steps", "since_built"]

REJECTED = "rejected"
"""The reason of rows that no reader could make a post of."""
_LEARNED = "Learned from"

_REASONS = {
    "opted_out": (
        "Opted out of training",
        "Its author or the network said no, or it repeats the words of such a post",
    ),
    "no_words": ("Nothing but links, names and emoji", "There is no word in it to learn from"),
    "too_short": ("Too short to learn from", "It has fewer letters than the setting asks for"),
    "repetitive": (
        "The same thing over and over",
        "Most of it is one letter, word or line again and again",
    ),
    "spam": (
        "Looks like advertising",
        "It shows several signs of advertising at once, or a wall of hashtags",
    ),
    "wrong_language": (
        "In a language that was not asked for",
        "Its language is known and none of those you named",
    ),
    "unknown_language": (
        "In no language that could be told",
        "Nobody can tell its language, and you asked for known ones",
    ),
    "duplicate": ("Same words as another post", "Another post says the same and stands for it"),
    "near_duplicate": (
        "Nearly the same as another post",
        "It differs by little from another post, which stands for it",
    ),
    "bot": (
        "Written by an automated account",
        "Its author posts the way machines do: by the clock, in bursts, or the same all over",
    ),
}
"""What the corpus calls a reason, as a person would say it, and what it means."""


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
        _loss("Could not be read", posts["num_rejected"], REJECTED,
              "Rows of your files that are no post as their format has it"),
        _loss("Private or direct, never kept", posts["num_private"],
              meaning="Only public and unlisted posts are kept; of these not one word is"),
        _loss("The same post again", posts["num_duplicates"],
              meaning="Copies and older versions: of each post the newest version is kept"),
        _loss("Taken back or deleted", _num_withheld(posts),
              meaning="By you, by their authors, or by the network; they never come back in"),
    ]  # fmt: skip
    num_read = int(posts["num_posts"]) + sum(loss.count for loss in losses)
    steps = [
        FunnelStep(name="Came in", count=num_read, meaning="Rows in what you gave"),
        *sorted(losses, key=lambda loss: -loss.count),
        FunnelStep(name="Found by search", count=int(posts["num_posts"]),
                   meaning="Posts in the store; the assistant answers from these"),
    ]  # fmt: skip
    if corpus is not None:
        steps += _corpus_steps(corpus)
    return [step for step in steps if step.count or not step.is_loss]


def funnel_headline(steps: list[FunnelStep]) -> str:
    """Say the whole funnel in one sentence."""
    kept = [step for step in steps if not step.is_loss]
    if not kept:
        return ""
    came, left = kept[0].count, kept[-1].count
    verb = "Your model learns from" if kept[-1].name == _LEARNED else "Search finds"
    return f"{verb} {left:,} of {came:,} posts"


def since_built(posts: Mapping[str, Any], corpus: Mapping[str, Any]) -> str:
    """Say that the store is not the one the corpus was chosen from; empty while it is."""
    before, now = int(corpus["num_posts_in"]), int(posts["num_posts"])
    if before == now:
        return ""
    chosen = f"What is learned from was chosen when there were {before:,} posts"
    if now > before:
        return f"{chosen}; {now - before:,} came since. The next start takes them in."
    return (
        f"{chosen}; {before - now:,} of them left since. Words that were taken back are "
        "overwritten already; the next start counts anew."
    )


def _num_withheld(posts: Mapping[str, Any]) -> int:
    """Posts that files hold and the store does not, though they could be read and are no copy."""
    num_given = sum(int(source["num_posts"]) for source in posts["sources"])
    return max(0, num_given - int(posts["num_duplicates"]) - int(posts["num_posts"]))


def _corpus_steps(corpus: Mapping[str, Any]) -> list[FunnelStep]:
    excluded: Mapping[str, int] = corpus["excluded"]
    losses = [
        _excluded(reason, count)
        for reason, count in sorted(excluded.items(), key=lambda entry: -entry[1])
    ]
    heldout = _loss("Held out to measure with", corpus["num_heldout_posts"],
                    meaning="Never learned from, so that the curve is honest")  # fmt: skip
    num_documents = int(corpus["num_documents"]) - int(corpus["num_heldout"])
    learned = FunnelStep(name=_LEARNED, count=int(corpus["num_posts"]) - heldout.count,
                         meaning=f"Posts that the model trains on, in {num_documents:,} "
                         "documents: a chain of replies is one")  # fmt: skip
    return [*losses, heldout, learned]


def _excluded(reason: str, count: int) -> FunnelStep:
    name, meaning = _REASONS.get(reason, (reason.replace("_", " ").capitalize(), ""))
    return _loss(name, count, reason, meaning)


def _loss(name: str, count: int, reason: str = "", meaning: str = "") -> FunnelStep:
    return FunnelStep(name=name, count=int(count), is_loss=True, reason=reason, meaning=meaning)
