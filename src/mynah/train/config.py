"""The recipe of a training run. Reads nothing; the loop, the data and the pages read it."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

__all__ = [
    "DataConfig",
    "LineageConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "TrainConfig",
    "placed",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which documents a step reads."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Order of the documents is a function of this, the corpus and the step."""
    tokens_per_step: Annotated[int, Field(ge=1)] = 1024
    """Tokens of one optimizer step, within one document's length."""
    batch_tokens: Annotated[int, Field(ge=1)] = 512
    """Tokens whose activations exist at once; bounds the memory, not the result."""
    max_document_tokens: Annotated[int, Field(ge=1)] = 512
    """Longer documents are read in pieces of this many tokens."""
    dialogue_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of a step's tokens that comes from dialogues over posts, so that a model that
    learns the network's language keeps, and sharpens, its ability to answer from posts."""
    heldout_max_tokens: Annotated[int, Field(ge=1)] = 8192
    """Held-out tokens that an evaluation reads; the same ones every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW, Loshchilov & Hutter 2019 (arXiv:1711.05101)."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    lr: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate, reached at the end of warm-up."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Memory of the mean gradient."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Memory of the mean squared gradient."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """Added to the root of the squared mean."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Pull towards zero a step, times the learning rate; of matrices only."""
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients of a larger norm are scaled down to it."""
    max_skipped_steps: Annotated[int, Field(ge=0)] = 20
    """Steps with a loss or gradient that is not finite are skipped; one more ends the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """Warm-up, stable, decay; Hu et al. 2024 (arXiv:2404.06395).

    The run ends when its steps or its minutes are used up, whichever comes first, and the
    learning rate follows the nearer of the two ends.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    num_steps: Annotated[int, Field(ge=1)] = 1_000_000
    """Optimizer steps at the most."""
    max_minutes: Annotated[float, Field(gt=0)] = 4.0
    """Minutes of training at the most; evaluations and checkpoints not counted."""
    warmup_steps: Annotated[int, Field(ge=0)] = 8
    """Optimizer steps of linear warm-up."""
    decay_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the run, at its end, over which the rate falls linearly."""
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Learning rate of the last step, as a share of the peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageConfig:
    """What the base is, for the record. A base that the record has made needs none of it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    is_scratch: bool = False
    """Random weights: nothing to descend from."""
    name: Annotated[str, Field(max_length=200)] = ""
    """As its maker calls it; empty is the name of its folder."""
    digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the one file that it was read from; empty is the digest of its folder."""
    flop: Annotated[str, Field(pattern=r"^((0|[1-9][0-9]{0,39}))?$")] = ""
    """FLOP of its whole lineage, a decimal number; empty when nobody knows."""
    basis: Annotated[str, Field(max_length=500)] = "nobody has said how it was trained"
    """Where that number is from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a run computes."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    base: str
    """Folder of the checkpoint to go on from, in Hugging Face layout. Here and below, a relative
    path begins at the run's folder, so that a workspace can be moved."""
    corpus: str
    """Folder of the corpus snapshot."""
    dialogues: str
    """Folder of the dialogues; empty when there are none."""
    lineage: LineageConfig = field(default_factory=LineageConfig)
    """What the base is."""
    pool: Annotated[str, Field(min_length=1, max_length=200)] = "local"
    """Name of the machines that train, the same for every run on them."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which documents a step reads."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How a step changes the weights."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """How long, and the learning rate over that time."""
    num_threads: Annotated[int, Field(ge=1)] = 2
    """Threads of one process."""
    evaluate_every_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds of training between evaluations."""
    checkpoint_every_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds of training between checkpoints; a kill loses at most these."""
    record_every_s: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between two statements of progress in the record."""


def placed(run: Path, folder: str) -> Path:
    """A folder that the recipe of ``run`` names, relative or not.

    By its name alone: ``..`` must not follow a ``runs`` that is a link to another disk.
    """
    return Path(os.path.normpath(run / folder))
