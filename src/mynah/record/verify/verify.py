"""Check a published log from scratch: no trust in its writer, no code shared with it.

Reads a folder or a web server through ``LogSource`` and, if given, model folders; writes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mynah.errors import ConfigError, DataError, RecordError
from mynah.progress import NO_PROGRESS, Progress
from mynah.record.verify.claims import Fold
from mynah.record.verify.leaves import MAX_LEAF_BYTES, read_leaf
from mynah.record.verify.models import check_models
from mynah.record.verify.notes import MAX_NOTE_BYTES, Head, Key, SignedNote, read_base64, wrong
from mynah.record.verify.pauses import Log
from mynah.record.verify.policy import Policy
from mynah.record.verify.ranges import Range, check_ranges
from mynah.record.verify.report import CONTRADICTED, Report
from mynah.record.verify.sources import LogSource, open_source
from mynah.record.verify.tree import WIDTH, Tree, follow_path, hash_leaf

__all__ = ["Trust", "verify_head", "verify_log", "verify_proof", "verify_with"]

PROOF = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = MAX_NOTE_BYTES + 10_000
MAX_VKEY_BYTES = 1_000
MAX_FAULTS = 100
HEAD_IS_SIGNED = "the tree head is signed by the log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a verifier knows before it looks."""

    policy: Policy | None = None
    keys: tuple[str, ...] = ()
    """Vkeys of the log, or of the party that owns it."""
    known_head: bytes | None = None
    """A tree head (signed note) of this log that was seen before."""


def verify_log(
    source: str | Path | LogSource,
    *,
    policy: Policy | None = None,
    keys: Sequence[str] = (),
    files: Path | None = None,
    num_workers: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Report:
    """Check everything that a log claims; see ``verify_with`` for one that was seen before.

    Args:
        source: Folder or address that the log is published at.
        policy: Logs and witnesses to trust.
        keys: Vkeys to trust, of the log or of the party that owns it. Without any, and without a
            policy, the key that is published beside the log is used, and the report says that
            it shows nothing about who signed.
        files: A workspace, or a folder of model folders, to compare with checkpoint leaves.
        num_workers: Processes; 0 for one a core.
        progress: Told how many leaves are checked.

    Raises:
        ConfigError: A key is no vkey.
        DataError: There is no log.
        MachineError: It cannot be read, which shows nothing about it.
    """
    trust = Trust(policy=policy, keys=tuple(keys))
    return verify_with(source, trust, files=files, num_workers=num_workers, progress=progress)


def verify_with(
    source: str | Path | LogSource,
    trust: Trust,
    *,
    files: Path | None = None,
    num_workers: int = 0,
    progress: Progress = NO_PROGRESS,
) -> Report:
    """Check a log against everything that is known of it; otherwise as ``verify_log``."""
    log_source = open_source(source)
    report = Report(log_source.location)
    note = log_source.read("checkpoint", max_bytes=MAX_NOTE_BYTES)
    if note is None:
        raise DataError(
            f"{log_source.location} holds no log: it has no file named checkpoint",
            hint="give the folder or the address that the log is published at",
        )
    published = ""
    if not trust.keys and not (trust.policy and trust.policy.logs):
        published = (log_source.read("vkey", max_bytes=MAX_VKEY_BYTES) or b"").decode(
            errors="replace"
        )
    known = _check_head(report, note, trust, published)
    if known is None:
        return report
    head, key = known
    report.origin, report.size, report.root = head.origin, head.size, head.root.hex()
    tree = Tree(log_source, head.size)
    fold = _check_leaves(report, tree, _Work(head, key, num_workers), progress)
    if fold is None or not _check_root(report, tree, head):
        report.not_proved("what the leaves add up to", "the tree that holds them does not fit")
        return report
    if trust.known_head is not None:
        _check_known(report, tree, trust.known_head, key)
    fold.finish()
    check_models(report, fold.runs.models, fold.runs.names, files)
    return report


# The tree head


def verify_head(note: bytes, trust: Trust) -> Report:
    """Check a tree head alone: who signed it, who cosigned it; no leaf is looked at."""
    report = Report("tree head")
    known = _check_head(report, note, trust, "")
    if known is not None:
        head = known[0]
        report.origin, report.size, report.root = head.origin, head.size, head.root.hex()
    return report


def _parse_keys(keys: Sequence[str]) -> list[Key]:
    try:
        return [Key.parse(vkey.strip()) for vkey in keys]
    except RecordError as error:
        hint = "a vkey is NAME+ID+KEY: mynah record key shows one"
        raise ConfigError(error.message, hint=hint) from error


def _check_head(
    report: Report, data: bytes, trust: Trust, published: str
) -> tuple[Head, Key] | None:
    """Head and key of a note, if it is a tree head that a known key signed."""
    try:
        note = SignedNote.parse(data)
        head = Head.parse(note.text)
        key = _key_of(note, head, trust, published)
        if note.signed_by(key) is None:
            raise wrong(f"{key.name}, key {key.key_id.hex()}, has not signed it")
    except RecordError as error:
        report.contradicted(HEAD_IS_SIGNED, error.message)
        return None
    if published:
        report.proved(f"{HEAD_IS_SIGNED}'s published key", str(key))
        report.not_proved("who signed", "no key was given: the published one may be anybody's")
    else:
        report.proved(HEAD_IS_SIGNED, str(key))
    _check_quorum(report, note, trust.policy)
    return head, key


def _key_of(note: SignedNote, head: Head, trust: Trust, published: str) -> Key:
    """The log's key under the origin that the head bears.

    Raises:
        RecordError: The head is of a log that none of the keys is for.
    """
    if published:
        key = Key.parse(published.strip())
        if key.name != head.origin:
            raise wrong(f"the tree head is of {head.origin}, the published key of {key.name}")
        return key
    keys = _parse_keys(trust.keys)
    given = [*keys, *(trust.policy.logs if trust.policy else ())]
    if not given:
        raise wrong("no key was given, and none is published beside the log")
    for key in given:
        if key.name == head.origin:
            return key
    for key in keys:  # that of a party, who signs its logs with the same key
        log_key = Key(head.origin, key.public)
        if note.line_of(log_key):
            return log_key
    names = ", ".join(sorted({key.name for key in given}))
    raise wrong(f"the tree head is of {head.origin}, and no key of it is known, only of {names}")


def _check_quorum(report: Report, note: SignedNote, policy: Policy | None) -> None:
    if policy is None or policy.quorum == "none":
        report.not_proved(
            "others were shown the same log", "no witness was asked for: give a policy with some"
        )
        return
    what = f"the quorum {policy.quorum} cosigned the tree head"
    names: list[str] = []
    for name, key in policy.witnesses.items():
        try:
            if note.signed_by(key) is not None:
                names.append(name)
        except RecordError as error:
            report.contradicted(f"{name} cosigned the tree head", error.message)
    detail = f"cosigned by {', '.join(sorted(names)) or 'nobody'}"
    if policy.is_quorum(names):
        report.proved(what, detail)
    else:
        report.contradicted(what, detail)


# The tree and its leaves


@dataclass(frozen=True, slots=True)
class _Work:
    head: Head
    key: Key
    num_workers: int


def _check_leaves(report: Report, tree: Tree, work: _Work, progress: Progress) -> Fold | None:
    """Hash and read every leaf; ``None`` when the published files do not hold together."""
    size = work.head.size
    fold = Fold(Log(work.head.origin, work.key, tree.root), report)
    whole = Range(tree.source, size, work.key.public, 0, -(-size // WIDTH))
    is_whole = True
    for found in check_ranges(whole, num_workers=work.num_workers):
        for index, fault in found.tile_faults:
            is_whole = False
            report.contradicted(f"the leaves from {index} on fit the tiles", fault, index)
        if report.counts[CONTRADICTED] > MAX_FAULTS and not is_whole:
            break  # a size that no files stand behind would keep us for ever
        if is_whole:
            for row in found.rows:
                tree.add(row)
            for index, fault in found.leaf_faults:
                fold.num_faults += 1
                report.contradicted(f"leaf {index} is well formed and signed", fault, index)
            for signer, index in found.signers.items():
                fold.take_signer(index, signer)
            for index, kind, body in found.leaves:
                fold.take(index, kind, body)
        progress(min(found.stop * WIDTH, size), size, note="leaves checked")
    return fold if is_whole else None


def _check_root(report: Report, tree: Tree, head: Head) -> bool:
    faults = list(tree.check_upper())
    if tree.root(head.size) != head.root:
        faults.append("they hash to another root than the tree head says")
    what = f"{head.size} leaves and every published tile hash to the root of the tree head"
    for fault in faults:
        report.contradicted(what, fault)
    if not faults:
        report.proved(what, head.root.hex())
    return not faults


def _check_known(report: Report, tree: Tree, data: bytes, key: Key) -> None:
    """Compare with a head seen before: the log may only have grown."""
    what = "the log goes on from the tree head that was known"
    try:
        note = SignedNote.parse(data)
        known = Head.parse(note.text)
        if known.origin != key.name:
            raise wrong(f"the known head is of {known.origin}, this log is {key.name}")
        if note.signed_by(key) is None:
            raise wrong("the known head is not signed by this log's key")
        if known.size > tree.size:
            raise wrong(f"it had {known.size} leaves and has {tree.size}: rolled back")
        if tree.root(known.size) != known.root:
            raise wrong(f"its first {known.size} leaves are others than they were: a fork")
    except RecordError as error:
        report.contradicted(what, error.message)
        return
    report.proved(what, f"from {known.size} leaves to {tree.size}")


# One proof


def verify_proof(
    proof: bytes, leaf: bytes, *, policy: Policy | None = None, keys: Sequence[str] = ()
) -> Report:
    """Check offline that one leaf is in a log (C2SP tlog-proof).

    Args:
        proof: The file.
        leaf: The leaf as the log holds it: a DSSE envelope.
        policy: Logs and witnesses to trust.
        keys: Vkeys to trust; a proof without any is no proof.

    Raises:
        ConfigError: There is no key, or one is no vkey.
    """
    trust = Trust(policy=policy, keys=tuple(keys))
    if not keys and not (policy and policy.logs):
        raise ConfigError("a proof shows nothing without a key", hint="give the vkey of its log")
    report = Report("proof")
    try:
        index, path, note = _read_proof(proof)
    except RecordError as error:
        report.contradicted("the proof is one", error.message)
        return report
    known = _check_head(report, note, trust, "")
    if known is None:
        return report
    head, key = known
    report.origin, report.size, report.root = head.origin, head.size, head.root.hex()
    what = f"leaf {index} is in the log of {head.size} leaves"
    try:
        if follow_path(hash_leaf(leaf), index, head.size, path) != head.root:
            raise wrong("the hashes do not lead from the leaf to the root")
        report.proved(what, head.origin, index)
        what = f"leaf {index} is well formed and signed"
        if len(leaf) > MAX_LEAF_BYTES:
            raise wrong(f"it has {len(leaf)} bytes")
        found = read_leaf(leaf, key.public)
        report.proved(what, f"{found.kind} by {found.signer}", index)
    except RecordError as error:
        report.contradicted(what, error.message, index)
    return report


def _read_proof(data: bytes) -> tuple[int, list[bytes], bytes]:
    if len(data) > MAX_PROOF_BYTES:
        raise wrong("it is too large")
    above, empty, note = data.partition(b"\n\n")
    try:
        lines = above.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise wrong("the lines above the tree head are not ASCII") from error
    if not empty or lines.pop(0) != PROOF:
        raise wrong(f"it does not begin with {PROOF}, or has no tree head")
    if lines and lines[0].startswith("extra "):
        read_base64(lines.pop(0).removeprefix("extra "), "the extra data")
    word, _, number = (lines.pop(0) if lines else "").partition(" ")
    if word != "index" or not re.fullmatch(r"0|[1-9][0-9]{0,18}", number):
        raise wrong(f"its index is {number[:40]!r}")
    path = [read_base64(line, "a hash of the path") for line in lines]
    if len(path) > 63 or any(len(step) != 32 for step in path):
        raise wrong("its path holds something that is no hash")
    return int(number), path, note
