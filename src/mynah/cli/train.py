"""`mynah train`: run a recipe, look at a run, rehearse one on ranks that are not there."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Train a model from a recipe: on this machine, on many, or in rehearsal.",
    no_args_is_help=True,
)

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", help="Folder of the network, with posts in it.")
]
RecipeArgument = Annotated[Path, typer.Argument(help="A TOML file such as those in recipes/.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any field of the recipe, such as optimizer.lr=1e-4. Repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print it for machines.")]


@app.callback()
def group() -> None:
    """Train a model from a recipe: on this machine, on many, or in rehearsal."""


@app.command()
def run(
    recipe: RecipeArgument,
    workspace: WorkspaceOption = Path("workspace"),
    set_value: SetOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Model to go on from: smollm2, a GGUF file, a Hugging Face folder, or scratch. "
            "[default: what the recipe says, else what the workspace was told]"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train on the posts of a workspace, or go on with a run that was stopped.

    The corpus, the dialogues and the base are built where they are missing. A layout of more than
    one process starts them all on this machine; on several machines, start this same command in
    each process with torchrun or srun. Ctrl-C or SIGTERM saves a checkpoint; the same command
    goes on from there. The same recipe, posts and base are the same run.
    """
    from mynah.cli.bars import progress_bar
    from mynah.cli.opened import open_workspace
    from mynah.job import load_recipe, train_workspace

    place = open_workspace(workspace)
    loaded = load_recipe(recipe, overrides=set_value or [], base=base)
    with progress_bar("Training") as progress:
        done = train_workspace(place, loaded, progress=progress)
    if done is None:  # another rank speaks
        return
    if as_json:
        typer.echo(json.dumps(done.to_json(), indent=2))
        return
    typer.echo(done.line)
    typer.echo(f"look at it: mynah train show {done.run}", err=True)


@app.command()
def show(
    run: Annotated[
        str, typer.Argument(help="A run's folder, or the beginning of its name in the workspace.")
    ],
    workspace: WorkspaceOption = Path("workspace"),
    as_json: JsonOption = False,
) -> None:
    """Print how far a run is: its recipe, curve, speed, stragglers, checkpoints and result."""
    from mynah.cli.train_shown import as_lines
    from mynah.job import find_run, summarise_run

    summary = summarise_run(find_run(workspace.expanduser().absolute(), run))
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    for line in as_lines(summary):
        typer.echo(line)


@app.command()
def export(
    run: Annotated[
        str, typer.Argument(help="A run's folder, or the beginning of its name in the workspace.")
    ],
    folder: Annotated[Path, typer.Argument(help="Where the model goes; made if missing.")],
    workspace: WorkspaceOption = Path("workspace"),
    step: Annotated[int, typer.Option(help="Of which checkpoint; 0 is the latest.", min=0)] = 0,
) -> None:
    """Write a checkpoint of a run in Hugging Face layout, whatever ranks have saved it."""
    from mynah.cli.bars import progress_bar
    from mynah.job import export_checkpoint, find_run

    found = find_run(workspace.expanduser().absolute(), run)
    with progress_bar("Export"):
        made = export_checkpoint(found, folder, step=step)
    typer.echo(str(made))


@app.command()
def rehearse(
    recipe: RecipeArgument,
    world: Annotated[
        int, typer.Option(help="Ranks; 0 is as many as the recipe's layout has.", min=0)
    ] = 0,
    rank: Annotated[int, typer.Option(help="Which of them to be.", min=0)] = 0,
    set_value: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one step of a recipe as one rank of many, without any of their devices.

    The same code that trains runs forward, backward and optimizer on tensors without content, in
    one process: what it would hold, compute and send is counted. Nothing is written.
    """
    from mynah.job import load_recipe, rehearse_recipe
    from mynah.train.rehearsal import render

    loaded = load_recipe(recipe, overrides=set_value or [])
    found = rehearse_recipe(loaded, world_size=world, rank=rank)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    typer.echo(render(found))
