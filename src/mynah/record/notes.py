"""Signed notes: the text form of keys, tree heads and cosignatures (C2SP signed-note).

Reads and writes bytes only. ``record.verify`` reads the same format with code of its own.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mynah.errors import RecordError

__all__ = [
    "COSIGNER",
    "SIGNER",
    "Note",
    "NoteSignature",
    "SigningKey",
    "TreeHead",
    "VerifierKey",
    "cosign",
    "cosigned_at",
    "parse_note",
    "sign_note",
    "verify_note",
]

SIGNER = 0x01
"""Type of a key that signs the text of a note."""
COSIGNER = 0x04
"""Type of a key that signs a time and a tree head: a witness."""
MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 64
_DASH = "\u2014 "
_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_HINT = "get it again from where it was published, and compare keys with its owner"


def fault(message: str, *, hint: str = _HINT) -> RecordError:
    """An error of a note, a key or a tree head, with the hint that fits most."""
    return RecordError(message, hint=hint)


def check_name(name: str) -> str:
    """Return ``name`` if a key may have it: no space, no plus, nothing below U+0020."""
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise fault(
            f"{name[:60]!r} is no name of a key",
            hint="use a name without spaces and plus signs, such as heron.example/log",
        )
    return name


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and a public key: what a stranger needs to check a signature."""

    name: str
    public: bytes
    """Ed25519, 32 bytes."""
    kind: int = SIGNER
    """``SIGNER`` or ``COSIGNER``."""

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        material = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return hashlib.sha256(material).digest()[:4]

    def __str__(self) -> str:
        """The vkey: ``name+hex id+base64``."""
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read a vkey.

        Raises:
            RecordError: Says which part of it is wrong.
        """
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise fault(f"{text[:60]!r} is no vkey: it wants NAME+ID+KEY")
        name, key_id, encoded = parts
        raw = decode_base64(encoded, what="the key of a vkey")
        if len(raw) != 33 or raw[0] not in (SIGNER, COSIGNER):
            raise fault(f"the vkey of {name[:60]!r} holds no Ed25519 key")
        key = cls(check_name(name), raw[1:], raw[0])
        if key.key_id.hex() != key_id:
            raise fault(f"the vkey of {name[:60]!r} has id {key_id[:16]}, not {key.key_id.hex()}")
        return key

    def is_valid(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` (64 bytes) over ``message`` is by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key under a name; never leaves the folder of keys."""

    name: str
    private: Ed25519PrivateKey

    def verifier(self, kind: int = SIGNER) -> VerifierKey:
        """The public side."""
        public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return VerifierKey(check_name(self.name), public, kind)

    def sign(self, message: bytes) -> bytes:
        """64 bytes over ``message`` as it is."""
        return self.private.sign(message)


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line below the text of a note."""

    name: str
    key_id: bytes
    blob: bytes
    """The signature; a cosigner's begins with its time, 8 bytes."""

    def __str__(self) -> str:
        """The line, without its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends in a newline, and its signatures; nothing is checked yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The note as it is stored and sent."""
        lines = "".join(f"{signature}\n" for signature in self.signatures)
        return f"{self.text}\n{lines}".encode()

    def with_signatures(self, more: Iterable[NoteSignature]) -> "Note":
        """The same text with more lines; a key that signs again replaces its line."""
        lines = {(s.name, s.key_id): s for s in (*self.signatures, *more)}
        return Note(self.text, tuple(lines.values()))


def decode_base64(text: str, *, what: str) -> bytes:
    """Decode strictly: one text for the same bytes, so that a flipped bit never goes unseen."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise fault(f"{what} is not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise fault(f"{what} is base64, but not in its one canonical form")
    return raw


def parse_note(data: bytes) -> Note:
    """Take a note apart.

    Raises:
        RecordError: Names the fault: size, encoding, control character, no signature, bad line.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise fault(f"the note has {len(data)} bytes, more than {MAX_NOTE_BYTES}")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise fault(f"the note is not UTF-8 at byte {error.start}") from error
    bad = re.search(r"[\x00-\x09\x0b-\x1f]", whole)
    if bad:
        raise fault(f"the note has the control character {bad[0]!r} at {bad.start()}")
    text, blank, below = whole.rpartition("\n\n")
    if not blank:
        raise fault("the note has no empty line between text and signatures")
    if not below.endswith("\n"):
        raise fault("the note does not end with a newline: it is cut short")
    lines = below[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise fault(f"the note has {len(lines)} signatures, more than {MAX_SIGNATURES}")
    return Note(text + "\n", tuple(parse_signature(line) for line in lines))


def parse_signature(line: str) -> NoteSignature:
    """Read one signature line, without its newline."""
    if not line.startswith(_DASH):
        raise fault(f"a signature line begins with {line[:2]!r}, not with an em dash")
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not space:
        raise fault("a signature line wants a name, a space and base64")
    raw = decode_base64(encoded, what=f"the signature of {name[:60]}")
    if len(raw) < 5:
        raise fault(f"the signature of {name[:60]} has {len(raw)} bytes")
    return NoteSignature(check_name(name), raw[:4], raw[4:])


def sign_note(text: str, key: SigningKey) -> Note:
    """Sign a text; it must end with a newline."""
    assert text.endswith("\n"), "a note's text ends with a newline"
    verifier = key.verifier()
    signature = NoteSignature(key.name, verifier.key_id, key.sign(text.encode()))
    return Note(text, (signature,))


def verify_note(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Return which of ``keys`` signed ``note``; lines of other keys are ignored.

    Raises:
        RecordError: A line of a known key is false, or none is by a known key.
    """
    found: list[VerifierKey] = []
    for key in keys:
        for line in note.signatures:
            if (line.name, line.key_id) != (key.name, key.key_id):
                continue
            if not _is_signed(note.text, line, key):
                raise fault(f"the signature of {key.name} does not fit the note: it was changed")
            if key in found:
                raise fault(f"the note has two signatures of {key.name}")
            found.append(key)
    if not found:
        who = ", ".join(sorted({line.name for line in note.signatures}))
        raise fault(f"no known key signed the note; it is signed by {who[:200]}")
    return tuple(found)


def _is_signed(text: str, line: NoteSignature, key: VerifierKey) -> bool:
    if key.kind == SIGNER:
        return len(line.blob) == 64 and key.is_valid(line.blob, text.encode())
    if len(line.blob) != 72:
        return False
    return key.is_valid(line.blob[8:], _cosigned(text, int.from_bytes(line.blob[:8])))


def _cosigned(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def cosign(text: str, key: SigningKey, *, time_s: int) -> NoteSignature:
    """Sign a tree head and a POSIX time, as a witness (C2SP tlog-cosignature)."""
    blob = time_s.to_bytes(8) + key.sign(_cosigned(text, time_s))
    return NoteSignature(key.name, key.verifier(COSIGNER).key_id, blob)


def cosigned_at(note: Note, key: VerifierKey) -> int | None:
    """POSIX time of a valid cosignature by ``key``; ``None`` where there is none.

    Raises:
        RecordError: There is one, and it is false.
    """
    for line in note.signatures:
        if (line.name, line.key_id) == (key.name, key.key_id):
            if key.kind != COSIGNER or not _is_signed(note.text, line, key):
                raise fault(f"the cosignature of {key.name} does not fit the note")
            return int.from_bytes(line.blob[:8])
    return None


@dataclass(frozen=True, slots=True)
class TreeHead:
    """Size and root hash of a log, as its owner signs them (C2SP: checkpoint)."""

    origin: str
    """Name of the log."""
    size: int
    """Leaves."""
    root: bytes
    """SHA-256, 32 bytes (RFC 6962, section 2.1)."""

    @property
    def text(self) -> str:
        """What is signed: three lines."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "TreeHead":
        """Read the three lines; more are refused, none are known.

        Raises:
            RecordError: Says which line is wrong.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise fault(f"a tree head has three lines, this one has {len(lines) - 1}")
        origin, size, root = lines[:3]
        if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or int(size) >= 1 << 63:
            raise fault(f"the size of a tree head is {size[:40]!r}, not a plain decimal number")
        raw = decode_base64(root, what="the root hash of a tree head")
        if len(raw) != 32:
            raise fault(f"the root hash of a tree head has {len(raw)} bytes, not 32")
        return cls(check_name(origin), int(size), raw)
