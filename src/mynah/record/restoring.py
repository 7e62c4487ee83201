"""Put a record back where its folder was lost: from a published copy, never an older one.

Reads a log from a folder or over HTTP, and the guard of the log in the folder of keys; writes
``<workspace>/record/log/``. What lay there before is kept beside it, as ``replaced-<time>/``.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from mynah.errors import MachineError, RecordError, machine_errors
from mynah.record.guard import Guard, held, read_head, write_synced
from mynah.record.identity import Identity
from mynah.record.log import LogReader
from mynah.record.notes import MAX_NOTE_BYTES, TreeHead, parse_note
from mynah.record.queueing import Queue
from mynah.record.record import Record
from mynah.record.tiles import MAX_LEAF_BYTES, TILE_HEIGHT
from mynah.record.tree import TILE_WIDTH, check_consistency, leaf_hash, tile_path

__all__ = ["Restored", "restore_record"]

TIMEOUT_S = 30.0
OTHER_SOURCE = "look for a newer copy: a backup, whoever follows this log, or its own web server"

Fetch = Callable[[str, int], bytes]
"""Content of a file of the log, by its path; never more than so many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came back."""

    record: Record
    size: int
    """Leaves."""
    num_bytes: int
    replaced: Path | None
    """Where what lay there before is kept."""


def restore_record(
    workspace: Path, source: str | Path, *, identity: Identity | None = None
) -> Restored:
    """Copy a published log back into a workspace and go on from it.

    Args:
        workspace: Whose record was lost.
        source: Folder or address that has the log's ``checkpoint``.
        identity: Who signs the log; by default the keys of this user.

    Raises:
        RecordError: The copy is older than what was signed last, another history, damaged, or
            of a log that these keys do not sign.
    """
    identity = identity or Identity.open()
    fetch = _fetcher(source)
    data = fetch("checkpoint", MAX_NOTE_BYTES)
    guard = Guard(identity, TreeHead.parse(parse_note(data).text).origin)
    _check_workspace(workspace, identity, guard)
    record = workspace / "record"
    aside = record / ".restoring"
    with machine_errors(record):
        record.mkdir(parents=True, exist_ok=True)
        try:
            with held(guard.lock):
                _, head = read_head(data, guard.key, name=Path(str(source)) / "checkpoint")
                num_bytes = _copy(aside, data, head, fetch=fetch)
                replaced = _swap(record, aside, _checked(aside, guard))
                guard.set_workspace(workspace)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    restored = Record.open(workspace, identity=identity)
    return Restored(record=restored, size=head.size, num_bytes=num_bytes, replaced=replaced)


def _check_workspace(workspace: Path, identity: Identity, guard: Guard) -> None:
    """Refuse a log that is not this workspace's, or that lives on elsewhere."""
    if guard.read() is None:
        raise RecordError(
            f"the keys in {identity.folder} never signed the log {guard.key.name}",
            hint="set MYNAH_KEYS to the keys that did",
        )
    known = Guard.of_workspace(identity, workspace)
    signed = known.read() if known else None
    if known is not None and signed is not None and signed[1].size and known.folder != guard.folder:
        raise RecordError(
            f"the record of {workspace} is {known.key.name}, and this is {guard.key.name}",
            hint="give the copy of the workspace's own record",
        )
    last = guard.workspace
    if last and last != str(workspace.resolve()) and Path(last, "record", "log").exists():
        raise RecordError(
            f"the record {guard.key.name} lives on in {last}",
            hint="a log has one workspace: move that folder, or go on there",
        )


def _fetcher(source: str | Path) -> Fetch:
    if str(source).startswith(("http://", "https://")):
        client = httpx.Client(timeout=TIMEOUT_S, follow_redirects=True)
        return lambda path, limit: _get(client, f"{str(source).rstrip('/')}/{path}", limit)
    folder = Path(source)

    def read(path: str, limit: int) -> bytes:
        try:
            with (folder / path).open("rb") as stream:
                return stream.read(limit)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RecordError(f"{folder / path} is missing", hint=OTHER_SOURCE) from error

    return read


def _get(client: httpx.Client, url: str, limit: int) -> bytes:
    content = b""
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise RecordError(
                    f"{url} cannot be had: HTTP {answer.status_code}", hint=OTHER_SOURCE
                )
            for part in answer.iter_bytes():
                content += part
                if len(content) > limit:
                    raise RecordError(f"{url} has more than {limit} bytes", hint=OTHER_SOURCE)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise MachineError(f"{url} cannot be reached: {error}", hint="try again later") from error
    return content


def _copy(aside: Path, note: bytes, head: TreeHead, *, fetch: Fetch) -> int:
    """Fetch every tile of a tree; return how many bytes came."""
    shutil.rmtree(aside, ignore_errors=True)
    paths = {"checkpoint": MAX_NOTE_BYTES}
    for level in ("entries", *range(TILE_HEIGHT)):
        shift = 0 if level == "entries" else TILE_HEIGHT * int(level)
        number, width = divmod(head.size >> shift, TILE_WIDTH)
        limit = TILE_WIDTH * (MAX_LEAF_BYTES + 2)
        paths |= {tile_path(level, full): limit for full in range(number)}
        if width:
            paths[tile_path(level, number, width)] = limit
    num_bytes = 0
    for path, limit in paths.items():
        content = note if path == "checkpoint" else fetch(path, limit)
        (aside / path).parent.mkdir(parents=True, exist_ok=True)
        write_synced(aside / path, content)
        num_bytes += len(content)
    return num_bytes


def _checked(aside: Path, guard: Guard) -> LogReader:
    """Check every leaf of the copy, and that its tree goes on from the one signed last."""
    copy = LogReader.open(aside, guard.key)
    head, signed = copy.head(), guard.read()
    assert signed is not None, "a log that was never signed is refused before"
    if head.size < signed[1].size:
        raise RecordError(
            f"this copy ends at leaf {head.size}, but {signed[1].size} were signed: it is older "
            "than the record",
            hint=OTHER_SOURCE,
        )
    check_consistency(
        signed[1].size,
        head.size,
        old_root=signed[1].root,
        new_root=head.root,
        proof=copy.consistency_proof(signed[1].size),
    )
    for _ in copy.leaves():
        pass
    write_synced(aside / "vkey", f"{guard.key}\n".encode())
    return copy


def _swap(record: Path, aside: Path, copy: LogReader) -> Path | None:
    """Put the copy where the log was; keep what lay there, and a queue that does not fit."""
    kept = record / f"replaced-{time.time_ns() // 1_000_000}"
    moved = [name for name in ("log",) if (record / name).exists()]
    if (record / "queue").exists() and not _fits(record / "queue", copy):
        moved.append("queue")
    for name in moved:
        kept.mkdir(exist_ok=True)
        (record / name).rename(kept / name)
    aside.rename(record / "log")
    return kept if moved else None


def _fits(folder: Path, copy: LogReader) -> bool:
    """Whether a queue goes on where the log ends, and what it has from before is in the log."""
    queue, size = Queue(folder), copy.head().size
    with queue.lock():
        try:
            first = queue.first()
            frames = queue.frames(size if first is None else min(first, size))
        except RecordError:
            return False
    written = [frame for frame in frames if frame.first < size]
    return all(frame.end <= size for frame in written) and all(
        leaf_hash(leaf) == copy.hash_at(0, index)
        for frame in written
        for index, leaf in enumerate(frame.leaves, frame.first)
    )
