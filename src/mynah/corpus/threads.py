"""Threads: replies as chains of posts, which become documents and dialogues.

Reads tables of posts; writes ``threads.parquet``, dialogues for tuning. Everything is done to whole
columns: ten million posts take seconds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mynah.corpus.split import follow, parent_rows

__all__ = ["THREADS_SCHEMA", "Chains", "find_chains", "write_threads"]

Rows = npt.NDArray[np.int64]

THREADS_SCHEMA = pa.schema(
    [
        pa.field("thread_id", pa.string(), nullable=False),
        pa.field(
            "turns",
            pa.list_(
                pa.struct(
                    [
                        pa.field("post_id", pa.string(), nullable=False),
                        pa.field("role", pa.string(), nullable=False),
                        pa.field("text", pa.string(), nullable=False),
                    ]
                )
            ),
            nullable=False,
        ),
    ]
)
"""``thread_id`` is the id of the first turn's post."""

_ROW_GROUP = 65_536


@dataclass(frozen=True, slots=True)
class Chains:
    """Posts in chains, each post in exactly one."""

    rows: Rows
    """Row of each post, chain after chain, each post after the one it answers."""
    offsets: Rows
    """Where each chain begins in ``rows``, and the end of the last one."""

    def __len__(self) -> int:
        return len(self.offsets) - 1


def find_chains(posts: pl.DataFrame) -> Chains:
    """Cut every tree of replies into chains, the longest first.

    From a post the chain goes on to the reply below which most is to come; of equals to the
    earliest, then to the first row. Every other reply begins a chain of its own, as does a reply
    to a post that is not there. Chains are in the order of the rows of their first posts.

    Args:
        posts: ``id`` (unique), ``reply_to``, ``created_at``.
    """
    parents = parent_rows(posts["id"], posts["reply_to"])
    _, depths = follow(parents, posts["id"])
    heads = np.arange(len(parents))
    below = _continuations(parents, depths, posts["created_at"])
    heads[below] = parents[below]
    while not np.array_equal(further := heads[heads], heads):
        heads = further
    rows = np.lexsort((depths, heads))
    starts = np.flatnonzero(np.diff(heads[rows], prepend=-1))
    return Chains(rows, np.append(starts, len(rows)).astype(np.int64))


def write_threads(posts: pl.DataFrame, path: Path, *, is_heldout: pl.Series) -> int:
    """Write the dialogues of the threads that may be trained on; return how many.

    A dialogue is a piece of a chain, of two posts at least, in which everyone answers somebody
    else; turns are the user's and the assistant's by turns, beginning with the user's.

    Args:
        posts: ``id`` (unique), ``author``, ``created_at``, ``text`` (cleaned), ``reply_to``.
        path: Where to write ``threads.parquet``.
        is_heldout: Of each post, by the root of its thread.
    """
    chains = find_chains(posts)
    rows, starts = _dialogues(chains, posts["author"], ~is_heldout.to_numpy())
    offsets = np.append(starts, len(rows))
    turn = np.arange(len(rows)) - np.repeat(starts, np.diff(offsets))
    with pq.ParquetWriter(path, THREADS_SCHEMA, compression="zstd") as writer:
        for at in range(0, len(starts), _ROW_GROUP):
            bounds = offsets[at : at + _ROW_GROUP + 1]
            part = slice(int(bounds[0]), int(bounds[-1]))
            writer.write_table(_turns(posts, rows[part], turn[part], bounds - bounds[0]))
    return len(starts)


def _continuations(parents: Rows, depths: Rows, created_at: pl.Series) -> Rows:
    """Return the rows that go on the chain of their parent, one for each parent of any."""
    children = np.flatnonzero(depths > 0)
    heights = _heights(parents, depths)
    longest = children[heights[children] + 1 == heights[parents[children]]]
    ties = np.bincount(parents[longest], minlength=len(parents))[parents[longest]] > 1
    tied = longest[ties]
    times = created_at.gather(tied).cast(pl.Int64).fill_null(np.iinfo(np.int64).max).to_numpy()
    tied = tied[np.lexsort((tied, times, parents[tied]))]
    first = np.diff(parents[tied], prepend=-1) != 0
    return np.concatenate((longest[~ties], tied[first]))


def _heights(parents: Rows, depths: Rows) -> Rows:
    """Return how many replies to replies lie below each post at the most, deepest level first."""
    heights = np.zeros(len(parents), np.int64)
    by_depth = np.argsort(depths, kind="stable")
    bounds = np.cumsum(np.bincount(depths, minlength=1))
    for depth in range(len(bounds) - 1, 0, -1):
        level = by_depth[bounds[depth - 1] : bounds[depth]]
        np.maximum.at(heights, parents[level], heights[level] + 1)
    return heights


def _dialogues(
    chains: Chains, author: pl.Series, may_train: npt.NDArray[np.bool_]
) -> tuple[Rows, Rows]:
    """Return the posts of the dialogues, one after the other, and where each begins."""
    rows = chains.rows
    names = author.gather(rows)
    is_known = (names != "").to_numpy()
    is_start = names.eq_missing(names.shift(1)).to_numpy() | ~is_known
    is_start[1:] |= ~is_known[:-1]
    is_start[chains.offsets[:-1]] = True
    starts = np.flatnonzero(is_start)
    sizes = np.diff(np.append(starts, len(rows)))
    is_kept = (sizes >= 2) & may_train[rows[starts]]
    kept = sizes[is_kept]
    return rows[np.repeat(is_kept, sizes)], np.cumsum(kept) - kept


def _turns(posts: pl.DataFrame, rows: Rows, turn: Rows, offsets: Rows) -> pa.Table:
    chosen = posts.select("id", "text")[rows]
    roles = np.where(turn % 2 == 0, "user", "assistant")
    struct = pa.StructArray.from_arrays(
        [
            chosen["id"].to_arrow().cast(pa.string()),
            pa.array(roles.tolist(), pa.string()),
            chosen["text"].to_arrow().cast(pa.string()),
        ],
        fields=list(THREADS_SCHEMA.field("turns").type.value_type),
    )
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), struct)
    ids = chosen["id"].gather(offsets[:-1]).to_arrow().cast(pa.string())
    return pa.table([ids, lists.cast(THREADS_SCHEMA.field("turns").type)], schema=THREADS_SCHEMA)
