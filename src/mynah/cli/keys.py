"""`mynah keys`: API keys from a terminal."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Keys of the HTTP API.", no_args_is_help=True)


class Scope(StrEnum):
    """What a key may do."""

    ADMIN = "admin"
    API = "api"


@app.callback()
def group() -> None:
    """Keys of the HTTP API."""


@app.command()
def add(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    scope: Annotated[
        Scope, typer.Option(help="api may ask and search; admin may change campaigns too.")
    ] = Scope.API,
) -> None:
    """Make a key and print it; only its hash is kept."""
    from mynah.cli.opened import open_workspace
    from mynah.web.keys import KeyStore

    store = KeyStore(open_workspace(workspace).state_db)
    typer.echo(store.create(scope.value))
    store.close()
