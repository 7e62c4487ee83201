"""Bluesky repositories: the CAR file (version 1) that an account can be downloaded as.

Reads one ``.car``: blocks of DAG-CBOR, each named by its hash. Only what the tree below the
commit still names is live; blocks that an older commit left behind are not read. The blocks are
spooled to a temporary file; in memory stay 16 bytes a block and one path through the tree.
"""

import json
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, Final, cast

from mynah.errors import DataError, machine_errors
from mynah.posts.export_file import ExportFile
from mynah.posts.format import Format, Head
from mynah.posts.reader import Found, ReadOptions, Rejected, SourceReport
from mynah.posts.readers.bluesky_post import (
    ACCOUNT_COLLECTIONS,
    NETWORK,
    POSTS,
    PROFILE,
    Account,
    build_post,
    checked_place,
    forbids_training,
    has_hiding_label,
    is_post,
    tid_time,
)
from mynah.posts.readers.car_blocks import BlockStore, decoded, read_blocks, read_roots
from mynah.posts.readers.native import pick
from mynah.posts.values import BadValue

__all__ = ["FORMATS", "read_bluesky_car"]

MAX_BLOCKS: Final = 8_000_000
_MAX_TREE_DEPTH: Final = 128
"""A layer for every two leading zero bits of a SHA-256."""
_MAX_KEY_BYTES: Final = 1024
_SPOOL_BYTES: Final = 32 << 20
_HANDLE_FILES: Final = ("did.json", "did_doc.json", "describe_repo.json")
"""Files beside a repository that may say the account's handle; NAME.did.json is a fourth."""
_NO_BLOCK: Final = "the record is not in the file, or its bytes do not match their hash"
_NO_NODE: Final = "a part of the repository's tree is not in the file, or does not match its hash"

Json = Any


@dataclass(frozen=True, slots=True)
class _Missing:
    """A part of the tree that cannot be read."""

    reason: str


_Step = tuple[str, bytes] | _Missing
"""A record's path and CID, or what is missing between two records."""


@dataclass(slots=True)
class _Repository:
    """An account's repository: its commit, and the tree of what is live."""

    blocks: BlockStore
    did: str
    rev: Json
    tree: Json
    damage: str = ""
    """Why the file could not be read to its end."""

    def records(self) -> Iterator[_Step]:
        """Walk the tree in the order of its keys."""
        path: list[Iterator[_Step | bytes]] = []
        last_key = ""
        step: _Step | bytes | None = self.tree if isinstance(self.tree, bytes) else None
        while step is not None or path:
            if isinstance(step, bytes):
                node = self.blocks.get(step)
                if node is None or len(path) >= _MAX_TREE_DEPTH:
                    yield _Missing(_NO_NODE)
                else:
                    path.append(_node_steps(node))
            elif isinstance(step, _Missing):
                yield step
            elif step is not None:
                # Also what stops a tree that names one part twice, and so could go on for ever.
                if step[0] <= last_key:
                    yield _Missing("the repository's tree is not in order")
                    return
                last_key = step[0]
                yield step
            step = next(path[-1], None) if path else None
            while path and step is None:
                path.pop()
                step = next(path[-1], None) if path else None


def _node_steps(block: bytes) -> Iterator[_Step | bytes]:
    """Yield what a node names, left to right: subtrees as CIDs, and records."""
    try:
        node = decoded(block)
    except BadValue as error:
        yield _Missing(str(error))
        return
    if isinstance(left := pick(node, "l"), bytes):
        yield left
    entries = pick(node, "e")
    key = b""
    for value in cast("list[Json]", entries) if isinstance(entries, list) else []:
        entry = cast("dict[str, Json]", value) if isinstance(value, dict) else {}
        shared, rest, cid = entry.get("p"), entry.get("k"), entry.get("v")
        if not (isinstance(shared, int) and isinstance(rest, bytes) and isinstance(cid, bytes)):
            yield _Missing("an entry of the repository's tree is malformed")
            return
        key = key[: max(0, shared)] + rest
        if len(key) > _MAX_KEY_BYTES or not key.isascii():
            yield _Missing("a key of the repository's tree is malformed")
            return
        yield key.decode("ascii"), cid
        if isinstance(right := entry.get("t"), bytes):
            yield right


@contextmanager
def _opened(file: ExportFile) -> Generator[_Repository]:
    with (
        machine_errors(Path(tempfile.gettempdir())),
        tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool,
    ):
        blocks = BlockStore(cast("IO[bytes]", spool))
        with file.open_bytes() as stream:
            try:
                roots = read_roots(stream)
            except BadValue as error:
                raise _not_a_repository(file.name, str(error)) from error
            damage = _fill(blocks, stream, file.name)
        commit = None
        for root in roots[:1]:
            block = blocks.get(root)
            commit = decoded(block) if block is not None else None
        did, tree = pick(commit, "did"), pick(commit, "data")
        if not isinstance(did, str) or not isinstance(tree, bytes):
            raise _not_a_repository(file.name, damage or "its first block is no commit")
        yield _Repository(blocks, did, pick(commit, "rev"), tree, damage)


def _fill(blocks: BlockStore, stream: IO[bytes], name: str) -> str:
    damage = ""
    try:
        for cid, data in read_blocks(stream):
            if len(blocks.keys) >= MAX_BLOCKS:
                raise DataError(
                    f"{name} holds more than {MAX_BLOCKS:,} blocks",
                    hint="that is no repository of one account",
                )
            blocks.add(cid, data)
    except BadValue as error:
        damage = str(error)
    blocks.finish()
    return damage


def _not_a_repository(name: str, reason: str) -> DataError:
    return DataError(
        f"{name} is no repository of the AT Protocol: {reason}",
        hint="download it again: in Bluesky, Settings, Account, Export my data",
    )


def read_bluesky_car(
    file: ExportFile, options: ReadOptions, report: SourceReport
) -> Iterator[Found]:
    """Read the live posts of one account.

    Raises:
        DataError: It is no repository.
    """
    report.network = options.network or NETWORK
    with _opened(file) as repository:
        if repository.damage:
            yield Rejected(report.name, 0, repository.damage)
        account = _account(repository, file)
        seen_at = tid_time(repository.rev)
        for number, step in enumerate(repository.records(), start=1):
            if isinstance(step, _Missing):
                yield Rejected(report.name, number, step.reason)
                continue
            collection, _, rkey = step[0].partition("/")
            if collection != POSTS:
                report.num_not_posts += 1
                continue
            try:
                record = _record(repository, step[1])
                if not is_post(record):
                    report.num_not_posts += 1
                    continue
                place = checked_place(repository.did, collection, rkey)
                yield build_post(
                    record, place=place, account=account, seen_at=seen_at, network=report.network
                )
            except BadValue as error:
                yield Rejected(report.name, number, str(error))


def _record(repository: _Repository, cid: bytes) -> dict[str, Json]:
    block = repository.blocks.get(cid)
    if block is None:
        raise BadValue(_NO_BLOCK)
    record = decoded(block)
    if not isinstance(record, dict):
        raise BadValue("the record is no object")
    return cast("dict[str, Json]", record)


def _account(repository: _Repository, file: ExportFile) -> Account:
    """Read what the account says about all of its posts; some of it lies behind them."""
    is_hidden, may_train = False, True
    for step in repository.records():
        collection = "" if isinstance(step, _Missing) else step[0].partition("/")[0]
        if isinstance(step, _Missing) or collection not in ACCOUNT_COLLECTIONS:
            continue
        try:
            record = _record(repository, step[1])
        except BadValue:
            continue  # counted with all that is missing, when the posts are read
        if collection == PROFILE:
            is_hidden = has_hiding_label(record.get("labels"))
        elif forbids_training(collection, record):
            may_train = False
    handle = _handle(file, repository.did)
    return Account(did=repository.did, handle=handle, is_hidden=is_hidden, may_train=may_train)


def _handle(file: ExportFile, did: str) -> str:
    """Return the handle that a DID document beside the repository gives it."""
    stem = PurePath(file.file_name).name.partition(".car")[0]
    for name in (f"{stem}.did.json", *_HANDLE_FILES):
        try:
            document: Json = json.loads(file.beside(name) or b"null")
        except (ValueError, RecursionError):
            continue
        names = pick(document, "alsoKnownAs") or pick(document, "didDoc", "alsoKnownAs")
        first = pick(names, 0)
        if did in (pick(document, "id"), pick(document, "did")) and isinstance(first, str):
            handle = first.removeprefix("at://")
            return handle if handle.isascii() else ""
    return ""


def _is_car(head: Head) -> bool:
    return head.shape == "binary" and b"eroots" in head.data[:100] and b"gversion" in head.data


FORMATS = (
    Format(
        name="bluesky-car",
        title="Bluesky repository, a .car file",
        read=read_bluesky_car,
        sniff=_is_car,
        companions=frozenset(_HANDLE_FILES),
    ),
)
