"""`mynah record follow`, `refresh`, `witnessed`: other parties' logs, and their eyes on ours.

Reads published logs and the workspace's policy; writes ``record/followed/``, a leaf for each log
that is followed, and cosignatures beside our tree head.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mynah.cli.record_arguments import AsJson, made_record, open_record, print_json, vkeys_of

if TYPE_CHECKING:
    from mynah.record.following import FollowOutcome

__all__ = ["follow", "refresh", "witnessed"]


def witnessed(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    as_json: AsJson = False,
) -> None:
    """Ask the witnesses of our policy to cosign our tree head, and keep what they sign.

    The policy is WORKSPACE/record/policy, a C2SP tlog-policy: a line `witness NAME VKEY URL` for
    each, and `quorum NAME`.
    Exit code 1 when fewer than the quorum have cosigned.
    """
    from mynah.errors import ConfigError
    from mynah.record.cosigning import addresses_of, collect, read_policy

    record = open_record(workspace)
    policy = read_policy(record.folder)
    addresses = addresses_of(policy) if policy else ()
    if policy is None or not addresses:
        raise ConfigError(
            "no witness is known with its address",
            hint=f"write 'witness NAME VKEY URL' and 'quorum NAME' to {record.folder / 'policy'}",
        )
    report = collect(record.log, addresses)
    keys = {str(key): name for name, key in policy.witnesses.items()}
    names = {address.key.name: keys[str(address.key)] for address in addresses}
    is_enough = policy.is_quorum(
        names[answer.name] for answer in report.answers if answer.state == "cosigned"
    )
    if as_json:
        print_json(asdict(report) | {"is_quorum": is_enough})
    else:
        for answer in report.answers:
            at = f" at {_day(answer.time_s)}" if answer.time_s is not None else ""
            typer.echo(f"{answer.state:<11} {answer.name}{at}: {answer.detail}")
        typer.echo(f"the quorum of the policy is {'met' if is_enough else 'not met'}", err=True)
    if not is_enough:
        raise typer.Exit(1)


def follow(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network; made if missing.")],
    source: Annotated[str, typer.Argument(help="URL or folder where their log is published.")],
    key: Annotated[
        str, typer.Option(help="vkey of their log, or a file with it; from them, not from SOURCE.")
    ],
    obey: Annotated[
        bool,
        typer.Option("--obey", help="Their pause orders bind us as our own; said in public."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Follow another party's log: keep a copy that verifies, and notice when it is rewritten.

    Again with another SOURCE, or with or without --obey, to change that. What is in force already
    stays in force. Exit code 1 when the log does not verify.
    """
    from mynah.errors import ConfigError
    from mynah.record.following import follow as follow_log
    from mynah.record.notes import VerifierKey

    vkeys = vkeys_of(key)
    if len(vkeys) != 1:
        raise ConfigError(f"{key} holds {len(vkeys)} vkeys", hint="give the one of the log")
    record = made_record(workspace)
    found = follow_log(record, source, key=VerifierKey.parse(vkeys[0]), obey=obey)
    _report([found], as_json=as_json)


def refresh(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    as_json: AsJson = False,
) -> None:
    """Visit every log that is followed; take over what verifies, keep evidence of what does not.

    Exit code 1 when one is forked, rolled back or damaged. One that is stale or cannot be reached
    shows nothing, neither good nor bad.
    """
    from mynah.errors import ConfigError
    from mynah.record.following import refresh as refresh_logs

    record = open_record(workspace)
    found = refresh_logs(record)
    if not found:
        raise ConfigError(
            f"{workspace} follows no log", hint="mynah record follow WORKSPACE SOURCE --key VKEY"
        )
    _report(found, as_json=as_json)


def _report(found: "Sequence[FollowOutcome]", *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        for one in found:
            seen = f"seen {one.head_time[:16]}Z" if one.head_time else "never seen alive"
            bound = ", obeyed" if one.is_obeyed else ""
            typer.echo(f"{one.state:<11} {one.origin}: {one.size:,} leaves, {seen}{bound}")
            if one.detail:
                typer.echo(f"{'':<11} {one.detail}")
    if any(one.state in ("forked", "rolled back", "damaged") for one in found):
        raise typer.Exit(1)


def _day(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
