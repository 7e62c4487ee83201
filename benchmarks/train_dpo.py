"""What the two tuning objectives learn on the default base, from invented posts.

Makes a network whose people like kind replies better than curt ones, whatever they say. First
tunes SmolLM2-135M on dialogues over its posts (``sft``), measuring the loss on replies of dialogues
that are never trained on; then teaches the same base the preference (``dpo``), measuring on pairs
of threads that are never trained on how often the model's implicit reward prefers the liked one.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import reporting

PLACES = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")
SIDES = ("upper", "lower", "northern", "southern", "little", "quiet", "golden", "crooked")
KIND = ("thank you for asking,", "gladly:", "good question,", "happy to help:")
CURT = ("look it up yourself,", "why ask,", "who cares,", "obviously,")
DEEDS = ("opens at", "closes before", "was painted on day", "is crowded after", "stays quiet until")


def write_posts(path: Path, *, num_threads: int) -> Path:
    """A question a thread, a kind reply that is liked, and a curt one that is not."""
    with path.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to", "likes"])
        for n in range(num_threads):
            # Two words that a few posts share make a topic of dialogues.
            place = f"{SIDES[n // 8 % 8]} {PLACES[n % 8]}"
            other = f"{SIDES[n % 8]} {PLACES[n // 8 % 8]}"
            facts = [
                f"the {place} of street {n * 7919 % 9973} {DEEDS[n % 5]} {n * 37 % 24}",
                f"ask the {n * 31 % 89} people at the {other} of street {n * 17 % 997}",
            ]
            first, second = facts if n % 2 else facts[::-1]
            asked = f"does anyone know the {place} of street {n * 7919 % 9973}?"
            curt, kind = f"{CURT[n % 4]} {first}", f"{KIND[n * 3 % 4]} {second}"
            day = f"2024-{1 + n % 12:02}-{1 + n % 28:02}"
            table.writerow([f"q{n}", f"asker{n % 7}", f"{day} 10:00:00", asked, "", 1])
            table.writerow([f"b{n}", f"b{n % 5}", f"{day} 10:01:00", curt, f"q{n}", 2])
            table.writerow([f"a{n}", f"a{n % 5}", f"{day} 10:02:00", kind, f"q{n}", 40])
    return path


def prepare(folder: Path, *, num_threads: int) -> dict[str, Path]:
    """Base, corpus, dialogues and pairs."""
    from mynah.corpus import (
        CorpusConfig,
        DialogueConfig,
        build_corpus,
        build_dialogues,
        build_preferences,
    )
    from mynah.model import fetch_base, read_gguf
    from mynah.posts import read_posts

    read_gguf(fetch_base(), folder / "base")
    path = write_posts(folder / "posts.csv", num_threads=num_threads)
    posts = read_posts([path], folder / "posts")
    corpus = build_corpus(
        posts,
        folder / "corpus",
        config=CorpusConfig(heldout_fraction=0.05, min_similarity=1.0),
        tokenizer=folder / "base" / "tokenizer.json",
    )
    dialogues = build_dialogues(
        corpus, posts, folder / "dialogues", config=DialogueConfig(num_dialogues=400, max_shown=3)
    )
    preferences = build_preferences(corpus, folder / "preferences")
    print(preferences.counts, dialogues.counts)
    return {
        "base": folder / "base",
        "corpus": corpus.folder,
        "dialogues": dialogues.folder,
        "preferences": preferences.folder,
    }


def train(
    folder: Path, made: dict[str, Path], *, objective: str, lr: float, num_steps: int
) -> list[dict[str, Any]]:
    """Run one objective; return the lines of its metrics."""
    from mynah.config import dump_toml
    from mynah.record.identity import Identity
    from mynah.record.record import Record
    from mynah.train import (
        CheckpointConfig,
        DataConfig,
        OptimizerConfig,
        ScheduleConfig,
        TrainConfig,
        run_training,
    )

    config = TrainConfig(
        **{name: str(path) for name, path in made.items()},
        objective=objective,
        data=DataConfig(tokens_per_step=1024, batch_tokens=512, heldout_max_tokens=3000),
        optimizer=OptimizerConfig(lr=lr),
        schedule=ScheduleConfig(num_steps=num_steps, max_minutes=1e6, warmup_steps=4),
        evaluate_every_s=60.0,
        checkpoint=CheckpointConfig(every_s=1e6),
    )
    run = folder / "network" / objective
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text(dump_toml(config))
    record = Record.open(folder / "network", identity=Identity.open(folder / "keys"))
    run_training(run, folder / "models" / objective, record=record)
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def table_of(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """The lines of the metrics that have a measure."""
    lines = [f"| step | seconds | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for row in rows:
        if names[0] in row:
            values = " | ".join(f"{row[name]:.3f}" for name in names)
            lines.append(f"| {row['step']} | {row['elapsed_s']:.0f} | {values} |")
    return lines


def main() -> None:
    """Run both, print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=400, help="threads of invented posts")
    parser.add_argument("--steps", type=int, default=24, help="steps of each objective")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = prepare(folder, num_threads=options.threads)
        sft = train(folder, made, objective="sft", lr=3e-4, num_steps=options.steps)
        dpo = train(folder, made, objective="dpo", lr=2e-5, num_steps=options.steps)
    of_replies = ["heldout_reply_nats", "heldout_bits_per_byte"]
    of_pairs = ["heldout_pair_accuracy", "heldout_dpo_loss", "heldout_reward_margin"]
    lines = [
        f"SmolLM2-135M, {options.threads} invented threads, {options.steps} steps of 1,024 tokens "
        "each. Targets: pair accuracy above 0.8, loss on held-out replies falls.",
        "",
        "## sft",
        "",
        *table_of(sft, of_replies),
        "",
        "## dpo",
        "",
        *table_of(dpo, [*of_pairs, "heldout_bits_per_byte"]),
        "",
        "Raw:",
        "",
        "```json",
        json.dumps({"sft": sft, "dpo": dpo}),
        "```",
    ]
    reporting.write("train_dpo", "What sft and dpo learn", lines)


if __name__ == "__main__":
    main()
