"""The training run of the main job: its recipe, its process, what is shown of it.

Reads a base, a corpus and dialogues; writes ``runs/<run>/`` and ``models/<name>/`` through a
process of its own, so that a crash or a kill there never takes the pages with it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mynah.corpus import build_corpus, build_dialogues, build_preferences
from mynah.errors import ConfigError, MachineError, MynahError, PausedError, machine_errors
from mynah.job.base_model import SERVED, Base
from mynah.job.corpus_order import corpus_lock
from mynah.job.options import Recipe
from mynah.progress import Progress
from mynah.train import MANNER, TrainConfig, TrainResult, progress_of, read_result, write_run
from mynah.train import Recipe as TrainRecipe
from mynah.workspace import Artifact, Workspace, snapshot_name

if TYPE_CHECKING:  # the pages and the assistant are loaded where they are used
    from mynah.chat import Assistant
    from mynah.web.runs import MetricsTail

__all__ = ["Learned", "Training", "model_name", "sample_answers"]

MACHINE = {
    # A thread that waits must sleep: the assistant and the pages use the same cores.
    "OMP_WAIT_POLICY": "PASSIVE",
    # oneDNN keeps 1,024 kernels by default; each shape a batch has makes some.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
}
"""Environment of the training process: how it uses the machine, never what it computes."""

LEAST_FREE_BYTES = 1_000_000
"""With less than this the training process could not even say why it ended."""

TERM_GRACE_S = 60.0
"""Seconds that the process gets to save a checkpoint."""


def model_name(run: str) -> str:
    """Name of the model that a run ends with."""
    return f"mynah-{run[:6]}"


@dataclass(frozen=True, slots=True)
class Learned:
    """What a run learns from."""

    corpus: Artifact
    dialogues: Artifact
    preferences: Artifact | None = None
    """Built for runs that learn them."""

    @classmethod
    def build(
        cls, recipe: Recipe, base: Base, posts: Artifact, place: Workspace, *, progress: Progress
    ) -> "Learned":
        """Build what is missing of it."""
        with corpus_lock(place):
            corpus = build_corpus(
                posts,
                place.corpus,
                config=recipe.corpus,
                tokenizer=base.folder / "tokenizer.json",
                progress=progress,
            )
        dialogues = build_dialogues(corpus, posts, place.root / "dialogues", progress=progress)
        if recipe.objective != "dpo":
            return cls(corpus, dialogues)
        pairs = build_preferences(corpus, place.root / "preferences", progress=progress)
        return cls(corpus, dialogues, pairs)


@dataclass(frozen=True, slots=True)
class Training:
    """One run and where it leads."""

    run: Path
    model_name: str
    model_folder: Path

    @classmethod
    def prepare(
        cls, recipe: Recipe, base: Base, learned: "Learned", place: Workspace
    ) -> "Training":
        """Name the run by what it is a function of, and write its recipe.

        How it is carried out, on how many ranks and with which checkpoints, is not part of the
        name: the same run may go on in another manner.
        """
        corpus, dialogues, preferences = learned.corpus, learned.dialogues, learned.preferences
        inputs = {
            "base": base.name,
            "corpus": corpus.digest,
            "dialogues": dialogues.digest,
            "recipe": {k: v for k, v in asdict(recipe).items() if k not in MANNER},
        }
        if preferences is not None:
            inputs["preferences"] = preferences.digest
        name = snapshot_name("mynah.run/1", inputs)
        training = cls(place.runs / name, model_name(name), place.models / model_name(name))
        run = training.run
        has_dialogues = bool(dialogues.counts["num_dialogues"])
        config = TrainConfig(
            base=_place(base.folder, run, place),
            corpus=_place(corpus.folder, run, place),
            dialogues=_place(dialogues.folder, run, place) if has_dialogues else "",
            preferences=_place(preferences.folder, run, place) if preferences is not None else "",
            lineage=base.lineage,
            **{one.name: getattr(recipe, one.name) for one in fields(TrainRecipe)},
        )
        write_run(training.run, config)
        return training

    @property
    def gguf(self) -> Path:
        """What an engine loads when the run is done."""
        return self.model_folder / SERVED

    @property
    def result(self) -> TrainResult | None:
        """The result, once the model is trained and quantised."""
        return read_result(self.run) if self.gguf.is_file() else None

    @property
    def is_done(self) -> bool:
        """Whether the model is trained and signed."""
        return read_result(self.run) is not None and (self.model_folder / "config.json").is_file()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process that trains, or goes on from the last checkpoint."""
        if not (self.model_folder / "config.json").is_file():
            (self.run / "result.json").unlink(missing_ok=True)  # of a model that was deleted
        workspace = self.run.parent.parent
        arguments = [str(self.run), str(self.model_folder), str(os.getpid()), str(workspace)]
        with machine_errors(self.run), (self.run / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mynah.job.worker", *arguments],
                env=os.environ | MACHINE,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def follow(
        self, process: "subprocess.Popen[bytes]", *, train: Progress, until: Callable[[], bool]
    ) -> None:
        """Report the process until ``until`` says that what is waited for has come.

        Raises:
            MachineError: It ended without it.
            ConfigError: It ended because of a setting.
            PausedError: A pause order stopped it, or did not let it begin.
        """
        from mynah.web.runs import MetricsTail

        tail = MetricsTail(self.run / "metrics.jsonl")
        while not until():
            _report(tail, train)
            code = process.poll()
            if code is not None and not until():
                raise self._died(code)
            time.sleep(0.2)
        _report(tail, train)

    def _died(self, code: int) -> MynahError:
        log = self.run / "worker.log"
        said = log.read_text(errors="replace").splitlines()[-2:]
        if code > 0 and len(said) == 2 and said[0].startswith("error: "):
            kinds = {kind.exit_code: kind for kind in (ConfigError, PausedError)}
            kind = kinds.get(code, MachineError)
            message = said[0].removeprefix("error: ")
            return kind(f"training: {message}", hint=said[1].removeprefix("hint: "))
        if code > 0 and shutil.disk_usage(self.run).free < LEAST_FREE_BYTES:
            return MachineError(
                f"training: the disk is full: {self.run} cannot be written",
                hint="free some space and run the same command again; what was finished is kept",
            )
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return MachineError(
            f"the training process {how}; its log is {log}",
            hint="run the same command again: it goes on from the last checkpoint",
        )


def _place(folder: Path, run: Path, workspace: Workspace) -> str:
    """How a recipe names a folder: inside the workspace by its way from the run.

    So a workspace that was moved still has the recipe that its record knows by its hash.
    """
    if folder.absolute().is_relative_to(workspace.root.absolute()):
        return os.path.relpath(folder, run)
    return str(folder)


def stop_process(process: "subprocess.Popen[bytes]") -> None:
    """Let the process save a checkpoint and end."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TERM_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _report(tail: "MetricsTail", progress: Progress) -> None:
    """Pass on the last new step, if there is one."""
    shown = [found for row in tail.read() if (found := progress_of(row)) is not None]
    if shown:
        done_s, total_s, note = shown[-1]
        progress(done_s, total_s, note=note)


def sample_answers(assistant: "Assistant", questions: Sequence[str]) -> list[str]:
    """Answer ``questions`` as the assistant does.

    Never with the bare model: trained on who said what, it puts words into people's mouths.
    """
    from mynah.chat import Sentence
    from mynah.serve import Message, Sampling

    answers: list[str] = []
    for question in questions:
        events = assistant.answer([Message("user", question)], sampling=Sampling())
        said = [event.text for event in events if isinstance(event, Sentence)]
        answers.append("".join(said).strip())
    return answers
