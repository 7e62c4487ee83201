"""What the record says: one dataclass a kind of statement, checked on the way in and out.

Pure. A statement is an in-toto Statement v1 with a predicate of ours; an envelope (see
``envelopes``) signs it. No field holds a person's words, a prompt or a secret: names, counts,
hashes, and the reason that whoever orders something wants to be read.
"""

import re
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, cast

import orjson
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from mynah.errors import RecordError
from mynah.workspace import canonical_json

__all__ = [
    "KINDS",
    "AuditDone",
    "Body",
    "CheckpointSaved",
    "LogFollowed",
    "ModelServed",
    "ModelWithdrawn",
    "ParentModel",
    "PauseLifted",
    "PauseOrdered",
    "Paused",
    "PostForgotten",
    "Progress",
    "Resumed",
    "RunDeclared",
    "ShareCut",
    "ShareGranted",
    "Statement",
    "format_time",
    "parse_time",
]

PREDICATES = "https://mynah.example/record/"
"""Begin of every predicate type; a name, not an address."""
STATEMENT = "https://in-toto.io/Statement/v1"
MAX_TEXT = 500

Flop = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,39})$")]
"""Floating-point operations, as a decimal number: JSON numbers lose digits above 2^53."""
Seconds = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,15})\.[0-9]{3}$")]
"""Device-seconds, three digits after the point."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MaybeSha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z"
Time = Annotated[
    str, Field(pattern=f"^{_TIME}$"), AfterValidator(lambda text: format_time(parse_time(text)))
]
MaybeTime = Annotated[str, Field(pattern=f"^({_TIME})?$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
MaybeName = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Text = Annotated[str, Field(max_length=MAX_TEXT, pattern=r"^[^\x00-\x1f]*$")]
Count = Annotated[int, Field(ge=0, le=(1 << 53) - 1)]
Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What every kind has: when it was written. The writer of the log fills it in."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    kind: ClassVar[str] = ""
    """Last part of the predicate type."""
    time: MaybeTime = ""
    """UTC, microseconds; never earlier than that of the leaf before."""

    def subject(self) -> tuple[str, str]:
        """Name and SHA-256 (hex) of what the statement is about."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentModel:
    """A model that a run begins with."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    name: Name
    """As it is served, or as its maker calls it."""
    digest: Sha256
    """OpenSSF Model Signing digest of its files, or SHA-256 of its one file."""
    flop: Annotated[str, Field(pattern=r"^((0|[1-9][0-9]{0,39}))?$")]
    """Of its whole lineage; empty when nobody knows."""
    basis: Text
    """Where that number is from: ``record`` for a model of this record, else a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDeclared(Body):
    """A training run is about to begin."""

    kind: ClassVar[str] = "run-declared"
    run: Name
    model: Name
    """Name that the trained model will have."""
    recipe: Sha256
    """Of ``recipe.toml``."""
    corpus: Sha256
    """Digest of the corpus."""
    objective: Name
    parents: tuple[ParentModel, ...]
    """Empty for a model from scratch; several for a merge."""
    planned_flop: Flop
    """At most, of this run alone."""
    planned_basis: Text
    pool: Name
    """The machines, by a name that stays: runs of one pool share it."""
    device: Name
    num_devices: Count
    peak_flop_per_s: Flop
    """Of one device, as measured or as its maker says."""

    def subject(self) -> tuple[str, str]:
        """The recipe."""
        return f"run/{self.run}", self.recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Body):
    """How much a run has used so far; each number may only grow."""

    kind: ClassVar[str] = "progress"
    run: Name
    recipe: Sha256
    step: Count
    """May go back after a kill, to the last checkpoint; what was spent stays spent."""
    flop: Flop
    """Counted in this run so far, work that a kill undid included."""
    device_s: Seconds
    """Devices times seconds, likewise."""
    tokens: Count
    """Trained on so far, likewise."""
    checkpoint: MaybeSha256 = ""
    """Digest of the checkpoint of this step, if there is one."""
    is_final: bool = False

    def subject(self) -> tuple[str, str]:
        """The recipe."""
        return f"run/{self.run}", self.recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Body):
    """A model that a run has made, as others can check it file by file."""

    kind: ClassVar[str] = "checkpoint"
    run: Name
    step: Count
    name: Name
    """Of the model."""
    digest: Sha256
    """OpenSSF Model Signing digest of the folder."""
    num_files: Count
    num_bytes: Count
    lineage_flop: Annotated[str, Field(pattern=r"^((0|[1-9][0-9]{0,39}))?$")]
    """Of the run and all it descends from; empty when a parent's is unknown."""

    def subject(self) -> tuple[str, str]:
        """The model."""
        return f"model/{self.name}", self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseOrdered(Body):
    """An order to pause, signed by one or several parties; binds whoever logs it."""

    kind: ClassVar[str] = "pause-ordered"
    order: Sha256
    """Of the order's text; see ``orders``."""
    envelope: dict[str, Json]
    """The order, with every signature it had by then."""

    def subject(self) -> tuple[str, str]:
        """The order."""
        return "order", self.order


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseLifted(Body):
    """An order is over by its own terms."""

    kind: ClassVar[str] = "pause-lifted"
    order: Sha256
    basis: Annotated[str, Field(pattern=r"^(until|parties)$")]
    """``until``: its time has come; ``parties``: all who signed it agreed."""
    release: dict[str, Json] = field(default_factory=lambda: {})
    """The parties' signed agreement."""
    evidence: Annotated[str, Field(max_length=40_000)] = ""
    """A tree head of this log, cosigned after the time by the order's timekeepers."""

    def subject(self) -> tuple[str, str]:
        """The order."""
        return "order", self.order


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Body):
    """A run has stopped at a checkpoint because an order covers it."""

    kind: ClassVar[str] = "paused"
    run: Name
    order: Sha256
    step: Count
    flop: Flop
    """Counted in this run until now; nothing comes on top before it is resumed."""
    checkpoint: Sha256

    def subject(self) -> tuple[str, str]:
        """The checkpoint."""
        return f"run/{self.run}/checkpoint", self.checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Body):
    """A paused run goes on, from the checkpoint it was paused at."""

    kind: ClassVar[str] = "resumed"
    run: Name
    step: Count
    checkpoint: Sha256

    def subject(self) -> tuple[str, str]:
        """The checkpoint."""
        return f"run/{self.run}/checkpoint", self.checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFollowed(Body):
    """Another party's log is followed from now on."""

    kind: ClassVar[str] = "log-followed"
    log: Name
    """Its vkey."""
    key: Sha256
    """Of the vkey's text."""
    is_obeyed: bool
    """Whether its pause orders bind this organisation as its own."""

    def subject(self) -> tuple[str, str]:
        """The log's key."""
        return "log", self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareGranted(Body):
    """An outsider may read posts."""

    kind: ClassVar[str] = "share-granted"
    grant: Sha256
    """Salted hash of the grant."""
    recipient: Name
    purpose: Text
    scope: Sha256
    """Of the table and filter that are shared."""
    until: Time

    def subject(self) -> tuple[str, str]:
        """The grant."""
        return "grant", self.grant


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareCut(Body):
    """A grant is dead."""

    kind: ClassVar[str] = "share-cut"
    grant: Sha256
    reason: Text

    def subject(self) -> tuple[str, str]:
        """The grant."""
        return "grant", self.grant


@dataclass(frozen=True, slots=True, kw_only=True)
class PostForgotten(Body):
    """Posts were taken back. Whose and which, only the holder of the salt can show."""

    kind: ClassVar[str] = "post-forgotten"
    posts: Sha256
    """Of a random salt and the ids; the salt is given to who asked and kept nowhere."""
    num_posts: Count
    snapshot: MaybeName
    """Of the post store, afterwards."""

    def subject(self) -> tuple[str, str]:
        """The salted hash."""
        return "posts", self.posts


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDone(Body):
    """A model was audited."""

    kind: ClassVar[str] = "audit"
    model: Name
    digest: Sha256
    report: Sha256
    """Of the audit's report."""
    suite: Name
    is_passed: bool

    def subject(self) -> tuple[str, str]:
        """The model."""
        return f"model/{self.model}", self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelServed(Body):
    """A model answers people from now on."""

    kind: ClassVar[str] = "model-served"
    model: Name
    digest: Sha256
    """SHA-256 of the file that the engine loads."""
    made_from: MaybeSha256 = ""
    """Digest of its ``checkpoint`` leaf; empty for a model that was not trained here."""

    def subject(self) -> tuple[str, str]:
        """The model."""
        return f"model/{self.model}", self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWithdrawn(Body):
    """A model answers nobody any more."""

    kind: ClassVar[str] = "model-withdrawn"
    model: Name
    digest: Sha256
    reason: Text

    def subject(self) -> tuple[str, str]:
        """The model."""
        return f"model/{self.model}", self.digest


KINDS: dict[str, type[Body]] = {
    body.kind: body
    for body in (
        *(RunDeclared, Progress, CheckpointSaved, PauseOrdered, PauseLifted, Paused, Resumed),
        *(LogFollowed, ShareGranted, ShareCut, PostForgotten, AuditDone),
        *(ModelServed, ModelWithdrawn),
    )
}
"""Every kind of statement by its name."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A body as it stands in an envelope."""

    body: Body

    def encode(self) -> bytes:
        """Canonical JSON of the in-toto Statement: equal statements, equal bytes.

        Raises:
            RecordError: A field has a value that its kind does not allow.
        """
        body = self.body
        try:
            predicate = canonical_json(_plain(body))
        except UnicodeEncodeError as error:
            raise RecordError(
                f"a {body.kind} statement holds half a character: {error.reason}",
                hint="docs/spec/record.md lists what each field may hold",
            ) from error
        _check(type(body), predicate)
        if isinstance(body, PauseOrdered | PauseLifted):
            _check_free_json(body.kind, predicate)
        name, digest = body.subject()
        head = canonical_json({"_type": STATEMENT})[:-1]
        rest = canonical_json(
            {
                "predicateType": f"{PREDICATES}{body.kind}/v1",
                "subject": [{"digest": {"sha256": digest}, "name": name}],
            }
        )
        return head + b',"predicate":' + predicate + b"," + rest[1:]

    @classmethod
    def decode(cls, payload: bytes) -> "Statement":
        """Read the payload of an envelope.

        Raises:
            RecordError: It is no statement of ours, says what its kind does not allow, or is
                not in its one canonical form.
        """
        try:
            raw: Json = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise RecordError(
                f"a leaf holds no JSON: {error}",
                hint="the log is damaged: mynah record verify WORKSPACE",
            ) from error
        found = cast("dict[str, Json]", raw) if isinstance(raw, dict) else {}
        kind = str(found.get("predicateType", ""))
        body_type = KINDS.get(kind.removeprefix(PREDICATES).removesuffix("/v1"))
        if body_type is None or kind != f"{PREDICATES}{body_type.kind}/v1":
            raise RecordError(
                f"a leaf has the predicate type {kind[:100]!r}, which is none of ours",
                hint="read it with the version of mynah that wrote it",
            )
        statement = cls(_check(body_type, orjson.dumps(found.get("predicate"))))
        if statement.encode() != payload:
            raise RecordError(
                f"a {body_type.kind} statement is not in its canonical form",
                hint="only mynah writes leaves: docs/spec/record.md",
            )
        return statement


@cache
def _names(kind: type[Body]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind))


def _plain(body: Body) -> dict[str, Json]:
    """The fields as JSON has them; ``asdict`` copies each value, which takes 25 us a leaf."""
    values = {name: getattr(body, name) for name in _names(type(body))}
    if isinstance(body, RunDeclared):
        values["parents"] = [asdict(parent) for parent in body.parents]
    return values


@cache
def _adapter(kind: type[Body]) -> TypeAdapter[Body]:
    return TypeAdapter(kind)


def _check(kind: type[Body], predicate: bytes) -> Body:
    try:
        return _adapter(kind).validate_json(predicate, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(
            f"a {kind.kind} statement cannot say {where}: {first['msg']}",
            hint="docs/spec/record.md lists what each field may hold",
        ) from error


def _check_free_json(kind: str, predicate: bytes) -> None:
    """Refuse numbers that readers would read as others, which would make the leaf unreadable."""
    try:
        is_same = canonical_json(orjson.loads(predicate)) == predicate
    except orjson.JSONDecodeError:
        is_same = False
    if not is_same:
        raise RecordError(
            f"a {kind} statement holds a number that JSON cannot carry",
            hint="write big numbers as decimal strings: docs/spec/record.md",
        )


def format_time(time_us: int) -> str:
    """Microseconds since 1970 as ``2026-01-31T12:00:00.000000Z``."""
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_us % 1_000_000:06d}Z"


def parse_time(text: str) -> int:
    """The inverse of ``format_time``.

    Raises:
        RecordError: It is no such time.
    """
    if re.fullmatch(_TIME, text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is not None:
            return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond
    raise RecordError(f"{text[:40]!r} is no time", hint="write it as 2026-01-31T12:00:00.000000Z")
