"""One rank of the layout tests: trains a tiny model for some steps in every layout it is told.

Run by itself it makes the numbers of one process that all layouts are compared with.

    python layout_worker.py FOLDER RANK WORLD_SIZE

Reads ``FOLDER/alone.pt``, which a world of one writes; writes ``FOLDER/WORLD_SIZE.RANK.json``:
for each layout its losses, norms, and how far its gradients are from those of one process.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from mynah.model import LlamaConfig, pack
from mynah.train import (
    Batch,
    DataConfig,
    Engine,
    LayoutConfig,
    Mesh,
    OptimizerConfig,
    Recipe,
    TokenObjective,
    build_mesh,
)
from mynah.train.evaluate import nats

NUM_STEPS = 20
COMPARED_STEPS = (0, 7, 19)
ROW_TOKENS = 64
NUM_ROWS = 3
MAX_NORM = 1.0
VOCAB = 96
OBJECTIVE = TokenObjective(name="pretrain", orders=())

SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
MODELS = {
    "dense": LlamaConfig(**SHAPE, qk_norm=True),
    "tied": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "experts": LlamaConfig(  # the first layer is dense, the others have a shared expert
        **SHAPE,
        qk_norm=True,
        num_experts=4,
        num_experts_per_token=2,
        num_shared_experts=1,
        expert_intermediate_size=16,
        num_dense_layers=1,
    ),
}

Case = tuple[str, dict[str, Any]]
"""A model, the degrees of its layout, and whether its layers are compiled."""

INTERLEAVED = {"pipeline": 2, "schedule": "interleaved", "stages_per_rank": 2}
ZERO_BUBBLE = {"pipeline": 2, "schedule": "zero_bubble", "stages_per_rank": 2}
CASES: dict[int, list[Case]] = {
    1: [("dense", {}), ("tied", {"recompute": "layers"}), ("experts", {})],
    2: [
        ("dense", {"replicate": 2}),
        ("dense", {"shard": 2}),
        ("tied", {"shard": 2}),
        ("dense", {"tensor": 2}),
        ("dense", {"context": 2}),
        ("dense", {"pipeline": 2}),
        ("dense", {**INTERLEAVED, "recompute": "layers"}),
        ("dense", ZERO_BUBBLE),
        ("experts", {"replicate": 2}),
        ("experts", {"shard": 2, "expert": 2, "recompute": "layers"}),
        ("dense", {"shard": 2, "is_compiled": True}),
        ("dense", {"context": 2, "recompute": "layers", "is_compiled": True}),
        ("dense", {"pipeline": 2, "is_compiled": True}),
        ("experts", {"shard": 2, "expert": 2, "is_compiled": True}),
    ],
    4: [
        ("dense", {"replicate": 2, "shard": 2}),
        ("dense", {"shard": 2, "tensor": 2}),
        ("tied", {"replicate": 2, "tensor": 2, "recompute": "layers"}),
        ("dense", {"shard": 2, "context": 2}),
        ("dense", {"replicate": 2, "context": 2}),
        ("tied", {"context": 2, "tensor": 2}),
        ("dense", {"context": 4, "recompute": "layers"}),
        ("dense", {"pipeline": 4}),
        ("dense", {"pipeline": 2, "shard": 2, "recompute": "layers"}),
        ("dense", {"pipeline": 2, "replicate": 2}),
        ("dense", {"pipeline": 2, "context": 2}),
        ("dense", {"pipeline": 2, "tensor": 2}),
        ("dense", {**INTERLEAVED, "shard": 2}),
        ("dense", {**INTERLEAVED, "context": 2}),
        ("dense", {**ZERO_BUBBLE, "shard": 2}),
        ("dense", {**ZERO_BUBBLE, "tensor": 2}),
        ("dense", {**ZERO_BUBBLE, "context": 2}),
        ("experts", {"shard": 4, "expert": 4}),
        ("experts", {"shard": 4, "expert": 2}),
        ("experts", {"replicate": 2, "shard": 2, "expert": 2}),
        ("experts", {"shard": 2, "expert": 2, "context": 2}),
        ("experts", {"shard": 2, "expert": 2, "pipeline": 2}),
        ("experts", {"shard": 2, "expert": 2, **ZERO_BUBBLE}),
    ],
}


def name_of(case: Case) -> str:
    model, degrees = case
    return " ".join([model, *(f"{name}={degree}" for name, degree in degrees.items())])


def make_rows(step: int) -> list[Batch]:
    """Rows of a step: documents of mixed lengths, some longer than a rank's share of a row."""
    generator = np.random.default_rng([7, step])
    num_rows = NUM_ROWS - (step % 5 == 4)
    return [make_row(generator, is_long=place == 0) for place in range(num_rows)]


def make_row(generator: np.random.Generator, *, is_long: bool) -> Batch:
    filling = int(generator.integers(1, 5))
    lengths = [filling, ROW_TOKENS - filling]
    while not is_long and lengths[-1] > 12:
        first = int(generator.integers(2, 20))
        if first >= lengths[-1]:
            break
        lengths[-1:] = [first, lengths[-1] - first]
    any_N = generator.integers(0, VOCAB, ROW_TOKENS + 1) ** 2 // VOCAB
    ids_N = torch.from_numpy(np.where(np.arange(ROW_TOKENS + 1) % 3, any_N, 7))
    weight_N = torch.from_numpy(generator.integers(0, 3, ROW_TOKENS) / 2).float()
    weight_N[:filling] = 0.0
    return Batch(
        ids_N=ids_N[:-1],
        target_N=ids_N[1:],
        weight_N=weight_N,
        packing=pack(lengths, num_filling=filling),
        num_tokens=ROW_TOKENS - filling,
        weight=float(weight_N.sum()),
    )


def empty_row() -> Batch:
    nothing_N = torch.zeros(ROW_TOKENS, dtype=torch.int64)
    packing = pack([ROW_TOKENS], num_filling=ROW_TOKENS)
    return Batch(
        ids_N=nothing_N,
        target_N=nothing_N,
        weight_N=nothing_N.float(),
        packing=packing,
        num_tokens=0,
    )


class Training:
    """The trainer's own engine in a layout, with a look at its gradients before each update."""

    def __init__(self, model: str, mesh: Mesh, *, is_compiled: bool) -> None:
        self.mesh = mesh
        recipe = Recipe(
            precision="float32",
            layout=mesh.layout,
            is_compiled=is_compiled,
            data=DataConfig(batch_tokens=ROW_TOKENS, max_document_tokens=ROW_TOKENS),
            optimizer=OptimizerConfig(
                lr=1e-3, eps=1e-6, weight_decay=0.01, clip_norm=MAX_NORM, beta2=0.999
            ),
        )
        self.engine = Engine(MODELS[model], recipe, mesh, device=torch.device("cpu"))
        self.engine.initialise(seed=3)
        self.gradients: dict[str, Tensor] = {}
        self.is_watched = False
        self._update = self.engine.optimizer.step
        watched: Any = self._watched_update
        self.engine.optimizer.step = watched

    def _watched_update(self) -> None:
        if self.is_watched:  # whole gradients of this stage's weights, on every rank
            named = self.engine.named_parameters()
            self.gradients = {name: whole(weight.grad) for name, weight in named}
        self._update()

    def rows(self, step: int) -> tuple[list[Batch], float]:
        """This rank's rows of a step, and the weight of all rows."""
        rows = make_rows(step)
        own = rows[self.mesh.data_rank :: self.mesh.num_data]
        num_rows = self.engine.pipeline.num_rows(-(-len(rows) // self.mesh.num_data))
        own += [empty_row() for _ in range(num_rows - len(own))]
        return own, sum(row.weight for row in rows)

    def evaluate(self, step: int) -> float:
        rows, weight = self.rows(step)
        (total,) = self.engine.evaluate(rows, nats, num_sums=1)
        return total / weight

    def step(self, number: int) -> dict[str, float]:
        self.is_watched = number in COMPARED_STEPS
        done = self.engine.step(self.rows(number)[0], OBJECTIVE, lr_share=1.0)
        assert not done.is_skipped
        return {"loss": done.loss, "norm": done.grad_norm}


def whole(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def run(case: Case, alone: dict[str, Any]) -> dict[str, Any]:
    """Train one case; compare its gradients with those of ``alone``, which an alone one fills."""
    model, degrees = case
    began_s = time.perf_counter()
    layout = LayoutConfig(**{name: it for name, it in degrees.items() if name != "is_compiled"})
    mesh = build_mesh(layout, "cpu")
    training = Training(model, mesh, is_compiled=degrees.get("is_compiled", False))
    steps: list[dict[str, float]] = []
    worst = (0.0, "")
    heldout = training.evaluate(99)
    for step in range(NUM_STEPS):
        steps.append(training.step(step))
        if step in COMPARED_STEPS:
            if mesh.is_alone:
                alone[f"{model} {step}"] = training.gradients
            worst = max(worst, *distances(training.gradients, alone[f"{model} {step}"]))
    return {
        "losses": [step["loss"] for step in steps],
        "norms": [step["norm"] for step in steps],
        "heldout": [heldout, training.evaluate(99)],
        "worst_gradient": worst,
        "seconds": time.perf_counter() - began_s,
    }


def distances(found: dict[str, Tensor], alone: dict[str, Tensor]) -> list[tuple[float, str]]:
    """Distance of each gradient from that of one process, relative to its norm."""
    return [
        (float((grad - alone[name]).norm() / alone[name].norm()), name)
        for name, grad in found.items()
    ]


def main(folder: Path, rank: int, world_size: int) -> None:
    torch.set_num_threads(1)
    path = folder / "alone.pt"
    alone: dict[str, Any] = {} if world_size == 1 else torch.load(path, weights_only=True)
    if world_size > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder}/meet.{world_size}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=60),
        )
    results = {name_of(case): run(case, alone) for case in CASES[world_size]}
    if world_size == 1:
        torch.save(alone, path)
    else:
        dist.destroy_process_group()
    (folder / f"{world_size}.{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
