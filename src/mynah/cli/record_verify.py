"""`mynah record verify`: check a published record as a stranger would, and say what follows.

Reads a log (a folder, an address, a workspace) or a proof of one leaf; writes nothing, and needs
neither a workspace nor keys of its own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mynah.cli.record_arguments import AsJson, vkeys_of

if TYPE_CHECKING:
    from mynah.record.verify import Policy, Report

__all__ = ["report_lines", "verify"]

_SHOWN = 20
"""Claims of one verdict that people are shown; ``--all`` and ``--json`` have the rest."""


def verify(
    source: Annotated[
        str, typer.Argument(help="URL or folder of a log, a workspace, or a proof of one leaf.")
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(help="vkey of the log or of its owner, or a file with it; again for more."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="C2SP tlog-policy: logs, witnesses and their quorum.")
    ] = None,
    files: Annotated[
        Path | None, typer.Option(help="Model folders, to compare with the checkpoint leaves.")
    ] = None,
    known: Annotated[
        Path | None, typer.Option(help="A tree head of this log from earlier: its `checkpoint`.")
    ] = None,
    leaf: Annotated[
        Path | None, typer.Option(help="With a proof: the leaf that it is about.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Print every claim.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check a record from scratch: signatures, tree, witnesses, compute, pauses, models.

    Prints each claim as contradicted, not proved or proved. Exit code 1 on any contradiction; 2
    or 3 when the record, or something given, cannot be read, which says nothing about it.
    """
    from mynah.cli.bars import progress_bar
    from mynah.record.verify import Trust, verify_with

    keys = tuple(vkey for given in key or [] for vkey in vkeys_of(given))
    terms = _policy(policy)
    if "://" not in source and Path(source).is_file():
        report = _proof_report(Path(source), leaf, policy=terms, keys=keys)
    else:
        seen = _bytes(known, "a tree head") if known is not None else None
        trust = Trust(policy=terms, keys=keys, known_head=seen)
        with progress_bar("Verifying") as progress:
            report = verify_with(source, trust, files=files, progress=progress)
    if as_json:
        typer.echo(report.to_json())
    else:
        for line in report_lines(report, limit=None if show_all else _SHOWN):
            typer.echo(line)
    if report.is_contradicted:
        raise typer.Exit(1)


def report_lines(report: "Report", *, limit: int | None = _SHOWN) -> list[str]:
    """Lay a report out for people: what is wrong first, what holds last."""
    from mynah.record.verify.report import CONTRADICTED, NOT_PROVED, PROVED

    lines = [f"{report.origin or 'unknown log'}: {report.size:,} leaves, {report.source}"]
    for verdict in (CONTRADICTED, NOT_PROVED, PROVED):
        claims, count = report.of(verdict), report.counts[verdict]
        if not count:
            continue
        lines += ["", f"{verdict} ({count:,})"]
        for claim in claims[:limit]:
            place = f" [leaf {claim.index}]" if claim.index is not None else ""
            detail = f": {claim.detail}" if claim.detail else ""
            lines.append(f"  {_plain(claim.what + place + detail)}")
        if (rest := count - len(claims[:limit])) > 0:
            lines.append(f"  and {rest:,} more: --all or --json")
    lines += ["", "contradicted" if report.is_contradicted else "nothing is contradicted"]
    return lines


def _plain(text: str) -> str:
    """What a log says of itself moves no cursor on our terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _policy(path: Path | None) -> "Policy | None":
    from mynah.errors import ConfigError
    from mynah.record.verify import Policy

    if path is None:
        return None
    try:
        return Policy.parse(_bytes(path, "a policy").decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text", hint="write it as C2SP tlog-policy") from error


def _proof_report(
    proof: Path, leaf: Path | None, *, policy: "Policy | None", keys: tuple[str, ...]
) -> "Report":
    from mynah.errors import ConfigError
    from mynah.record.verify import verify_proof

    if leaf is None:
        raise ConfigError(
            f"{proof} is a file: a proof of one leaf, perhaps, and the leaf is not given",
            hint="--leaf FILE, as mynah record prove wrote it; or name the folder of a log",
        )
    taken = _bytes(proof, "a proof"), _bytes(leaf, "a leaf")
    return verify_proof(*taken, policy=policy, keys=keys)


def _bytes(path: Path, what: str) -> bytes:
    from mynah.errors import ConfigError

    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is no file with {what}", hint="look at its path") from error
