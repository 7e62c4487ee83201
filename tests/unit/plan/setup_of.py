"""Setups for tests: one field changed, all others as they are for a Llama of 8e9 weights.

Made from the fields of the dataclasses; one that this does not know has what a table of runs gives
it, where mynah trains such a model.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tests.unit.plan.table_of import DENSE, table_of

from mynah.plan.setups import (
    Attention,
    Degrees,
    Machines,
    Recompute,
    Setups,
    Shapes,
    Sharding,
    Stacks,
    Work,
)

GROUPS = {
    "shapes": Shapes,
    "work": Work,
    "degrees": Degrees,
    "machines": Machines,
    "stacks": Stacks,
}
DEFAULTS = {
    "layers": 32,
    "hidden": 4096,
    "heads": 32,
    "kv_heads": 8,
    "head_dim": 128,
    "inner": 14336,
    "is_gated": 1,
    "vocab": 128256,
    "experts": 0,
    "experts_per_token": 0,
    "expert_inner": 0,
    "shared_experts": 0,
    "dense_layers": 0,
    "row_tokens": 4096,
    "batch_rows": 64,
    "micro_rows": 1,
    "bits": 16,
    "is_row_scaled": 0,
    "recompute": Recompute.NOTHING,
    "tensor": 1,
    "pipeline": 1,
    "stages": 1,
    "data": 1,
    "is_sequence_cut": 0,
    "context": 1,
    "expert": 1,
    "replicate": 1,
    "sharding": Sharding.NOTHING,
    # An H100, rounded.
    "flop_per_s": 800e12,
    "low_flop_per_s": 800e12,
    "peak_flop_per_s": 989e12,
    "cores": 132,
    "memory_bytes": 80e9,
    "memory_bytes_per_s": 3350e9,
    "scale_up_bytes_per_s": 450e9,
    "scale_up_size": 8,
    "nic_bytes_per_s": 50e9,
    "pod_size": np.inf,
    "oversubscription": 1,
    "is_hopper": 1,
    "attention": Attention.FLASH_2,
    "is_norm_fused": 1,
    "is_fused": 1,
    "overlaps_tensor": 1,
    "overlaps_data": 1,
    "gathers_by_rank": 0,
    "sends_whole": 0,
    "gathers_logits": 0,
    "keeps_gathered": 0,
    "gradient_bytes": 4,
    "logit_bytes": 14,
    "is_context_even": 1,
    "hides_context": 1,
}
EXPERTS = {"experts": 64, "experts_per_token": 4, "expert_inner": 2048, "inner": 8192}
"""What makes a sparse model of the default one; a token meets as many weights of an MLP."""


@cache
def as_read() -> dict[str, float]:
    """Every field, as a table has it for one such run."""
    alone = {"tp": "1", "pp": "1", "vpp": "1", "dp": "1", "n_gpus": "1", "framework": "mynah"}
    with tempfile.TemporaryDirectory() as folder:
        setups = table_of(Path(folder), DENSE | alone | {"active_params": ""}).setups
    groups = [getattr(setups, name) for name in GROUPS]
    return {
        one.name: float(getattr(group, one.name)[0]) for group in groups for one in fields(group)
    }


def setups_with(**given: float | Sequence[float]) -> Setups:
    """Setups that differ from the default in what is given; a sequence makes as many of them."""
    names = {one.name for group in GROUPS.values() for one in fields(group)}
    assert set(given) <= names, f"no setup has {set(given) - names}"
    count = max([len(value) for value in given.values() if isinstance(value, Sequence)], default=1)
    values = as_read() | DEFAULTS | given
    groups: dict[str, Any] = {
        name: group(
            **{
                one.name: np.broadcast_to(
                    np.asarray(values[one.name], dtype=np.float64), (count,)
                ).copy()
                for one in fields(group)
            }
        )
        for name, group in GROUPS.items()
    }
    return Setups(**groups)
