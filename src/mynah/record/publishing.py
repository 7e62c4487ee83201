"""A record as a folder that any web server can show: the log, its proofs, a page and a feed.

Reads the log of a workspace; writes tiles first, then the tree head, then what is made of both.
Publishing again only adds: a head that a stranger has seen stays checkable.
"""

import base64
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from mynah.errors import ConfigError, RecordError
from mynah.record.envelopes import read_payload
from mynah.record.feed import FEED_LEAVES, atom_feed
from mynah.record.guard import read_head
from mynah.record.index_page import TIMELINE_LEAVES, IndexPage, render_index
from mynah.record.log import LogReader
from mynah.record.notes import TreeHead
from mynah.record.record import Record
from mynah.record.register import Register
from mynah.record.statements import (
    AuditDone,
    CheckpointSaved,
    Paused,
    PauseLifted,
    PauseOrdered,
    Resumed,
    RunDeclared,
    Statement,
)
from mynah.record.thresholds import THRESHOLDS, Threshold
from mynah.record.tiles import TILE_HEIGHT, TreeReader, pack_bundle
from mynah.record.tree import TILE_WIDTH, check_consistency, consistency_proof, tile_path
from mynah.workspace import locked, replace_file

__all__ = ["Published", "publish"]

POLICY = "policy"
"""Which witnesses the log's owner asks; a verifier may have a policy of its own."""
PROOFS = 200
"""Leaves of note that get a proof of their own, the last ones."""
NOTEWORTHY = frozenset(
    kind.kind.encode()
    for kind in (
        *(RunDeclared, PauseOrdered, PauseLifted, Paused, Resumed),
        *(CheckpointSaved, AuditDone),
    )
)
_WRITING = re.compile(r"\..+\.[0-9]+\.writing")
_KIND = re.compile(rb'"predicateType":"https://mynah\.example/record/([a-z-]+)/v1","subject"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one call has done."""

    folder: Path
    size: int
    """Leaves of the published tree head."""
    num_new_leaves: int
    num_new_bytes: int
    """Of tiles."""
    proofs: tuple[int, ...]
    """The last leaves of note: each with a proof in ``proofs/``, and itself beside it."""


def publish(
    record: Record,
    folder: Path,
    *,
    base_url: str = "",
    thresholds: Sequence[Threshold] = THRESHOLDS,
) -> Published:
    """Write or bring up to date a published copy of the log, with its page, feed and proofs.

    Args:
        record: Of the workspace.
        folder: New, empty, or published to before.
        base_url: Address that the folder will have; the page and the feed name it.
        thresholds: Amounts of compute that the page draws.

    Raises:
        ConfigError: The folder holds something else, or another publisher is at it.
        RecordError: What was published there is no beginning of this log.
    """
    _check_folder(record, folder)
    busy = ConfigError(
        f"another mynah publishes {record.key.name}",
        hint="wait until it is done, then run it again",
    )
    with locked(record.folder / ".publishing.lock", busy=busy, wait_s=60.0):
        note, head = record.log.signed_head()
        tree = TreeReader(record.log.folder, head)
        before = _published_head(record, folder)
        _check_extends(tree, before)
        _write_keys(record, folder)
        num_bytes = _copy_tiles(tree, folder, old=before.size)
        proofs = _write_proofs(record.log, folder, old=before.size, new=head.size)
        replace_file(folder / "checkpoint", note.encode())
        _sweep(folder)
        _write_pages(record, folder, proofs, base_url=base_url, thresholds=thresholds)
    return Published(
        folder=folder,
        size=head.size,
        num_new_leaves=head.size - before.size,
        num_new_bytes=num_bytes,
        proofs=tuple(sorted(proofs)),
    )


def _check_folder(record: Record, folder: Path) -> None:
    place, ours = folder.resolve(), record.folder.resolve()
    if place.is_relative_to(ours) or ours.is_relative_to(place):
        raise ConfigError(
            f"{folder} is a part of the workspace's record, or holds it",
            hint="name another folder: mynah record publish WORKSPACE public",
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", hint="name a folder")
    if (folder / "vkey").is_file():
        found = (folder / "vkey").read_text(errors="replace").strip()
        if found != str(record.key):
            raise RecordError(
                f"{folder} holds another record: {found[:100]}",
                hint="publish each record into a folder of its own",
            )
    elif folder.is_dir() and any(not _WRITING.fullmatch(p.name) for p in folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty and holds no record", hint="name a new or an empty folder"
        )


def _published_head(record: Record, folder: Path) -> TreeHead:
    try:
        data = (folder / "checkpoint").read_bytes()
    except FileNotFoundError:
        return TreeHead(record.key.name, 0, b"")
    return read_head(data, record.key, name=folder / "checkpoint")[1]


def _check_extends(tree: TreeReader, before: TreeHead) -> None:
    size = tree.head.size
    if before.size == 0:
        return
    if before.size > size:
        raise RecordError(
            f"{before.size} leaves of {before.origin} are published, the log has {size}",
            hint="put the log back: mynah record restore WORKSPACE --from PUBLISHED-FOLDER",
        )
    check_consistency(
        before.size,
        size,
        old_root=before.root,
        new_root=tree.head.root,
        proof=consistency_proof(before.size, size, tree.hash_at),
    )


def _copy_tiles(tree: TreeReader, folder: Path, *, old: int) -> int:
    """Write what the tree has and the folder lacks; each is checked against the root on the way."""
    num_bytes = 0
    for level, number, width in _tiles_after(old, tree.head.size):
        path = folder / tile_path(level, number, width)
        if not path.is_file():  # else of a publisher that was killed: written aside, so it is whole
            start = number * TILE_WIDTH
            hashes = [tree.hash_at(TILE_HEIGHT * level, start + at) for at in range(width)]
            num_bytes += _write(path, b"".join(hashes))
        path = folder / tile_path("entries", number, width)
        if level == 0 and not path.is_file():
            start = number * TILE_WIDTH
            num_bytes += _write(path, pack_bundle(list(tree.leaves(start, start + width))))
    return num_bytes


def _write(path: Path, content: bytes) -> int:
    replace_file(path, content)
    return len(content)


def _tiles_after(old: int, new: int) -> Iterator[tuple[int, int, int]]:
    """Level, number and width of each tile that a tree of ``old`` leaves did not have."""
    level = 0
    while new:
        for number in range(old // TILE_WIDTH, new // TILE_WIDTH):
            yield level, number, TILE_WIDTH
        if new % TILE_WIDTH:
            yield level, new // TILE_WIDTH, new % TILE_WIDTH
        old, new, level = old // TILE_WIDTH, new // TILE_WIDTH, level + 1


def _sweep(folder: Path) -> None:
    """Delete what a killed publisher left half written, and partial tiles whose full one is there.

    Readers of an old tree head fall back on the full tile, which begins with the partial one.
    """
    for path in folder.rglob(".*.writing"):
        if _WRITING.fullmatch(path.name):
            path.unlink(missing_ok=True)
    for path in (folder / "tile").rglob("*.p"):
        if path.with_suffix("").is_file():
            shutil.rmtree(path, ignore_errors=True)


def _write_keys(record: Record, folder: Path) -> None:
    files = {
        "vkey": f"{record.key}\n".encode(),
        "party.pem": record.identity.public_pem,
        "model-signing.pem": record.identity.model_public_pem,
    }
    if (record.folder / POLICY).is_file():
        files[POLICY] = (record.folder / POLICY).read_bytes()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            replace_file(path, content)


def _write_proofs(log: LogReader, folder: Path, *, old: int, new: int) -> frozenset[int]:
    """Give the last leaves of note proofs of today's tree head; older ones keep theirs."""
    place = folder / "proofs"
    known = {int(p.stem) for p in place.glob("*.tlog-proof") if p.stem.isdecimal()}
    known.update(_noteworthy(log, old, new))
    last = sorted(known)[-PROOFS:]
    for index in last:
        if not (place / f"{index}.json").is_file():
            replace_file(place / f"{index}.json", log.leaf(index))
        replace_file(place / f"{index}.tlog-proof", log.tlog_proof(index))
    return frozenset(last)


def _write_pages(
    record: Record,
    folder: Path,
    proofs: frozenset[int],
    *,
    base_url: str,
    thresholds: Sequence[Threshold],
) -> None:
    """Page and feed, made of what was just published."""
    log = LogReader.open(folder, record.key)
    note, head = log.signed_head()
    start = max(0, head.size - TIMELINE_LEAVES)
    leaves = [
        (index, Statement.decode(read_payload(leaf)))
        for index, leaf in enumerate(log.leaves(start), start)
    ]
    feed = atom_feed(leaves[-FEED_LEAVES:], key=record.key, base_url=base_url)
    replace_file(folder / "feed.xml", feed)
    page = IndexPage(
        key=record.key,
        party=record.identity.name,
        note=note,
        register=_register_at(record, log, head.size),
        leaves=leaves,
        proofs=proofs,
        file_names=frozenset(path.name for path in folder.iterdir()),
        made_us=time.time_ns() // 1_000,
        base_url=base_url,
        thresholds=thresholds,
    )
    replace_file(folder / "index.html", render_index(page).encode())


def _register_at(record: Record, log: LogReader, size: int) -> Register:
    """What the published leaves add up to; statements that still wait in the queue are not in."""
    register = record.register()
    if register.size == size:
        return register
    register = Register(record.key.name)
    for index, leaf in enumerate(log.leaves()):
        register.apply(index, Statement.decode(read_payload(leaf)).body)
    return register


def _noteworthy(log: LogReader, old: int, new: int) -> list[int]:
    """The last new leaves that deserve a proof of their own, found from the end backwards."""
    found: list[int] = []
    stop = new
    while stop > old and len(found) < PROOFS:
        start = max(old, (stop - 1) // TILE_WIDTH * TILE_WIDTH)
        here = [i for i, leaf in enumerate(log.leaves(start, stop), start) if _is_noteworthy(leaf)]
        found = here + found
        stop = start
    return found[-PROOFS:]


def _is_noteworthy(leaf: bytes) -> bool:
    # Without checking every field, which would take a minute for a million leaves of progress.
    payload = base64.b64decode(orjson.loads(leaf)["payload"])
    kind = _KIND.search(payload, payload.rfind(b'"predicateType"'))
    return kind is not None and kind[1] in NOTEWORTHY
