"""Muon on weights that are cut over 2 and 4 processes moves them as one process does.

This file is also what each of the processes runs: ``python test_muon_sharded.py RANK ...``.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from mynah.train.optimizers import OptimizerConfig, Optimizers, make_optimizer

pytestmark = pytest.mark.distributed

CONFIG = OptimizerConfig(name="muon", lr=0.05, weight_decay=0.1)
NUM_STEPS = 4
LAYOUTS = {
    "fsdp": {"shard": 0},
    "hsdp": {"replicate": 2, "shard": 0},
    "tensor": {"tensor": 0},
    "fsdp_tensor": {"shard": 2, "tensor": 0},
    "expert": {"shard": 2, "expert": 0},
    "expert_columns": {"shard": 2, "expert": 0},
}
"""Degrees by axis; 0 is what is left of the processes. The last cuts each expert, too."""


class Layer(nn.Module):
    """Matrices that are square, wide and tall; 37 rows do not divide, 6 experts over 4 neither."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(32, 16, bias=False)
        self.tall = nn.Linear(16, 37, bias=False)
        self.square = nn.Linear(16, 16, bias=False)
        self.norm = nn.RMSNorm(16)
        self.experts = nn.Parameter(torch.empty(6, 8, 12))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(50, 16)
        self.layers = nn.ModuleList(Layer() for _ in range(3))


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        generator = torch.Generator().manual_seed(3)
        for weight in self.parameters():
            weight.data.normal_(generator=generator)


def cut_tensors(module: Whole, mesh: DeviceMesh) -> None:
    """Rows of one matrix and columns of another, as tensor parallelism has them."""
    for layer in module.model.layers:
        for linear, dim in ((layer.wide, 0), (layer.square, 1)):
            weight = distribute_tensor(linear.weight, mesh, [Shard(dim)])
            linear.weight = nn.Parameter(weight)


def shard(module: Whole, layout: str, world_size: int) -> None:
    degrees = dict(LAYOUTS[layout])
    left = world_size
    for degree in degrees.values():
        left //= degree or 1
    sizes = [degree or left for degree in degrees.values()]
    grid = init_device_mesh("cpu", tuple(sizes), mesh_dim_names=tuple(degrees))
    if "tensor" in degrees:
        cut_tensors(module, grid["tensor"])
    if "expert" in degrees:
        for layer in module.model.layers:
            weight = distribute_tensor(layer.experts, grid["expert"], [Shard(0)])
            layer.experts = nn.Parameter(weight)
    if "shard" not in degrees:
        return
    mesh = grid["replicate", "shard"] if "replicate" in degrees else grid["shard"]
    dim = 1 if layout == "expert_columns" else 0
    for layer in module.model.layers:
        fully_shard(layer, mesh=mesh, shard_placement_fn=lambda w: Shard(dim if w.ndim > 2 else 0))
    fully_shard(module, mesh=mesh)


def train(module: Whole) -> Optimizers:
    """Step with gradients that are a function of the weights, the same in every layout."""
    optimizer = make_optimizer(module.named_parameters(), CONFIG, product_dtype=torch.float32)
    for step in range(NUM_STEPS):
        for weight in module.parameters():
            weight.grad = torch.sin(weight.detach() * 37.0 + step)
        optimizer.step()
    return optimizer


def whole_state(module: Whole, optimizer: Optimizers) -> dict[str, Tensor]:
    state = {**dict(module.named_parameters()), **optimizer.state_tensors()}
    return {
        name: (value.full_tensor() if isinstance(value, DTensor) else value).detach()
        for name, value in state.items()
    }


def work(rank: int, world_size: int, folder: Path) -> None:
    """What one process does: every layout, one after another."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    for layout, degrees in LAYOUTS.items():
        if len(degrees) > 1 and world_size < 4:
            continue
        module = Whole()
        shard(module, layout, world_size)
        state = whole_state(module, train(module))
        if rank == 0:
            torch.save(state, folder / f"{layout}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    module = Whole()
    return whole_state(module, train(module))


@pytest.mark.parametrize("world_size", [2, 4])
def test_every_layout_moves_weights_as_one_process_does(
    world_size: int, alone: dict[str, Tensor], tmp_path: Path
) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(world_size), str(tmp_path)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world_size)
    ]
    try:
        said = [process.communicate(timeout=100)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world_size, "\n".join(said)
    layouts = sorted(path.stem for path in tmp_path.glob("*.pt"))
    assert len(layouts) == (2 if world_size == 2 else len(LAYOUTS))
    for layout in layouts:
        state = torch.load(tmp_path / f"{layout}.pt")
        assert state.keys() == alone.keys()
        for name, expected in alone.items():
            far = (state[name] - expected).norm() / expected.norm()
            assert far < 1e-4, (layout, name, far)


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
