"""Training by itself, as `mynah train` asks for it: prepare, run, look, export, rehearse.

Reads the post store, ``mynah.toml`` and a recipe; writes what a run needs and the run itself.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mynah.config import load_config
from mynah.errors import CheckpointError, ConfigError
from mynah.job.base_model import open_base
from mynah.job.options import Recipe, read_options
from mynah.job.ranks import take_part
from mynah.job.training import Learned, Training, stop_process
from mynah.model import (
    LlamaConfig,
    read_config,
    recipe_from_depth,
    resolve_base,
    shape_from_depth,
)
from mynah.model.gguf_reading import open_gguf
from mynah.posts import POSTS_KIND
from mynah.progress import NO_PROGRESS, Progress
from mynah.train import (
    TrainResult,
    World,
    beside_weights,
    export,
    finished_checkpoints,
    is_launched,
    placed,
    read_result,
    read_run,
    step_of,
)
from mynah.train.data import ROW_MULTIPLE
from mynah.train.launching import Processes, asked_to_stop
from mynah.train.layout import check_layout
from mynah.workspace import Workspace, latest_artifact

if TYPE_CHECKING:
    from mynah.train.rehearsal import Rehearsal

__all__ = [
    "Trained",
    "export_checkpoint",
    "find_run",
    "load_recipe",
    "rehearse_recipe",
    "summarise_run",
    "train_workspace",
]


@dataclass(frozen=True, slots=True)
class Trained:
    """A run that has ended, and what came of it."""

    run: Path
    model_folder: Path
    result: TrainResult

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {"run": str(self.run), "model": str(self.model_folder)} | asdict(self.result)

    @property
    def line(self) -> str:
        """What it came to, for a person."""
        result = self.result
        return (
            f"{result.base_bits_per_byte:.3f} to {result.bits_per_byte:.3f} bits per byte on "
            f"held-out posts, {result.steps:,} steps, {result.tokens:,} tokens at "
            f"{result.tokens_per_s:,.0f}/s: {self.model_folder}"
        )


def load_recipe(path: Path, *, overrides: Sequence[str] = (), base: str | None = None) -> Recipe:
    """Read a recipe; ``base`` has the last word on what it goes on from.

    Raises:
        ConfigError: There is none, or a field of it is wrong.
    """
    recipe = load_config(Recipe, path, overrides=overrides)
    recipe = recipe if base is None else replace(recipe, base=base)
    return _dialled(recipe) if recipe.is_dialled else recipe


def _dialled(recipe: Recipe) -> Recipe:
    """Let learning rate, batch and length follow from the depth, too."""
    dial = recipe_from_depth(recipe.depth, vocab_size=recipe.vocab_size)
    return replace(
        recipe,
        is_dialled=False,  # what it stands for is said from here on
        optimizer=replace(recipe.optimizer, lr=dial.lr),
        data=replace(recipe.data, tokens_per_step=dial.batch_tokens),
        schedule=replace(recipe.schedule, num_steps=dial.num_steps, max_minutes=float("inf")),
    )


def train_workspace(
    place: Workspace, recipe: Recipe, *, progress: Progress = NO_PROGRESS
) -> Trained | None:
    """Train ``recipe`` on the posts of a workspace, or go on with that run.

    In a process that torchrun or srun has started it takes that rank's part; else it starts the
    processes itself and watches over them.

    Returns:
        What came of it; ``None`` on every rank but the first, and when the run was stopped.

    Raises:
        MynahError: As the run ends with.
    """
    if is_launched():
        return _as_rank(place, recipe)
    training = _prepare(place, recipe, progress)
    if not training.is_done:
        _check(training)
        process = training.start()
        try:
            training.follow(process, train=progress, until=lambda: process.poll() == 0)
        finally:
            stop_process(process)
    return _trained(training)


def _check(training: Training) -> None:
    """Refuse what cannot be before any process is started.

    Raises:
        ConfigError: The layout does not fit the model, or this machine.
    """
    config = read_run(training.run)
    check_layout(
        config.layout,
        read_config(placed(training.run, config.base)),
        world_size=config.layout.world_size,
        row_tokens=config.row_tokens("cpu") or ROW_MULTIPLE,
        is_compiled=config.is_compiled,
        is_float8=config.precision == "float8",
    )
    Processes.of(config).check_fit([sys.executable, "-m", "mynah", *sys.argv[1:]])


def _as_rank(place: Workspace, recipe: Recipe) -> Trained | None:
    """Take part as torchrun has said; rank 0 prepares for all, on a disk that all ranks see."""
    world = World.join()
    training = world.through_main(lambda: _prepare(place, recipe, NO_PROGRESS))
    with asked_to_stop() as asked:
        take_part(training.run, training.model_folder, place.root, keep_going=lambda: not asked)
    return _trained(training) if world.is_main else None


def _trained(training: Training) -> Trained | None:
    result = read_result(training.run) if training.is_done else None
    return None if result is None else Trained(training.run, training.model_folder, result)


def _prepare(place: Workspace, recipe: Recipe, progress: Progress) -> Training:
    posts = latest_artifact(place.posts, kind=POSTS_KIND)
    if posts is None:
        raise ConfigError(f"{place.root} has no posts", hint=f"mynah posts add {place.root} PATH")
    options = read_options(place)
    options = replace(options, base=recipe.base or options.base, recipe=recipe)
    base = open_base(options, posts, place, progress=progress, is_served=False)
    learned = Learned.build(recipe, base, posts, place, progress=progress)
    return Training.prepare(recipe, base, learned, place)


def find_run(workspace: Path, name: str) -> Path:
    """Return the folder of a run.

    Args:
        workspace: Where runs lie.
        name: A folder, or the beginning of a run's name.

    Raises:
        ConfigError: There is none, or the name is the beginning of several.
    """
    if (Path(name) / "recipe.toml").is_file():
        return Path(name).absolute()
    runs = sorted(path.parent for path in (workspace / "runs").glob("*/recipe.toml"))
    found = [run for run in runs if run.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(run.name for run in found or runs) or "none"
    raise ConfigError(
        f"{name!r} names {len(found)} runs of {workspace}",
        hint=f"give a run's folder, or one of: {names}",
    )


def summarise_run(run: Path) -> dict[str, Any]:
    """Gather what a run's files say of it: recipe, curves, speed, checkpoints, result."""
    from mynah.web.runs import MetricsTail  # brings the pages

    rows = MetricsTail(run / "metrics.jsonl").read()
    steps = [row for row in rows if "remaining_s" in row]
    held_out = [row for row in rows if "heldout_bits_per_byte" in row]
    result = run / "result.json"
    return {
        "run": str(run),
        "recipe": asdict(read_run(run)),
        "is_done": result.is_file(),
        "last": steps[-1] if steps else {},
        "compared": next((row for row in reversed(steps) if "slowest_rank" in row), {}),
        "losses": [(row["step"], row["loss"]) for row in steps],
        "held_out": [
            {key: row[key] for key in row if key == "step" or key.startswith("heldout_")}
            for row in held_out
        ],
        "num_skipped": sum(bool(row.get("is_skipped")) for row in steps),
        "checkpoints": [path.name for path in finished_checkpoints(run / "checkpoints")],
        "heartbeats": _heartbeats(run),
        "result": json.loads(result.read_bytes()) if result.is_file() else {},
    }


def _heartbeats(run: Path) -> list[dict[str, Any]]:
    """The last sign of life of each rank, and who left a dump when it hung."""
    beats: list[dict[str, Any]] = []
    for path in sorted((run / "ranks").glob("heartbeat-*.json")):
        try:
            beats.append(json.loads(path.read_bytes()))
        except ValueError:
            continue
    return beats


def export_checkpoint(run: Path, folder: Path, *, step: int = 0) -> Path:
    """Write a checkpoint of a run to ``folder`` in Hugging Face layout.

    Args:
        run: Folder of the run.
        folder: Made if it is not there.
        step: Of the checkpoint; 0 is the latest.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged.
    """
    found = finished_checkpoints(run / "checkpoints")
    chosen = [path for path in found if step in (0, step_of(path))]
    if not chosen:
        names = ", ".join(str(step_of(path)) for path in found) or "none"
        raise CheckpointError(
            f"{run} has no checkpoint{f' of step {step}' if step else ''}",
            hint=f"its checkpoints are of steps: {names}; a finished run's model is in models/",
        )
    config = read_run(run)
    shape = read_config(placed(run, config.base))
    export(chosen[-1], shape, folder, beside=beside_weights(config, run))
    return folder


def rehearse_recipe(recipe: Recipe, *, world_size: int = 0, rank: int = 0) -> "Rehearsal":
    """Run one step of a recipe as one rank of many; see ``mynah.train.rehearsal``.

    Args:
        recipe: Its model is its ``shape``, else its base where that is a folder or SmolLM2, else
            what follows from its ``depth``.
        world_size: Ranks; 0 is as many as its layout has.
        rank: Which of them.
    """
    from mynah.train.rehearsal import rehearse  # seconds of imports

    return rehearse(
        recipe,
        recipe_shape(recipe),
        world_size=world_size or recipe.layout.world_size,
        rank=rank,
    )


def recipe_shape(recipe: Recipe) -> LlamaConfig:
    """The model that a recipe trains, as far as can be told without a workspace."""
    if recipe.shape is not None:
        return recipe.shape
    if recipe.base in ("", "scratch"):
        return shape_from_depth(recipe.depth, vocab_size=recipe.vocab_size)
    source = resolve_base(recipe.base)
    return open_gguf(source).config if source.is_file() else read_config(source)
