"""Dialogues as tokens, in ChatML, with the place where each reply begins.

Reads a corpus and the posts it was made of; writes ``dialogues/<snapshot>/``: the token shard
``train``, whose sidecar names the posts in each dialogue, and ``replies.npy``, the index of each
reply's first token.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from mynah.corpus.dialogues import Dialogue, DialogueConfig, make_dialogues
from mynah.corpus.kinds import DIALOGUES_KIND
from mynah.corpus.prompt import SYSTEM, ShownPost
from mynah.corpus.shards import write_shard
from mynah.corpus.tokens import DocumentEncoder
from mynah.errors import DataError
from mynah.posts import load_posts
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, find_artifact, set_latest, writing_artifact

__all__ = ["DIALOGUES_KIND", "build_dialogues", "chat_tokenizer", "encode_dialogue"]

_BUILDER_VERSION = 5
"""Raised with every change of what is built from the same corpus."""
_DEFAULT_CONFIG = DialogueConfig()


def build_dialogues(
    corpus: Artifact,
    posts: Artifact,
    root: Path,
    *,
    config: DialogueConfig = _DEFAULT_CONFIG,
    progress: Progress = NO_PROGRESS,
) -> Artifact:
    """Make dialogues over the training documents of ``corpus``, or find those that are there.

    Args:
        corpus: Says which posts may be learned, and brings the tokenizer.
        posts: The store it was made of; says who wrote them, and when.
        root: Folder of the dialogues.
        config: How many, and of which kinds.
        progress: Told the dialogues encoded.
    """
    inputs = {
        "builder_version": _BUILDER_VERSION,
        "corpus": corpus.digest,
        "config": asdict(config),
    }
    found = find_artifact(root, kind=DIALOGUES_KIND, inputs=inputs)
    if found is not None:
        set_latest(found)
        return found
    tokenizer = chat_tokenizer(corpus)
    ids, shown = _training_posts(corpus, posts)
    with writing_artifact(root, kind=DIALOGUES_KIND, inputs=inputs) as writer:
        made = make_dialogues(shown, config=config)
        encoded: list[Sequence[int]] = []
        starts: list[int] = []
        post_ids: list[list[str]] = []
        for num_made, dialogue in enumerate(made, start=1):
            tokens, start = encode_dialogue(tokenizer, dialogue)
            if len(tokens) <= config.max_tokens:
                encoded.append(tokens)
                starts.append(start)
                post_ids.append([ids[number] for number in dialogue.posts])
            progress(num_made, len(made), note="dialogues")
        num_tokens = write_shard(
            writer.folder / "train",
            encoded,
            post_ids=post_ids,
            vocab_size=tokenizer.get_vocab_size(),
        )
        np.save(writer.folder / "replies.npy", np.array(starts, dtype=np.int64))
        writer.counts.update(
            num_dialogues=len(encoded),
            num_too_long=len(made) - len(encoded),
            num_tokens=num_tokens,
            end_of_text=DocumentEncoder(corpus.folder / "tokenizer.json").end_of_text,
        )
    return writer.artifact


def chat_tokenizer(corpus: Artifact) -> Tokenizer:
    """Open the tokenizer of a corpus to write dialogues with.

    Raises:
        DataError: It does not know the marks of ChatML.
    """
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    if any(tokenizer.token_to_id(mark) is None for mark in ("<|im_start|>", "<|im_end|>")):
        raise DataError(
            "the base model's tokenizer has no <|im_start|> and <|im_end|>",
            hint="take a base that was tuned for chat in ChatML, or --base scratch",
        )
    return tokenizer


def encode_dialogue(tokenizer: Tokenizer, dialogue: Dialogue) -> tuple[list[int], int]:
    """Return the tokens of a dialogue in ChatML, and the index of its reply's first token."""
    system = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n" if dialogue.is_grounded else ""
    prompt = f"{system}<|im_start|>user\n{dialogue.question}<|im_end|>\n<|im_start|>assistant\n"
    before = tokenizer.encode(prompt, add_special_tokens=False).ids
    reply = tokenizer.encode(f"{dialogue.reply}<|im_end|>\n", add_special_tokens=False).ids
    return [*before, *reply], len(before)


def _training_posts(corpus: Artifact, posts: Artifact) -> tuple[list[str], list[ShownPost]]:
    documents = pl.read_parquet(corpus.folder / "documents.parquet", glob=False).filter(
        ~pl.col("is_heldout")
    )
    handle = pl.when(~pl.col("repost_of").str.contains(":", literal=True)).then("repost_of")
    # As Post.speaker says it: the words of a repost are not its author's.
    speaker = pl.when(pl.col("kind") == "repost").then(handle).otherwise("author")
    wrote = load_posts(posts).select("id", speaker.alias("author"), "created_at")
    joined = documents.join(
        wrote, left_on="post_id", right_on="id", how="left", maintain_order="left"
    )
    shown = [
        ShownPost(author=author or "", created_at=created_at, text=text)
        for author, created_at, text in joined.select("author", "created_at", "text").iter_rows()
    ]
    return joined["post_id"].to_list(), shown
