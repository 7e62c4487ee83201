"""Building a corpus.

Reads a post store and a ``tokenizer.json``; writes ``corpus/<snapshot>/``: token shards
``train`` and ``heldout``, ``documents.parquet``, ``excluded.parquet``, the tokenizer, manifest.
"""

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from mynah.corpus.config import CorpusConfig
from mynah.corpus.documents import Documents, choose_documents
from mynah.corpus.shards import write_shard
from mynah.corpus.tokens import DocumentEncoder
from mynah.errors import DataError
from mynah.posts import load_posts
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import (
    Artifact,
    ArtifactWriter,
    file_sha256,
    find_artifact,
    set_latest,
    writing_artifact,
)

__all__ = ["CORPUS_KIND", "build_corpus"]

logger = logging.getLogger(__name__)

CORPUS_KIND = "mynah.corpus/1"
"""Kind of the corpus artifact."""

_BUILDER_VERSION = 1
"""Raised with every change of what is built from the same posts."""
_DEFAULT_CONFIG = CorpusConfig()


def build_corpus(
    posts: Artifact,
    root: Path,
    *,
    config: CorpusConfig = _DEFAULT_CONFIG,
    tokenizer: Path,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Build the corpus of ``posts``, or find the one that is there.

    Args:
        posts: A post store.
        root: The corpus folder of the workspace.
        config: What is left out and held out.
        tokenizer: The ``tokenizer.json`` of the model to be trained.
        progress: Told the posts compared, then the documents written.

    Raises:
        DataError: Too few documents are left, or the tokenizer is none.
    """
    encoder = DocumentEncoder(tokenizer)
    inputs = {
        "builder_version": _BUILDER_VERSION,
        "posts": posts.digest,
        "config": asdict(config),
        "tokenizer_sha256": file_sha256(tokenizer),
    }
    found = find_artifact(root, kind=CORPUS_KIND, inputs=inputs)
    if found is not None:
        set_latest(found)
        return found
    with writing_artifact(root, kind=CORPUS_KIND, inputs=inputs) as writer:
        table = load_posts(posts)
        documents = choose_documents(table, config=config, progress=progress)
        if documents.chosen.height < 2 or documents.chosen["is_heldout"].all():
            raise _too_few(documents)
        _write(documents, writer, encoder, progress)
        writer.counts["num_posts_in"] = table.height
        shutil.copyfile(tokenizer, writer.folder / "tokenizer.json")
    return writer.artifact


def _write(
    documents: Documents, writer: ArtifactWriter, encoder: DocumentEncoder, progress: Progress
) -> None:
    chosen = documents.chosen
    heldout = chosen.filter("is_heldout")
    num_tokens: dict[str, int] = {}
    for name, part in (("train", chosen.filter(~pl.col("is_heldout"))), ("heldout", heldout)):
        num_tokens[name] = write_shard(
            writer.folder / name,
            encoder.encode(part["text"]),
            post_ids=[[post_id] for post_id in part["post_id"]],
            vocab_size=encoder.vocab_size,
        )
        progress(part.height, chosen.height, note=f"{name} documents written")
    _write_table(chosen, writer.folder / "documents.parquet")
    _write_table(documents.excluded, writer.folder / "excluded.parquet")
    writer.counts.update(
        num_documents=chosen.height,
        num_heldout=heldout.height,
        num_tokens=num_tokens["train"],
        num_heldout_tokens=num_tokens["heldout"],
        num_heldout_bytes=int(heldout["text"].str.len_bytes().sum()),
        excluded=_num_by_reason(documents),
    )


def _num_by_reason(documents: Documents) -> dict[str, Any]:
    return dict(documents.excluded.group_by("reason").len().sort("reason").iter_rows())


def _write_table(table: pl.DataFrame, path: Path) -> None:
    """Write with pyarrow: equal rows, equal bytes."""
    pq.write_table(table.to_arrow(), path, compression="zstd")


def _too_few(documents: Documents) -> DataError:
    reasons = ", ".join(
        f"{count:,} {reason}" for reason, count in _num_by_reason(documents).items()
    )
    return DataError(
        f"only {documents.chosen.height:,} documents are left of the posts "
        f"(left out: {reasons or 'none'})",
        hint="a corpus needs two conversations at least, one to train on and one to evaluate; "
        "read more posts with --posts",
    )
