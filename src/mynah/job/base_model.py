"""The model that training starts from, as a checkpoint to train and a GGUF to serve.

Reads what ``--base`` names; writes ``models/<name>/``.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer

from mynah.corpus import train_tokenizer
from mynah.errors import CheckpointError, ConfigError
from mynah.job.options import Options
from mynah.model import (
    Llama,
    read_config,
    read_gguf,
    resolve_base,
    save_checkpoint,
    shape_from_depth,
    stream_checkpoint,
    write_config,
)
from mynah.progress import Progress
from mynah.record.thresholds import parse_flop
from mynah.serve import LlamaCppConfig, LlamaCppEngine, quantise
from mynah.train import LineageConfig
from mynah.workspace import Artifact, Workspace, file_sha256, snapshot_name

__all__ = ["SERVED", "Base", "load_engine", "open_base", "open_newest_engine"]

SERVED = "model.q8_0.gguf"
"""The file of a model's folder that engines load."""

SMOLLM2 = LineageConfig(
    name="SmolLM2-135M-Instruct",
    digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    flop=str(6 * 135_000_000 * 2_000_000_000_000),
    basis="6 FLOP a weight and token: 135e6 weights, 2e12 tokens (model card of SmolLM2-135M); "
    "its tuning to instructions, far less, is not in it",
)
"""The default base, known by the hash of its file."""


@dataclass(frozen=True, slots=True)
class Base:
    """A model in both its forms."""

    name: str
    """Name under which it is served."""
    folder: Path
    """Checkpoint in Hugging Face layout."""
    gguf: Path
    """What an engine loads."""
    lineage: LineageConfig = field(default_factory=LineageConfig)
    """What the record is told of it, unless the record knows it by itself."""


def open_base(
    options: Options,
    posts: Artifact,
    workspace: Workspace,
    *,
    progress: Progress,
    is_served: bool = True,
) -> Base:
    """Get the base ready to train and, unless ``is_served`` is false, to serve.

    One from scratch that is not served has no weights on the disk: the trainer draws them, each
    rank its own.

    Raises:
        ConfigError: It is not a Llama-family model, one that is trained but not served, or not
            there.
        MachineError: It cannot be downloaded.
    """
    if options.base == "scratch":
        return _from_scratch(options, posts, workspace, progress, is_served=is_served)
    source = resolve_base(options.base, progress=progress)
    if source.is_file():
        digest = file_sha256(source)
        name = f"{source.stem.split('.')[0]}-{digest[:6]}"
        folder = workspace.models / name
        if not _is_whole(folder):
            read_gguf(source, folder, progress=progress)
        return Base(name, folder, source, _lineage(options, name, digest=digest))
    kind = read_config(source).model_type
    if is_served and kind != "llama":
        raise ConfigError(
            f"{source}: its model_type is {kind!r}; mynah up serves only 'llama' as yet",
            hint="train it alone: mynah train run; or choose a base with model_type 'llama'",
        )
    weights = "".join(sorted(file_sha256(path) for path in source.glob("*.safetensors")))
    name = f"{source.name}-{snapshot_name('base', {'weights': weights})[:6]}"
    gguf = workspace.models / name / SERVED
    if is_served and not gguf.is_file():
        quantise(source, gguf, progress=progress)
    return Base(name, source, gguf, _lineage(options, name))


def _lineage(options: Options, name: str, *, digest: str = "") -> LineageConfig:
    """What is known of a base from elsewhere: what the operator says comes first."""
    said = options.recipe.base_flop
    if not said and digest == SMOLLM2.digest:
        return SMOLLM2
    if not said:
        return LineageConfig(name=name, digest=digest)
    flop = str(parse_flop(said))
    return LineageConfig(name=name, digest=digest, flop=flop, basis="the operator says so")


def _from_scratch(
    options: Options,
    posts: Artifact,
    workspace: Workspace,
    progress: Progress,
    *,
    is_served: bool,
) -> Base:
    recipe = options.recipe
    shape = recipe.shape
    size = recipe.vocab_size if shape is None else shape.vocab_size
    inputs: dict[str, object] = {"posts": posts.digest, "vocab_size": size}
    inputs |= {"depth": recipe.depth} if shape is None else {"shape": asdict(shape)}
    name = f"scratch-{snapshot_name('mynah.scratch/1', inputs)[:6]}"
    folder = workspace.models / name
    if not (_is_whole(folder) if is_served else (folder / "config.json").is_file()):
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = folder / "tokenizer.json"
        train_tokenizer(posts, tokenizer, vocab_size=size, progress=progress)
        found = Tokenizer.from_file(str(tokenizer)).get_vocab_size()
        config = shape or shape_from_depth(recipe.depth, vocab_size=-(-found // 64) * 64)
        if is_served:
            model = Llama(config)
            model.initialise(seed=recipe.data.seed)
            save_checkpoint(folder, config, dict(model.state_dict()))
        else:
            write_config(folder, config, dtype=torch.float32)
    if is_served and not (folder / SERVED).is_file():
        quantise(folder, folder / SERVED, progress=progress)
    return Base(name, folder, folder / SERVED, LineageConfig(is_scratch=True))


def open_newest_engine(workspace: Workspace) -> LlamaCppEngine:
    """Load the model that was made last in a workspace.

    Raises:
        ConfigError: There is none yet.
    """
    made = sorted(workspace.models.glob(f"*/{SERVED}"), key=lambda path: path.stat().st_mtime)
    if not made:
        raise ConfigError(
            f"{workspace.root} has no trained model yet",
            hint=f"train one: mynah up {workspace.root}",
        )
    return load_engine(made[-1], config=LlamaCppConfig(), model=made[-1].parent.name)


def load_engine(gguf: Path, *, config: LlamaCppConfig, model: str) -> LlamaCppEngine:
    """Load a model to serve; say which file to delete when one of the workspace is damaged.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        return LlamaCppEngine(gguf, config=config, model=model)
    except CheckpointError as error:
        if gguf.name != SERVED:  # a person's own file
            raise
        raise CheckpointError(
            error.message, hint=f"delete {gguf} and run the same command again: it makes it anew"
        ) from error


def _is_whole(folder: Path) -> bool:
    """Whether a folder that is written file by file got all of it, ``config.json`` last."""
    try:
        next(stream_checkpoint(folder, read_config(folder)))  # checks all before the first
        json.loads((folder / "tokenizer.json").read_bytes())
    except (CheckpointError, FileNotFoundError, ValueError):
        return False
    return True
