"""`mynah record publish` and `bom`: what others are given to read.

Reads the record of a workspace and its models; writes the folder or the file that is named.
"""

from pathlib import Path
from typing import Annotated

import typer

from mynah.cli.record_arguments import AsJson, open_record, print_json, thresholds_of

__all__ = ["bom", "publish"]


def publish(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    folder: Annotated[Path, typer.Argument(help="New, or published to before.")],
    base_url: Annotated[
        str, typer.Option("--url", help="Address that it will have, for the page and the feed.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write the record as a folder for any web server: the log, keys, proofs, a page, a feed.

    Again into the same folder, it adds what is new; what a stranger has seen stays checkable.
    """
    from mynah.record.publishing import publish as publish_record

    record = open_record(workspace)
    thresholds = thresholds_of(workspace)
    done = publish_record(record, folder, base_url=base_url, thresholds=thresholds)
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "size": done.size,
                "num_new_leaves": done.num_new_leaves,
                "num_new_bytes": done.num_new_bytes,
                "proofs": list(done.proofs),
            }
        )
        return
    typer.echo(f"{done.size:,} leaves, {done.num_new_leaves:,} of them new: {done.folder}")
    typer.echo(
        f"anyone can check it: mynah record verify {base_url or done.folder} --key {record.key}",
        err=True,
    )


def bom(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    model: Annotated[str, typer.Argument(help="Name of a model, its digest, or 8 digits of it.")],
    out: Annotated[Path | None, typer.Option(help="Write it here, not to stdout.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the bill of materials of a model: parents, data, compute, audits, as SPDX 3 JSON.

    It is JSON with --json and without.
    """
    from mynah.record.bom import model_bom

    document = model_bom(open_record(workspace), model)
    if out is None:
        typer.echo(document.decode(), nl=False)
        return
    out.write_bytes(document)
    typer.echo(f"bill of materials of {model}: {out}", err=True)
