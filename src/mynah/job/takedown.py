"""Taking posts back everywhere: one command, one receipt.

Changes the post store, the corpora, the dialogues, the preference pairs, the search indexes and the
kept sample answers of a workspace; writes ``takedowns/<receipt>.json``, which holds ids and counts
and never a post's words, and a leaf of the record. The removal never waits for the record. The
receipt does: while its leaf cannot be written it stays open, and the same command ends it.
"""

import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from pathlib import Path

import polars as pl

from mynah.corpus import (
    CORPUS_KIND,
    DIALOGUES_KIND,
    PREFERENCES_KIND,
    TakenBack,
    clean_text,
    forget_in_corpus,
    forget_in_dialogues,
    forget_in_preferences,
)
from mynah.errors import ConfigError, DataError, RecordError
from mynah.job.training import model_name
from mynah.posts import POSTS_KIND, Takedown, forget_posts, load_columns
from mynah.progress import NO_PROGRESS, Progress
from mynah.record.record import Record
from mynah.record.statements import PostForgotten
from mynah.search import SEARCH_KIND, build_index, holds_any
from mynah.train import Exposure, find_exposures
from mynah.workspace import (
    Artifact,
    Workspace,
    canonical_json,
    latest_artifact,
    locked,
    read_artifact,
    replace_file,
)

__all__ = ["Receipt", "RecordedTakedown", "take_back"]

logger = logging.getLogger(__name__)

RECEIPT_VERSION = 1
_PATIENCE_S = 5.0
TAKEN_BACK = "[This answer quoted a post that was taken back.]"
"""Stands where a kept sample answer was."""
_WORDS_IN_COMMON = 5
"""A sample answer with a run of so many of a post's words quotes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTakedown:
    """What the record says of a takedown, and what it takes to show that it is this one."""

    log: str
    """Name of the log."""
    index: int
    """Of the leaf."""
    posts: str
    """SHA-256 of the salt's 32 bytes and of the sorted ids, one a line, none after the last."""
    ids: tuple[str, ...]
    """Those that were hashed."""
    salt: str = ""
    """Hex; in the receipt that is returned, and kept nowhere: whoever asked may keep it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a takedown did and what it could not undo."""

    version: int
    taken_back_at: str
    """UTC."""
    store: Takedown
    """What left the post store; authors are hashes here, as on the list of deletions."""
    corpora: tuple[TakenBack, ...]
    dialogues: tuple[TakenBack, ...]
    preferences: tuple[TakenBack, ...]
    search: tuple[str, ...]
    """Indexes that held the posts and were deleted."""
    exposures: tuple[Exposure, ...]
    """Every run, step and checkpoint that learned from them: weights cannot be edited."""
    unknown_runs: tuple[str, ...]
    """Runs of which nobody can tell: the corpus they read is gone."""
    models: tuple[str, ...]
    """Models on disk that those runs ended with."""
    num_samples: int
    """Kept sample answers that quoted them and were replaced."""
    record: RecordedTakedown
    """The leaf of this takedown."""
    seconds: float
    path: str = ""
    """File of this receipt, relative to the workspace."""


def take_back(
    workspace: Workspace,
    *,
    ids: Sequence[str] = (),
    authors: Sequence[str] = (),
    record: Record | None = None,
    progress: Progress = NO_PROGRESS,
) -> Receipt:
    """Take posts back: out of search at once, out of every file, off every later import.

    Running it again with the same ids finishes what a kill left and says the same.

    Args:
        workspace: Whose posts they are.
        ids: Ids such as ``x:20``.
        authors: Handles; every post of theirs is taken back, and none is read again.
        record: The workspace's, if it is open already.
        progress: Told the steps.

    Raises:
        ConfigError: The workspace has no posts.
        RecordError: All is taken back, but the record cannot be written.
    """
    started_s = time.monotonic()
    latest = latest_artifact(workspace.posts, kind=POSTS_KIND)
    if latest is None:
        raise ConfigError(
            f"{workspace.root} has no posts", hint=f"read some: mynah posts add {workspace.root}"
        )
    pending = _Pending.open(workspace, latest, ids=ids, authors=authors)
    num_samples = _scrub_samples(workspace, latest, pending.ids)
    store = forget_posts(workspace.posts, ids=ids, authors=authors, progress=progress)
    store = replace(store, authors=tuple(sha256(name.encode()).hexdigest() for name in authors))
    gone = pending.add(store.found)
    progress(1, 4, note="posts are out of the store")
    search = _forget_search(workspace, gone)
    progress(2, 4, note="out of the search index")
    with locked(workspace.corpus / ".lock", busy=_busy(workspace), wait_s=_PATIENCE_S):
        corpora, dialogues, preferences = _forget_learned(workspace, gone)
    progress(3, 4, note="out of the corpora")
    exposures, unknown = _exposures(workspace, gone)
    models = sorted({model_name(exposure.run) for exposure in exposures})
    receipt = Receipt(
        version=RECEIPT_VERSION,
        taken_back_at=datetime.now(UTC).isoformat(timespec="seconds"),
        store=store,
        corpora=corpora,
        dialogues=dialogues,
        preferences=preferences,
        search=tuple(search),
        exposures=exposures,
        unknown_runs=unknown,
        models=tuple(name for name in models if (workspace.models / name).is_dir()),
        num_samples=num_samples,
        record=_recorded(workspace, record, gone, snapshot=store.snapshot_after or ""),
        seconds=round(time.monotonic() - started_s, 3),
    )
    receipt = _written(receipt, workspace)
    pending.close()
    return receipt


def _recorded(
    workspace: Workspace, record: Record | None, ids: Collection[str], *, snapshot: str
) -> RecordedTakedown:
    """Write the leaf. A takedown that is run again gets another, with a salt of its own."""
    salt, ids = secrets.token_bytes(32), tuple(sorted(ids))
    posts = sha256(salt + "\n".join(ids).encode()).hexdigest()
    body = PostForgotten(posts=posts, num_posts=len(ids), snapshot=snapshot)
    try:
        record = record or Record.open(workspace.root)
        written = record.write(body)
    except RecordError as error:
        raise RecordError(
            f"the posts are taken back, but the record cannot say so: {error.message}",
            hint=f"{error.hint}; then run the same command again for the receipt",
        ) from error
    return RecordedTakedown(
        log=record.origin, index=written.index, posts=posts, ids=ids, salt=salt.hex()
    )


def _forget_learned(
    workspace: Workspace, gone: Collection[str]
) -> tuple[tuple[TakenBack, ...], tuple[TakenBack, ...], tuple[TakenBack, ...]]:
    """Overwrite the posts in what was made of them. The caller holds the lock of the corpora."""
    dialogues, preferences = workspace.root / "dialogues", workspace.root / "preferences"
    for room in (workspace.corpus, preferences):
        for left in room.glob(".*.writing"):  # of a killed build; it holds texts
            shutil.rmtree(left, ignore_errors=True)
    for old in _artifacts(dialogues, "mynah.dialogues/1"):
        shutil.rmtree(old.folder)  # of an earlier release: nobody can tell which posts it quotes
    corpora = chain(
        _artifacts(workspace.corpus, "mynah.corpus/1"), _artifacts(workspace.corpus, CORPUS_KIND)
    )
    return (
        tuple(taken for one in corpora if (taken := forget_in_corpus(one, gone))),
        tuple(
            taken
            for one in _artifacts(dialogues, DIALOGUES_KIND)
            if (taken := forget_in_dialogues(one, gone))
        ),
        tuple(
            taken
            for one in _artifacts(preferences, PREFERENCES_KIND)
            if (taken := forget_in_preferences(one, gone))
        ),
    )


def _busy(workspace: Workspace) -> ConfigError:
    return ConfigError(
        f"the posts have left the store and the search of {workspace.root}, but a corpus is being "
        "built that may still hold them",
        hint="run the same command again when it is built: it finishes the rest",
    )


def _exposures(
    workspace: Workspace, gone: Collection[str]
) -> tuple[tuple[Exposure, ...], tuple[str, ...]]:
    found: list[Exposure] = []
    unknown: list[str] = []
    for run in sorted(workspace.runs.glob("*")):
        try:
            found += find_exposures(run, gone)
        except DataError as error:
            logger.warning("%s: %s", run.name, error.message)
            unknown.append(run.name)
    return tuple(found), tuple(unknown)


def _written(receipt: Receipt, workspace: Workspace) -> Receipt:
    salted, receipt = receipt.record, replace(receipt, record=replace(receipt.record, salt=""))
    name = sha256(canonical_json(asdict(receipt))).hexdigest()[:12]
    receipt = replace(receipt, path=f"takedowns/{receipt.taken_back_at[:10]}-{name}.json")
    content = json.dumps(asdict(receipt), indent=2, ensure_ascii=False) + "\n"
    replace_file(workspace.root / receipt.path, content.encode())
    return replace(receipt, record=salted)


def _artifacts(parent: Path, kind: str) -> Iterator[Artifact]:
    for folder in sorted(parent.glob("*")):
        found = read_artifact(folder, kind=kind) if not folder.name.startswith(".") else None
        if found is not None:
            yield found


def _forget_search(workspace: Workspace, gone: Collection[str]) -> list[str]:
    """Delete indexes that hold the posts; build the one in use anew from what is left."""
    deleted: list[str] = []
    latest = latest_artifact(workspace.search, kind=SEARCH_KIND)
    for index in list(_artifacts(workspace.search, SEARCH_KIND)):
        if holds_any(index, gone):
            # A server that has it open keeps reading it, and leaves the posts out by itself.
            shutil.rmtree(index.folder)
            deleted.append(index.snapshot)
    if latest is not None and latest.snapshot in deleted:
        posts = latest_artifact(workspace.posts, kind=POSTS_KIND)
        assert posts is not None, "a takedown leaves a store"
        build_index(posts, workspace.search)
    return deleted


@dataclass(frozen=True, slots=True)
class _Pending:
    """The ids of a takedown that is under way, on disk: the store forgets whose they were."""

    path: Path
    ids: frozenset[str]

    @classmethod
    def open(
        cls, workspace: Workspace, posts: Artifact, *, ids: Sequence[str], authors: Sequence[str]
    ) -> "_Pending":
        asked = canonical_json([sorted(ids), sorted(authors)])
        path = workspace.root / "takedowns" / f".{sha256(asked).hexdigest()[:12]}.pending"
        known = frozenset(json.loads(path.read_bytes())) if path.is_file() else frozenset[str]()
        wrote = load_columns(posts, ["id", "author"]).filter(pl.col("author").is_in(list(authors)))
        pending = cls(path, known | frozenset(ids) | frozenset(wrote["id"]))
        pending.add(())
        return pending

    def add(self, ids: Collection[str]) -> frozenset[str]:
        """Keep more ids; return all of them."""
        known = self.ids | frozenset(ids)
        replace_file(self.path, canonical_json(sorted(known)))
        return known

    def close(self) -> None:
        """Forget them: the receipt is written."""
        self.path.unlink(missing_ok=True)


def _scrub_samples(workspace: Workspace, posts: Artifact, ids: Collection[str]) -> int:
    """Replace kept sample answers that quote one of the posts; return how many there were."""
    paths = list(workspace.runs.glob("*/samples.json"))
    if not paths:
        return 0
    wanted = load_columns(posts, ["id", "text"]).filter(pl.col("id").is_in(list(ids)))
    spoken = {run for text in wanted["text"] for run in _word_runs(clean_text(text))}
    num_samples = 0
    for path in paths:
        rows: list[dict[str, str | None]] = json.loads(path.read_bytes())
        for row in rows:
            for when in ("before", "after"):
                if spoken & _word_runs(row[when] or ""):
                    row[when] = TAKEN_BACK
                    num_samples += 1
        replace_file(path, json.dumps(rows, ensure_ascii=False, indent=1).encode())
    return num_samples


def _word_runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    size = min(_WORDS_IN_COMMON, len(words))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)} if size else set()
