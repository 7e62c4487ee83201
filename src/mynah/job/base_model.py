"""The model that training starts from, as a checkpoint to train and a GGUF to serve.

Reads what ``--base`` names; writes ``models/<name>/``.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from mynah.corpus import train_tokenizer
from mynah.errors import CheckpointError, ConfigError
from mynah.job.options import Options
from mynah.model import (
    Llama,
    LlamaConfig,
    read_config,
    read_gguf,
    resolve_base,
    save_checkpoint,
    stream_checkpoint,
)
from mynah.progress import Progress
from mynah.record.thresholds import parse_flop
from mynah.serve import LlamaCppConfig, LlamaCppEngine, quantise
from mynah.train import LineageConfig
from mynah.workspace import Artifact, Workspace, file_sha256, snapshot_name

__all__ = ["SERVED", "Base", "load_engine", "open_base", "open_newest_engine", "scratch_config"]

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
    options: Options, posts: Artifact, workspace: Workspace, *, progress: Progress
) -> Base:
    """Get the base ready to serve and to train.

    Raises:
        ConfigError: It is not a Llama-family model, or not there.
        MachineError: It cannot be downloaded.
    """
    if options.base == "scratch":
        return _from_scratch(options, posts, workspace, progress)
    source = resolve_base(options.base, progress=progress)
    if source.is_file():
        digest = file_sha256(source)
        name = f"{source.stem.split('.')[0]}-{digest[:6]}"
        folder = workspace.models / name
        if not _is_whole(folder):
            read_gguf(source, folder, progress=progress)
        return Base(name, folder, source, _lineage(options, name, digest=digest))
    weights = "".join(sorted(file_sha256(path) for path in source.glob("*.safetensors")))
    name = f"{source.name}-{snapshot_name('base', {'weights': weights})[:6]}"
    gguf = workspace.models / name / SERVED
    if not gguf.is_file():
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


def scratch_config(recipe_depth: int, *, vocab_size: int) -> LlamaConfig:
    """Derive a model from one dial: a layer, a head and 64 channels for each step of it.

    Args:
        recipe_depth: Layers.
        vocab_size: Tokens of its tokenizer.

    Source: the depth dial of nanochat, https://github.com/karpathy/nanochat.
    """
    num_heads = max(1, recipe_depth)
    width = 64 * num_heads
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=-(-width * 8 // 3 // 64) * 64,
        num_hidden_layers=recipe_depth,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads // 3 if num_heads % 3 == 0 else num_heads,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )


def _from_scratch(
    options: Options, posts: Artifact, workspace: Workspace, progress: Progress
) -> Base:
    recipe = options.recipe
    inputs = {"posts": posts.digest, "depth": recipe.depth, "vocab_size": recipe.vocab_size}
    name = f"scratch-{snapshot_name('mynah.scratch/1', inputs)[:6]}"
    folder = workspace.models / name
    if not _is_whole(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = folder / "tokenizer.json"
        train_tokenizer(posts, tokenizer, vocab_size=recipe.vocab_size, progress=progress)
        vocab_size = Tokenizer.from_file(str(tokenizer)).get_vocab_size()
        config = scratch_config(recipe.depth, vocab_size=-(-vocab_size // 64) * 64)
        model = Llama(config)
        model.initialise(seed=recipe.data.seed)
        save_checkpoint(folder, config, dict(model.state_dict()))
    if not (folder / SERVED).is_file():
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
