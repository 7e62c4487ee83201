"""`mynah search`: find posts from a terminal."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Find posts.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Find posts."""


@app.command()
def run(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    query: Annotated[
        str,
        typer.Argument(help='Words, "phrases", -not, OR, from: lang: since: until:'),
    ],
    limit: Annotated[int, typer.Option(help="Posts to print.", min=1, max=1000)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Search the posts of a workspace. Exit code 1 when nothing is found."""
    from mynah.cli.opened import open_index
    from mynah.search import parse_query

    result = open_index(workspace).search(parse_query(query), limit=limit)
    for candidate in result.candidates:
        post = candidate.post
        if as_json:
            typer.echo(json.dumps(asdict(candidate), default=str, ensure_ascii=False))
        else:
            date = f"{post.created_at:%Y-%m-%d}" if post.created_at else ""
            typer.echo(f"{candidate.position:>3} {candidate.score:6.2f} @{post.author} {date}")
            typer.echo(f"    {' '.join(post.text.split())}")
    typer.echo(f"{result.num_matches:,} posts match, {result.time_ms:.1f} ms", err=True)
    if not result.num_matches:
        raise typer.Exit(1)
