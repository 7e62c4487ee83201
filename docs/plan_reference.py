"""What the reference of the planner says beyond docstrings: columns, an example, accelerators.

Reads mynah's own ``hardware.toml``; writes nothing. ``docs/generate.py`` makes the page.
"""

from pathlib import Path

from mynah.plan.hardware import accelerators
from mynah.plan.ranges import Range

RUN_COLUMNS = {
    "layers": "layers of the decoder",
    "hidden": "its width",
    "heads": "query heads of a layer",
    "kv_heads": "key and value heads of a layer",
    "ffn": "width of a dense MLP",
    "gated_mlp": "1 where an MLP has three matrices (SwiGLU), 0 where it has two",
    "vocab": "rows of the embedding",
    "n_experts": "routed experts of a layer; 0 or 1 for a dense model",
    "top_k": "experts that a token chooses; needed where there are experts",
    "moe_ffn": "width of one expert",
    "params": "weights in all; they tell whether a dense model has an output matrix of its own",
    "active_params": "weights that a token is multiplied by, where shapes alone do not say",
    "seq_len": "tokens of a row",
    "global_batch": "rows of one optimizer step, over all accelerators",
    "micro_batch": "rows that a data-parallel rank computes at a time",
    "gpu": "accelerator, by a name or an alias of `hardware.toml`; words in brackets are left out",
    "gpu_mem_gb": "GB of its memory, where it is another than the accelerator's",
    "n_gpus": "accelerators that train, a multiple of `tp * pp * cp`",
    "tp": "tensor-parallel ranks",
    "pp": "pipeline ranks",
    "vpp": "stretches of layers on each rank of the pipeline",
    "dp": "data-parallel ranks; where they contradict `n_gpus`, that counts",
    "cp": "context-parallel ranks",
    "ep": "expert-parallel ranks, of those of `dp`",
    "seq_parallel": "1 where norms are cut over tensor ranks, too",
    "sharding": "what data-parallel ranks share out: ZeRO-1, ZeRO-2, ZeRO-3, FSDP, distributed "
    "optimizer, none",
    "recompute": "what the backward pass computes again: none, selective, full",
    "dtype": "numbers of matrix products: bf16, fp16, fp8, fp4",
    "framework": "training software; what it fuses and overlaps follows from its name",
    "network": "what joins machines; a rate in it counts, such as `8x400 Gb/s`",
}
"""What a column of a table of runs means; ``plan_page`` fails where one is missing."""
ADDED_COLUMNS = (
    "tokens a second and accelerator",
    "low end: 10% of measured runs of its kind lay below",
    "high end: 10% lay above",
    "GB of the fullest accelerator at its fullest moment",
    "`yes` where that is no more than it has, else `no`",
    "model FLOP, causal attention counted half, over the 16-bit peak of the datasheet",
)
"""What ``predict`` writes, in its order."""


ACCELERATOR_HEAD = (
    "name",
    "also",
    "TFLOP/s",
    "GB",
    "scale-up GB/s",
    "network GB/s",
    "USD/h",
)


def hardware_example(path: Path) -> str:
    """The accelerator that plans are made for by themselves, as the file has it."""
    tables = path.read_text().split("[[accelerator]]\n")
    chosen = next(text for text in tables if text.startswith('name = "H100-SXM-80GB"'))
    return f"```toml\n[[accelerator]]\n{chosen.strip()}\n```\n"


def accelerator_rows() -> list[tuple[str, ...]]:
    """Every accelerator of mynah's own file, as cells of ``ACCELERATOR_HEAD``."""
    return [
        (
            f"`{one.name}`",
            ", ".join(f"`{name}`" for name in one.aliases),
            f"{one.measured_tflops[one.half]:g} of {one.peak_tflops[one.half]:g}",
            f"{one.memory_gb:g}",
            f"{one.scale_up_gb_per_s:g} in {one.scale_up_size}",
            f"{one.nic_gb_per_s:g}",
            f"{one.rental_usd_per_h[0]:g} to {one.rental_usd_per_h[1]:g}",
        )
        for one in accelerators().values()
    ]


def real_default(value: object, written: str) -> str:
    """A range with its ends, a share as a number; all else as it is written."""
    if isinstance(value, Range):
        ends = "" if value.low == value.high else f", {value.low:.3g} to {value.high:.3g}"
        return f"`{value.middle:.3g}`{ends}"
    return f"`{value:.3g}`" if isinstance(value, float) else written
