"""A mirror: another party's log, copied to this disk only once it is verified.

Reads a published log (a folder or a web server, which may be slow, huge or lie); writes a folder of
the same layout, its ``checkpoint`` last, so that a reader sees the old tree or the new one. A tree
head that contradicts the mirror is kept in ``evidence/`` and never takes the mirror's place.
"""

import base64
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mynah.errors import MachineError, RecordError
from mynah.record.downloading import Download, Limits, remote_hashes
from mynah.record.notes import (
    MAX_NOTE_BYTES,
    Note,
    TreeHead,
    VerifierKey,
    cosigned_at,
    parse_note,
    verify_note,
)
from mynah.record.tiles import TreeReader
from mynah.record.tree import (
    EMPTY_ROOT,
    TILE_WIDTH,
    check_consistency,
    consistency_proof,
    tile_path,
    tile_widths,
    tree_root,
)
from mynah.record.verify.sources import LogSource
from mynah.workspace import canonical_json, replace_file

__all__ = ["Mirror", "Update", "UpdateState"]

UpdateState = Literal["grown", "same", "forked", "rolled back"]
MAX_EVIDENCE = 16
MAX_SIGNATURES = 48
"""Kept of a note; leaves room below the 64 that a note may have."""


@dataclass(frozen=True, slots=True)
class Update:
    """What became of a mirror."""

    state: UpdateState
    detail: str
    orders: tuple[int, ...] = ()
    """New leaves that order a pause."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder that holds what is verified of one log."""

    folder: Path
    key: VerifierKey
    """Of the log."""
    witnesses: Sequence[VerifierKey] = field(default=())
    """Cosigners known here; what others add to a tree head is kept, and says nothing."""

    def note(self) -> Note | None:
        """The last tree head that was verified; ``None`` before the first.

        Raises:
            RecordError: It is damaged.
        """
        try:
            note = parse_note((self.folder / "checkpoint").read_bytes())
        except FileNotFoundError:
            return None
        self._head(note)
        return note

    def head(self) -> TreeHead:
        """The same, read; an empty tree before the first."""
        note = self.note()
        return TreeHead.parse(note.text) if note else TreeHead(self.key.name, 0, EMPTY_ROOT)

    def visit(self, source: LogSource) -> TreeHead:
        """The tree head that is published, its signature checked. Raises as ``update`` does."""
        return self._head(self._fetch_note(source))

    def update(
        self,
        source: LogSource,
        *,
        limits: Limits,
        before_growth: Callable[[tuple[int, ...]], None] = lambda orders: None,
    ) -> Update:
        """Bring the mirror up to the log's tree head, if that goes on from the mirror.

        Args:
            source: Where the log is published.
            limits: When to stop and leave the rest to the next time.
            before_growth: Called with the new pause orders just before readers can see them.

        Raises:
            MachineError: The log cannot be reached, or a limit was met.
            RecordError: What is published does not verify.
            DataError: A file is larger than any log's.
        """
        theirs = self._fetch_note(source)
        head = self._head(theirs)
        ours = self.note()
        mine = TreeHead.parse(ours.text) if ours else TreeHead(self.key.name, 0, EMPTY_ROOT)
        if head.size <= mine.size:
            return self._compare(theirs, head, ours, mine)
        until_s = time.monotonic() + limits.max_s
        if ours:
            fork = self._check_growth(source, theirs, head, ours, mine)
            if fork:
                return fork
        reading = Download(source, limits.max_bytes, until_s, self.folder / ".incoming")
        orders = self._grow(reading, mine, head)
        before_growth(orders)
        self._install(reading.staging)
        replace_file(self.folder / "checkpoint", self._known_lines(theirs, None).encode())
        self._sweep(mine, head)
        return Update("grown", f"{head.size - mine.size} new leaves", orders)

    def _fetch_note(self, source: LogSource) -> Note:
        data = source.read("checkpoint", max_bytes=MAX_NOTE_BYTES)
        if data is None:
            raise MachineError(
                f"{source.location} has no tree head now",
                hint="ask who runs it where the log is published",
            )
        return parse_note(data)

    def _head(self, note: Note) -> TreeHead:
        verify_note(note, [self.key])
        head = TreeHead.parse(note.text)
        if head.origin != self.key.name:
            raise RecordError(
                f"the tree head is of the log {head.origin}, not {self.key.name}",
                hint="give the address and the key of one log",
            )
        return head

    def _compare(self, theirs: Note, head: TreeHead, ours: Note | None, mine: TreeHead) -> Update:
        """Judge a tree head that is not larger than ours."""
        root = mine.root
        if head.size < mine.size:
            root = tree_root(head.size, TreeReader(self.folder, mine).hash_at)
        elif mine.size == 0:
            root = EMPTY_ROOT
        if head.root != root:
            detail = f"two tree heads of one key contradict one another at {head.size} leaves"
            self._keep_evidence("fork", theirs, ours, {"size": head.size, "root": _b64(root)})
            return Update("forked", detail)
        if head.size < mine.size:
            self._keep_evidence("rollback", theirs, ours, {})
            return Update(
                "rolled back", f"it shows {head.size} leaves, after it had shown {mine.size}"
            )
        merged = self._known_lines(theirs, ours)
        if ours is None or merged != ours:
            replace_file(self.folder / "checkpoint", merged.encode())
        return Update("same", f"{head.size} leaves, as before")

    def _check_growth(
        self, source: LogSource, theirs: Note, head: TreeHead, ours: Note, mine: TreeHead
    ) -> Update | None:
        """See from the log's own tiles whether its tree begins with ours.

        Raises:
            RecordError: Its tiles do not fit its tree head, so that nothing can be known.
        """
        hash_at = remote_hashes(source, head.size)
        proof = consistency_proof(mine.size, head.size, hash_at)
        root = tree_root(mine.size, hash_at)
        check_consistency(mine.size, head.size, old_root=root, new_root=head.root, proof=proof)
        if root == mine.root:
            return None
        claim = {"size": mine.size, "root": _b64(root), "proof": [_b64(step) for step in proof]}
        self._keep_evidence("fork", theirs, ours, claim)
        return Update(
            "forked",
            f"its tree of {head.size} leaves does not begin with the {mine.size} it had signed",
        )

    def _grow(self, reading: Download, mine: TreeHead, head: TreeHead) -> tuple[int, ...]:
        """Fetch what is new into the staging folder; keep it only if it gives the root."""
        try:
            reader = TreeReader(self.folder, mine)
            start = mine.size
        except RecordError:
            reader, start = None, 0  # the mirror's disk lost something: fetch the whole log again
        orders = reading.stage(reader, start, head.size)
        try:
            staged = TreeReader(reading.staging, head)
            if reader is None and tree_root(mine.size, staged.hash_at) != mine.root:
                raise RecordError(
                    "its leaves do not give the root it had signed", hint="ask who runs it"
                )
        except RecordError as error:
            shutil.rmtree(reading.staging, ignore_errors=True)
            raise RecordError(
                f"the leaves that {reading.source.location} gives do not fit its tree head: "
                f"{error.message}",
                hint="ask who runs it; the mirror stays as it was",
            ) from error
        return orders

    def _install(self, staging: Path) -> None:
        for path in sorted(staging.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                place = self.folder / path.relative_to(staging)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
        shutil.rmtree(staging, ignore_errors=True)

    def _sweep(self, mine: TreeHead, head: TreeHead) -> None:
        """Remove the partial tiles of the tree before; readers fall back to wider ones."""
        kept = set(_edge_paths(head.size))
        for path in _edge_paths(mine.size):
            if path not in kept:
                (self.folder / path).unlink(missing_ok=True)

    def _known_lines(self, theirs: Note, ours: Note | None) -> Note:
        """Their note, with our witnesses' lines checked and the later one kept."""
        own = [s for s in theirs.signatures if (s.name, s.key_id) == _line_id(self.key)]
        known = {_line_id(key): key for key in self.witnesses}
        best = {}
        for line in (*(ours.signatures if ours else ()), *theirs.signatures):
            key = known.get((line.name, line.key_id))
            if key is None:
                continue
            try:
                at = cosigned_at(Note(theirs.text, (line,)), key) or 0
            except RecordError:
                continue  # it claims to be a witness's and is not
            if at >= best.get(_line_id(key), (0, line))[0]:
                best[_line_id(key)] = (at, line)
        taken = {*known, _line_id(self.key)}
        rest = [s for s in theirs.signatures if (s.name, s.key_id) not in taken]
        lines = [*own, *(line for _, line in best.values()), *rest]
        return Note(theirs.text, tuple(lines[:MAX_SIGNATURES]))

    def _keep_evidence(
        self, kind: str, theirs: Note, ours: Note | None, claim: Mapping[str, object]
    ) -> None:
        """Keep both notes, as anyone can check them, and what joins them."""
        head = TreeHead.parse(theirs.text)
        folder = self.folder / "evidence" / f"{kind}-{head.size}-{head.root.hex()[:16]}"
        found = list(folder.parent.glob(f"{kind}-*"))
        if folder in found or len(found) >= MAX_EVIDENCE:
            return
        replace_file(folder / "theirs", theirs.encode())
        replace_file(folder / "ours", ours.encode() if ours else b"")
        replace_file(folder / "claim.json", canonical_json(claim))


def _edge_paths(size: int) -> list[str]:
    edges = [tile_path(level, number, width) for level, number, width in tile_widths(size)]
    if size % TILE_WIDTH:
        edges.append(tile_path("entries", size // TILE_WIDTH, size % TILE_WIDTH))
    return edges


def _line_id(key: VerifierKey) -> tuple[str, bytes]:
    return key.name, key.key_id


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
