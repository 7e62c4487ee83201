"""`mynah posts`: read exports, add them to a workspace, list what is read.

Reads exports; ``add`` writes the post store of a workspace, the others nothing.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mynah.posts import ReadOptions

app = typer.Typer(help="Read posts from exports, and keep them.", no_args_is_help=True)

Paths = Annotated[list[Path], typer.Argument(help="Exports: files, zips or folders.")]
FormatName = Annotated[
    str, typer.Option("--format", help="Name of the format; see `mynah posts formats`.")
]
Network = Annotated[str, typer.Option(help="Name of the network, where the guess is wrong.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Field of a post = column, such as text=body; again for more."),
]
IncludePrivate = Annotated[
    bool,
    typer.Option(
        "--include-private", help="Keep messages of private chats: everyone in them has agreed."
    ),
]


@app.callback()
def group() -> None:
    """Read posts from exports, and keep them."""


@app.command()
def read(
    paths: Paths,
    format_name: FormatName = "",
    network: Network = "",
    column: Columns = None,
    include_private: IncludePrivate = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the posts as JSON lines, not a summary.")
    ] = False,
) -> None:
    """Read exports and print what is in them; nothing is kept."""
    from mynah.cli.bars import progress_bar
    from mynah.cli.posts_summary import post_line, summary_lines
    from mynah.posts import iterate_posts, read_posts

    options = _options(format_name, network, column, include_private=include_private)
    with TemporaryDirectory() as folder:
        with progress_bar("Reading") as progress:
            artifact = read_posts(paths, Path(folder), options=options, progress=progress)
        for line in summary_lines(artifact.counts):
            typer.echo(line, err=as_json)
        if as_json:
            for post in iterate_posts(artifact):
                typer.echo(post_line(post))


@app.command()
def add(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network; made if missing.")],
    paths: Paths,
    format_name: FormatName = "",
    network: Network = "",
    column: Columns = None,
    include_private: IncludePrivate = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the counts of the store as JSON.")
    ] = False,
) -> None:
    """Add exports to the posts of a workspace: new posts, newer counts and edits, deletions.

    Adding the same export twice changes nothing.
    """
    from mynah.cli.bars import progress_bar
    from mynah.cli.posts_summary import counts_line, summary_lines
    from mynah.posts import (
        POSTS_KIND,
        add_posts,
        settle_withdrawn,
        withdrawn_posts,
    )
    from mynah.workspace import Workspace, latest_artifact

    options = _options(format_name, network, column, include_private=include_private)
    place = Workspace(workspace.expanduser().absolute())
    place.create()
    with progress_bar("Adding") as progress:
        artifact = add_posts(paths, place.posts, options=options, progress=progress)
        if withdrawn := withdrawn_posts(place.posts):
            from mynah.job import take_back

            receipt = take_back(place, ids=withdrawn, progress=progress)
            artifact = latest_artifact(place.posts, kind=POSTS_KIND) or artifact
            typer.echo(
                f"{len(receipt.store.found):,} posts were deleted or made private since, and are "
                f"taken back: {place.root / receipt.path}",
                err=True,
            )
        settle_withdrawn(place.posts)
    for line in summary_lines(artifact.counts):
        typer.echo(line, err=as_json)
    typer.echo(f"snapshot {artifact.snapshot}", err=True)
    if as_json:
        typer.echo(counts_line(artifact.counts))


def _options(
    format_name: str, network: str, column: list[str] | None, *, include_private: bool
) -> "ReadOptions":
    """How `read` and `add` are asked to read."""
    from mynah.cli.columns import parse_columns
    from mynah.posts import ReadOptions

    return ReadOptions(
        network=network,
        columns=parse_columns(column or []),
        format=format_name,
        include_private=include_private,
    )


@app.command()
def formats(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """List the formats that posts are read from, as ``--format`` takes them."""
    import json

    from mynah.posts import FORMATS

    width = max(len(format_.name) for format_ in FORMATS)
    for format_ in FORMATS:
        if as_json:
            typer.echo(json.dumps({"name": format_.name, "title": format_.title}))
        else:
            typer.echo(f"{format_.name:<{width}}  {format_.title}")
