"""The main job: every room in order, the pages open as soon as there is something to show.

Reads exports and a base model; writes the whole workspace. Each stage is skipped when its
artifact is there and its inputs are unchanged, and each artifact is whole or absent, so that the
same command goes on wherever the last one was stopped or killed.
"""

import json
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from mynah.ads import AdServer, AdStore
from mynah.chat import Assistant
from mynah.errors import ConfigError, MynahError
from mynah.job.base_model import Base, load_engine, open_base
from mynah.job.options import Options, resolve_options, save_options
from mynah.job.server import PageServer, claim_port
from mynah.job.stages import STAGES, Reporter, StageHandle
from mynah.job.takedown import take_back
from mynah.job.training import Learned, Training, sample_answers, stop_process
from mynah.posts import (
    POSTS_KIND,
    ReadOptions,
    add_posts,
    fetch_sample,
    forgotten_ids,
    load_posts,
    read_posts,
    settle_withdrawn,
    withdrawn_posts,
)
from mynah.record.model_signature import model_digest
from mynah.record.record import Record
from mynah.record.statements import Body, ModelServed, ModelWithdrawn
from mynah.record.thresholds import warnings
from mynah.search import SearchIndex, build_index, suggest_questions
from mynah.serve import EnginePool, LlamaCppConfig
from mynah.train import read_result
from mynah.web import House, KeyStore, Stage, create_app
from mynah.workspace import (
    Artifact,
    Workspace,
    file_sha256,
    latest_artifact,
    locked,
    replace_file,
)

__all__ = ["MainJob", "run_up"]

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SAMPLE_NAME = "Election sample 2016"
"""What the pages call the network when no export is named."""
NUM_SAMPLES = 3
"""Questions answered before and after."""


@dataclass(slots=True)
class MainJob:
    """One `mynah up`: builds, serves, trains, swaps."""

    workspace: Workspace
    options: Options
    console: Console
    house: House
    reporter: Reporter
    record: Record
    _served: dict[str, ModelServed] = field(default_factory=lambda: {})
    """What the record says of the engines in use, by their names."""
    _is_warned: bool = False
    _worker: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def open(
        cls, workspace: Workspace, options: Options, *, host: str, console: Console
    ) -> "MainJob":
        """Open the record and the database and make the rooms that need no artifact.

        Raises:
            RecordError: The workspace had a record, and it is gone or damaged.
        """
        record = Record.open(workspace.root)
        stages = [Stage(name, title) for name, title in STAGES.items()]
        pool = EnginePool()
        ad_store = AdStore(workspace.state_db)
        house = House(
            workspace=workspace,
            pool=pool,
            ad_store=ad_store,
            ad_server=AdServer(ad_store),
            keys=KeyStore(workspace.state_db),
            assistant=Assistant(pool, lambda: house.index),
            is_local=host in LOOPBACK,
            stages=stages,
            record=record,
            thresholds=options.record.named_thresholds(),
        )
        return cls(workspace, options, console, house, Reporter(stages, console=console), record)

    def read(self) -> Artifact:
        """Stage 1: posts, from the exports named or from the sample."""
        with self.reporter.stage("read") as stage:
            posts = self._read(stage)
            posts.verify()
            self.house.posts = posts
            name = self.workspace.root.name if self.options.posts else SAMPLE_NAME
            self.house.network = self.options.network or name
            _say(stage, _read_line(posts), is_kept=_was_there(posts, stage))
        return posts

    def _read(self, stage: StageHandle) -> Artifact:
        """Read what was named; what `mynah posts add` brought since stays with it."""
        store = self.workspace.posts
        paths = [Path(name) for name in self.options.posts]
        options = ReadOptions(network=self.options.network, columns=self.options.columns)
        latest = latest_artifact(store, kind=POSTS_KIND)
        is_added_to = latest is not None and bool(latest.counts["is_added_to"])
        if latest is not None and is_added_to and not paths:
            return latest
        if not paths:
            paths = [fetch_sample(progress=stage)]
        if not is_added_to:
            return read_posts(paths, store, options=options, progress=stage)
        posts = add_posts(paths, store, options=options, progress=stage)
        if withdrawn := withdrawn_posts(store):
            take_back(self.workspace, ids=withdrawn, record=self.record, progress=stage)
            posts = latest_artifact(store, kind=POSTS_KIND) or posts
        settle_withdrawn(store)
        return posts

    def index(self, posts: Artifact) -> None:
        """Stage 2: search, and what the network talks about."""
        with self.reporter.stage("index") as stage:
            built = build_index(posts, self.workspace.search, progress=stage)
            store = self.workspace.posts
            self.house.index = SearchIndex(built, forgotten=lambda: forgotten_ids(store))
            table = load_posts(posts)
            self.house.questions = suggest_questions(table)
            _say(
                stage,
                f"{self.house.index.num_posts:,} posts can be found",
                is_kept=_was_there(built, stage),
            )

    def base(self, posts: Artifact) -> Base:
        """Stage 3: the base model, ready to answer and to be trained."""
        with self.reporter.stage("base") as stage:
            base = open_base(self.options, posts, self.workspace, progress=stage)
            _say(stage, base.name, is_kept=stage.stage.done == 0.0)
        return base

    def serve_base(self, base: Base) -> None:
        """Answer with the base until the trained model is there."""
        # One thread beside a trainer that uses every core: more would wait for one another.
        engine = load_engine(base.gguf, config=LlamaCppConfig(num_threads=1), model=base.name)
        self._record_served(base.name, base.gguf, base.folder)
        self.house.pool.add(engine)
        self.console.print(f"  The base model answers: {base.name}", markup=False)

    def _record_served(self, name: str, gguf: Path, folder: Path) -> None:
        """Write that a model answers from now on, and that what it replaces does no more."""
        known = self.record.register()
        made_from = ""
        is_here = folder.absolute().parent == self.workspace.models.absolute()
        if known.models and is_here:
            digest = model_digest(folder).hex
            made_from = digest if digest in known.models else ""
        served = ModelServed(model=name, digest=file_sha256(gguf), made_from=made_from)
        bodies: list[Body] = [] if served.digest in known.served else [served]
        for old in self._served.values():
            if old.digest != served.digest:
                reason = f"{name} takes over"
                bodies.append(ModelWithdrawn(model=old.model, digest=old.digest, reason=reason))
        self.record.write_many(bodies)
        self._served = {name: served}

    def corpus(self, posts: Artifact, base: Base) -> Training:
        """Stage 4: documents, tokens and dialogues, and the run they are for."""
        with self.reporter.stage("corpus") as stage:
            recipe = self.options.recipe
            learned = Learned.build(recipe, base, posts, self.workspace, progress=stage)
            corpus = self.house.corpus = learned.corpus
            self.house.take_back = self._take_back
            training = Training.prepare(recipe, base, learned, self.workspace)
            self.house.run = training.run
            counts = corpus.counts
            _say(
                stage,
                f"{counts['num_documents']:,} documents, {counts['num_tokens']:,} tokens, "
                f"{counts['num_heldout']:,} held out",
                is_kept=_was_there(learned.dialogues, stage),
            )
        return training

    def _take_back(self, post_id: str) -> dict[str, Any]:
        return asdict(take_back(self.workspace, ids=[post_id], record=self.record))

    def train(self, training: Training) -> None:
        """Stage 5 and 6: train, then quantise, in a process of their own."""
        if training.result is None:
            self._worker = training.start()
        with self.reporter.stage("train") as stage:
            if self._worker is None:
                stage.is_skipped = True
            else:

                def is_trained() -> bool:
                    self._warn_of_thresholds(training.run.name)
                    return read_result(training.run) is not None

                training.follow(self._worker, train=stage, until=is_trained)
            stage.result = _train_line(training)
        with self.reporter.stage("export") as stage:
            if self._worker is None:
                stage.is_skipped = True
            else:
                training.follow(self._worker, train=lambda *_, **__: None, until=self._ended)
            stage.result = training.gguf.name

    def _warn_of_thresholds(self, run: str) -> None:
        """Say once, as soon as the run is declared, which thresholds its plan would cross."""
        if self._is_warned or (entry := self.record.register().runs.get(run)) is None:
            return
        self._is_warned = True
        config = self.options.record
        for crossing in warnings(
            entry.total_flop,
            entry.planned_total,
            config.named_thresholds(),
            at_percent=config.warn_at_percent,
        ):
            self.console.print(f"  warning: {crossing}", markup=False, soft_wrap=True)

    def swap(self, training: Training) -> None:
        """Stage 7: the trained model takes over; no request is dropped."""
        with self.reporter.stage("swap") as stage:
            engine = load_engine(training.gguf, config=LlamaCppConfig(), model=training.model_name)
            self._record_served(training.model_name, training.gguf, training.model_folder)
            self.house.pool.swap(engine)
            self.house.trained_at = training.gguf.stat().st_mtime
            self.samples(training, "after")
            stage.result = f"{training.model_name} answers"

    def samples(self, training: Training, when: str) -> None:
        """Have the model in use answer the same questions, and keep that beside the run."""
        path = training.run / "samples.json"
        asked = self.house.questions[:NUM_SAMPLES]
        try:
            rows: list[dict[str, str | None]] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            rows = [{"prompt": p, "before": None, "after": None} for p in asked]
        if all(row[when] is not None for row in rows):
            return
        questions = [str(row["prompt"]) for row in rows]
        answers = sample_answers(self.house.assistant, questions)
        for row, answer in zip(rows, answers, strict=True):
            row[when] = answer
        replace_file(path, json.dumps(rows, ensure_ascii=False, indent=1).encode())

    def close(self) -> None:
        """Stop the training at a checkpoint and give everything back."""
        if self._worker is not None:
            stop_process(self._worker)
        self.house.pool.close()
        self.house.keys.close()
        self.house.ad_store.close()

    def _ended(self) -> bool:
        return self._worker is not None and self._worker.poll() == 0


def run_up(
    root: Path,
    options: Options,
    *,
    host: str = "127.0.0.1",
    port: int = 8400,
    exit_when_done: bool = False,
    console: Console | None = None,
) -> None:
    """Do the main job, then serve until interrupted.

    Args:
        root: The workspace.
        options: What to read and how to train.
        host: Address to listen on.
        port: Port to listen on.
        exit_when_done: Return after the swap instead of serving on.
        console: Where the progress goes.

    Raises:
        MynahError: Before the pages are open, anything; after, the pages show it and go on.
    """
    console = console or Console(stderr=True, highlight=False)
    workspace = Workspace(root)
    busy = ConfigError(
        f"another mynah uses the workspace {root}", hint="stop it, or name another folder"
    )
    workspace.create()
    with locked(root / ".lock", busy=busy), claim_port(host, port) as listener:
        workspace.sweep()
        options = resolve_options(options)
        job = MainJob.open(workspace, options, host=host, console=console)
        server: PageServer | None = None
        try:
            console.print(f"mynah up {root}", markup=False, soft_wrap=True)
            posts = job.read()
            save_options(workspace, options)  # not before: a wrong --column must not stay
            job.index(posts)
            server = PageServer(create_app(job.house), listener)
            server.start()
            _greet(job, host, port, console)
            try:
                _build(job, posts)
                if exit_when_done:
                    return
            except MynahError as error:
                if exit_when_done:
                    raise
                console.print(str(error), style="bold", markup=False, soft_wrap=True)
            console.print("Serving. Ctrl-C ends it; the same command goes on from here.")
            while server.is_alive:
                time.sleep(0.2)
        finally:
            if server is not None:
                server.stop()
            job.close()


def _build(job: MainJob, posts: Artifact) -> None:
    base = job.base(posts)
    job.serve_base(base)
    training = job.corpus(posts, base)
    job.samples(training, "before")
    job.train(training)
    job.swap(training)


def _greet(job: MainJob, host: str, port: int, console: Console) -> None:
    name = f"[{host}]" if ":" in host else host
    console.print(f"\n  Open [bold]http://{name}:{port}[/bold]: search answers now.")
    if not job.house.keys.has_any("admin"):
        console.print(
            f"  Admin key, shown this once: [bold]{job.house.keys.create('admin')}[/bold]"
        )
    else:
        root = job.workspace.root
        console.print(f"  Another key for the API: mynah keys add {root}", markup=False)
    console.print("")


def _say(stage: StageHandle, line: str, *, is_kept: bool) -> None:
    stage.result = line
    stage.is_skipped = is_kept


def _was_there(artifact: Artifact, stage: StageHandle) -> bool:
    return (artifact.folder / "manifest.json").stat().st_mtime < stage.started_at


def _read_line(posts: Artifact) -> str:
    counts = posts.counts
    parts = [f"{counts['num_posts']:,} posts"]
    for key, word in (("num_rejected", "unreadable"), ("num_private", "private, left out")):
        if counts[key]:
            parts.append(f"{counts[key]:,} {word}")
    if counts["num_rejected"]:
        parts.append(f"listed in {posts.folder / 'rejected.jsonl'}")
    return ", ".join(parts)


def _train_line(training: Training) -> str:
    result = read_result(training.run)
    assert result is not None, "the stage ends when the result is there"
    fewer = 100.0 * (1.0 - result.bits_per_byte / result.base_bits_per_byte)
    return (
        f"held-out bits per byte {result.base_bits_per_byte:.3f} -> {result.bits_per_byte:.3f} "
        f"({fewer:.0f}% fewer), {result.tokens:,} tokens at {result.tokens_per_s:.0f}/s"
    )
