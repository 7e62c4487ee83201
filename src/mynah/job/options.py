"""What `mynah up` was asked for; kept in ``mynah.toml`` so that the next one goes on from it."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from mynah.config import dump_toml, load_config
from mynah.corpus import CorpusConfig
from mynah.errors import ConfigError
from mynah.model import DEFAULT_BASE, LlamaConfig
from mynah.record.thresholds import RecordConfig
from mynah.train import Recipe as TrainRecipe
from mynah.workspace import Workspace, replace_file

__all__ = ["Options", "Recipe", "read_options", "resolve_options", "save_options"]

HEADER = "# What the last `mynah up` of this workspace was asked for.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(TrainRecipe):
    """How to train, and on what: what a recipe file may set."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    base: str = ""
    """Model to go on from: ``smollm2``, ``scratch``, a GGUF file or a Hugging Face folder; empty
    is what the workspace was told with ``--base``."""
    base_flop: str = ""
    """FLOP that the base and all before it took to train, such as ``2.1e25``; empty is what the
    record or mynah knows of it. An order to pause covers a run whose lineage nobody knows."""
    depth: Annotated[int, Field(ge=1, le=64)] = 6
    """Layers of a model from scratch; its width and heads follow from it."""
    vocab_size: Annotated[int, Field(ge=260, le=1_000_000)] = 4096
    """Tokens of the tokenizer of a model from scratch."""
    is_dialled: bool = False
    """Whether learning rate, tokens of a step and length of the run follow from ``depth``, too."""
    shape: LlamaConfig | None = None
    """Exact shape of a model from scratch, instead of the one that follows from ``depth``."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    """What becomes a document, what is left out, what is held out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that decides what a workspace becomes."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    posts: list[str] = field(default_factory=lambda: [])
    """Exports to read, as absolute paths; none is the sample."""
    columns: dict[str, str] = field(default_factory=lambda: {})
    """Field of a post to column of a table, where the header does not say."""
    network: str = ""
    """Name of the network; guessed when empty."""
    base: str = "smollm2"
    """Model to go on from: ``smollm2``, ``scratch``, a GGUF file or a Hugging Face folder."""
    recipe: Recipe = field(default_factory=Recipe)
    """How to train."""
    record: RecordConfig = field(default_factory=RecordConfig)
    """Which amounts of compute to warn of."""


def read_options(workspace: Workspace) -> Options:
    """Return what the last `mynah up` here was asked for, or the defaults."""
    if not workspace.settings.is_file():
        return Options()
    return load_config(Options, workspace.settings)


def resolve_options(options: Options) -> Options:
    """Make relative paths absolute, so that they hold wherever the next run is started.

    Raises:
        ConfigError: An export is not there, or its name is not text.
    """
    paths: list[str] = []
    for name in options.posts:
        path = Path(name).expanduser().absolute()
        if not path.exists():
            raise ConfigError(
                f"there is no file or folder {name}",
                hint="name an X archive, or a CSV, TSV, JSON Lines or Parquet file: --posts PATH",
            )
        paths.append(str(path))
    base = options.base
    if base not in ("", "scratch", DEFAULT_BASE) and Path(base).expanduser().exists():
        base = str(Path(base).expanduser().absolute())
    resolved = replace(options, posts=paths, base=base)
    try:
        dump_toml(resolved).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{error.object[max(0, error.start - 40) : error.end]!a} is not UTF-8 text",
            hint="rename the file or folder, or write that option in UTF-8",
        ) from error
    return resolved


def save_options(workspace: Workspace, options: Options) -> None:
    """Write ``mynah.toml``."""
    replace_file(workspace.settings, (HEADER + dump_toml(options)).encode())
