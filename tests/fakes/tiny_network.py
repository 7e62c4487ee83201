"""A tiny network to train on, made with the real readers and builders."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fakes.tiny_model import write_tiny_checkpoint
from tokenizers import Tokenizer

from mynah.config import dump_toml
from mynah.corpus import (
    CorpusConfig,
    DialogueConfig,
    build_corpus,
    build_dialogues,
    train_tokenizer,
)
from mynah.model import Llama, load_checkpoint
from mynah.posts import read_posts
from mynah.train import CheckpointConfig, DataConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from mynah.workspace import Artifact

PLACES = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")
DEEDS = ("opens at", "closes before", "was painted on", "is crowded after", "stays quiet until")


@dataclass(frozen=True, slots=True)
class Network:
    """What a run starts from."""

    posts: Artifact
    corpus: Artifact
    dialogues: Artifact
    base: Path

    def config(self, *, num_steps: int = 6, **changes: object) -> TrainConfig:
        """A recipe of few small steps; the clock has no say in it."""
        config = TrainConfig(
            base=str(self.base),
            corpus=str(self.corpus.folder),
            dialogues=str(self.dialogues.folder),
            data=DataConfig(tokens_per_step=640, max_document_tokens=320, heldout_max_tokens=600),
            optimizer=OptimizerConfig(lr=3e-3),
            schedule=ScheduleConfig(num_steps=num_steps, max_minutes=1e6, warmup_steps=2),
            num_threads=1,
            evaluate_every_s=1e6,
            checkpoint=CheckpointConfig(every_s=1e6),
        )
        return replace(config, **changes)  # pyright: ignore[reportArgumentType]

    def write_run(self, folder: Path, config: TrainConfig) -> Path:
        """Make a run's folder with its recipe."""
        folder.mkdir(parents=True)
        (folder / "recipe.toml").write_text(dump_toml(config))
        return folder

    def load(self) -> Llama:
        """The base model, in float32."""
        shape, weights = load_checkpoint(self.base)
        model = Llama(shape)
        model.load_state_dict(weights)
        return model


def make_tiny_network(root: Path) -> Network:
    """Read, tokenise and hold out 160 made-up posts; make dialogues and a base model."""
    with (root / "posts.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text"])
        for n in range(160):
            place, other = PLACES[n % 8], PLACES[(n * 3 + 1) % 8]
            text = f"The {place} {DEEDS[n % 5]} {n * 37 % 24}, say {n * 7919} people at the {other}"
            table.writerow([f"{n:04}", f"writer{n % 5}", f"2024-03-{n % 28 + 1:02} 10:00:00", text])
    posts = read_posts([root / "posts.csv"], root / "posts")
    train_tokenizer(posts, root / "tokenizer.json", vocab_size=400)
    corpus = build_corpus(
        posts,
        root / "corpus",
        config=CorpusConfig(heldout_fraction=0.1, min_similarity=1.0),
        tokenizer=root / "tokenizer.json",
    )
    dialogues = build_dialogues(
        corpus, posts, root / "dialogues", config=DialogueConfig(num_dialogues=40, max_shown=2)
    )
    tokenizer = Tokenizer.from_file(str(root / "tokenizer.json"))
    base = write_tiny_checkpoint(root / "base", tokenizer=tokenizer)
    return Network(posts, corpus, dialogues, base)
