"""Tables of runs for tests: a row that says everything, and others that differ from it."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from mynah.plan.published import Table, read_table

Cells = Mapping[str, str]

FULL = {
    "id": "full",
    "params": "8e9",
    "active_params": "3.2e9",
    "layers": "32",
    "hidden": "4096",
    "heads": "32",
    "kv_heads": "8",
    "ffn": "14336",
    "gated_mlp": "1",
    "vocab": "128256",
    "n_experts": "8",
    "top_k": "2",
    "moe_ffn": "2048",
    "seq_len": "4096",
    "global_batch": "512",
    "micro_batch": "2",
    "gpu": "H100-SXM-80GB",
    "gpu_mem_gb": "80",
    "n_gpus": "64",
    "tp": "4",
    "pp": "2",
    "vpp": "2",
    "dp": "8",
    "cp": "1",
    "ep": "4",
    "seq_parallel": "1",
    "sharding": "ZeRO-1",
    "recompute": "none",
    "dtype": "bf16",
    "framework": "Megatron-LM",
    "network": "3200 Gb/s per node",
}
"""Every column that a prediction reads, with something in it."""
DENSE = FULL | {"n_experts": "0", "top_k": "0", "moe_ffn": "0", "ep": "1"}
MEASURED = {
    "measured_tflops_per_gpu": "412.5",
    "tflops_kind": "model",
    "mfu": "0.41",
    "hfu": "0.55",
    "step_time_s": "12.5",
    "tokens_per_s_per_gpu": "9001",
    "memory_gb": "71.2",
    "outcome": "ok",
    "derived_tokens_per_s_per_gpu": "9001",
    "notes": "measured at night",
}
"""What was measured, or says something of it."""


def write_rows(path: Path, *rows: Cells) -> Path:
    """A CSV file of rows that have the same columns; a name in none of them is left out."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def table_of(folder: Path, *rows: Cells) -> Table:
    """Such a file, read."""
    return read_table(write_rows(folder / "runs.csv", *rows))


def without(row: Cells, *names: str) -> dict[str, str]:
    """A row that has no such columns."""
    return {name: cell for name, cell in row.items() if name not in names}


def each_column() -> Iterator[str]:
    """Names of what a prediction may read."""
    return (name for name in FULL if name != "id")
