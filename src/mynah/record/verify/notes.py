"""Signed notes as a stranger reads them: vkeys, tree heads, signatures, cosignatures.

Reads bytes, writes nothing, and shares no code with the writer: Ed25519 is libsodium's here.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

from mynah.errors import RecordError

__all__ = [
    "COSIGNER",
    "SIGNER",
    "Head",
    "Key",
    "SignatureLine",
    "SignedNote",
    "is_signed",
    "read_base64",
]

SIGNER = 1
"""Type of a key that signs notes."""
COSIGNER = 4
"""Type of a key that signs a time and a tree head."""
MAX_NOTE_BYTES = 1_000_000
MAX_LINES = 64
_DASH = "\u2014"


def wrong(message: str) -> RecordError:
    """A fault in what was published; the verifier turns it into a contradiction."""
    return RecordError(message, hint="get it again, and ask who published it for the right one")


def is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) over ``message`` is by the Ed25519 key ``public``."""
    try:
        crypto_sign_open(signature + message, public)
    except (CryptoError, ValueError):
        return False
    return True


def read_base64(text: str, what: str) -> bytes:
    """Decode base64 in its one canonical form."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong(f"{what} is not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise wrong(f"{what} is base64 with stray bits or padding")
    return raw


def is_name(text: str) -> bool:
    """Whether a key may have this name."""
    return (
        0 < len(text) <= 200
        and "+" not in text
        and not any(c.isspace() or ord(c) < 32 for c in text)
    )


@dataclass(frozen=True, slots=True)
class Key:
    """Public side of a signer or a witness."""

    name: str
    public: bytes
    kind: int = SIGNER

    @property
    def key_id(self) -> bytes:
        """First four bytes of the hash over name, kind and key."""
        return hashlib.sha256(b"%b\n%c%b" % (self.name.encode(), self.kind, self.public)).digest()[
            :4
        ]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, vkey: str) -> "Key":
        """Read ``NAME+ID+KEY``.

        Raises:
            RecordError: Says which part of it is wrong.
        """
        name, _, rest = vkey.partition("+")
        key_id, plus, encoded = rest.partition("+")
        if not plus or not is_name(name):
            raise wrong(f"{vkey[:60]!r} is no vkey: it wants NAME+ID+KEY")
        raw = read_base64(encoded, f"the key of {name}")
        if len(raw) != 33 or raw[0] not in (SIGNER, COSIGNER):
            raise wrong(f"the vkey of {name} is of a kind this verifier does not know")
        key = cls(name, raw[1:], raw[0])
        if key_id != key.key_id.hex():
            raise wrong(f"the vkey of {name} has the id {key_id[:16]}, its key {key.key_id.hex()}")
        return key


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """Name, key id and signature, as a note gives them."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text and its signature lines; nothing is checked yet."""

    text: str
    lines: tuple[SignatureLine, ...]

    @classmethod
    def parse(cls, data: bytes) -> "SignedNote":
        """Take a note apart.

        Raises:
            RecordError: Names the fault.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise wrong(f"the note has more than {MAX_NOTE_BYTES} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise wrong(f"the note is not UTF-8 at byte {error.start}") from error
        if any(ord(c) < 32 and c != "\n" for c in whole):
            raise wrong("the note has a control character")
        middle = whole.rfind("\n\n")
        if middle < 0 or not whole.endswith("\n") or middle + 2 == len(whole):
            raise wrong("the note is cut short: it wants a text, an empty line and signatures")
        lines = [_line(line) for line in whole[middle + 2 : -1].split("\n")]
        if len(lines) > MAX_LINES:
            raise wrong(f"the note has {len(lines)} signatures, more than {MAX_LINES}")
        if len({(line.name, line.key_id) for line in lines}) < len(lines):
            raise wrong("the note has two signatures of one key")
        return cls(whole[: middle + 1], tuple(lines))

    def line_of(self, key: Key) -> SignatureLine | None:
        """The line that claims to be by ``key``."""
        found = [s for s in self.lines if (s.name, s.key_id) == (key.name, key.key_id)]
        return found[0] if found else None

    def signed_by(self, key: Key) -> int | None:
        """When ``key`` signed: 0 for a signer, a POSIX time for a witness, else ``None``.

        Raises:
            RecordError: There is a line of the key, and its signature is false.
        """
        line = self.line_of(key)
        if line is None:
            return None
        time_s, signature, message = 0, line.signature, self.text.encode()
        if key.kind == COSIGNER:
            time_s, signature = int.from_bytes(signature[:8]), signature[8:]
            message = f"cosignature/v1\ntime {time_s}\n".encode() + message
        if len(signature) != 64 or not is_signed(key.public, signature, message):
            raise wrong(f"the signature of {key.name} does not fit the tree head")
        if time_s >= 1 << 63:
            raise wrong(f"the cosignature of {key.name} has a time that cannot be")
        return time_s

    def cosigners(self, keys: Iterable[Key]) -> dict[str, int]:
        """Witnesses (vkeys) among ``keys`` that cosigned, and when."""
        times = {str(key): self.signed_by(key) for key in keys}
        return {vkey: time_s for vkey, time_s in times.items() if time_s is not None}


def _line(line: str) -> SignatureLine:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != _DASH or not is_name(parts[1]):
        raise wrong(f"a signature line of the note reads {line[:40]!r}")
    raw = read_base64(parts[2], f"the signature of {parts[1]}")
    if len(raw) < 5:
        raise wrong(f"the signature of {parts[1]} has {len(raw)} bytes")
    return SignatureLine(parts[1], raw[:4], raw[4:])


@dataclass(frozen=True, slots=True)
class Head:
    """Origin, size and root hash: the text of a note that is a tree head."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read exactly three lines.

        Raises:
            RecordError: Says what is wrong.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not is_name(lines[0]):
            raise wrong("a tree head has three lines: origin, size, root hash")
        size = lines[1]
        is_plain = size.isascii() and size.isdigit() and (size == "0" or size[0] != "0")
        if not is_plain or len(size) > 19 or int(size) >= 1 << 63:
            raise wrong(f"the tree head has the size {size[:40]!r}, which is no plain number")
        root = read_base64(lines[2], "the root hash of the tree head")
        if len(root) != 32:
            raise wrong(f"the root hash of the tree head has {len(root)} bytes, not 32")
        return cls(lines[0], int(size), root)
