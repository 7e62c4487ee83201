"""Digests and signatures of model folders, as OpenSSF Model Signing defines them.

Reads a folder of weights; writes ``model.sig`` into it, which ``model_signing verify key`` checks.
The digest is SHA-256 over the SHA-256 of each file, the files sorted by the parts of their paths:
``sha256sum`` and a few lines in any language find it again. It does not cover the files' names;
the signature does.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mynah.errors import DataError, machine_errors
from mynah.record.identity import Identity

if TYPE_CHECKING:
    from model_signing.hashing import Config

__all__ = ["MODEL_SIGNATURE", "ModelDigest", "model_digest", "sign_model"]

MODEL_SIGNATURE = "model.sig"
"""Name of the signature, in the folder it signs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDigest:
    """What names the content of a model folder."""

    hex: str
    """Root digest: SHA-256, 64 hex digits."""
    num_files: int
    num_bytes: int


def model_digest(folder: Path, *, ignored: Sequence[str] = ()) -> ModelDigest:
    """Hash the files of a model folder, several at a time.

    Left out are the signature, files that are being written (``.NAME.PID.writing``), and
    ``.git`` and its like, which the library leaves out, too.

    Args:
        folder: The model's folder, without symbolic links.
        ignored: More files and folders to leave out, relative to ``folder``.

    Raises:
        DataError: The folder is missing, empty or changing, or holds a symbolic link or a file
            that cannot be read.
    """
    hashing = _hashing(folder, ignored)
    try:
        found = list(hashing.hash(folder).resource_descriptors())
        num_bytes = sum((folder / item.identifier).stat().st_size for item in found)
    except (ValueError, OSError) as error:
        raise _unreadable(folder, error) from error
    if not found:
        raise DataError(
            f"there are no files in {folder}", hint="name the folder that holds the weights"
        )
    root = hashlib.sha256(b"".join(item.digest.digest_value for item in found)).hexdigest()
    return ModelDigest(hex=root, num_files=len(found), num_bytes=num_bytes)


def sign_model(folder: Path, identity: Identity, *, ignored: Sequence[str] = ()) -> Path:
    """Write ``model.sig`` with the identity's P-256 key; an older one is replaced in one step.

    Raises:
        DataError: As ``model_digest`` does.
    """
    from model_signing.signing import Config as Signing

    hashing = _hashing(folder, ignored)
    signing = Signing().set_hashing_config(hashing)
    signing.use_elliptic_key_signer(private_key=identity.model_key)
    path = folder / MODEL_SIGNATURE
    aside = folder / f".{MODEL_SIGNATURE}.{os.getpid()}.writing"
    with machine_errors(path):
        try:
            signing.sign(folder, aside)
            with aside.open("rb") as stream:
                os.fsync(stream.fileno())
            aside.replace(path)
        except (ValueError, FileNotFoundError) as error:
            raise _unreadable(folder, error) from error
        finally:
            aside.unlink(missing_ok=True)
    return path


def _hashing(folder: Path, ignored: Sequence[str]) -> "Config":
    # Half a second to import, and only who makes or checks a model needs it.
    from model_signing.hashing import Config

    if not folder.is_dir():
        raise DataError(
            f"{folder} is no folder of a model", hint="name the folder that holds the weights"
        )
    writing = [str(path.relative_to(folder)) for path in folder.rglob(".*.writing")]
    paths = [MODEL_SIGNATURE, *sorted(ignored), *sorted(writing)]
    # One SHA-256 a file: slower than BLAKE3, but `sha256sum` and every verifier know it.
    hashing = Config().use_file_serialization(hashing_algorithm="sha256")
    return hashing.set_ignored_paths(paths=paths)


def _unreadable(folder: Path, error: Exception) -> DataError:
    return DataError(
        f"the model in {folder} cannot be hashed: {error}",
        hint="a model folder holds plain files, none a symbolic link, and nobody writes to it",
    )
