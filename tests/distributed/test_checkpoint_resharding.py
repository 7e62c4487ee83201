"""What some ranks save, others load, bit for bit: every layout to every other, 4 to 2 to 1."""

import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from mynah.errors import CheckpointError, MachineError
from mynah.record.model_signature import model_digest
from mynah.train.checkpoints import (
    CheckpointConfig,
    Checkpoints,
    checkpoint_digest,
    latest_checkpoint,
)
from mynah.train.world import World

pytestmark = pytest.mark.distributed

TIMEOUT_S = 400


class Block(nn.Module):
    """Sides that no number of ranks divides, and a vector that is shorter than four ranks."""

    def __init__(self, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.up = nn.Linear(6, 10, bias=False)
        self.down = nn.Linear(10, 6, bias=False)
        self.scale = nn.Parameter(torch.empty(3))
        for weight in self.parameters():
            nn.init.normal_(weight, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x)) * self.scale.sum()


def named(blocks: dict[str, Block], *, has_stepped: bool = True) -> dict[str, Tensor]:
    """What the trainer passes: weights, and what AdamW keeps after a step."""
    tensors: dict[str, Tensor] = {}
    for block_name, block in blocks.items():
        optimizer = torch.optim.AdamW(block.parameters(), lr=0.1)
        if has_stepped:
            block(torch.ones(2, 6)).pow(2).sum().backward()
            optimizer.step()
        for name, weight in block.named_parameters():
            tensors[f"model.{block_name}.{name}"] = weight
            for key, value in optimizer.state[weight].items():
                tensors[f"optimizer.{block_name}.{name}.{key}"] = value
    return tensors


def sharded(mesh: DeviceMesh, seed: int) -> dict[str, Block]:
    blocks = {f"layers.{n}": Block(seed=seed + n) for n in range(2)}
    for block in blocks.values():
        fully_shard(block, mesh=mesh)
    return blocks


def fsdp(seed: int) -> dict[str, Tensor]:
    return named(sharded(init_device_mesh("cpu", (dist.get_world_size(),)), seed))


def hsdp(seed: int) -> dict[str, Tensor]:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicate", "shard"))
    return named(sharded(mesh, seed))


def tensor_and_fsdp(seed: int) -> dict[str, Tensor]:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shard", "tensor"))
    blocks = {f"layers.{n}": Block(seed=seed + n) for n in range(2)}
    plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
    for block in blocks.values():
        parallelize_module(block, mesh["tensor"], plan)
        for linear in (block.up, block.down):
            fully_shard(linear, mesh=mesh["shard"])
    tensors = named(blocks)
    # A vector that no plan names stays a plain tensor, the same on every rank.
    assert not isinstance(tensors["model.layers.0.scale"], DTensor)
    return tensors


def pipeline(seed: int) -> dict[str, Tensor]:
    """Two ranks have one layer, two the other: no rank knows all names."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("pipeline", "shard"))
    layer = dist.get_rank() // 2
    block = Block(seed=seed + layer)
    fully_shard(block, mesh=mesh["shard"])
    return named({f"layers.{layer}": block})


def alone(seed: int) -> dict[str, Tensor]:
    return named({f"layers.{n}": Block(seed=seed + n) for n in range(2)})


LAYOUTS: dict[str, Callable[[int], dict[str, Tensor]]] = {
    "fsdp": fsdp,
    "hsdp": hsdp,
    "tensor_and_fsdp": tensor_and_fsdp,
    "pipeline": pipeline,
}


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor of every rank, in full, on every rank; equal where several have it."""
    own = {
        name: (x.full_tensor() if isinstance(x, DTensor) else x).detach()
        for name, x in tensors.items()
    }
    if not dist.is_initialized():
        return own
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, own)
    merged: dict[str, Tensor] = {}
    for part in parts:
        for name, x in part.items():
            assert torch.equal(merged.setdefault(name, x), x), name
    return merged


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, x in found.items():
        assert x.dtype == expected[name].dtype
        assert torch.equal(x, expected[name]), name


def checkpoints_of(folder: Path, **changes: Any) -> Checkpoints:
    size = dist.get_world_size() if dist.is_initialized() else 1
    world = World(dist.get_rank() if dist.is_initialized() else 0, size)
    return Checkpoints(folder, CheckpointConfig(**changes), world=world)


def in_ranks(rank: int, size: int, root: str, task: str) -> None:
    """Entry of one process."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "cpu:gloo", init_method=f"file://{root}/{task}", rank=rank, world_size=size
    )
    TASKS[task](Path(root))
    dist.barrier()
    dist.destroy_process_group()


def run(size: int, root: Path, task: str) -> None:
    context = mp.spawn(in_ranks, (size, str(root), task), nprocs=size, join=False)
    assert context is not None
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not context.join(timeout=1.0):
            assert time.monotonic() < deadline, f"{task} hangs"
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()


def save_each(root: Path) -> None:
    """Four ranks save each layout twice, and load what one process saved into each."""
    expected = torch.load(root / "alone.pt")
    for name, layout in LAYOUTS.items():
        tensors = layout(7)
        checkpoints = checkpoints_of(root / name, is_async=name in ("hsdp", "pipeline"))
        for step in (1, 2):
            saved = checkpoints.save(step, tensors, {"step": step, "layout": name})
            golden = whole(tensors)
            with torch.no_grad():
                for x in tensors.values():
                    x.add_(1.0)  # what a step in the meantime does must not be saved
            saved = saved or checkpoints.wait()
            assert saved == checkpoints.latest() == root / name / f"step-{step:08d}"
        if dist.get_rank() == 0:
            torch.save(golden, root / f"{name}.pt")
        loaded = layout(8)
        assert checkpoints_of(root / "alone").load_best(loaded) is not None
        assert_equal(whole(loaded), expected)


def load_each(root: Path) -> None:
    """Two ranks load what four saved, and save it again; one whose file is damaged is refused."""
    for name in LAYOUTS:
        tensors = fsdp(9)
        checkpoints = checkpoints_of(root / name, keep_last=2)
        assert checkpoints.load_best(tensors) == (
            root / name / "step-00000002",
            {"step": 2, "layout": name},
        )
        assert_equal(whole(tensors), torch.load(root / f"{name}.pt"))
        assert checkpoints.save(3, tensors, {"step": 3})
    dist.barrier()
    if dist.get_rank() == 0:
        path = root / "fsdp" / "step-00000003" / "__1_0.distcp"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    dist.barrier()
    tensors = fsdp(10)
    with pytest.raises(CheckpointError, match=r"__1_0\.distcp: expected SHA-256") as refused:
        checkpoints_of(root / "fsdp").load(root / "fsdp" / "step-00000003", tensors)
    assert "step-00000002" in refused.value.hint
    assert_equal(whole(tensors), whole(fsdp(10)))
    found = checkpoints_of(root / "fsdp").load_best(tensors)
    assert found is not None
    assert found[1]["step"] == 2


def fail_on_one(root: Path) -> None:
    """A rank that cannot write fails the save on all of them; the checkpoint before stays."""
    checkpoints = checkpoints_of(root / "limits")
    tensors = fsdp(11)
    assert checkpoints.save(1, tensors, {"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if dist.get_rank() == 1:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    with pytest.raises(MachineError, match="File too large"):
        checkpoints.save(2, tensors, {"step": 2})
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.latest() == root / "limits" / "step-00000001"
    if dist.get_rank() == 0:
        assert sorted(os.listdir(root / "limits")) == ["latest", "step-00000001"]
    # Ranks that do not have the same model say so, on every rank, and nobody waits for ever.
    if dist.get_rank() == 1:
        tensors.pop("model.layers.1.up.weight")
    with pytest.raises(CheckpointError, match=r"up\.weight"):
        checkpoints.save(3, tensors, {"step": 3})
    other = fsdp(12)
    for name in [name for name in other if "layers.1." in name]:
        del other[name]
    with pytest.raises(CheckpointError, match=r"holds model\.layers\.1"):
        checkpoints.load(root / "limits" / "step-00000001", other)


def load_and_fail(root: Path) -> None:
    """In one set of processes: to start them takes longer than what they do."""
    load_each(root)
    fail_on_one(root)


TASKS = {"save_each": save_each, "load_and_fail": load_and_fail}


def test_every_layout_loads_what_any_other_saved_and_errors_reach_every_rank(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    torch.set_num_threads(1)
    tensors = alone(5)
    assert checkpoints_of(tmp_path / "alone").save(4, tensors, {"step": 4})
    torch.save(whole(tensors), tmp_path / "alone.pt")
    run(4, tmp_path, "save_each")
    for name in LAYOUTS:
        checkpoint = latest_checkpoint(tmp_path / name)
        assert checkpoint is not None
        assert checkpoint_digest(checkpoint) == model_digest(checkpoint).hex
        loaded = alone(6)
        assert checkpoints_of(tmp_path / name).load(checkpoint, loaded)["layout"] == name
        assert_equal(whole(loaded), torch.load(tmp_path / f"{name}.pt"))
    run(2, tmp_path, "load_and_fail")
    for name in LAYOUTS:
        loaded = alone(6)
        with caplog.at_level(logging.WARNING):
            found = checkpoints_of(tmp_path / name).load_best(loaded)
        assert found is not None
        assert found[1]["step"] == (2 if name == "fsdp" else 3)
        assert_equal(whole(loaded), torch.load(tmp_path / f"{name}.pt"))
    assert "step-00000003 is refused" in caplog.text
