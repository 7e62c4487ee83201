"""The recipe of a training run. Reads nothing; the loop, the data and the pages read it."""

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mynah.config import dump_toml, load_config
from mynah.train.checkpoints import CheckpointConfig
from mynah.train.health import HealthConfig
from mynah.train.layout import LayoutConfig
from mynah.train.optimizers import OptimizerConfig
from mynah.train.preferences import DpoConfig
from mynah.workspace import replace_file

__all__ = [
    "MANNER",
    "CheckpointConfig",
    "DataConfig",
    "DpoConfig",
    "HealthConfig",
    "LayoutConfig",
    "LineageConfig",
    "Manner",
    "OptimizerConfig",
    "Recipe",
    "ScheduleConfig",
    "TrainConfig",
    "placed",
    "read_run",
    "write_run",
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
class Manner:
    """How a run is carried out: what may change whenever it goes on; see ``Recipe``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    replicas: Literal["mesh", "torchft"] = "mesh"
    """Who adds up the gradients of ``layout.replicate``: the mesh, where one dead rank stops all,
    or torchft, where the other groups go on."""
    is_compiled: bool = False
    """Whether layers are compiled; needs a C++ compiler, and takes up to a minute at the start."""
    num_threads: Annotated[int, Field(ge=1)] = 2
    """Threads of one process."""
    evaluate_every_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds of training between evaluations."""
    record_every_s: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between two statements of progress in the record."""
    is_tensorboard: bool = False
    """Whether metrics are written for TensorBoard, too."""
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    """How ranks share the work; one process unless it says otherwise."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """When to save, and what to keep."""
    health: HealthConfig = field(default_factory=HealthConfig)
    """When a rank counts as slow, and when as hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Manner):
    """How to train: everything that decides what a run computes but its inputs."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    objective: Literal["pretrain", "sft", "dpo"] = "pretrain"
    """What to learn: documents and dialogues, the replies of dialogues, or which of two replies
    people preferred."""
    precision: Literal["bfloat16", "float32", "float8"] = "bfloat16"
    """Of matrix products; weights and sums stay in float32. float8 needs a Hopper GPU or newer."""
    pool: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")] = "local"
    """Name of the machines that train, the same for every run on them; for the record."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which documents a step reads."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """How a step changes the weights."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """How long, and the learning rate over that time."""
    dpo: DpoConfig = field(default_factory=DpoConfig)
    """How strongly preferences pull."""

    def row_tokens(self, device: str) -> int | None:
        """Tokens of every row, or ``None`` where rows may have any length.

        Rows of one length are what a pipeline and an accelerator need; alone on a CPU they would
        only be filled up for nothing.

        Args:
            device: ``cpu`` or ``cuda``.
        """
        is_free = self.layout.world_size == 1 and device == "cpu"
        return None if is_free else self.data.batch_tokens

    @property
    def mesh_layout(self) -> LayoutConfig:
        """The layout of one mesh: of all ranks, or of one replica group of torchft."""
        return replace(self.layout, replicate=1) if self.replicas == "torchft" else self.layout


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Recipe):
    """A recipe and its inputs: everything that decides what a run computes."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    base: str
    """Folder of the checkpoint to go on from, in Hugging Face layout; without weights in it, they
    are drawn from ``data.seed``. Here and below, a relative path begins at the run's folder, so
    that a workspace can be moved."""
    corpus: str
    """Folder of the corpus snapshot."""
    dialogues: str
    """Folder of the dialogues; empty when there are none."""
    preferences: str = ""
    """Folder of the preference pairs, for ``dpo``; empty when there are none."""
    lineage: LineageConfig = field(default_factory=LineageConfig)
    """What the base is."""


MANNER = tuple(one.name for one in fields(Manner))
"""Fields of a recipe that say how a run is carried out and not what it computes: they may change
whenever it goes on, and with them the number of its ranks."""


def write_run(run: Path, config: TrainConfig) -> None:
    """Write ``recipe.toml``, once, and ``manner.toml``, each time a run is begun or gone on with.

    The record knows the recipe by its hash, so that it stays what it was.
    """
    if not (run / "recipe.toml").is_file():
        replace_file(run / "recipe.toml", dump_toml(config).encode())
    manner = Manner(**{name: getattr(config, name) for name in MANNER})
    replace_file(run / "manner.toml", dump_toml(manner).encode())


def read_run(run: Path) -> TrainConfig:
    """Read the recipe of a run, with the manner in which it is carried out now.

    Raises:
        ConfigError: A file is missing or wrong.
    """
    config = load_config(TrainConfig, run / "recipe.toml")
    if not (run / "manner.toml").is_file():
        return config
    manner = load_config(Manner, run / "manner.toml")
    return replace(config, **{name: getattr(manner, name) for name in MANNER})


def placed(run: Path, folder: str) -> Path:
    """A folder that the recipe of ``run`` names, relative or not.

    By its name alone: ``..`` must not follow a ``runs`` that is a link to another disk.
    """
    return Path(os.path.normpath(run / folder))
