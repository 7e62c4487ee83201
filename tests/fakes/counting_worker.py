"""One rank of a real world of four on gloo: writes down the messages of a real step.

Started by ``tests/distributed/test_rehearsal_counts.py``: FOLDER RANK WORLD_SIZE.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from mynah.model import LlamaConfig, pack
from mynah.train.config import DataConfig, Recipe
from mynah.train.data import Batch
from mynah.train.engine import Engine
from mynah.train.layout import LayoutConfig
from mynah.train.mesh import build_mesh
from mynah.train.objectives import TokenObjective
from mynah.train.rehearsal import _messages
from mynah.train.rehearsal_ledgers import PLAIN, CollectiveLedger

ROW, NUM_ROWS = 128, 2
CONFIG = LlamaConfig(
    vocab_size=256,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=ROW,
)
LAYOUTS = {
    "replicate": LayoutConfig(replicate=2, shard=2),
    "tensor": LayoutConfig(shard=2, tensor=2),
    "context": LayoutConfig(shard=2, context=2, recompute="layers"),
    "pipeline": LayoutConfig(pipeline=2, shard=2),
    "muon": LayoutConfig(shard=4),
}


def recipe(name: str) -> Recipe:
    """The recipe of a layout."""
    layout = LAYOUTS[name]
    tokens = NUM_ROWS * ROW * layout.num_data
    data = DataConfig(tokens_per_step=tokens, batch_tokens=ROW, max_document_tokens=ROW)
    asked = Recipe(layout=layout, data=data)
    if name != "muon":
        return asked
    from dataclasses import replace

    return replace(asked, optimizer=replace(asked.optimizer, name="muon"))


class Counting(TorchDispatchMode):
    """A rehearsal's ledger of messages, over real tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.collectives = CollectiveLedger()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation; write it down if it is a message."""
        if any(kind not in PLAIN for kind in types):
            return NotImplemented
        out = func(*args, **(kwargs or {}))
        name = func._schema.name
        if "c10d" in name or name.startswith("_dtensor::"):
            self.collectives.add(name, args, kwargs or {}, out)
        return out


def row() -> Batch:
    """A row of one document."""
    ids_N = torch.arange(ROW) % CONFIG.vocab_size
    return Batch(
        ids_N=ids_N,
        target_N=ids_N.roll(-1),
        weight_N=torch.ones(ROW),
        packing=pack([ROW]),
        num_tokens=ROW,
        weight=float(ROW),
    )


def messages_of(name: str) -> Sequence[tuple[Any, ...]]:
    """What a step of a layout sends."""
    asked = recipe(name)
    mesh = build_mesh(asked.layout, "cpu")
    engine = Engine(CONFIG, asked, mesh, device=torch.device("cpu"))
    engine.initialise(seed=0)
    counting: Any = Counting()
    with counting:
        engine.step([row()] * NUM_ROWS, TokenObjective(name="pretrain", orders=()), lr_share=1.0)
    return [astuple(message) for message in _messages(asked, counting)]


def main() -> None:
    """Take every layout in turn."""
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    found = {name: messages_of(name) for name in LAYOUTS}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
