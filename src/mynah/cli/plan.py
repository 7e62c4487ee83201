"""`mynah plan`: what a cluster can train, in which layout, at what price; and how to start it."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mynah.cli.amounts import amount_of, link_rate, whole_of

app = typer.Typer(
    help="Plan a training: size, layout, speed, memory, money, failures, launch files.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print it for machines.")]
HardwareOption = Annotated[
    Path | None,
    typer.Option(help="TOML file with more accelerators; one of a known name takes its place."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")]


class Format(StrEnum):
    """Whose files are written."""

    TORCHRUN = "torchrun"
    SLURM = "slurm"
    JOBSET = "jobset"
    TRAINJOB = "trainjob"
    SKYPILOT = "skypilot"


class Replicas(StrEnum):
    """What dies together."""

    MESH = "mesh"
    TORCHFT = "torchft"


@app.callback()
def group() -> None:
    """Plan a training: size, layout, speed, memory, money, failures, launch files."""


@app.command()
def run(  # long: each option is a parameter with its help beside it
    gpus: Annotated[
        int | None,
        typer.Option(
            parser=whole_of("--gpus", "10,000"),
            metavar="NUMBER",
            help="Accelerators that there are, spare ones included: 512, 10,000 or 10k.",
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(help="Kind of accelerator, such as H100. [default: H100-SXM-80GB]"),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(
            parser=amount_of("--days", "90"),
            metavar="NUMBER",
            help="Days of wall-clock time, at most.",
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            parser=amount_of("--budget", "50M"),
            metavar="NUMBER",
            help="USD of the whole bill, at most: 50M.",
        ),
    ] = None,
    tokens: Annotated[
        float | None,
        typer.Option(
            parser=amount_of("--tokens", "15T"),
            metavar="NUMBER",
            help="Tokens to train on: 15T.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe whose [shape] is the model to train.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help='Published model to train, such as "Llama 3.1 70B".')
    ] = None,
    serve_tokens: Annotated[
        float | None,
        typer.Option(
            parser=amount_of("--serve-tokens", "100T"),
            metavar="NUMBER",
            help="Tokens that the model will read and write in service; the more, the smaller it "
            "is made and the longer it is trained.",
        ),
    ] = None,
    network: Annotated[
        float | None,
        typer.Option(
            parser=link_rate,
            metavar="RATE",
            help="Rate of one accelerator's network card: 400Gb/s, or in GB/s: 50. "
            "[default: what such machines are sold with]",
        ),
    ] = None,
    usd_per_gpu_hour: Annotated[
        float | None,
        typer.Option(
            parser=amount_of("--usd-per-gpu-hour", "2.5"),
            metavar="NUMBER",
            help="Price of an accelerator's hour. [default: rental prices, cheapest to dearest]",
        ),
    ] = None,
    hardware: HardwareOption = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with fields of PlanConfig; options go before it."),
    ] = None,
    set_value: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any field of PlanConfig, such as failures.failures_per_accelerator_hour=2e-5. "
            "Repeatable.",
        ),
    ] = None,
    why: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT",
            help='Say why this layout is out or behind, such as "replicate=4 shard=32 tensor=8".',
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for plan.json and recipe.toml; made if missing.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a number of accelerators can train, and what it takes; needs none of them.

    Give at least one of --days, --budget, --tokens, --recipe and --model. Days and money are
    limits. Size and tokens that are not given are chosen by published laws; layouts are tried by
    the ten thousand, and the fastest that fits is taken; failures are played through. Every
    figure comes with a range that 80% of what was measured of its kind lies in.
    """
    from mynah.cli.plan_run import AskedPlan, run_plan

    asked = AskedPlan(
        given={
            "gpus": gpus,
            "gpu": gpu,
            "days": days,
            "usd": budget,
            "tokens": tokens,
            "recipe": None if recipe is None else str(recipe),
            "model": model,
            "served_tokens": serve_tokens,
            "network_gb_per_s": network,
            "usd_per_gpu_hour": usd_per_gpu_hour,
            "hardware": None if hardware is None else str(hardware),
        },
        config=config,
        set_value=set_value or [],
        why=why,
        out=out,
        is_forced=force,
    )
    typer.echo("\n".join(run_plan(asked, as_json=as_json)))
    if out is not None:
        typer.echo(f"written: {out / 'plan.json'}, {out / 'recipe.toml'}", err=True)
        typer.echo(f"start it: mynah plan launch --plan {out / 'plan.json'} --help", err=True)


@app.command()
def predict(
    runs: Annotated[
        Path,
        typer.Option(help="CSV file, one run a line; its columns: docs/reference/plan.md."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="CSV file to write, replaced if there. [default: standard output]"),
    ] = None,
    hardware: HardwareOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add what mynah expects of each run of a table: speed with a range, memory, whether it fits.

    Only the columns that describe a run are read, never those that measured it. What was assumed
    where a cell is blank, and which rows are no runs, is told on standard error; such rows are
    kept, with blank predictions.
    """
    from mynah.cli.bars import progress_bar
    from mynah.cli.plan_predicted import predicted_json, told_lines
    from mynah.plan.predictions import predicted_frame, write_predictions
    from mynah.plan.published import read_table

    if out is not None:
        from mynah.cli.plan_files import check_file

        check_file(out)
    with progress_bar("Predicting") as progress:
        table = read_table(runs, hardware=hardware)
        progress(1, 2, note="read")
        for line in told_lines(runs, table):
            typer.echo(line, err=True)
        if out is not None:
            write_predictions(table, out)
    if as_json:
        typer.echo(json.dumps(predicted_json(table), indent=2))
    elif out is None:
        typer.echo(predicted_frame(table).write_csv(), nl=False)
    else:
        typer.echo(str(out))


@app.command()
def validate(
    runs: Annotated[
        Path,
        typer.Option(help="Folder of CSV files of runs that somebody measured, a source each."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Markdown page to write, two drawings beside it; replaced if there."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how far predictions are from published runs, each predicted without its own source.

    Constants and ranges are found again for every source on all the others. The columns are those
    of mynah plan predict, and derived_tokens_per_s_per_gpu, memory_gb and outcome.
    """
    from mynah.cli.plan_files import check_file
    from mynah.cli.plan_validated import accuracy_shown
    from mynah.plan.accuracy import validate as validate_runs
    from mynah.plan.accuracy_page import accuracy_json, write_accuracy

    if out is not None:
        check_file(out)
    typer.echo("finding constants once for every source; about a minute for a dozen", err=True)
    found = validate_runs(runs)
    written = write_accuracy(found, out) if out is not None else []
    if as_json:
        typer.echo(json.dumps(accuracy_json(found), indent=2))
    else:
        typer.echo("\n".join(accuracy_shown(found)))
    for path in written:
        typer.echo(f"written: {path}", err=True)


@app.command()
def launch(  # long: each option is a parameter with its help beside it
    file_format: Annotated[
        Format, typer.Option("--format", help="Whose files: what the cluster starts jobs with.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files; made if missing.")],
    workspace: Annotated[
        str,
        typer.Option("--workspace", "-w", help="Folder of the network, as every node sees it."),
    ],
    plan: Annotated[
        Path | None,
        typer.Option(help="plan.json of mynah plan run; recipe.toml lies beside it."),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Recipe, as every node sees it.")] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help='Layout, such as "replicate=4 shard=16 tensor=8". [default: the recipe\'s]'
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(help="Nodes that train. [default: as many as the layout fills]", min=1),
    ] = None,
    spares: Annotated[
        int | None, typer.Option(help="Nodes beyond those. [default: the plan's, else 0]", min=0)
    ] = None,
    gpus_per_node: Annotated[
        int | None,
        typer.Option(help="Accelerators of a node. [default: the plan's, else 8]", min=1),
    ] = None,
    replicas: Annotated[
        Replicas | None,
        typer.Option(
            help="torchft starts each of the layout's replicate groups by itself, so that the "
            "others go on when one dies. [default: the plan's, else mesh]"
        ),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            help="TOML file that says where the nodes are: mount, image, partition, queue ..."
        ),
    ] = None,
    set_value: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any field of Launch, such as max_restarts=5 or site.partition=gpu. Repeatable.",
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the files that start a layout with mynah's trainer on a cluster.

    Each format checks its nodes first, starts again after a failure, and keeps its checkpoints on
    a disk that all nodes share. Fields: docs/reference/plan.md.
    """
    from mynah.cli.plan_launch import EXPLAINED, AskedLaunch, launch_of, write_launch

    asked = AskedLaunch(
        plan=plan,
        recipe=recipe,
        layout=layout,
        workspace=workspace,
        num_nodes=nodes,
        num_spare_nodes=spares,
        accelerators_per_node=gpus_per_node,
        replicas=None if replicas is None else replicas.value,
        site=site,
        set_value=set_value or [],
    )
    made = launch_of(asked)
    written = write_launch(made, file_format.value, out, is_forced=force)
    if as_json:
        typer.echo(json.dumps([str(path) for path in written], indent=2))
        return
    for path in written:
        typer.echo(str(path))
    start = out / EXPLAINED[file_format.value]
    typer.echo(f"how to start them: the first lines of {start}", err=True)
