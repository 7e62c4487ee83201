"""Where a step's time goes, and how near to the peak its matrix products could come at all.

The same model, tokens and engine as train_peers.py. First each product of the step is timed by
itself, at its own shape: forward, gradient of its input, gradient of its weight. What they reach
together is the share of the peak that a step would have in which nothing else took any time. Then
whole steps are profiled, and the operators' own CPU time is added up by kind.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import reporting
from train_peers import KINDS, MACHINE, SHAPE, STEP_TOKENS, mynah_steps, peak, prepare

NUM_WARM, NUM_PROFILED = 12, 24
NUM_TIMED = 30
KINDS_OF_WORK = (
    ("products", ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn")),
    ("optimizer", ("aten::_fused_adam", "aten::_foreach")),
    ("kernels of the compiler", ("cpp_fused", "graph_", "CompiledF", "## Call")),
    ("rounding and copies", ("aten::_to_copy", "aten::copy_", "aten::cat", "aten::clone")),
    ("softmax, exponentials and sums", ("softmax", "exp", "logsumexp", "aten::sum", "aten::max")),
)


def shapes() -> list[tuple[str, int, int, int, int]]:
    """Name, rows, inputs, outputs and count of each product of a forward pass."""
    from mynah.train.loss import SLICE_TOKENS

    width, inner = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    heads = SHAPE["num_attention_heads"] + 2 * SHAPE["num_key_value_heads"]
    layers, tokens = SHAPE["num_hidden_layers"], STEP_TOKENS
    slices = tokens // SLICE_TOKENS
    return [
        ("queries, keys and values", tokens, width, heads * SHAPE["head_dim"], layers),
        ("output of attention", tokens, width, width, layers),
        ("gate and up", tokens, width, 2 * inner, layers),
        ("down", tokens, inner, width, layers),
        ("words, a slice", SLICE_TOKENS, width, SHAPE["vocab_size"], slices),
    ]


def products(peak_flop_per_s: float) -> tuple[list[str], float]:
    """Each product alone; and the share of the peak that all of them reach."""
    import torch

    torch.set_num_threads(2)
    lines = ["| product | shape | count | share of peak |", "|---|---|---|---|"]
    all_flop = all_s = 0.0
    for name, rows, inputs, outputs, count in shapes():
        x_NI = torch.randn(rows, inputs).bfloat16()
        w_OI = torch.randn(outputs, inputs).bfloat16()
        g_NO = torch.randn(rows, outputs).bfloat16()
        ways = (
            ("forward", x_NI, w_OI.T),
            ("gradient of the input", g_NO, w_OI),
            ("gradient of the weight", g_NO.T, x_NI),
        )
        for way, left, right in ways:
            out = torch.empty(left.shape[0], right.shape[1], dtype=torch.bfloat16)
            times: list[float] = []
            for _ in range(NUM_TIMED):
                began_s = time.perf_counter()
                torch.mm(left, right, out=out)
                times.append(time.perf_counter() - began_s)
            seconds, flop = statistics.median(times), 2.0 * rows * inputs * outputs
            all_flop, all_s = all_flop + count * flop, all_s + count * seconds
            share = flop / seconds / peak_flop_per_s
            lines.append(
                f"| {name}, {way} | {rows} x {inputs} x {outputs} | {count} | {share:.0%} |"
            )
    return lines, all_flop / all_s / peak_flop_per_s


def profiled(folder: Path, kind: str, *, is_compiled: bool) -> list[str]:
    """Own CPU time of the operators of some steps, by kind."""
    from torch.profiler import ProfilerActivity, profile

    steps = mynah_steps(folder, kind, is_compiled=is_compiled)
    list(islice(steps, NUM_WARM))
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        list(islice(steps, NUM_PROFILED))
    spent: Counter[str] = Counter()
    rest: Counter[str] = Counter()
    for event in seen.key_averages():
        found = [name for name, parts in KINDS_OF_WORK if any(p in event.key for p in parts)]
        spent[found[0] if found else "all else"] += event.self_cpu_time_total
        if not found:
            rest[event.key] += event.self_cpu_time_total
    total = spent.total()
    name = "compiled" if is_compiled else "plain"
    lines = [f"### {kind}, {name}: {total / NUM_PROFILED / 1e3:.0f} ms a step, profiled", ""]
    lines += [f"- {what}: {us / total:.0%}" for what, us in spent.most_common()]
    most = ", ".join(f"`{what}` {us / total:.0%}" for what, us in rest.most_common(6))
    return [*lines, f"- the most of all else: {most}", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    parser.add_argument("--trial", dest="is_trial", action="store_true", help="write no result")
    options = parser.parse_args()
    os.environ.update(MACHINE)
    best = peak()
    table, share = products(best)
    lines = [
        f"Peak: {best / 1e9:,.0f} GFLOP/s.",
        "",
        " ".join((__doc__ or "").split()),
        "",
        "## Products alone",
        "",
        *table,
        "",
        f"All of them, one after the other: {share:.0%} of the peak.",
        "",
        "## Steps",
        "",
    ]
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        for kind in options.kinds:
            for is_compiled in (True, False):
                lines += profiled(Path(name), kind, is_compiled=is_compiled)
    if options.is_trial:
        sys.stdout.write("\n".join(lines))
    else:
        reporting.write("train_breakdown", "Where a training step's time goes", lines)


if __name__ == "__main__":
    main()
