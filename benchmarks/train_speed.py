"""Tokens per second of the trainer on the default base, beside simpler ways of doing the same.

All train SmolLM2-135M on the same posts of the sample, 1,024 tokens a step, in bfloat16 autocast
with fused AdamW, each in a process of its own, in turn, round after round. `hugging face` is
transformers' LlamaForCausalLM on padded batches, as its Trainer would feed it, with its own
loss. Wall and CPU seconds are of the timed steps alone; medians over rounds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import reporting

WAYS = ("mynah", "allocator as it comes", "hugging face", "hugging face, memory kept")


def prepare(folder: Path) -> None:
    """Build corpus and base once."""
    from mynah.corpus import build_corpus
    from mynah.model import fetch_base, read_gguf
    from mynah.posts import fetch_sample, read_posts

    read_gguf(fetch_base(), folder / "base")
    posts = read_posts([fetch_sample()], folder / "posts")
    tokenizer = folder / "base" / "tokenizer.json"
    corpus = build_corpus(posts, folder / "corpus", tokenizer=tokenizer)
    (folder / "corpus.txt").write_text(str(corpus.folder))


def mynah_steps(folder: Path):
    """The trainer's own step, driven by hand."""
    import torch

    from mynah.corpus import TokenShard
    from mynah.model import read_config, stream_checkpoint
    from mynah.train import (
        CorpusSource,
        DataConfig,
        Engine,
        Recipe,
        batch_flop,
        build_mesh,
        measure_peak_flop_per_s,
        pretrain,
    )
    from mynah.train.rows import lay_rows

    recipe = Recipe(data=DataConfig(dialogue_share=0.0))
    torch.set_num_threads(recipe.num_threads)
    mesh = build_mesh(recipe.layout, "cpu")
    shape = read_config(folder / "base")
    engine = Engine(shape, recipe, mesh, device=torch.device("cpu"))
    engine.load(stream_checkpoint(folder / "base", shape))
    source = CorpusSource(TokenShard(corpus_of(folder) / "train"), boundary=0)
    objective = pretrain(source, None, recipe.data)
    peak = measure_peak_flop_per_s()
    for step in range(10_000):
        began_s = time.perf_counter()
        laid = lay_rows(objective.orders, step, batch_tokens=recipe.data.batch_tokens)
        rows = [objective.batch(row, row_tokens=None) for row in laid]
        engine.step(rows, objective, lr_share=1.0)
        flop = sum(batch_flop(shape, row) for row in rows)
        mfu = flop / (time.perf_counter() - began_s) / peak
        yield sum(row.num_tokens for row in rows), mfu, peak


def hugging_face_steps(folder: Path):
    """Padded batches through transformers, the same documents in the same order."""
    import torch
    from transformers import LlamaForCausalLM

    from mynah.corpus import TokenShard
    from mynah.train import CorpusSource, DataOrder

    torch.set_num_threads(2)
    model = LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    source = CorpusSource(TokenShard(corpus_of(folder) / "train"), boundary=0)
    order = DataOrder(source, seed=0, tokens_per_step=1024, max_tokens=512)
    for step in range(10_000):
        rows = [torch.tensor(source.tokens(d)[s : s + n + 1]) for d, s, n in order.pieces(step)]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=0).long()
        real = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], True) > 0
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(
                input_ids=ids, attention_mask=real.long(), labels=ids.masked_fill(~real, -100)
            ).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield sum(len(row) - 1 for row in rows), 0.0, 0.0


def corpus_of(folder: Path) -> Path:
    """The corpus that ``prepare`` built."""
    return Path((folder / "corpus.txt").read_text())


def measure(way: str, folder: Path, num_steps: int) -> dict:
    """Two steps to warm up, then ``num_steps`` timed ones."""
    from mynah.train.allocation import keep_freed_memory

    if way in ("mynah", "hugging face, memory kept"):
        assert keep_freed_memory(), "this needs glibc"
    steps = hugging_face_steps(folder) if way.startswith("hugging") else mynah_steps(folder)
    for _ in range(2):
        next(steps)
    tokens, mfus, peak = 0, [], 0.0
    started, started_cpu = time.perf_counter(), time.process_time()
    for _ in range(num_steps):
        done, mfu, peak = next(steps)
        tokens += done
        mfus.append(mfu)
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "tokens_per_s": tokens / wall,
        "tokens_per_cpu_s": tokens / cpu,
        "mfu": statistics.median(mfus),
        "peak_gflop_per_s": peak / 1e9,
        "memory_gb": memory / 1e9,
    }


def main() -> None:
    """Run every way in turn and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"))
    options = parser.parse_args()
    if options.child:
        way, folder = options.child
        print(json.dumps(measure(way, Path(folder), options.steps)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        rows: dict[str, list[dict]] = {way: [] for way in WAYS}
        machine = {"OMP_WAIT_POLICY": "PASSIVE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
        for _ in range(options.rounds):
            for way in WAYS:
                command = [sys.executable, __file__, "--steps", str(options.steps)]
                ran = subprocess.run(
                    [*command, "--child", way, name],
                    capture_output=True,
                    text=True,
                    check=True,
                    env=os.environ | machine,
                )
                rows[way].append(json.loads(ran.stdout.splitlines()[-1]))
    lines = [
        f"Medians of {options.rounds} rounds, {options.steps} timed steps each; target: at least "
        "180 tokens/s.",
        "",
        "| way | tokens/s | tokens per CPU-second | MFU | peak memory, GB |",
        "|---|---|---|---|---|",
    ]
    for way, found in rows.items():
        middle = {key: statistics.median(row[key] for row in found) for key in found[0]}
        mfu = f"{100 * middle['mfu']:.0f}%" if middle["mfu"] else ""
        lines.append(
            f"| {way} | {middle['tokens_per_s']:.0f} | {middle['tokens_per_cpu_s']:.0f} | "
            f"{mfu} | {middle['memory_gb']:.2f} |"
        )
    peak = statistics.median(row["peak_gflop_per_s"] for row in rows["mynah"])
    lines += ["", f"MFU is of the measured bfloat16 product peak, {peak:.0f} GFLOP/s.", ""]
    lines += ["Raw:", "", "```json", json.dumps(rows), "```"]
    reporting.write("train_speed", "Training speed on one process", lines)


if __name__ == "__main__":
    main()
