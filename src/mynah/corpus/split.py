"""Which documents are held out for evaluation: decided by a hash, by thread, before training.

Reads and writes nothing. ``thread_root`` and ``is_held_out`` say what is meant, post by post;
``thread_roots`` and ``hold_out`` do the same to whole columns.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import polars as pl

__all__ = ["follow", "hold_out", "is_held_out", "parent_rows", "thread_root", "thread_roots"]

Rows = npt.NDArray[np.int64]


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


def thread_roots(posts: pl.DataFrame) -> pl.Series:
    """Return the ``thread_root`` of every post.

    Args:
        posts: ``id`` (unique) and ``reply_to``. All posts of the store, those that become no
            document too: a thread stays one where a post in its middle is left out.
    """
    known = posts.select("id")
    missing = (
        posts.select(pl.col("reply_to").alias("id"))
        .filter(pl.col("id").is_not_null())
        .unique()
        .join(known, on="id", how="anti")
        .sort("id")
    )
    ids = pl.concat([known["id"], missing["id"]]).rename("root")
    roots, _ = follow(parent_rows(ids, posts["reply_to"]), ids)
    return ids.gather(roots[: len(posts)])


def parent_rows(ids: pl.Series, reply_to: pl.Series) -> Rows:
    """Return the row of ``ids`` that each one answers; its own where it answers none of them.

    Args:
        ids: Unique.
        reply_to: Of the first of them; those beyond answer nothing.
    """
    rows = np.arange(len(ids))
    numbered = pl.DataFrame({"id": ids, "row": rows})
    answered = pl.DataFrame({"row": rows[: len(reply_to)], "id": reply_to}).drop_nulls()
    found = answered.join(numbered, on="id", how="inner", maintain_order="left")
    rows[found["row"].to_numpy()] = found["row_right"].to_numpy()
    return rows


def follow(parents: Rows, ids: pl.Series) -> tuple[Rows, Rows]:
    """Return the row of each one's root, and how many steps it is away.

    Rows that are their own parent are roots. A circle is opened at its least id.

    Args:
        parents: Row that each row points to; circles are opened in place.
        ids: Id of each row, to open circles.
    """
    roots = parents.copy()
    # Pointer jumping: after n rounds everyone points 2**n steps up, or at a root.
    for _ in range(len(parents).bit_length() + 1):
        if np.array_equal(further := roots[roots], roots):
            break
        roots = further
    on_circles = np.unique(roots[parents[roots] != roots])
    if not on_circles.size:
        return roots, _num_steps(parents)
    _open_circles(parents, on_circles, ids)
    return follow(parents, ids)


def _num_steps(parents: Rows) -> Rows:
    at = parents.copy()
    steps = (at != np.arange(len(at))).astype(np.int64)
    while not np.array_equal(further := at[at], at):
        steps += steps[at]
        at = further
    return steps


def _open_circles(parents: Rows, on_circles: Rows, ids: pl.Series) -> None:
    """Make the least id of each circle a root; ``on_circles`` has a row of every circle at least.

    Row by row: there are few in an export that is damaged, and none in one that is not.
    """
    done: set[int] = set()
    for start in on_circles.tolist():
        if start in done:
            continue
        circle = [start]
        while (row := int(parents[circle[-1]])) != start:
            circle.append(row)
        done.update(circle)
        least = min(circle, key=lambda row: str(ids[row]))
        parents[least] = least


def is_held_out(roots: Sequence[str], *, fraction: float) -> list[bool]:
    """Hold out the threads whose root hashes lowest.

    The choice for one thread does not depend on the others, so it stays as the network grows.
    Only where so few posts would leave none out, or none in, the lowest hash alone is held out.
    """
    return hold_out(pl.Series("root", roots, dtype=pl.String), fraction=fraction).to_list()


def hold_out(roots: pl.Series, *, fraction: float) -> pl.Series:
    """Say which posts are held out, as ``is_held_out`` does.

    Args:
        roots: Root of each post's thread.
        fraction: Share of threads to hold out.
    """
    distinct = roots.unique(maintain_order=True).rename("root")
    places = _places(distinct)
    chosen = places < fraction
    if len(places) and (not chosen.any() or chosen.all()):
        chosen = places == places.min()
    held_out = distinct.filter(pl.Series(chosen))
    return roots.is_in(held_out.implode()).rename("is_heldout")


def _places(roots: pl.Series) -> npt.NDArray[np.float64]:
    """Map ids to [0, 1): the first 48 bits of SHA-256, which a double holds exactly."""
    digests = b"".join(sha256(root.encode()).digest()[:6] for root in roots)
    parts = np.frombuffer(digests, ">u2").reshape(-1, 3).astype(np.float64)
    return (parts[:, 0] * 2**32 + parts[:, 1] * 2**16 + parts[:, 2]) / 2**48
