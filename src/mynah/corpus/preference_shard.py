"""Preference pairs as tokens, in ChatML: one prompt, the chosen reply, then it and the other one.

Reads ``preferences.parquet`` of a corpus; writes ``preferences/<snapshot>/``: the token shards
``train`` and ``heldout``, whose sidecars name the three posts of each pair, and beside them
``train.starts.npy`` and ``heldout.starts.npy``, one row a pair: the index of the chosen reply's
first token, of the second dialogue's first token, and of the other reply's first token.

A document of these shards is one pair, its two dialogues end to end, so that the number of a pair
is that of its document wherever documents are counted. When one of its posts is taken back, the
whole pair is overwritten: what is left of it would prefer a reply to nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from pydantic import ConfigDict, Field
from tokenizers import Tokenizer

from mynah.corpus.blanking import blank_posts
from mynah.corpus.dialogue_shard import chat_tokenizer, encode_dialogue
from mynah.corpus.dialogues import Dialogue
from mynah.corpus.kinds import PREFERENCES_KIND
from mynah.corpus.shards import pair_starts_path, write_shard
from mynah.corpus.split import hold_out, thread_roots
from mynah.corpus.taking_back import TakenBack
from mynah.corpus.tokens import DocumentEncoder
from mynah.errors import DataError
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import (
    Artifact,
    find_artifact,
    restate_artifact,
    set_latest,
    writing_artifact,
)

__all__ = [
    "PREFERENCES_KIND",
    "PreferenceShardConfig",
    "build_preferences",
    "encode_pair",
    "forget_in_preferences",
]

_BUILDER_VERSION = 1
"""Raised with every change of what is built from the same corpus."""
_PARTS = ("train", "heldout")
_IDS = ("parent_id", "chosen_id", "rejected_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceShardConfig:
    """Which pairs become tokens, and which of them are held out."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    max_tokens: Annotated[int, Field(ge=16)] = 512
    """Tokens of a prompt with one reply. A longer prompt loses its beginning, in both dialogues of
    the pair; a pair whose reply leaves no room for a prompt is left out."""
    heldout_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of threads whose pairs are never trained on: the choice has to be measured on posts
    that no pair has shown."""


_DEFAULT_CONFIG = PreferenceShardConfig()


@dataclass(frozen=True, slots=True)
class _Pair:
    tokens: list[int]
    starts: tuple[int, int, int]
    is_cut: bool


def build_preferences(
    corpus: Artifact,
    root: Path,
    *,
    config: PreferenceShardConfig = _DEFAULT_CONFIG,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Encode the preference pairs of ``corpus``, or find those that are there.

    Args:
        corpus: Its pairs hold nothing that the corpus holds out; it brings the tokenizer.
        root: Folder of the preferences.
        config: How long, and how many are held out.
        progress: Told the pairs encoded.

    Raises:
        DataError: The tokenizer knows no ChatML, or the pairs leave nothing to train on.
    """
    inputs = {
        "builder_version": _BUILDER_VERSION,
        "corpus": corpus.digest,
        "config": asdict(config),
    }
    found = find_artifact(root, kind=PREFERENCES_KIND, inputs=inputs)
    if found is not None:
        set_latest(found)
        return found
    tokenizer = chat_tokenizer(corpus)
    table = _pairs(corpus)
    is_heldout = _held_out(table, share=config.heldout_share)
    if is_heldout.all():
        raise DataError(
            f"the corpus has {table.height} preference pairs, in too few threads to train on some "
            "and hold out others",
            hint="pairs are replies to one post with clearly different likes: add posts that have "
            "replies and likes, or lower preferences.min_ratio and preferences.min_margin",
        )
    with writing_artifact(root, kind=PREFERENCES_KIND, inputs=inputs) as writer:
        pairs: list[_Pair | None] = []
        for prompt, *replies in table.select("prompt", "chosen", "rejected").iter_rows():
            pairs.append(encode_pair(tokenizer, prompt, replies, max_tokens=config.max_tokens))
            progress(len(pairs), table.height, note="preference pairs")
        ids = table.select(_IDS).rows()
        for name, is_in in zip(_PARTS, (~is_heldout, is_heldout), strict=True):
            kept = [
                (pair, list(names))
                for pair, names, is_here in zip(pairs, ids, is_in, strict=True)
                if pair and is_here
            ]
            _write(writer.folder / name, kept, tokenizer)
            writer.counts[f"num_{name}"] = len(kept)
        writer.counts.update(
            num_cut=sum(pair.is_cut for pair in pairs if pair),
            num_too_long=pairs.count(None),
            end_of_text=DocumentEncoder(corpus.folder / "tokenizer.json").end_of_text,
        )
    return writer.artifact


def _pairs(corpus: Artifact) -> pl.DataFrame:
    path = corpus.folder / "preferences.parquet"
    if not path.is_file():
        raise DataError(
            f"{corpus.folder} has no preferences.parquet: an earlier release built it",
            hint="delete that corpus folder and run the same command again to rebuild it",
        )
    return pl.read_parquet(path, glob=False)


def _held_out(table: pl.DataFrame, *, share: float) -> pl.Series:
    """Say which pairs are held out, whole threads at a time.

    A reply of one pair may be the prompt of another: both are of one thread, as far as pairs know.
    """
    replies = [
        table.select(pl.col(name).alias("id"), pl.col("parent_id").alias("reply_to"))
        for name in ("chosen_id", "rejected_id")
    ]
    answers = pl.concat(replies).unique("id", keep="first", maintain_order=True)
    roots = answers.select("id", thread_roots(answers).alias("root"))
    of_pairs = table.select(pl.col("chosen_id").alias("id")).join(
        roots, on="id", how="left", maintain_order="left"
    )
    return hold_out(of_pairs["root"], fraction=share)


def encode_pair(
    tokenizer: Tokenizer, prompt: str, replies: Sequence[str], *, max_tokens: int
) -> _Pair | None:
    """Encode two dialogues with one prompt, the chosen reply first.

    Args:
        tokenizer: With the marks of ChatML.
        prompt: Loses its beginning until both dialogues fit.
        replies: The chosen one and the other.
        max_tokens: Tokens of each dialogue.

    Returns:
        Tokens and starts, or nothing when a reply leaves no room for any of the prompt.
    """
    is_cut = False
    while True:
        (chosen, reply), (rejected, other) = (
            encode_dialogue(tokenizer, Dialogue(prompt, text, is_grounded=False))
            for text in replies
        )
        excess = max(len(chosen), len(rejected)) - max_tokens
        if excess <= 0:
            starts = (reply, len(chosen), len(chosen) + other)
            return _Pair([*chosen, *rejected], starts, is_cut)
        ends = [end for _, end in tokenizer.encode(prompt, add_special_tokens=False).offsets]
        prompt, is_cut = prompt[ends[min(excess, len(ends)) - 1] :].lstrip(), True
        if not prompt:
            return None


def _write(prefix: Path, pairs: Sequence[tuple[_Pair, list[str]]], tokenizer: Tokenizer) -> None:
    write_shard(
        prefix,
        [pair.tokens for pair, _ in pairs],
        post_ids=[ids for _, ids in pairs],
        vocab_size=tokenizer.get_vocab_size(),
    )
    starts = np.array([pair.starts for pair, _ in pairs], dtype=np.int64)
    np.save(pair_starts_path(prefix), starts.reshape(-1, 3))


def forget_in_preferences(preferences: Artifact, post_ids: Collection[str]) -> TakenBack | None:
    """Overwrite whole pairs in which one of ``post_ids`` asks or answers."""
    filler = int(preferences.counts["end_of_text"])
    blanked = {
        (name, post["document"]): post["num_tokens"]
        for name in _PARTS
        for post in blank_posts(preferences.folder / name, post_ids, filler=filler)
    }
    if not blanked:
        return None
    restate_artifact(preferences)
    return TakenBack(
        snapshot=preferences.snapshot,
        num_documents=len(blanked),
        num_tokens=sum(blanked.values()),
    )
