"""`mynah posts forget`: take posts back, with a receipt."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mynah.job import Receipt

__all__ = ["forget"]


def forget(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of posts, as `mynah search run --json` prints them: x:20."),
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(help="Take back everything of this author, now and in later imports."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt.")] = False,
) -> None:
    """Take posts back: out of search at once, out of every file, off every later import.

    The receipt says what was rewritten, and names every run, step and checkpoint that learned
    from the posts: a model cannot unlearn them, it can be trained anew without them. It is kept
    in WORKSPACE/takedowns. Exit code 1 when none of the posts was there; they are then kept out
    of later imports all the same.
    """
    from mynah.cli.bars import progress_bar
    from mynah.cli.opened import open_workspace
    from mynah.errors import ConfigError
    from mynah.job import take_back

    if not ids and not author:
        raise ConfigError(
            "no post is named", hint=f"mynah posts forget {workspace} ID..., or --author NAME"
        )
    place = open_workspace(workspace)
    with progress_bar("Taking back") as progress:
        receipt = take_back(place, ids=ids or [], authors=author or [], progress=progress)
    if as_json:
        typer.echo(json.dumps(asdict(receipt), indent=2, ensure_ascii=False))
    else:
        _tell(receipt, place.root / receipt.path)
    if not receipt.store.found:
        raise typer.Exit(1)


def _tell(receipt: "Receipt", path: Path) -> None:
    """Print a receipt for a person."""
    store = receipt.store
    typer.echo(f"{len(store.found):,} posts taken back, {len(store.not_found):,} were not there")
    typer.echo(f"  store     {store.bytes_rewritten:,} bytes rewritten")
    made = {
        "corpora": receipt.corpora,
        "dialogues": receipt.dialogues,
        "pairs": receipt.preferences,
    }
    for name, taken in made.items():
        num_tokens = sum(one.num_tokens for one in taken)
        typer.echo(f"  {name:<9} {num_tokens:,} tokens overwritten in {len(taken)}")
    typer.echo(f"  search    {len(receipt.search)} indexes built anew")
    runs = sorted({exposure.run for exposure in receipt.exposures})
    typer.echo(f"  learned   by {len(runs)} runs: {', '.join(runs) or 'none'}")
    typer.echo(f"  models    {', '.join(receipt.models) or 'none'}")
    leaf = receipt.record
    typer.echo(f"  record    leaf {leaf.index:,} of {leaf.log}")
    if leaf.salt:
        typer.echo(f"  salt      {leaf.salt}")
        typer.echo("            keep it: it shows that this leaf is yours; it is stored nowhere")
    typer.echo(f"receipt: {path}")
