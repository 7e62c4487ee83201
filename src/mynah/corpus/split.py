"""Which documents are held out for evaluation: decided by a hash, by thread, before training."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

__all__ = ["is_held_out", "thread_root"]


def thread_root(post_id: str, reply_to: Mapping[str, str]) -> str:
    """Follow replies up to the first post of the thread, or the last id that is known.

    Args:
        post_id: Where to start.
        reply_to: Id of each reply to the id it answers.
    """
    seen = [post_id]
    while (parent := reply_to.get(seen[-1])) is not None:
        if parent in seen:  # no network makes a circle, a damaged export may
            return min(seen[seen.index(parent) :])
        seen.append(parent)
    return seen[-1]


def is_held_out(roots: Sequence[str], *, fraction: float) -> list[bool]:
    """Hold out the threads whose root hashes lowest.

    The choice for one thread does not depend on the others, so it stays as the network grows.
    Only where so few posts would leave none out, or none in, the lowest hash alone is held out.
    """
    places = [_place(root) for root in roots]
    chosen = [place < fraction for place in places]
    if places and (not any(chosen) or all(chosen)):
        lowest = min(places)
        return [place == lowest for place in places]
    return chosen


def _place(root: str) -> float:
    """Map an id to [0, 1)."""
    return int.from_bytes(sha256(root.encode()).digest()[:6]) / 2**48
