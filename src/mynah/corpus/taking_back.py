"""Taking posts back out of what was made of them: token shards, documents, dialogues.

Changes finished artifacts in place and states them anew. Sizes never change, so the order of the
training data, which is arithmetic over sizes, stays what it was, and a run that is under way goes
on: where the words stood it finds end-of-text tokens, whose prediction counts nothing. Running it
again changes nothing more, so a kill in the middle is mended by the same command.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from mynah.corpus.blanking import blank_posts
from mynah.corpus.tokens import DocumentEncoder
from mynah.workspace import Artifact, restate_artifact

__all__ = ["TakenBack", "forget_in_corpus", "forget_in_dialogues"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """What was taken out of one artifact."""

    snapshot: str
    num_documents: int
    """Documents, or dialogues, that held the posts."""
    num_tokens: int
    """Tokens overwritten."""


def forget_in_corpus(corpus: Artifact, post_ids: Collection[str]) -> TakenBack | None:
    """Overwrite the words of ``post_ids`` in a corpus; ``None`` when it holds none of them.

    The ids stay where they are, so that it can still be told which steps read the posts.
    """
    filler = DocumentEncoder(corpus.folder / "tokenizer.json").end_of_text
    blanked = {
        name: blank_posts(corpus.folder / name, post_ids, filler=filler)
        for name in ("train", "heldout")
    }
    if not any(blanked.values()):
        return None
    gone = pl.Series(sorted(post_ids), dtype=pl.String).implode()
    _rewrite(
        corpus.folder / "documents.parquet",
        pl.when(pl.col("post_id").is_in(gone)).then(pl.lit("")).otherwise("text").alias("text"),
        keep=pl.lit(value=True),
    )
    _rewrite(
        corpus.folder / "threads.parquet",
        keep=~pl.col("turns").list.eval(pl.element().struct["post_id"].is_in(gone)).list.any(),
    )
    _rewrite(
        corpus.folder / "preferences.parquet",
        keep=~pl.any_horizontal(
            pl.col(name).is_in(gone) for name in ("parent_id", "chosen_id", "rejected_id")
        ),
    )
    restate_artifact(corpus)
    return TakenBack(
        snapshot=corpus.snapshot,
        num_documents=sum(len({post["document"] for post in part}) for part in blanked.values()),
        num_tokens=sum(post["num_tokens"] for part in blanked.values() for post in part),
    )


def forget_in_dialogues(dialogues: Artifact, post_ids: Collection[str]) -> TakenBack | None:
    """Overwrite whole dialogues in which one of ``post_ids`` is shown or quoted."""
    filler = int(dialogues.counts["end_of_text"])
    blanked = blank_posts(dialogues.folder / "train", post_ids, filler=filler)
    if not blanked:
        return None
    restate_artifact(dialogues)
    by_document = {post["document"]: post["num_tokens"] for post in blanked}
    return TakenBack(
        snapshot=dialogues.snapshot,
        num_documents=len(by_document),
        num_tokens=sum(by_document.values()),
    )


def _rewrite(path: Path, *columns: pl.Expr, keep: pl.Expr) -> None:
    if not path.is_file():  # a corpus of an earlier release has no threads
        return
    table = pl.read_parquet(path, glob=False).with_columns(*columns).filter(keep)
    aside = path.with_name(f".{path.name}.writing")
    pq.write_table(table.to_arrow(), aside, compression="zstd")
    with aside.open("rb") as stream:
        os.fsync(stream.fileno())
    aside.replace(path)
