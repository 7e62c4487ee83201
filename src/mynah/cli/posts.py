"""`mynah posts`: read exports without a workspace."""

import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

app = typer.Typer(help="Read posts from exports.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Read posts from exports."""


@app.command()
def read(
    paths: Annotated[list[Path], typer.Argument(help="Exports: files or folders.")],
    column: Annotated[
        list[str] | None, typer.Option(help="Field of a post = column, such as text=body.")
    ] = None,
    network: Annotated[str, typer.Option(help="Name of the network.")] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the posts as JSON lines, not a summary.")
    ] = False,
) -> None:
    """Read exports and print what is in them; nothing is kept."""
    from mynah.cli.columns import parse_columns
    from mynah.posts import ReadOptions, iterate_posts, read_posts

    options = ReadOptions(network=network, columns=parse_columns(column or []))
    with TemporaryDirectory() as folder:
        artifact = read_posts(paths, Path(folder), options=options)
        if as_json:
            for post in iterate_posts(artifact):
                typer.echo(json.dumps(asdict(post), default=str, ensure_ascii=False))
            return
        typer.echo(json.dumps(artifact.counts, indent=2, ensure_ascii=False))
