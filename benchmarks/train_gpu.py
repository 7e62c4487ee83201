"""The trainer's step on one GPU: is it right, how fast is it, and does it hold what was rehearsed.

    python benchmarks/train_gpu.py [--recipe recipes/1b_1gpu.toml] [--out FILE]
    python benchmarks/train_gpu.py --tiny      # starts anywhere, a CPU too; times mean nothing

One call does all. Check: a small model's loss and gradients on the GPU against float32 on the CPU,
documents of many lengths in a row. Time: steps of the recipe's model on tokens drawn at random,
plain and compiled, with the optimizer; FLOP by the formula (Chowdhery et al. 2022), as a share of
the data sheet's peak and of the measured one. Memory: the peak that torch's allocator saw, beside
the peak of a rehearsal of the same step. Prints Markdown; --out keeps it as well.

Needs torch with CUDA and what mynah's trainer imports; no corpus, tokenizer or network.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mynah.config import load_config
from mynah.job.options import Recipe
from mynah.model import LlamaConfig, pack
from mynah.train.data import Batch
from mynah.train.engine import Engine
from mynah.train.formulas import expected
from mynah.train.loss import linear_cross_entropy
from mynah.train.mesh import build_mesh
from mynah.train.rehearsal import rehearse
from mynah.train.throughput import measure_peak_flop_per_s

RECIPE = Path(__file__).parents[1] / "recipes" / "1b_1gpu.toml"
DATA_SHEET = {"H200": 989.4e12, "H100": 989.4e12, "A100": 312e12, "B200": 2250e12}
"""Dense bfloat16 FLOP per second that NVIDIA states."""
TINY = LlamaConfig(
    vocab_size=1024,
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    max_position_embeddings=256,
)
LENGTHS = (1, 7, 64, 200, 31, 128, 81)
"""Documents of the row that is checked: 512 tokens."""


class Tokens:
    """Predict every token: what an engine's step minimises."""

    def weight(self, batch: Batch) -> float:
        """Tokens of the row."""
        return batch.weight

    def loss(self, hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Any) -> Tensor:
        """Cross-entropy, summed."""
        return linear_cross_entropy(hidden_NC, head_VC, batch.target_N, batch.weight_N)


def row(config: LlamaConfig, lengths: Sequence[int], *, seed: int) -> Batch:
    """Documents of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    size = sum(lengths)
    ids_N, target_N = torch.randint(config.vocab_size, (2, size), generator=generator)
    return Batch(
        ids_N=ids_N,
        target_N=target_N,
        weight_N=torch.ones(size),
        packing=pack(list(lengths)),
        num_tokens=size,
        weight=float(size),
    )


def make_engine(recipe: Recipe, config: LlamaConfig, device: torch.device) -> Engine:
    """An engine whose weights are drawn on its device."""
    mesh = build_mesh(recipe.layout, device.type)
    engine = Engine(config, recipe, mesh, device=device)
    engine.materialise()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in engine.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, 0.02)
            else:
                weight.fill_(1.0)
    return engine


def check(device: torch.device, precision: str) -> list[str]:
    """Loss of two steps and norm of the gradients, against float32 on the CPU."""
    recipe = Recipe()
    data = replace(recipe.data, batch_tokens=512, tokens_per_step=512, max_document_tokens=512)
    recipe = replace(recipe, data=data, precision="float32")
    plain = make_engine(recipe, TINY, torch.device("cpu"))
    other = make_engine(replace(recipe, precision=precision), TINY, device)
    state = plain.parts[0].state_dict()
    other.parts[0].load_state_dict({name: tensor.to(device) for name, tensor in state.items()})
    batch = row(TINY, LENGTHS, seed=1)
    lines: list[str] = []
    for step in range(2):
        want = plain.step([batch], Tokens(), lr_share=1.0)
        got = other.step([batch], Tokens(), lr_share=1.0)
        loss_gap = abs(got.loss / want.loss - 1)
        norm_gap = abs(got.grad_norm / want.grad_norm - 1)
        bound = 1e-4 if precision == "float32" else 2e-2
        verdict = "right" if max(loss_gap, norm_gap) < bound else "WRONG"
        lines.append(
            f"| {precision} | {step + 1} | {want.loss:.6f} | {got.loss:.6f} | {loss_gap:.1e} "
            f"| {norm_gap:.1e} | {bound:g} | {verdict} |"
        )
    return lines


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    recipe: Recipe, config: LlamaConfig, device: torch.device, *, num_rows: int, num_steps: int
) -> dict[str, float]:
    """Seconds of a step, median of ``num_steps`` after three, and the allocator's peak."""
    length = recipe.data.max_document_tokens
    lengths = [length] * (recipe.data.batch_tokens // length)
    rows = [row(config, lengths, seed=seed) for seed in range(num_rows)]
    engine = make_engine(recipe, config, device)
    times: list[float] = []
    losses: list[float] = []
    for step in range(3 + num_steps):
        if step == 3 and device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        synchronize(device)
        began = time.perf_counter()
        losses.append(engine.step(rows, Tokens(), lr_share=0.1).loss)
        synchronize(device)
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    flop = expected(recipe, config, pipeline_rank=0, num_rows=num_rows).flop
    return {
        "step_s": statistics.median(times[3:]),
        "slowest_s": max(times[3:]),
        "first_s": times[0],
        "flop": flop,
        "tokens": num_rows * sum(lengths),
        "peak_bytes": peak,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def rehearsed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Rehearse the same step, in a process that sees no GPU."""
    command = [sys.executable, __file__, "--rehearse", "--rows", str(arguments.rows)]
    command += ["--recipe", str(arguments.recipe)] + (["--tiny"] if arguments.tiny else [])
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def settings(arguments: argparse.Namespace) -> tuple[Recipe, LlamaConfig]:
    """Recipe and model to time."""
    recipe = load_config(Recipe, arguments.recipe)
    config = recipe.shape
    assert config is not None, "the recipe says the model's shape"
    data = recipe.data
    if arguments.tiny:
        config = TINY
        data = replace(data, batch_tokens=512, max_document_tokens=256)
    data = replace(data, tokens_per_step=arguments.rows * data.batch_tokens)
    return replace(recipe, data=data), config


def facts(device: torch.device) -> list[str]:
    """What ran where."""
    lines = [f"- Python {platform.python_version()}, torch {torch.__version__}"]
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = properties.total_memory / 2**30
        lines.append(f"- {properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}")
    else:
        lines.append("- no GPU: this run shows that the script starts, and nothing of speed")
    return [*lines, f"- command: `python {' '.join(sys.argv)}`"]


def speed_lines(
    recipe: Recipe, config: LlamaConfig, device: torch.device, arguments: argparse.Namespace
) -> tuple[list[str], float]:
    """Time plain and compiled layers; also the plain step's peak of memory."""
    measured_peak = measure_peak_flop_per_s(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    stated = next((peak for key, peak in DATA_SHEET.items() if key in name), measured_peak)
    lines = [
        f"Peak of bfloat16 products: {measured_peak / 1e12:.1f} TFLOP/s measured, "
        f"{stated / 1e12:.1f} stated.",
        "",
        "| layers | step s | slowest | first | tokens/s | TFLOP/s | MFU of the stated peak "
        "| of the measured | peak GB | loss, first and last step |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    plain_peak = 0.0
    for is_compiled in (False, True)[: 1 if arguments.eager else 2]:
        found = measure(
            replace(recipe, is_compiled=is_compiled),
            config,
            device,
            num_rows=arguments.rows,
            num_steps=arguments.steps,
        )
        if device.type == "cuda":
            torch.cuda.empty_cache()
        if not is_compiled:
            plain_peak = found["peak_bytes"]
        rate = found["flop"] / found["step_s"]
        lines.append(
            f"| {'compiled' if is_compiled else 'plain'} | {found['step_s']:.4f} "
            f"| {found['slowest_s']:.4f} | {found['first_s']:.1f} "
            f"| {found['tokens'] / found['step_s']:,.0f} | {rate / 1e12:.1f} "
            f"| {rate / stated:.1%} | {rate / measured_peak:.1%} "
            f"| {found['peak_bytes'] / 1e9:.2f} "
            f"| {found['first_loss']:.4f}, {found['last_loss']:.4f} |"
        )
    return lines, plain_peak


def memory_lines(rehearsal: dict[str, Any], peak_bytes: float) -> list[str]:
    """The allocator's peak beside the rehearsal's, and that by category."""
    peak = rehearsal["peak_memory_bytes"]
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in rehearsal["memory"].items())
    lines = [f"Peak memory of the plain step: rehearsed {peak / 1e9:.2f} GB ({parts})"]
    if peak_bytes:
        lines[0] += (
            f"; torch's allocator saw {peak_bytes / 1e9:.2f} GB, {peak_bytes / peak:.3f} times it"
        )
    return [lines[0] + "."]


def main() -> None:
    """Check, time, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--rows", type=int, default=4, help="rows of a step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="a model that runs anywhere")
    parser.add_argument("--eager", action="store_true", help="plain layers only")
    parser.add_argument("--rehearse", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    recipe, config = settings(arguments)
    if arguments.rehearse:
        print(json.dumps(rehearse(recipe, config, world_size=1).to_json()))
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lines = ["# The trainer's step on one GPU", "", *facts(device), ""]
    lines += ["| precision | step | CPU, float32 | here | loss off by | gradient norm off by "
              "| allowed | verdict |", "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for precision in ("float32", "bfloat16"):
        lines += check(device, precision)
    speed, peak_bytes = speed_lines(recipe, config, device, arguments)
    lines += ["", *speed, "", *memory_lines(rehearsed(arguments), peak_bytes)]
    text = "\n".join(lines) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    print(text)
    if "WRONG" in text:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
