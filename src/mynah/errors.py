"""The error tree. Every failure a person may see is one of these.

    MynahError                something went wrong; exit code 3
    +-- ConfigError           a setting, flag or recipe is wrong; exit code 2
    +-- DataError             an input is missing, empty or not what it claims; exit code 2
    +-- RequestError          a request over HTTP is wrong; exit code 2
    +-- CheckpointError       weights are missing, cut short or of an unknown kind
    +-- RecordError           the record cannot be written or does not verify
    |   +-- PausedError       a pause order covers what was asked for; exit code 1
    +-- MachineError          disk, memory, port or network failed under us

A message says what was expected, what was found and where; the hint says what to do.
"""

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "MachineError",
    "MynahError",
    "PausedError",
    "RecordError",
    "RequestError",
    "machine_errors",
]


class MynahError(Exception):
    """Root of the tree: a message, a hint, and the exit code of a command that meets it."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"error: {self.message}\nhint: {self.hint}"


class ConfigError(MynahError):
    """A setting, a flag or a recipe is wrong."""

    exit_code = 2


class DataError(MynahError):
    """An input is missing, empty, broken or not what it claims to be."""

    exit_code = 2


class RequestError(MynahError):
    """A request over HTTP is wrong; carries the status it is answered with."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str, status: int = 400, code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code or "invalid_request"


class CheckpointError(MynahError):
    """Weights are missing, cut short, or of a kind this package does not read."""


class RecordError(MynahError):
    """The record cannot be written, or does not verify."""


class PausedError(RecordError):
    """A pause order that is in force covers the run."""

    exit_code = 1


class MachineError(MynahError):
    """Disk, memory, port or network failed under us."""


@contextmanager
def machine_errors(place: Path) -> Generator[None]:
    """Turn an operating system's refusal to write at ``place`` into one clear error."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise MachineError(
                f"the disk is full: {place} cannot be written",
                hint="free some space and run the same command again; what was finished is kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MachineError(
                f"{place} cannot be written: {error.strerror}",
                hint="choose a workspace folder that you may write to",
            ) from error
        raise
