"""Tokens per second of mynah's trainer beside Hugging Face's Trainer and litgpt's module.

All train the same 19M-parameter model from nothing, in bfloat16 with fused AdamW, on the same
tokens, each in a process of its own, in turn, round after round; the peers in an environment of
their own with the same torch. `blocks` are rows of 512 tokens, 4 a step; `posts` are posts of the
sample, each a document that sees no other, about 2,048 tokens a step: packed in mynah, padded to
the longest of a batch in the others, as their collators do. A token counts when it is predicted.

Steady is the median over the steps of the last half of a run. End to end is all that was trained
by the time that the run lasts, counted from when the process was asked for: imports, compilation
and warm-up included, from an empty cache of kernels. CPU seconds are those of a process and all
that it starts.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import reporting
from peer_trainers import CLIP_NORM, LR, Clock

HERE = Path(__file__).parent
WAYS = ("mynah, compiled", "mynah", "hugging_face", "litgpt")
KINDS = ("blocks", "posts")
SHAPE = {
    "vocab_size": 16384,
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
STEP_TOKENS, BLOCK_TOKENS = 2048, 512
MIN_STEPS = 8
"""A run of fewer says nothing of a steady state."""
MACHINE = {"OMP_WAIT_POLICY": "PASSIVE", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}


def prepare(folder: Path) -> None:
    """Lay out the same documents for all: posts of the sample, and blocks of their tokens."""
    from mynah.corpus import TokenShard, build_corpus
    from mynah.corpus.tokenizer import train_tokenizer
    from mynah.posts import fetch_sample, read_posts

    posts = read_posts([fetch_sample()], folder / "posts")
    tokenizer = folder / "tokenizer.json"
    train_tokenizer(posts, tokenizer, vocab_size=SHAPE["vocab_size"])
    corpus = build_corpus(posts, folder / "corpus", tokenizer=tokenizer)
    shard = TokenShard(corpus.folder / "train")
    order = np.random.default_rng(0).permutation(len(shard.sizes))
    documents = [np.append(0, shard[int(n)])[: BLOCK_TOKENS + 1] for n in order]
    stream = np.concatenate([shard[int(n)] for n in order])
    # A block shares its first token with the one before: each predicts as many as it counts.
    starts = range(0, len(stream) - BLOCK_TOKENS, BLOCK_TOKENS)
    blocks = [stream[start : start + BLOCK_TOKENS + 1] for start in starts]
    for kind, parts in (("posts", documents), ("blocks", blocks)):
        np.save(folder / f"{kind}_tokens.npy", np.concatenate(parts).astype(np.int32))
        np.save(folder / f"{kind}_sizes.npy", np.array([len(part) for part in parts]))
    mean = statistics.mean(len(part) - 1 for part in documents)
    per_step = {"blocks": STEP_TOKENS // BLOCK_TOKENS, "posts": round(STEP_TOKENS / mean)}
    (folder / "per_step.json").write_text(json.dumps(per_step))
    (folder / "shape.json").write_text(json.dumps(SHAPE))


class Laid:
    """The documents as a source of mynah's."""

    def __init__(self, folder: Path, kind: str) -> None:
        tokens = np.load(folder / f"{kind}_tokens.npy")
        self.sizes = np.load(folder / f"{kind}_sizes.npy")
        self.parts = np.split(tokens, np.cumsum(self.sizes)[:-1])

    def tokens(self, number: int) -> np.ndarray:
        """Token ids of a document."""
        return self.parts[number]

    def weights(self, number: int) -> np.ndarray:
        """Every token counts."""
        return np.ones(len(self.parts[number]))


def mynah_steps(folder: Path, kind: str, *, is_compiled: bool) -> Iterator[int]:
    """The trainer's own engine, objective and rows; yields the tokens of each step."""
    import gc

    import torch

    from mynah.model import LlamaConfig
    from mynah.train.allocation import keep_freed_memory
    from mynah.train.config import DataConfig, Recipe
    from mynah.train.data import DataOrder
    from mynah.train.engine import Engine
    from mynah.train.layout import LayoutConfig
    from mynah.train.mesh import Mesh
    from mynah.train.objectives import TokenObjective
    from mynah.train.optimizers import OptimizerConfig
    from mynah.train.rows import lay_rows

    torch.set_num_threads(2)
    keep_freed_memory()
    data = DataConfig(
        tokens_per_step=STEP_TOKENS,
        batch_tokens=STEP_TOKENS + BLOCK_TOKENS,  # a step is one row, whatever ends it
        max_document_tokens=BLOCK_TOKENS,
        dialogue_share=0.0,
    )
    recipe = Recipe(
        data=data, optimizer=OptimizerConfig(lr=LR, clip_norm=CLIP_NORM), is_compiled=is_compiled
    )
    order = DataOrder(
        Laid(folder, kind), seed=0, tokens_per_step=STEP_TOKENS, max_tokens=BLOCK_TOKENS
    )
    objective = TokenObjective(name="pretrain", orders=(order,))
    engine = Engine(
        LlamaConfig(**SHAPE), recipe, Mesh(LayoutConfig(), None), device=torch.device("cpu")
    )
    engine.initialise(seed=0)
    gc.collect()
    gc.disable()
    for step in itertools.count():
        pieces = lay_rows(objective.orders, step, batch_tokens=data.batch_tokens)
        rows = [objective.batch(row, row_tokens=None) for row in pieces]
        engine.step(rows, objective, lr_share=1.0)
        yield sum(row.num_tokens for row in rows)


def mynah(folder: Path, kind: str, seconds: float, *, is_compiled: bool) -> None:
    """Train until the time is over; print what each step came to."""
    clock = Clock(seconds)
    for num_tokens in mynah_steps(folder, kind, is_compiled=is_compiled):
        if clock.told(num_tokens):
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one process came to."""

    steady: float
    """Tokens per second."""
    steady_cpu: float
    """Tokens per CPU-second of the process."""
    whole: float
    """Tokens per second, end to end."""
    whole_cpu: float
    """Tokens per CPU-second, end to end, with all that it started."""
    first_s: float
    """When the first step was done."""
    tokens: int


def run(way: str, kind: str, folder: Path, python: Path, seconds: float) -> Run:
    """One process to its end."""
    kernels = tempfile.mkdtemp(dir=folder)
    end = [str(folder), "--kind", kind, "--seconds", str(seconds)]
    if way.startswith("mynah"):
        command = [sys.executable, __file__, "mynah", *end]
        command += ["--compiled"] * (way == "mynah, compiled")
    else:
        command = [str(python), str(HERE / "peer_trainers.py"), way, *end]
    own = MACHINE | {"TORCHINDUCTOR_CACHE_DIR": kernels, "BEGAN_S": str(time.time())}
    with (folder / "out").open("w+") as out, (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=out, stderr=log, env=os.environ | own)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        log.seek(0)
        if process.returncode:
            sys.exit(log.read()[-3000:])
        steps = [json.loads(line) for line in out if line.startswith("[")]
    if len(steps) < MIN_STEPS:
        sys.exit(f"{way}, {kind}: {len(steps)} steps in {seconds:.0f} s: raise --seconds")
    half = steps[len(steps) // 2 :]
    pairs = list(itertools.pairwise(half))
    tokens = sum(step[2] for step in steps)
    return Run(
        steady=statistics.median(b[2] / (b[0] - a[0]) for a, b in pairs),
        steady_cpu=statistics.median(b[2] / (b[1] - a[1]) for a, b in pairs),
        whole=tokens / steps[-1][0],
        whole_cpu=tokens / (usage.ru_utime + usage.ru_stime),
        first_s=steps[0][0],
        tokens=tokens,
    )


def peers_python(given: Path | None) -> Path:
    """Return the Python of an environment with the peers and this torch, made on first use."""
    if given:
        return given
    import torch
    from platformdirs import user_cache_path

    folder = user_cache_path("mynah") / "benchmark-train-peers"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        own = folder / "lib" / version / "site-packages" / "zz_mynah.pth"
        own.write_text(str(Path(torch.__file__).parent.parent) + "\n")
        wanted = str(HERE / "requirements-train-peers.txt")
        install = ["-m", "pip", "install", "-q", "--no-deps", "-r", wanted]
        subprocess.run([python, *install], check=True)
    return python


def peak() -> float:
    """FLOP per second of products, measured as the trainer does, for longer."""
    import torch

    from mynah.train import measure_peak_flop_per_s

    torch.set_num_threads(2)
    return measure_peak_flop_per_s(seconds=5.0)


def flop_per_token(kind: str, folder: Path) -> float:
    """FLOP of a step over its tokens, as the trainer counts them."""
    from mynah.model import LlamaConfig
    from mynah.train.data import DataOrder
    from mynah.train.throughput import steps_flop

    order = DataOrder(
        Laid(folder, kind), seed=0, tokens_per_step=STEP_TOKENS, max_tokens=BLOCK_TOKENS
    )
    num_steps = order.steps_per_epoch
    return steps_flop(LlamaConfig(**SHAPE), [order], num_steps) / order.work_of(num_steps)[0]


def table(runs: dict[str, list[Run]], flop: float, peak_flop_per_s: float) -> list[str]:
    """Medians over rounds, and how many times the peers' rate mynah's is."""
    lines = [
        "| way | steady, tokens/s | per CPU-s | end to end, tokens/s | per CPU-s | first step, s "
        "| share of peak, steady |",
        "|---|---|---|---|---|---|---|",
    ]
    middle: dict[str, dict[str, float]] = {}
    for way, done in runs.items():
        names = ("steady", "steady_cpu", "whole", "whole_cpu", "first_s")
        found = {name: statistics.median(getattr(one, name) for one in done) for name in names}
        middle[way] = found
        share = found["steady"] * flop / peak_flop_per_s
        lines.append(
            f"| {way} | {found['steady']:,.0f} | {found['steady_cpu']:,.0f} | "
            f"{found['whole']:,.0f} | {found['whole_cpu']:,.0f} | {found['first_s']:.1f} | "
            f"{share:.0%} |"
        )
    lines.append("")
    for mine, peer in itertools.product(WAYS[:2], WAYS[2:]):
        if mine in middle and peer in middle:
            ratios = ", ".join(
                f"{name.replace('_', ' ')} {middle[mine][name] / middle[peer][name]:.2f}"
                for name in ("steady", "steady_cpu", "whole", "whole_cpu")
            )
            lines.append(f"- {mine} over {peer}: {ratios}")
    return lines


def compare(options: argparse.Namespace) -> None:
    """All of them, measured."""
    python = peers_python(options.peers_python)
    lines = [
        f"{options.rounds} rounds of {options.seconds:.0f} s each; targets of mynah, compiled, on "
        "both counts: 1.5 times hugging_face, 1.4 times litgpt; 55% of the measured peak.",
        "",
        " ".join((__doc__ or "").split()),
        "",
    ]
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        prepare(folder)
        peaks = [peak()]
        runs: dict[str, dict[str, list[Run]]] = {kind: {} for kind in options.kinds}
        for _ in range(options.rounds):
            for kind, way in itertools.product(options.kinds, options.ways):
                done = run(way, kind, folder, python, options.seconds)
                runs[kind].setdefault(way, []).append(done)
                print(kind, way, done, file=sys.stderr, flush=True)
                peaks.append(peak())
        best = max(peaks)
        for kind in options.kinds:
            flop = flop_per_token(kind, folder)
            lines += [f"## {kind}", "", f"{flop / 1e6:.1f} MFLOP a token.", ""]
            lines += [*table(runs[kind], flop, best), ""]
    lines += [
        f"Peak: {best / 1e9:,.0f} GFLOP/s, the best of {len(peaks)} measurements, one before each "
        f"run: {', '.join(f'{one / 1e9:,.0f}' for one in peaks)}.",
        "",
        "Raw:",
        "",
        "```",
        repr(runs),
        "```",
    ]
    if options.is_trial:
        print("\n".join(lines))
        return
    reporting.write("train_peers", "Training speed beside other trainers", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    one = steps.add_parser("mynah", help="one run of mynah")
    one.add_argument("folder", type=Path)
    one.add_argument("--kind", choices=KINDS, required=True)
    one.add_argument("--seconds", type=float, required=True)
    one.add_argument("--compiled", action="store_true")
    side = steps.add_parser("compare", help="all, measured")
    side.add_argument("--rounds", type=int, default=3)
    side.add_argument("--seconds", type=float, default=240.0)
    side.add_argument("--ways", nargs="*", default=list(WAYS), choices=WAYS)
    side.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    side.add_argument("--scratch", type=Path, help="where to make the scratch folder")
    side.add_argument("--peers-python", type=Path)
    side.add_argument("--trial", dest="is_trial", action="store_true", help="write no result")
    options = parser.parse_args()
    if options.step == "compare":
        compare(options)
    else:
        mynah(options.folder, options.kind, options.seconds, is_compiled=options.compiled)


if __name__ == "__main__":
    main()
