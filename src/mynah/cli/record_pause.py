"""`mynah record pause`, `cosign`, `release`, `resume`: an order from its begin to its end.

Reads and writes the record of a workspace and the orders beside the keys, and the files in which
orders and releases are passed round.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mynah.cli.record_arguments import (
    AsJson,
    Yes,
    ask,
    made_record,
    open_record,
    order_id_of,
    print_json,
    read_signed,
    time_us_of,
)
from mynah.cli.record_status import status
from mynah.errors import ConfigError

if TYPE_CHECKING:
    from mynah.record.entries import OrderEntry
    from mynah.record.orders import SignedOrder
    from mynah.record.record import Record

__all__ = ["cosign", "pause_app", "release", "resume"]


class WorkspaceFirst(TyperGroup):
    """A group whose verb ``order`` may be left out, so that ``pause WORKSPACE`` orders a pause."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the verb in where the first word is none and no question for help."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["order", *args]
        return super().parse_args(ctx, args)


pause_app = typer.Typer(
    cls=WorkspaceFirst,
    no_args_is_help=True,
    help="Order a pause, or see who keeps which: pause WORKSPACE --above ..., pause status.",
)

pause_app.command("status")(status)

OrderFile = Annotated[
    str, typer.Argument(metavar="ORDER", help="Its id, the first six digits of it, or its file.")
]
Workspace = Annotated[Path, typer.Argument(help="Folder of the network.")]
Made = Annotated[Path, typer.Argument(help="Folder of the network; made if missing.")]
Out = Annotated[Path | None, typer.Option(help="Write the signed file here, to pass it round.")]
Timekeepers = Annotated[
    list[str] | None,
    typer.Option(
        "--timekeeper",
        help="VKEY or VKEY=URL of a witness whose clock ends the pause; again for more.",
    ),
]


@pause_app.command("order")
def order(
    workspace: Made,
    above: Annotated[str, typer.Option(help="FLOP with the whole lineage, such as 2.1e25.")],
    until: Annotated[str, typer.Option(help="Day or time in UTC, such as 2027-06-01.")],
    reason: Annotated[str, typer.Option(help="For the public record, at most 500 characters.")],
    cosign: Annotated[
        list[str] | None,
        typer.Option(
            help="Who is asked to sign as well: a vkey, a file with it, or the name of an "
            "organisation whose log is followed; again for more."
        ),
    ] = None,
    timekeeper: Timekeepers = None,
    quorum: Annotated[
        int | None, typer.Option(help="Timekeepers needed. [default: more than half]", min=1)
    ] = None,
    begins: Annotated[str, typer.Option(help="Day or time in UTC. [default: now]")] = "",
    out: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Order a pause: no training above so many FLOP, until a day. `order` may be left out.

    It binds these keys at once, in every workspace, and whoever signs it too. It ends by its own
    terms: its day has come and the timekeepers say so, or all who signed it release it.
    """
    from mynah.cli.record_keys import keep_addresses, party_keys_of, timekeepers_of
    from mynah.record.pausing import PauseTerms, order_pause
    from mynah.record.thresholds import parse_flop

    record = made_record(workspace)
    keepers = timekeepers_of(timekeeper or [])
    terms = PauseTerms(
        above=above,
        until_us=time_us_of(until),
        reason=reason,
        cosigners=party_keys_of(record, cosign or []),
        timekeepers=[keeper.key for keeper in keepers],
        quorum=quorum or (len(keepers) // 2 + 1 if keepers else 0),
        begins_us=time_us_of(begins) if begins else None,
    )
    ask(_warning(record, parse_flop(above), until), is_sure=yes)
    keep_addresses(record, keepers, quorum=terms.quorum)
    _report(order_pause(record, terms), out=out, as_json=as_json)


def cosign(
    workspace: Made,
    file: Annotated[Path, typer.Argument(help="Another party's order, or a release.")],
    out: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sign another party's order, which then binds us too, or a release of one.

    An order that we have signed already is kept with the signatures that the file adds.
    """
    from mynah.record.orders import read_order
    from mynah.record.pausing import cosign_pause, sign_release

    given, released = read_signed(file)
    record = made_record(workspace)
    if released:
        ask(f"This ends the pause {released[:12]} for us, if all who signed it agree.", is_sure=yes)
        signed = sign_release(record, released, release=given)
        _pass_on(signed, order_id=released, out=out, as_json=as_json)
        return
    terms = read_order(given).order
    ask(_warning(record, terms.above, terms.until), is_sure=yes)
    _report(cosign_pause(record, given), out=out, as_json=as_json)


def release(
    workspace: Workspace,
    order: OrderFile,
    reason: Annotated[str, typer.Option(help="For the public record, at most 500 characters.")],
    out: Out = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Sign that an order may end early; the others that signed it sign the same file: `cosign`.

    Nothing is lifted yet: `mynah record resume WORKSPACE ORDER --release FILE` does that, once
    the file bears every signature.
    """
    from mynah.record.pausing import sign_release

    record = open_record(workspace)
    found = _entry(record, order).signed
    names = ", ".join(key.name for key in found.signers)
    ask(f"The pause {found.id[:12]} ends early once {names} have all signed.", is_sure=yes)
    signed = sign_release(record, found.id, reason=reason)
    _pass_on(signed, order_id=found.id, out=out, as_json=as_json)


def resume(
    workspace: Workspace,
    order: OrderFile,
    release: Annotated[
        Path | None, typer.Option(help="File that all who signed the order have signed.")
    ] = None,
    timekeeper: Timekeepers = None,
    as_json: AsJson = False,
) -> None:
    """Lift an order by its own terms; before they are met the answer is no.

    Without --release its day must have come: its timekeepers are asked to cosign our tree head
    now, at the addresses of WORKSPACE/record/policy or of --timekeeper.
    """
    from mynah.cli.record_keys import timekeeper_note, timekeepers_of
    from mynah.record.pausing import lift_pause

    record = open_record(workspace)
    entry = _entry(record, order)
    agreed = read_signed(release)[0] if release is not None else None
    asking = timekeeper_note(record, entry.order, timekeepers_of(timekeeper or []))
    if agreed is None and asking is None and entry.order.timekeepers and not entry.is_lifted:
        names = ", ".join(keeper.name for keeper in entry.order.timekeeper_keys)
        raise ConfigError(
            f"nobody knows where to ask the timekeepers of this order: {names}",
            hint="say it: --timekeeper VKEY=URL, or name them in WORKSPACE/record/policy",
        )
    lifted = lift_pause(record, entry.signed.id, release=agreed, cosign=asking)
    if as_json:
        print_json(asdict(lifted))
        return
    why = "all who signed it agree" if lifted.basis == "parties" else "its time has come"
    typer.echo(f"the pause {lifted.order[:12]} is over: {why}")
    paused = [name for name, run in record.register().runs.items() if run.paused_by]
    if paused:
        typer.echo(f"mynah up {workspace} goes on with {', '.join(paused)}", err=True)


def _entry(record: "Record", order_id: str) -> "OrderEntry":
    from mynah.record.pausing import find_order

    return find_order(record, order_id_of(order_id))


def _warning(record: "Record", above: int, until: str) -> str:
    from mynah.record.thresholds import format_flop

    register = record.register()
    stopped = [
        name
        for name, run in register.runs.items()
        if not run.is_final and ((total := run.covered_total()) is None or total > above)
    ]
    named = f"This stops {', '.join(stopped)}" if stopped else "No run that is under way stops"
    return (
        f"{named}. Until {until[:10]} no run above {format_flop(above)} FLOP, lineage included, is"
        f" begun or goes on with the keys of {record.identity.name}, in any workspace."
    )


def _report(signed: "SignedOrder", *, out: Path | None, as_json: bool) -> None:
    if out is not None:
        out.write_bytes(signed.envelope)
    if as_json:
        print_json(
            {
                "order": signed.id,
                "above_flop": signed.order.above_flop,
                "begins": signed.order.begins,
                "until": signed.order.until,
                "signers": [str(key) for key in signed.signers],
                "missing": [str(key) for key in signed.missing],
                "envelope": signed.envelope.decode(),
            }
        )
        return
    typer.echo(f"order    {signed.id}")
    typer.echo(f"until    {signed.order.until}")
    typer.echo(f"signed   {', '.join(key.name for key in signed.signers)}")
    if signed.missing:
        typer.echo(f"missing  {', '.join(key.name for key in signed.missing)}")
    if out is not None:
        typer.echo(f"file     {out}")


def _pass_on(envelope: bytes, *, order_id: str, out: Path | None, as_json: bool) -> None:
    if out is not None:
        out.write_bytes(envelope)
    if as_json:
        print_json({"order": order_id, "envelope": envelope.decode()})
    elif out is not None:
        typer.echo(f"signed release of {order_id[:12]}: {out}")
    else:
        typer.echo(envelope.decode())
