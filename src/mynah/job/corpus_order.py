"""Building the corpus of a workspace by itself, as `mynah corpus build` asks for it.

Reads the post store and ``mynah.toml``; writes ``corpus/<snapshot>/``.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mynah.config import override_config
from mynah.corpus import Engine, LocalEngine, build_corpus
from mynah.errors import ConfigError
from mynah.job.base_model import open_base
from mynah.job.options import Options, read_options
from mynah.posts import POSTS_KIND
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import Artifact, Workspace, latest_artifact, locked

__all__ = ["CorpusOrder", "build_workspace_corpus", "corpus_lock"]

_PATIENCE_S = 5.0
"""A takedown holds the lock for seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusOrder:
    """What was asked for."""

    tokenizer: str = ""
    """``own``, ``base``, a file; empty is ``base`` where `mynah up` has run, else ``own``."""
    vocab_size: int = 32_768
    """Tokens of an own tokenizer."""
    set_value: tuple[str, ...] = ()
    """``key=value`` over the workspace's settings of the corpus."""
    engine: str = "local"
    """``local`` or ``ray``."""
    address: str = ""
    """Of the Ray cluster."""


def build_workspace_corpus(
    workspace: Workspace, order: CorpusOrder, *, progress: Progress = NO_PROGRESS
) -> Artifact:
    """Build the corpus of the workspace's posts, or find the one that is there.

    Raises:
        ConfigError: There are no posts, or another process builds a corpus here.
    """
    posts = latest_artifact(workspace.posts, kind=POSTS_KIND)
    if posts is None:
        raise ConfigError(
            f"{workspace.root} has no posts", hint=f"mynah posts add {workspace.root} PATH"
        )
    options = read_options(workspace)
    config = override_config(options.recipe.corpus, order.set_value)
    with corpus_lock(workspace), _opened_engine(order) as engine:
        return build_corpus(
            posts,
            workspace.corpus,
            config=config,
            tokenizer=_tokenizer(order, options, posts, workspace, progress),
            engine=engine,
            progress=progress,
        )


@contextmanager
def corpus_lock(workspace: Workspace) -> Generator[None]:
    """Hold the right to build corpora here, or to take posts out of them.

    Raises:
        ConfigError: Another process has it.
    """
    busy = ConfigError(
        f"another process builds the corpus of {workspace.root}", hint="wait for it to end"
    )
    with locked(workspace.corpus / ".lock", busy=busy, wait_s=_PATIENCE_S):
        yield


def _tokenizer(
    order: CorpusOrder, options: Options, posts: Artifact, workspace: Workspace, progress: Progress
) -> Path | int:
    choice = order.tokenizer or ("base" if any(workspace.models.glob("*")) else "own")
    if choice == "base":
        return open_base(options, posts, workspace, progress=progress).folder / "tokenizer.json"
    return order.vocab_size if choice == "own" else Path(choice)


@contextmanager
def _opened_engine(order: CorpusOrder) -> Generator[Engine]:
    if order.engine == "local":
        yield LocalEngine()
        return
    from mynah.corpus.cluster import opened_cluster

    with opened_cluster(order.address) as engine:
        yield engine
