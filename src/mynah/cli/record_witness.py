"""`mynah record witness`: cosign the tree heads of others' logs, as a web service.

Reads and writes the witness's own folder; needs no workspace.
"""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mynah.cli.record_arguments import vkeys_of

if TYPE_CHECKING:
    from mynah.record.witness import Witness

__all__ = ["witness"]


def witness(
    folder: Annotated[Path, typer.Argument(help="Folder of the witness: its key and memory.")],
    log: Annotated[
        list[str] | None,
        typer.Option(help="vkey of a log to cosign, or a file with some; again for more."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 7380,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    name: Annotated[
        str, typer.Option(help="With --init: how others know it, as in stork.example/witness.")
    ] = "",
    init: Annotated[
        bool, typer.Option("--init", help="Make a new witness in a new folder, print its vkey.")
    ] = False,
) -> None:
    """Cosign the tree heads of others' logs, each only if it goes on from the one before.

    First `--init --name NAME`, which prints the vkey for others' policies; then with a `--log` for
    each log. The protocol is C2SP tlog-witness: POST /add-checkpoint, and GET /vkey besides. It
    listens on this machine only; a web server in front of it lets others in.
    """
    from mynah.errors import ConfigError
    from mynah.record.witness import Witness, keys_of_logs

    logs = keys_of_logs([vkey for given in log or [] for vkey in vkeys_of(given)])
    if init:
        if not name:
            raise ConfigError("the witness has no name", hint="--name stork.example/witness")
        typer.echo(Witness.create(folder, name, logs=logs).vkey)
        return
    if not logs:
        raise ConfigError(
            "the witness knows no log, so it would cosign nothing",
            hint="give the vkey of each: --log VKEY; mynah record show WORKSPACE prints it",
        )
    _serve(Witness.open(folder, logs=logs), host=host, port=port)


def _serve(witness: "Witness", *, host: str, port: int) -> None:
    import uvicorn

    from mynah.errors import ConfigError
    from mynah.record.witness_app import create_witness_app

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"port {port} on {host} cannot be used: {error}",
            hint="another program listens there: choose another one with --port",
        ) from error
    shown = f"[{host}]" if ":" in host else host
    typer.echo(
        f"{witness.key.name} cosigns {len(witness.logs)} logs at "
        f"http://{shown}:{listener.getsockname()[1]}",
        err=True,
    )
    config = uvicorn.Config(create_witness_app(witness), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
