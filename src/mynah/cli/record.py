"""`mynah record`: the group, and looking at what stands in the record.

Reads the record of a workspace; ``restore`` puts it back, ``key`` may set a name, the other
commands here write nothing. Further commands live in ``record_*.py`` beside this file.
"""

import base64
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mynah.cli.record_arguments import AsJson, open_record, print_json
from mynah.cli.record_compute import compute
from mynah.cli.record_others import follow, refresh, witnessed
from mynah.cli.record_pause import cosign, pause_app, release, resume
from mynah.cli.record_publish import bom, publish
from mynah.cli.record_verify import verify
from mynah.cli.record_witness import witness

if TYPE_CHECKING:
    from mynah.record.record import Record
    from mynah.record.statements import Body

__all__ = ["app"]

app = typer.Typer(help="The public log of what was trained and paused.", no_args_is_help=True)
for _command in (
    *(compute, cosign, release, resume, follow, refresh),
    *(witnessed, witness, verify, publish, bom),
):
    app.command()(_command)
app.add_typer(pause_app, name="pause")

_STRIDE = 1_024
"""Leaves read at a time, when the last ones of a kind are looked for."""
Limit = Annotated[int, typer.Option(help="At most so many leaves, the last ones.", min=0)]


@app.callback()
def group() -> None:
    """The public log of what was trained, paused, shared and taken back."""


@app.command()
def show(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    kind: Annotated[str, typer.Option(help="Only leaves of this kind, such as progress.")] = "",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Print the log's key, its tree head, how many leaves of each kind, and the last of them."""
    from mynah.errors import ConfigError
    from mynah.record.site import describe
    from mynah.record.statements import KINDS

    if kind and kind not in KINDS:
        raise ConfigError(
            f"{kind[:60]!r} is no kind of leaf", hint=f"one of {', '.join(sorted(KINDS))}"
        )
    record = open_record(workspace)
    found = _last_bodies(record, kind=kind, limit=limit)
    if as_json:
        leaves = [{"index": i, "kind": body.kind, "body": asdict(body)} for i, body in found]
        print_json(_shown(record) | {"leaves": leaves})
        return
    counts = record.register().counts
    for name, value in _shown(record).items():
        if name != "counts":
            typer.echo(f"{name:<9} {value}")
    for name, count in sorted(counts.items()):
        typer.echo(f"{count:>9,} {name}")
    for index, body in found:
        typer.echo(f"{index:>9,} {body.time[:19]}Z  {describe(body)}")


def _shown(record: "Record") -> dict[str, Any]:
    note = record.log.note()
    head = record.log.head()
    return {
        "log": str(record.key),
        "folder": str(record.log.folder),
        "leaves": head.size,
        "root": base64.b64encode(head.root).decode(),
        "cosigners": ", ".join(s.name for s in note.signatures if s.name != head.origin) or "none",
        "counts": dict(sorted(record.register().counts.items())),
    }


def _last_bodies(record: "Record", *, kind: str, limit: int) -> list[tuple[int, "Body"]]:
    """The last leaves of a kind, oldest first; a log of millions is read from its end."""
    found: list[tuple[int, Body]] = []
    stop = record.log.head().size
    while stop and len(found) < limit:
        start = max(0, stop - max(limit, _STRIDE))
        part = [
            (index, statement.body)
            for index, statement in islice(record.statements(start), stop - start)
            if not kind or statement.body.kind == kind
        ]
        found, stop = [*part, *found], start
    return found[-limit:] if limit else []


@app.command()
def key(
    workspace: Annotated[
        Path | None, typer.Argument(help="Also print the vkey of this workspace's log.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Set the name, before the first log: heron.example, say.")
    ] = "",
    vkey: Annotated[
        bool, typer.Option("--vkey", help="Print the vkey alone; of the log, if one is named.")
    ] = False,
    pem: Annotated[
        bool, typer.Option("--pem", help="Print the public key as PEM, for openssl.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say who we are: the name and the vkey that others know us by, and where the keys lie.

    Keys are made the first time. Back the folder up: without it this organisation's logs end.
    """
    from mynah.record.identity import Identity

    identity = Identity.open()
    if name and name != identity.name:
        identity = identity.rename(name)
    if pem:
        typer.echo(identity.public_pem.decode(), nl=False)
        return
    found = {
        "name": identity.name,
        "vkey": str(identity.key.verifier()),
        "keys": str(identity.folder.absolute()),
    }
    if workspace is not None:
        found["log"] = str(open_record(workspace).key)
    if vkey:
        typer.echo(found.get("log", found["vkey"]))
        return
    if as_json:
        print_json(found)
        return
    for label, value in found.items():
        typer.echo(f"{label:<5} {value}")


@app.command()
def prove(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    index: Annotated[int, typer.Argument(help="Number of the leaf; the first is 0.", min=0)],
    out: Annotated[Path | None, typer.Option(help="Write the proof here, not to stdout.")] = None,
    leaf: Annotated[
        Path | None, typer.Option(help="Also write the leaf, as the log holds it, here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a proof that a leaf stands in the log, to be checked without the log.

    It is a C2SP tlog-proof: hashes, and the tree head with all its cosignatures.
    """
    record = open_record(workspace)
    proof, envelope = record.proof(index), record.log.leaf(index)
    if leaf is not None:
        leaf.write_bytes(envelope)
    if as_json:
        shown = {"index": index, "leaf": envelope.decode(), "proof": proof.decode()}
        print_json(shown | {"leaf_base64": base64.b64encode(envelope).decode()})
    elif out is None:
        typer.echo(proof.decode(), nl=False)
    if out is not None:
        out.write_bytes(proof)
        typer.echo(f"proof of leaf {index}: {out}", err=True)


@app.command()
def restore(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    source: Annotated[
        str,
        typer.Option("--from", help="Where the log is whole: a folder, or where it is published."),
    ],
    as_json: AsJson = False,
) -> None:
    """Put the record of a workspace back, after it was lost or an old backup was put there.

    Nothing is believed: what comes back must be the very tree that these keys signed last, or go
    on from it with their signature.
    """
    from mynah.cli.opened import open_workspace
    from mynah.record.restoring import restore_record

    restored = restore_record(open_workspace(workspace).root, source)
    if as_json:
        kept = str(restored.replaced) if restored.replaced is not None else None
        print_json(_shown(restored.record) | {"replaced": kept})
        return
    typer.echo(f"{restored.size:,} leaves of {restored.record.origin} are back")
    if restored.replaced is not None:
        typer.echo(f"what lay there before is kept: {restored.replaced}", err=True)
