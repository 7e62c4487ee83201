"""Small logs for tests, made with the writer's ground code alone: keys from seeds, fixed times.

Writes a folder as a log is published (``checkpoint``, ``vkey``, ``tile/``), or the same files in
memory, where a test can change any bit of them.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mynah.errors import DataError
from mynah.record.envelopes import add_signature, seal
from mynah.record.notes import COSIGNER, Note, SigningKey, TreeHead, cosign, sign_note
from mynah.record.statements import (
    PREDICATES,
    STATEMENT,
    AuditDone,
    Body,
    CheckpointSaved,
    LogFollowed,
    ModelServed,
    ModelWithdrawn,
    ParentModel,
    Paused,
    PauseLifted,
    PauseOrdered,
    PostForgotten,
    Progress,
    Resumed,
    RunDeclared,
    ShareCut,
    ShareGranted,
    Statement,
    format_time,
)
from mynah.record.tree import (
    EMPTY_ROOT,
    TILE_WIDTH,
    inclusion_proof,
    leaf_hash,
    subtree_root,
    tile_path,
)
from mynah.workspace import canonical_json

START_US = 1_767_225_600_000_000  # 2026-01-01
SECOND_US = 1_000_000


def signing_key(name: str, seed: int) -> SigningKey:
    """A key that is the same in every run of a test."""
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def digest(word: str) -> str:
    """A SHA-256 that stands for something."""
    return hashlib.sha256(word.encode()).hexdigest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Root of a small tree."""
    return subtree_root(hashes) if hashes else EMPTY_ROOT


def tile_files(leaves: Sequence[bytes]) -> dict[str, bytes]:
    """Tiles and entry bundles of a log, by their paths."""
    files: dict[str, bytes] = {}
    for number in range(-(-len(leaves) // TILE_WIDTH)):
        part = leaves[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
        bundle = b"".join(len(leaf).to_bytes(2) + leaf for leaf in part)
        files[tile_path("entries", number, len(part))] = bundle
    row, level = [leaf_hash(leaf) for leaf in leaves], 0
    while row:
        tiles = [row[i : i + TILE_WIDTH] for i in range(0, len(row), TILE_WIDTH)]
        for number, tile in enumerate(tiles):
            files[tile_path(level, number, len(tile))] = b"".join(tile)
        row = [subtree_root(tile) for tile in tiles if len(tile) == TILE_WIDTH]
        level += 1
    return files


def log_files(
    leaves: Sequence[bytes], key: SigningKey, origin: str, cosigners: Iterable[SigningKey] = ()
) -> dict[str, bytes]:
    """Every file of a published log; ``cosigners`` sign the head an hour after the start."""
    log_key = SigningKey(origin, key.private)
    head = TreeHead(origin, len(leaves), root_of([leaf_hash(leaf) for leaf in leaves]))
    time_s = START_US // SECOND_US + 3600
    lines = [cosign(head.text, cosigner, time_s=time_s) for cosigner in cosigners]
    note = sign_note(head.text, log_key).with_signatures(lines)
    vkey = f"{log_key.verifier()}\n".encode()
    return {"checkpoint": note.encode(), "vkey": vkey, **tile_files(leaves)}


def write_log(folder: Path, leaves: Sequence[bytes], key: SigningKey, origin: str) -> Path:
    """Write a log as it is published; return ``folder``."""
    write_files(folder, log_files(leaves, key, origin))
    return folder


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files by their paths below ``folder``."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@dataclass
class MemorySource:
    """A published log in memory, for ``record.verify``."""

    files: dict[str, bytes]
    location: str = "memory"

    def read(self, path: str, *, max_bytes: int) -> bytes | None:
        found = self.files.get(path)
        if found is not None and len(found) > max_bytes:
            raise DataError(f"{path} is too large", hint="no log has such a file")
        return found


@dataclass
class LogBuilder:
    """A log that grows leaf by leaf, a second apart."""

    key: SigningKey = field(default_factory=lambda: signing_key("heron.example", 1))
    origin: str = "heron.example/birds-1a2b3c"
    leaves: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    time_us: int = START_US

    def add(self, body: Body) -> int:
        """Seal a statement at the next second; return its index."""
        self.time_us += SECOND_US
        stated = replace(body, time=format_time(self.time_us))
        return self.add_leaf(seal(Statement(stated).encode(), self.key))

    def add_leaf(self, leaf: bytes) -> int:
        """Append any bytes at all."""
        self.leaves.append(leaf)
        self.hashes.append(leaf_hash(leaf))
        return len(self.leaves) - 1

    @property
    def log_key(self) -> SigningKey:
        return SigningKey(self.origin, self.key.private)

    @property
    def vkey(self) -> str:
        """Of the log."""
        return str(self.log_key.verifier())

    def time(self, plus_s: int = 0) -> str:
        """Time of the last leaf, or so many seconds later."""
        return format_time(self.time_us + plus_s * SECOND_US)

    def note(self, cosigners: Iterable[SigningKey] = (), *, time_s: int = 0) -> Note:
        """The tree head now, signed and cosigned."""
        head = TreeHead(self.origin, len(self.leaves), root_of(self.hashes))
        time_s = time_s or self.time_us // SECOND_US
        lines = [cosign(head.text, cosigner, time_s=time_s) for cosigner in cosigners]
        return sign_note(head.text, self.log_key).with_signatures(lines)

    def files(self, cosigners: Iterable[SigningKey] = ()) -> dict[str, bytes]:
        """As it is published."""
        return log_files(self.leaves, self.key, self.origin, cosigners)

    def proof(self, index: int, cosigners: Iterable[SigningKey] = (), *, extra: str = "") -> bytes:
        """A C2SP tlog-proof of one leaf in the log as it is now."""

        def hash_at(height: int, number: int) -> bytes:
            return subtree_root(self.hashes[number << height : (number + 1) << height])

        steps = inclusion_proof(index, len(self.hashes), hash_at)
        path = [base64.b64encode(step).decode() for step in steps]
        head = ["c2sp.org/tlog-proof@v1", *([extra] if extra else []), f"index {index}"]
        return "\n".join([*head, *path, "", ""]).encode() + self.note(cosigners).encode()

    def source(self) -> MemorySource:
        """As it is published, in memory."""
        return MemorySource(self.files())


def order_envelope(
    parties: Sequence[SigningKey],
    *,
    above: int,
    begins: str,
    until: str,
    timekeepers: Sequence[SigningKey] = (),
    quorum: int = 0,
    nonce: str = "00" * 16,
    signers: Sequence[SigningKey] | None = None,
) -> bytes:
    """A pause order, signed by all of ``parties`` or by ``signers``."""
    predicate = {
        "above_flop": str(above),
        "begins": begins,
        "until": until,
        "reason": "until the audit is done",
        "parties": [str(party.verifier()) for party in parties],
        "timekeepers": [str(key.verifier(COSIGNER)) for key in timekeepers],
        "quorum": quorum,
        "nonce": nonce,
    }
    subject = hashlib.sha256(canonical_json(predicate)).hexdigest()
    return _sealed("pause-order", predicate, subject, parties if signers is None else signers)


def release_envelope(order: str, signers: Sequence[SigningKey]) -> bytes:
    """The agreement of ``signers`` that an order is over."""
    return _sealed("pause-release", {"order": order, "reason": "done"}, order, signers)


def _sealed(kind: str, predicate: object, subject: str, signers: Sequence[SigningKey]) -> bytes:
    payload = canonical_json(
        {
            "_type": STATEMENT,
            "predicate": predicate,
            "predicateType": f"{PREDICATES}{kind}/v1",
            "subject": [{"digest": {"sha256": subject}, "name": "order"}],
        }
    )
    envelope = seal(payload, signers[0])
    for signer in signers[1:]:
        envelope = add_signature(envelope, signer)
    return envelope


def order_id(envelope: bytes) -> str:
    """SHA-256 of the payload."""
    payload = base64.b64decode(orjson.loads(envelope)["payload"])
    return hashlib.sha256(payload).hexdigest()


def run_declared(run: str, *, planned: int = 10**21, parents: tuple[ParentModel, ...] = ()) -> Body:
    """A run whose recipe and corpus are called after it."""
    return RunDeclared(
        run=run,
        model=f"{run}-model",
        recipe=digest(f"recipe of {run}"),
        corpus=digest("corpus"),
        objective="pretrain",
        parents=parents,
        planned_flop=str(planned),
        planned_basis="recipe",
        pool="hall-a",
        device="cpu",
        num_devices=2,
        peak_flop_per_s="100000000000",
    )


def progress_of(run: str, step: int, flop: int, **more: object) -> Progress:
    """Progress of a run that ``run_declared`` declares."""
    facts = {"device_s": f"{step}.000", "tokens": step * 1000, **more}
    return Progress(run=run, recipe=digest(f"recipe of {run}"), step=step, flop=str(flop), **facts)  # type: ignore[arg-type]


def checkpoint_of(run: str, step: int, lineage: int | None) -> CheckpointSaved:
    """The model of a run."""
    return CheckpointSaved(
        run=run,
        step=step,
        name=f"{run}-model",
        digest=digest(f"model of {run}"),
        num_files=3,
        num_bytes=1234,
        lineage_flop="" if lineage is None else str(lineage),
    )


def story(num_leaves: int) -> LogBuilder:  # long: one log with every kind, told in order
    """A true log of ``num_leaves`` (at least 40) leaves with every kind of leaf in it."""
    log = LogBuilder()
    stork, keeper = signing_key("stork.example", 2), signing_key("clock.example/w1", 3)
    outside = ParentModel(
        name="smol", digest=digest("smol"), flop="1620000000000000000000", basis="its paper"
    )
    log.add(
        LogFollowed(log=str(stork.verifier()), key=digest(str(stork.verifier())), is_obeyed=True)
    )
    log.add(run_declared("run-1", parents=(outside,)))
    for step in range(4):
        log.add(progress_of("run-1", step, step * 10**18))
    timed = order_envelope(
        [log.key, stork],
        above=10**21,
        begins=log.time(),
        until=log.time(3600),
        timekeepers=[keeper],
        quorum=1,
        nonce="01" * 16,
    )
    log.add(PauseOrdered(order=order_id(timed), envelope=orjson.loads(timed)))
    paused = digest("paused at step 4")
    log.add(
        Paused(run="run-1", order=order_id(timed), step=4, flop=str(4 * 10**18), checkpoint=paused)
    )
    log.add(progress_of("run-1", 4, 4 * 10**18, tokens=3000))
    evidence = log.note([keeper], time_s=log.time_us // SECOND_US + 3601).encode().decode()
    log.add(PauseLifted(order=order_id(timed), basis="until", evidence=evidence))
    log.add(Resumed(run="run-1", step=4, checkpoint=paused))
    log.add(progress_of("run-1", 5, 5 * 10**18, checkpoint=digest("step 5"), is_final=True))
    lineage = 1620 * 10**18 + 5 * 10**18
    log.add(checkpoint_of("run-1", 5, lineage))
    log.add(
        AuditDone(
            model="run-1-model",
            digest=digest("model of run-1"),
            report=digest("report"),
            suite="bias/1",
            is_passed=True,
        )
    )
    log.add(
        ModelServed(model="run-1-model", digest=digest("gguf"), made_from=digest("model of run-1"))
    )
    log.add(
        ShareGranted(
            grant=digest("grant"),
            recipient="archive.example",
            purpose="research",
            scope=digest("scope"),
            until=log.time(86400),
        )
    )
    log.add(PostForgotten(posts=digest("salt and ids"), num_posts=2, snapshot="0123456789ab"))
    log.add(ShareCut(grant=digest("grant"), reason="its time is over"))
    log.add(ModelWithdrawn(model="run-1-model", digest=digest("gguf"), reason="replaced"))
    agreed = order_envelope(
        [log.key, stork], above=10**25, begins=log.time(), until=log.time(10**7), nonce="02" * 16
    )
    log.add(PauseOrdered(order=order_id(agreed), envelope=orjson.loads(agreed)))
    release = release_envelope(order_id(agreed), [log.key, stork])
    log.add(PauseLifted(order=order_id(agreed), basis="parties", release=orjson.loads(release)))
    own = order_envelope(
        [log.key], above=10**25, begins=log.time(), until=log.time(5), nonce="03" * 16
    )
    log.add(PauseOrdered(order=order_id(own), envelope=orjson.loads(own)))
    parent = ParentModel(
        name="run-1-model", digest=digest("model of run-1"), flop=str(lineage), basis="record"
    )
    log.add(run_declared("run-2", planned=10**22, parents=(parent,)))
    for step in range(4):
        log.add(progress_of("run-2", step, step * 10**18))
    log.add(PauseLifted(order=order_id(own), basis="until"))
    for step in range(4, num_leaves - len(log.leaves) + 4):
        log.add(progress_of("run-2", step, step * 10**18))
    return log
