"""Whether the accelerators of this node compute the same twice, and reach each other.

Started by torchrun, one process an accelerator: ``torchrun --standalone --nproc-per-node 8 -m
mynah.plan.node_check --device cuda``. Reads the environment that torchrun makes; writes nothing.
Its exit code is the answer: 0 is healthy, 3 is not.
"""

import argparse
import sys

import torch
import torch.distributed as dist

from mynah.errors import MachineError, MynahError
from mynah.train.world import World

__all__ = ["check_node"]

SIDE = {"cuda": 8192, "cpu": 512}
"""Of the squares that are multiplied: an accelerator is busy for milliseconds each."""
NUM_PRODUCTS = 32
"""The same each time; one that computes wrongly now and then shows in some of them."""
MESSAGE = {"cuda": 64 << 20, "cpu": 1 << 20}
"""Numbers that are added up over all: enough to fill every link."""


def check_node(device: str) -> None:
    """Multiply, compare and add up on this process's accelerator and its neighbours.

    Args:
        device: ``cuda`` or ``cpu``; never another than that which was asked for.

    Raises:
        MachineError: The accelerator is missing or computes wrongly, here or on a neighbour.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError("torch finds no accelerator", hint="look at the driver of this node")
    world = World.join()
    try:
        _check_products(world)
        _check_sum(world)
    finally:
        world.leave()


def _check_products(world: World) -> None:
    """All take part in the answer: who is well must not wait for who is not."""
    side = SIDE[world.device.type]
    torch.manual_seed(0)
    left = torch.randn(side, side, dtype=torch.bfloat16).to(world.device)
    first = left @ left
    differing = sum(not torch.equal(left @ left, first) for _ in range(NUM_PRODUCTS))
    is_wrong = differing > 0 or not bool(first.isfinite().all())
    if world.largest([float(is_wrong)])[0]:
        raise MachineError(
            f"of {NUM_PRODUCTS} products of the same matrices {differing} differ here (process "
            f"{world.rank}), or on a neighbour",
            hint="take this node out: an accelerator computes wrongly",
        )


def _check_sum(world: World) -> None:
    ones = torch.full((MESSAGE[world.device.type],), world.rank + 1.0, device=world.device)
    expected = world.size * (world.size + 1) / 2
    if world.size > 1:
        dist.all_reduce(ones)
    if world.largest([float(not bool((ones == expected).all()))])[0]:
        raise MachineError(
            f"the sum of 1 to {world.size} over the accelerators is not {expected:g} everywhere",
            hint="take this node out: a link between accelerators is broken",
        )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=sorted(SIDE), required=True)
    try:
        check_node(parser.parse_args().device)
    except MynahError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
