"""Who signs: the keys of one organisation on this machine, kept apart from every workspace.

Reads and writes the folder of keys: ``MYNAH_KEYS``, else ``keys`` in ``MYNAH_HOME``, else in the
user's data folder. What stands there outlives a workspace that is deleted, copied or put back
from a backup: the last tree head of each log (``logs/``) and each pause order (``orders/``).
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from platformdirs import user_data_path

from mynah.errors import ConfigError, RecordError, machine_errors
from mynah.record.notes import SigningKey, check_name
from mynah.workspace import locked

__all__ = ["Identity", "keys_folder"]


def keys_folder() -> Path:
    """Where the keys of this user lie."""
    if chosen := os.environ.get("MYNAH_KEYS"):
        return Path(chosen)
    home = os.environ.get("MYNAH_HOME")
    return Path(home) / "keys" if home else user_data_path("mynah") / "keys"


@dataclass(frozen=True, slots=True)
class Identity:
    """One organisation: a name, an Ed25519 key, and the state that its keys have signed."""

    folder: Path
    key: SigningKey

    @classmethod
    def open(cls, folder: Path | None = None) -> "Identity":
        """Read the keys; make them when there are none.

        Raises:
            RecordError: A key cannot be read.
        """
        folder = folder or keys_folder()
        busy = ConfigError(f"another mynah makes keys in {folder}", hint="run it again")
        with machine_errors(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (folder / "name").is_file():
                with locked(folder / ".lock", busy=busy, wait_s=10.0):
                    if not (folder / "name").is_file():
                        _make_keys(folder)
        private = _load(folder / "ed25519.pem")
        if not isinstance(private, Ed25519PrivateKey):
            raise RecordError(
                f"{folder / 'ed25519.pem'} holds no Ed25519 key", hint="put the right file back"
            )
        name = (folder / "name").read_bytes().decode(errors="replace").strip()
        return cls(folder, SigningKey(check_name(name), private))

    @property
    def name(self) -> str:
        """Name of the organisation, as others see it."""
        return self.key.name

    def rename(self, name: str) -> "Identity":
        """Take another name; only before the first log is opened under the old one.

        Raises:
            ConfigError: A log bears the old name already.
        """
        if any(self.logs.glob("*")):
            raise ConfigError(
                f"logs are signed as {self.name} already",
                hint="a new name is a new identity: set MYNAH_KEYS to a new folder",
            )
        _write_secret(self.folder / "name", f"{check_name(name)}\n".encode())
        return Identity.open(self.folder)

    @property
    def logs(self) -> Path:
        """A folder for each log that this identity signs; see ``guard``."""
        return self.folder / "logs"

    @property
    def orders(self) -> Path:
        """Pause orders that bind this identity, whatever the workspace; see ``orders``."""
        return self.folder / "orders"

    def guard(self, origin: str) -> Path:
        """Folder of what was last signed for the log ``origin``."""
        return self.logs / hashlib.sha256(origin.encode()).hexdigest()[:16]

    def log_key(self, origin: str) -> SigningKey:
        """The same key under the name of a log, to sign its tree heads."""
        return SigningKey(check_name(origin), self.key.private)

    def new_origin(self, workspace: Path) -> str:
        """A name for a log that no other has."""
        word = re.sub(r"[^a-z0-9]+", "-", workspace.resolve().name.lower()).strip("-") or "log"
        return f"{self.name}/{word[:40]}-{secrets.token_hex(3)}"

    @property
    def public_pem(self) -> bytes:
        """The Ed25519 key as openssl reads it."""
        public = self.key.private.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def model_key(self) -> Path:
        """P-256 private key (PEM) for OpenSSF model signatures, which know no Ed25519."""
        return self.folder / "model-signing.pem"

    @property
    def model_public_pem(self) -> bytes:
        """The public side of ``model_key``."""
        private = _load(self.model_key)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise RecordError(f"{self.model_key} holds no P-256 key", hint="put the file back")
        return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _load(path: Path) -> object:
    try:
        return load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(
            f"the key {path} cannot be read: {error}",
            hint="put it back from your backup; without it this organisation's logs end",
        ) from error


def _make_keys(folder: Path) -> None:
    """Make what is missing, the name last; a key that is there is never replaced."""
    if any((folder / "logs").glob("*")):
        raise RecordError(
            f"the identity in {folder} has lost its name, and logs are signed with it",
            hint=f"put the file {folder / 'name'} back from your backup",
        )
    for name, generate in (
        ("ed25519.pem", Ed25519PrivateKey.generate),
        ("model-signing.pem", lambda: ec.generate_private_key(ec.SECP256R1())),
    ):
        if not (folder / name).exists():
            pem = generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _write_secret(folder / name, pem)
    private = _load(folder / "ed25519.pem")
    if isinstance(private, Ed25519PrivateKey):
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        name = f"mynah-{hashlib.sha256(public).hexdigest()[:8]}\n"
        _write_secret(folder / "name", name.encode())


def _write_secret(path: Path, content: bytes) -> None:
    """Write aside, sync, rename; nobody else may read it, not even for a moment."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
