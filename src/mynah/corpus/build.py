"""Building a corpus.

Reads a post store, and a ``tokenizer.json`` unless it makes its own; writes
``corpus/<snapshot>/``: token shards ``train`` and ``heldout``, ``documents.parquet``,
``threads.parquet``, ``preferences.parquet``, ``excluded.parquet``, the tokenizer, manifest. The
same posts, settings and tokenizer give the same bytes, whoever runs the steps.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from mynah.corpus.config import CorpusConfig
from mynah.corpus.documents import Chosen, choose_documents
from mynah.corpus.encoded import open_encoder, write_documents
from mynah.corpus.engine import Engine, LocalEngine
from mynah.corpus.fertility import fertility
from mynah.corpus.kinds import CORPUS_KIND
from mynah.corpus.preferences import preference_pairs
from mynah.corpus.threads import write_threads
from mynah.corpus.tokenizer import learn_tokenizer
from mynah.corpus.tokens import DocumentEncoder
from mynah.errors import DataError
from mynah.posts import content_digest
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

_BUILDER_VERSION = 2
"""Raised with every change of what is built from the same posts."""
_DEFAULT_CONFIG = CorpusConfig()
_FERTILITY_POSTS = 100_000


def build_corpus(
    posts: Artifact,
    root: Path,
    *,
    config: CorpusConfig = _DEFAULT_CONFIG,
    tokenizer: Path | int,
    engine: Engine | None = None,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Build the corpus of ``posts``, or find the one that is there.

    Args:
        posts: A post store.
        root: The corpus folder of the workspace.
        config: What is left out and held out.
        tokenizer: The ``tokenizer.json`` of the model to be trained, or how many tokens one that
            is trained on these posts shall have.
        engine: Who runs the steps; by default the threads of this machine.
        progress: Told how far each step is.

    Raises:
        DataError: Too few documents are left, or the tokenizer is none.
    """
    inputs: dict[str, Any] = {
        "builder_version": _BUILDER_VERSION,
        "posts": content_digest(posts),
        "config": asdict(config),
    }
    if isinstance(tokenizer, int):
        inputs["vocab_size"] = tokenizer
    else:
        open_encoder(tokenizer)  # refused before the work, not after it
        inputs["tokenizer_sha256"] = file_sha256(tokenizer)
    found = find_artifact(root, kind=CORPUS_KIND, inputs=inputs)
    if found is not None:
        set_latest(found)
        return found
    with writing_artifact(root, kind=CORPUS_KIND, inputs=inputs) as writer:
        work = writer.folder / ".work"
        with choose_documents(
            posts, work, config=config, engine=engine, progress=progress
        ) as chosen:
            _write(chosen, writer, config, tokenizer, engine, progress)
        shutil.rmtree(work)
    return writer.artifact


def _write(
    chosen: Chosen,
    writer: ArtifactWriter,
    config: CorpusConfig,
    tokenizer: Path | int,
    engine: Engine | None,
    progress: Progress,
) -> None:
    documents = len(chosen.offsets) - 1
    if documents < 2 or chosen.is_heldout.all():
        raise _too_few(chosen)
    path = writer.folder / "tokenizer.json"
    if isinstance(tokenizer, int):
        progress(0, None, note="training the tokenizer")
        learn_tokenizer(chosen.training_texts(), path, vocab_size=tokenizer)
    else:
        shutil.copyfile(tokenizer, path)
    train, heldout = write_documents(
        chosen, writer.folder, tokenizer=path, engine=engine or LocalEngine(), progress=progress
    )
    _write_table(chosen.judged.excluded(), writer.folder / "excluded.parquet")
    num_threads, num_preferences = _write_threads(chosen, writer.folder, config)
    encoder = open_encoder(path)
    writer.counts.update(
        num_posts_in=chosen.judged.facts.height,
        num_posts=chosen.posts.height,
        num_documents=documents,
        num_chains=int((np.diff(chosen.offsets) > 1).sum()),
        num_heldout=heldout.num_documents,
        num_heldout_posts=int(chosen.posts["is_heldout"].sum()),
        num_tokens=train.num_tokens,
        num_heldout_tokens=heldout.num_tokens,
        num_heldout_bytes=heldout.num_bytes,
        num_threads=num_threads,
        num_preferences=num_preferences,
        excluded=_num_by_reason(chosen),
        languages=_by_count(chosen.posts["lang"].fill_null("")),
        redacted=dict(chosen.prepared.redacted),
        fertility=_fertility(chosen, encoder),
        encoder=encoder.encoder,
    )


def _write_threads(chosen: Chosen, folder: Path, config: CorpusConfig) -> tuple[int, int]:
    """Write the dialogues and the preference pairs that replies make; return how many of each."""
    posts = chosen.posts
    answered = posts["reply_to"].drop_nulls().unique()
    is_linked = pl.col("id").is_in(answered.implode()) | pl.col("reply_to").is_in(
        posts["id"].implode()
    )
    linked = posts.filter(is_linked)
    texts = pl.Series("text", chosen.prepared.texts(linked["row"].to_numpy()), dtype=pl.String)
    linked = linked.with_columns(texts).drop("row")
    num_threads = write_threads(linked, folder / "threads.parquet", is_heldout=linked["is_heldout"])
    pairs = preference_pairs(linked.filter(~pl.col("is_heldout")), config.preferences)
    _write_table(pairs, folder / "preferences.parquet")
    return num_threads, pairs.height


def _fertility(chosen: Chosen, encoder: DocumentEncoder) -> list[dict[str, Any]]:
    """Measure the tokenizer by language, on posts at even distances."""
    every = 1 + chosen.posts.height // _FERTILITY_POSTS
    sample = chosen.posts.gather_every(every)
    texts = chosen.prepared.texts(sample["row"].to_numpy())
    frame = pl.DataFrame({"lang": sample["lang"], "text": pl.Series(texts, dtype=pl.String)})
    return fertility(encoder, frame).to_dicts()


def _num_by_reason(chosen: Chosen) -> dict[str, int]:
    return _by_count(chosen.judged.facts["reason"].drop_nulls())


def _by_count(values: pl.Series) -> dict[str, int]:
    counted = values.rename("value").value_counts().sort("count", "value", descending=[True, False])
    return dict(counted.iter_rows())


def _write_table(table: pl.DataFrame, path: Path) -> None:
    """Write with pyarrow: equal rows, equal bytes."""
    pq.write_table(table.to_arrow(), path, compression="zstd")


def _too_few(chosen: Chosen) -> DataError:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in _num_by_reason(chosen).items())
    return DataError(
        f"only {len(chosen.offsets) - 1:,} documents are left of the posts "
        f"(left out: {reasons or 'none'})",
        hint="a corpus needs two conversations at least, one to train on and one to evaluate; "
        "add more posts: mynah posts add WORKSPACE PATH",
    )
