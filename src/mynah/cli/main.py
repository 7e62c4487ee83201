"""The executable: one Typer app, a group a room, errors as two lines and an exit code."""

import logging
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from mynah import __version__
from mynah.cli import ads, chat, corpus, keys, plan, posts, record, search, train
from mynah.cli.forget import forget
from mynah.errors import MynahError

__all__ = ["app", "main"]

INTERRUPTED = 130
"""What Typer makes of a KeyboardInterrupt."""

app = typer.Typer(
    name="mynah",
    help="Turn a network's own posts into an assistant, a search box and an ad server you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
posts.app.command("forget")(forget)
app.add_typer(posts.app, name="posts")
app.add_typer(corpus.app, name="corpus")
app.add_typer(plan.app, name="plan")
app.add_typer(train.app, name="train")
app.add_typer(search.app, name="search")
app.add_typer(chat.app, name="chat")
app.add_typer(ads.app, name="ads")
app.add_typer(record.app, name="record")
app.add_typer(keys.app, name="keys")


def _version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"mynah {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn a network's own posts into an assistant, a search box and an ad server you own."""


@app.command()
def up(  # long: each option is a parameter with its help beside it
    workspace: Annotated[Path, typer.Argument(help="Folder of the network; made if missing.")],
    posts_paths: Annotated[
        list[Path] | None,
        typer.Option(
            "--posts",
            help="An X archive, or a CSV, TSV, JSON Lines or Parquet file; again for more. "
            "Without any: what this workspace has, or a sample of 6,444 real posts.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Model to go on from: smollm2, a GGUF file, a Hugging Face folder, or scratch."
        ),
    ] = None,
    train_minutes: Annotated[
        float | None, typer.Option(help="Minutes of training. [default: 4]", min=0.01)
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the pages.", min=1, max=65535)] = 8400,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback asks for a login.")
    ] = "127.0.0.1",
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Field of a post = column of a table, such as text=body; again for more."
        ),
    ] = None,
    network: Annotated[str | None, typer.Option(help="Name of the network.")] = None,
    set_value: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, such as optimizer.lr=1e-4."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe, such as recipes/scratch_cpu.toml.")
    ] = None,
    exit_when_done: Annotated[
        bool,
        typer.Option(
            "--exit-when-done", help="Stop once the trained model answers, instead of serving on."
        ),
    ] = False,
) -> None:
    """Read the posts, open the pages, train on them, swap the trained model in.

    Every stage is skipped when its result is there and its inputs are unchanged: run the same
    command again after a stop, and it goes on. Settings are kept in WORKSPACE/mynah.toml.
    """
    from mynah.cli.up_options import Asked, run

    run(
        workspace,
        Asked(
            posts=posts_paths,
            base=base,
            train_minutes=train_minutes,
            column=column or [],
            network=network,
            set_value=set_value or [],
            recipe=recipe,
        ),
        host=host,
        port=port,
        exit_when_done=exit_when_done,
    )


def main() -> None:
    """Run the command line and exit."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.simplefilter("ignore")  # they are for developers; the tests turn them into errors
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        # It hands back the code of an Exit instead of raising it, and an interrupt as one.
        code: object = app(standalone_mode=False, prog_name="mynah")
        if code == INTERRUPTED:
            raise KeyboardInterrupt
    except MynahError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except typer.TyperException as error:  # its own tree since it no longer needs click
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mynah"
        sys.stderr.write(f"error: {error.format_message()}\nhint: {command} --help\n")
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("stopped; the same command goes on from here\n")
        sys.exit(0)
    except BrokenPipeError:
        sys.exit(0)
    except SystemExit as error:
        # Typer makes a failure of a reader that has had enough, such as head.
        if isinstance(error.__context__, BrokenPipeError):
            sys.exit(0)
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        sys.stderr.write(
            f"error: {place}{error.strerror or error}\n"
            "hint: check that path, its permissions and the disk, then run the same command again\n"
        )
        sys.exit(3)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
