"""Posts to documents: a post that nobody answers is one, a chain of replies is one with turns.

A document is its posts' texts alone: a header of author and date would be copied into everything
the model writes, and the chat gives those facts beside the text anyway. Turns are told apart by
an empty line.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import polars as pl

from mynah.corpus.config import CorpusConfig
from mynah.corpus.engine import Engine, LocalEngine
from mynah.corpus.exclusions import Judged, judge_all
from mynah.corpus.kinds import SEPARATOR
from mynah.corpus.prepared import Prepared, prepare_posts
from mynah.corpus.split import hold_out, thread_roots
from mynah.corpus.threads import find_chains
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact

__all__ = ["SEPARATOR", "Chosen", "choose_documents"]

_CHUNK_DOCUMENTS = 20_000
"""Documents worked on at once: fixed, so that files never depend on the machine."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a corpus is made of, and what it is not."""

    prepared: Prepared
    judged: Judged
    posts: pl.DataFrame
    """``FACTS`` of the posts that are in, their ``row`` in ``prepared``, and ``is_heldout``."""
    order: Rows
    """Rows of ``posts``, document after document, each in the order of its turns."""
    offsets: Rows
    """Where each document begins in ``order``, and the end of the last one."""

    @property
    def is_heldout(self) -> npt.NDArray[np.bool_]:
        """Of each document, by the root of its thread."""
        return self.posts["is_heldout"].to_numpy()[self.order[self.offsets[:-1]]]

    def chunks(self, *, is_heldout: bool) -> Iterator[tuple[Rows, Rows]]:
        """Yield rows of ``posts`` and how many of them make each document, many at a time."""
        documents = np.flatnonzero(self.is_heldout == is_heldout)
        sizes = np.diff(self.offsets)
        for begin in range(0, len(documents), _CHUNK_DOCUMENTS):
            some = documents[begin : begin + _CHUNK_DOCUMENTS]
            first = np.repeat(
                self.offsets[some] - np.cumsum(sizes[some]) + sizes[some], sizes[some]
            )
            yield self.order[first + np.arange(len(first))], sizes[some]

    def training_texts(self) -> Iterator[str]:
        """Yield the text of every post that is trained on."""
        rows = self.posts["row"].to_numpy()
        for chosen, _ in self.chunks(is_heldout=False):
            yield from self.prepared.texts(rows[chosen]).to_pylist()


@contextmanager
def choose_documents(
    posts: Artifact,
    folder: Path | None = None,
    *,
    config: CorpusConfig,
    engine: Engine | None = None,
    progress: Progress = NO_PROGRESS,
) -> Generator[Chosen]:
    """Clean, leave out what may or should not be learned, lay out as documents, split by thread.

    Args:
        posts: A post store.
        folder: For the files of the first pass; by default one that is gone after the block.
        config: What to leave out.
        engine: Who does it; by default the threads of this machine.
        progress: Told how far it is.
    """
    engine = engine or LocalEngine()
    with TemporaryDirectory(prefix="mynah-corpus-") as own:
        prepared = prepare_posts(
            posts, folder or Path(own), config=config, engine=engine, progress=progress
        )
        judged = judge_all(prepared, config=config, engine=engine, progress=progress)
        yield _lay_out(prepared, judged, config)


def _lay_out(prepared: Prepared, judged: Judged, config: CorpusConfig) -> Chosen:
    facts = judged.facts.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    # Of all posts: a thread stays one where a post in its middle is left out.
    roots = thread_roots(facts.select("id", "reply_to"))
    chosen = facts.with_columns(roots.alias("root")).filter(pl.col("reason").is_null())
    held_out = hold_out(chosen["root"], fraction=config.heldout_fraction)
    chosen = chosen.drop("root", "reason", "survivor").with_columns(held_out.alias("is_heldout"))
    chains = find_chains(chosen.select("id", "reply_to", "created_at"))
    return Chosen(prepared, judged, chosen, chains.rows, chains.offsets)
