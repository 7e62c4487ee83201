"""What the commands of `mynah record` are given: workspaces, days and keys, as people write.

Reads the workspace that is named; makes it, where a command may be the first in it.
"""

import json
import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mynah.errors import ConfigError, RecordError
from mynah.workspace import Workspace

if TYPE_CHECKING:
    from mynah.record.record import Record
    from mynah.record.thresholds import Threshold

__all__ = [
    "AsJson",
    "Yes",
    "ask",
    "made_record",
    "open_record",
    "order_id_of",
    "print_json",
    "read_signed",
    "thresholds_of",
    "time_us_of",
    "vkeys_of",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z")


def open_record(folder: Path) -> "Record":
    """The record of a workspace, which must have one already.

    Raises:
        ConfigError: It is no workspace, or nothing was recorded there yet.
    """
    from mynah.cli.opened import open_workspace
    from mynah.record.record import Record

    place = open_workspace(folder)
    found = Record.find(place.root)
    if found is None:
        raise ConfigError(
            f"{folder} has no record yet: nothing that is recorded was done there",
            hint=f"train, order a pause, or follow a log: mynah up {folder}",
        )
    return found


def thresholds_of(folder: Path) -> "tuple[Threshold, ...]":
    """Thresholds of a workspace's ``mynah.toml``, else those that mynah comes with."""
    from mynah.cli.opened import open_workspace
    from mynah.config import parse_config
    from mynah.record.thresholds import RecordConfig

    settings = open_workspace(folder).settings
    try:
        table = tomllib.loads(settings.read_text()).get("record", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{settings} is not TOML: {error}", hint="mend that line") from error
    return parse_config(RecordConfig, table, source=f"{settings}: record").named_thresholds()


def made_record(folder: Path) -> "Record":
    """The record of a workspace; both are made if they are missing."""
    from mynah.record.record import Record

    place = Workspace(folder.expanduser().absolute())
    place.create()
    return Record.open(place.root)


def time_us_of(text: str) -> int:
    """A day (its first moment, UTC) or a moment in UTC, in microseconds since 1970.

    Raises:
        ConfigError: It is neither.
    """
    from mynah.record.statements import parse_time

    if _DAY.fullmatch(text) or _MOMENT.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            moment = None
        if moment is not None:
            return parse_time(f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z")
    raise ConfigError(
        f"{text[:40]!r} is no day and no time",
        hint="write 2027-06-01 or 2027-06-01T12:00:00Z; both are UTC",
    )


def read_signed(path: Path) -> tuple[bytes, str]:
    """A file that is passed round, and the order that it releases; empty if it is an order.

    Raises:
        ConfigError: There is no such file.
        RecordError: It is neither.
    """
    from mynah.record.envelopes import read_payload

    try:
        envelope = path.read_bytes().strip()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"there is no file {path}", hint="name an order or a release") from error
    try:
        payload = json.loads(read_payload(envelope))
    except ValueError as error:
        raise RecordError(
            f"{path} is signed, and is no order and no release", hint="get it again from its author"
        ) from error
    if not isinstance(payload, dict):
        return envelope, ""
    found = cast("dict[str, Any]", payload)
    is_release = str(found.get("predicateType", "")).endswith("/pause-release/v1")
    predicate = found.get("predicate")
    named = cast("dict[str, Any]", predicate) if isinstance(predicate, dict) else {}
    return envelope, str(named.get("order", "")) if is_release else ""


def order_id_of(text: str) -> str:
    """The id of an order that is given by its id, its first digits, or its file."""
    from mynah.record.orders import read_order

    if re.fullmatch(r"[0-9a-f]{6,64}", text):
        return text
    return read_order(read_signed(Path(text))[0]).id


def vkeys_of(given: str) -> list[str]:
    """A vkey, or those in the file that is named, one a line."""
    path = Path(given)
    if "+" in given and len(given.split("+", 2)) == 3 and not path.exists():
        return [given]
    if not path.is_file():
        raise ConfigError(
            f"{given[:60]!r} is no vkey and no file with one",
            hint="a vkey is NAME+ID+KEY: mynah record key and mynah record show print them",
        )
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text", hint="name a file with a vkey a line") from error
    return [line.strip() for line in lines if line.strip()]


def ask(question: str, *, is_sure: bool) -> None:
    """Ask once, on a terminal; where nobody can answer, ``--yes`` has to be said.

    Raises:
        ConfigError: Nobody is there to answer.
    """
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            "nobody is here to be asked", hint="add --yes to go on without a question"
        )
    typer.echo(question, err=True)
    if not typer.confirm("Go on?", err=True):
        typer.echo("nothing was done", err=True)
        raise typer.Exit(1)


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """Print one JSON value."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
