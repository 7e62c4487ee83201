"""Models on this disk against the digests that a log names.

Reads model folders as OpenSSF Model Signing hashes them; writes nothing.
"""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from mynah.errors import DataError
from mynah.record.verify.report import Report
from mynah.record.verify.runs import ModelState

__all__ = ["check_models", "digest_folder"]


def digest_folder(folder: Path) -> tuple[str, int, int]:
    """Digest of a model folder, its files and their bytes; the signature is not part of it.

    Raises:
        DataError: It cannot be hashed.
    """
    from model_signing.hashing import Config  # half a second; only who has files needs it

    left_out = ["model.sig", *(str(p.relative_to(folder)) for p in folder.rglob(".*.writing"))]
    hashing = Config().use_file_serialization(hashing_algorithm="sha256")
    hashing.set_ignored_paths(paths=left_out)
    try:
        items = list(hashing.hash(folder).resource_descriptors())
        num_bytes = sum((folder / item.identifier).stat().st_size for item in items)
    except (ValueError, OSError) as error:
        raise DataError(
            f"the model in {folder} cannot be hashed: {error}",
            hint="a model folder holds plain files, and nobody writes to it meanwhile",
        ) from error
    digest = sha256(b"".join(item.digest.digest_value for item in items)).hexdigest()
    return digest, len(items), num_bytes


def check_models(
    report: Report,
    models: Mapping[str, ModelState],
    names: Mapping[str, tuple[str, ModelState]],
    files: Path | None,
) -> None:
    """Compare the last model of each name with its folder below ``files``.

    Args:
        report: Takes one claim a model.
        models: By digest, all that the log names.
        names: The last digest of each name.
        files: A workspace, or a folder with one folder a model; ``None`` when there is none.
    """
    folders = _folders(files) if files else {}
    shown: set[str] = set()
    for name, (digest, model) in names.items():
        folder = folders.get(name)
        if folder is None:
            continue
        shown.add(digest)
        what = f"the files of {name} are those of checkpoint {digest[:12]}"
        try:
            found = digest_folder(folder)
        except DataError as error:
            report.contradicted(what, error.message, model.index)
            continue
        if found == (digest, model.num_files, model.num_bytes):
            report.proved(what, f"{found[1]} files, {found[2]} bytes", model.index)
        else:
            detail = f"the files have digest {found[0]}, {found[1]} files, {found[2]} bytes"
            report.contradicted(what, detail, model.index)
    if rest := len(models.keys() - shown):
        report.not_proved(f"checkpoint digests ({rest})", "their files are not here")


def _folders(files: Path) -> dict[str, Path]:
    """Folders that may be models, by name; a log's names are looked up, never opened as paths."""
    if not files.is_dir():
        raise DataError(f"{files} is no folder of models", hint="name a workspace or its models/")
    place = files / "models" if (files / "models").is_dir() else files
    with os.scandir(place) as entries:
        found = {entry.name: Path(entry.path) for entry in entries if entry.is_dir()}
    return {name: path for name, path in found.items() if not name.startswith(".")}
