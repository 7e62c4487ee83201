"""`mynah record pause status`: who keeps which pause, as far as their logs show.

Reads the record of a workspace and its copies of followed logs; visits nobody and writes nothing.
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mynah.cli.record_arguments import AsJson, open_record, print_json

if TYPE_CHECKING:
    from mynah.record.status import OrderStatus, PartyStatus

__all__ = ["status"]


def status(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    as_json: AsJson = False,
) -> None:
    """Compare every order with every log that is followed: who declared it, who kept it.

    "kept" means that a log shows no breach; a log that is stale, silent or cannot be reached is
    never "kept". Visit the logs first: mynah record refresh. Exit code 1 unless every row is
    kept, lifted or not begun.
    """
    from mynah.record.status import pause_status

    found = pause_status(open_record(workspace))
    if as_json:
        print_json(
            {
                "is_kept": found.is_kept,
                "orders": [asdict(order) for order in found.orders],
            }
        )
    elif not found.orders:
        typer.echo("no pause is ordered, here or in a log that is followed")
    else:
        for order in found.orders:
            for line in _order_lines(order):
                typer.echo(line)
    if not found.is_kept:
        raise typer.Exit(1)


def _order_lines(found: "OrderStatus") -> list[str]:
    from mynah.record.thresholds import format_flop

    order = found.order
    state = "lifted here" if found.is_lifted else f"until {order.until[:16]}Z"
    width = max(len(row.name) for row in found.parties)
    return [
        f"order {found.id[:12]}: above {format_flop(order.above)} FLOP, {state}",
        f"  reason: {order.reason}",
        *(line for row in found.parties for line in _row_lines(row, width)),
        "",
    ]


def _row_lines(row: "PartyStatus", width: int) -> list[str]:
    place = f" [leaf {row.evidence}]" if row.evidence is not None else ""
    seen = f", last sign of life {row.head_time[:16]}Z" if row.head_time else ""
    log = f"{row.log}: {row.num_leaves:,} leaves{seen}" if row.log else "no log is known here"
    return [
        f"  {row.verdict:<12} {row.name:<{width}}  {row.detail}{place}",
        f"  {'':<12} {'':<{width}}  {log}",
    ]
