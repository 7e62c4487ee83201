"""What a recipe's folders bring to a run: the objective with its sources, and what is held out.

Reads the corpus, the dialogues and the preference pairs that a recipe names; writes nothing.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mynah.corpus import CORPUS_KIND, DIALOGUES_KIND, PREFERENCES_KIND, SEPARATOR, TokenShard
from mynah.errors import ConfigError, DataError
from mynah.model import CHATML_TEMPLATE
from mynah.record.model_signature import MODEL_SIGNATURE, model_digest
from mynah.train.config import TrainConfig, placed
from mynah.train.data import CorpusSource, DialogueSource
from mynah.train.evaluate import HeldOut
from mynah.train.objectives import HeldOutSplit, Objective, pretrain, sft
from mynah.train.preferences import dpo
from mynah.train.world import ALONE, World
from mynah.workspace import Artifact, file_sha256, read_artifact, replace_file

__all__ = ["Material", "base_digest", "beside_weights", "open_material"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
"""What a model inherits from its base unchanged."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns, and what it is measured on."""

    objective: Objective
    held_out: HeldOut
    """Posts that every objective is measured on, in bits per byte."""
    beside: tuple[Path, ...] = ()
    """Files that lie beside the weights of a model: its tokenizer, and how turns are told."""


def open_material(config: TrainConfig, run: Path, *, world: World) -> Material:
    """Open what a run reads; every file is checked against its hash, by rank 0.

    Raises:
        ConfigError: The objective needs something that the recipe does not name, or a document
            does not fit a row.
        DataError: A folder is missing or damaged, or there is nothing in it to learn.
    """
    row_tokens = config.row_tokens(world.device.type)
    objective = _open_objective(config, run, world=world)
    held_out = _open_held_out(config, run, row_tokens=row_tokens)
    return Material(objective, held_out, tuple(beside_weights(config, run, world=world)))


def _open_objective(config: TrainConfig, run: Path, *, world: World) -> Objective:
    _check_rows(config, world)
    corpus = _read(placed(run, config.corpus), CORPUS_KIND, world)
    boundary = _boundary(corpus)
    if config.objective == "dpo":
        if not config.preferences:
            raise _missing("preferences", "preference pairs are replies to one post")
        pairs = _read(placed(run, config.preferences), PREFERENCES_KIND, world)
        digest = world.through_main(lambda: base_digest(placed(run, config.base)))
        return dpo(pairs, config.data, config.dpo, base_digest=digest)
    dialogues = _dialogues(config, run, boundary, world)
    if config.objective == "sft":
        if dialogues is None:
            raise _missing("dialogues", "dialogues are made of posts that share topics")
        prefix = placed(run, config.dialogues) / "train"
        return sft(dialogues, HeldOutSplit.of_dialogues(prefix), config.data)
    documents = CorpusSource(TokenShard(corpus.folder / "train"), boundary=boundary)
    if len(documents.sizes) == 0:
        raise DataError(
            "the corpus has no training document", hint="give mynah more posts: --posts PATH"
        )
    return pretrain(documents, dialogues, config.data)


def _check_rows(config: TrainConfig, world: World) -> None:
    data, row_tokens = config.data, config.row_tokens(world.device.type)
    if row_tokens is not None and data.max_document_tokens > row_tokens:
        raise ConfigError(
            f"data.max_document_tokens is {data.max_document_tokens}, more than the "
            f"{row_tokens} tokens of a row (data.batch_tokens)",
            hint=f"set data.max_document_tokens = {row_tokens}, or raise data.batch_tokens",
        )


def _missing(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"the recipe names no {name}, which its objective learns from",
        hint=f"{why}: build a corpus that has some, or choose objective = 'pretrain'",
    )


def _dialogues(
    config: TrainConfig, run: Path, boundary: int, world: World
) -> DialogueSource | None:
    if not config.dialogues or (config.objective == "pretrain" and not config.data.dialogue_share):
        return None
    folder = _read(placed(run, config.dialogues), DIALOGUES_KIND, world).folder
    starts = np.load(folder / "replies.npy")
    if not len(starts):
        return None
    return DialogueSource(TokenShard(folder / "train"), reply_starts=starts, boundary=boundary)


def _open_held_out(config: TrainConfig, run: Path, *, row_tokens: int | None) -> HeldOut:
    folder = placed(run, config.corpus)
    shard = TokenShard(folder / "heldout")
    return HeldOut.select(
        CorpusSource(shard, boundary=int(shard[0][-1])),
        sizes_bytes=_heldout_bytes(folder),
        max_tokens=config.data.heldout_max_tokens,
        max_document_tokens=config.data.max_document_tokens,
        row_tokens=row_tokens,
    )


def _read(folder: Path, kind: str, world: World) -> Artifact:
    def read() -> Artifact:
        found = read_artifact(folder, kind=kind)
        if found is None:
            raise DataError(
                f"{folder} holds no {kind}", hint="run mynah up again: it rebuilds what is missing"
            )
        found.verify()
        return found

    return world.through_main(read)


def _boundary(corpus: Artifact) -> int:
    shard = TokenShard(corpus.folder / "heldout")
    return int(shard[0][-1])


def _heldout_bytes(corpus: Path) -> list[int]:
    """UTF-8 bytes of each held-out document, what stands between its turns included."""
    sizes = (
        pl.scan_parquet(corpus / "documents.parquet", glob=False)
        .filter("is_heldout")
        .group_by("document", maintain_order=True)
        .agg(pl.col("text").str.len_bytes().sum() + len(SEPARATOR) * (pl.len() - 1))
        .collect()
    )
    return sizes["text"].to_list()


def beside_weights(config: TrainConfig, run: Path, *, world: World = ALONE) -> list[Path]:
    """Files that a model gets beside its weights: the base's tokenizer, and how turns are told.

    The template is that of the dialogues it learned, not the base's own first words about itself.
    """
    template = run / "chat_template.jinja"
    if world.is_main and not template.is_file():
        replace_file(template, CHATML_TEMPLATE.encode())
    base = placed(run, config.base)
    return [path for name in TOKENIZER_FILES if (path := base / name).is_file()] + [template]


def base_digest(base: Path) -> str:
    """Digest of a base; of one that is made of links, as downloads are kept, what they lead to."""
    files = [path for path in base.rglob("*") if path.is_file()]
    if not any(path.is_symlink() for path in files):
        return model_digest(base).hex
    files.sort(key=lambda path: path.relative_to(base).parts)
    hashes = [bytes.fromhex(file_sha256(p)) for p in files if p.name != MODEL_SIGNATURE]
    return hashlib.sha256(b"".join(hashes)).hexdigest()
