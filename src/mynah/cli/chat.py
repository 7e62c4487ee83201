"""`mynah chat`: ask from a terminal."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Ask the assistant.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Ask the assistant."""


@app.command()
def run(
    workspace: Annotated[Path, typer.Argument(help="Folder of the network.")],
    question: Annotated[str, typer.Argument(help="What to ask about the posts.")],
) -> None:
    """Answer a question from the posts of a workspace. Exit code 1 when no post fits."""
    from mynah.chat import Assistant, Finished, Retrieved, Sentence
    from mynah.cli.opened import open_index, open_workspace
    from mynah.job import open_newest_engine
    from mynah.serve import EnginePool, Message, Sampling

    index = open_index(workspace)
    pool = EnginePool()
    pool.add(open_newest_engine(open_workspace(workspace)))
    shown = {}
    try:
        assistant = Assistant(pool, lambda: index)
        for event in assistant.answer([Message("user", question)], sampling=Sampling()):
            match event:
                case Retrieved(posts):
                    shown = {cited.number: cited.post for cited in posts}
                case Sentence(text=text):
                    typer.echo(text.rstrip())
                    for number in event.citations:
                        post = shown[number]
                        typer.echo(f"    [{number}] {post.id} @{post.author}", err=True)
                case Finished(is_answered=is_answered):
                    if not is_answered:
                        raise typer.Exit(1)
    finally:
        pool.close()
