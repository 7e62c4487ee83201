"""The loss with the output matrix spread over two processes is that of one process."""

import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F

pytestmark = pytest.mark.distributed

N, C = 37, 16


def inputs(num_words: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    hidden_NC = torch.randn(N, C, generator=generator)
    head_VC = torch.randn(num_words, C, generator=generator)
    target_N = torch.randint(num_words, (N,), generator=generator)
    weight_N = torch.rand(N, generator=generator)
    weight_N[::4] = 0.0
    return hidden_NC, head_VC, target_N, weight_N


def gradients_of_two_losses(hidden_NC, head_VC, target_N, weight_N) -> dict[str, torch.Tensor]:
    """Both losses, used as objectives use them, and their gradients."""
    from mynah.train.loss import linear_cross_entropy, token_losses

    loss = linear_cross_entropy(hidden_NC, head_VC, target_N, weight_N, slice_tokens=10)
    nll_N = token_losses(hidden_NC, head_VC, target_N, slice_tokens=10)
    compared = F.softplus(nll_N @ weight_N - nll_N).sum()
    to_hidden, to_head = torch.autograd.grad(loss / 7.0, (hidden_NC, head_VC))
    of_tokens = torch.autograd.grad(compared, (hidden_NC, head_VC))
    return {
        "loss": loss.detach(),
        "to_hidden": to_hidden,
        "to_head": to_head,
        "nll_N": nll_N.detach(),
        "nll_to_hidden": of_tokens[0],
        "nll_to_head": of_tokens[1],
    }


def spread(rank: int, folder: str, port: int) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("tensor",))
    found: dict[str, torch.Tensor] = {}
    for num_words in (50, 51):  # even and uneven: ranks hold 26 and 25 rows
        for dtype in (torch.float32, torch.bfloat16):
            hidden_NC, whole_VC, target_N, weight_N = inputs(num_words)
            hidden_NC = hidden_NC.to(dtype).requires_grad_()
            head_VC = distribute_tensor(whole_VC, mesh, [Shard(0)]).requires_grad_()
            for name, value in gradients_of_two_losses(
                hidden_NC, head_VC, target_N, weight_N
            ).items():
                if name.endswith("to_head"):
                    assert isinstance(value, DTensor)
                    assert value.placements == head_VC.placements
                    value = value.full_tensor()
                found[f"{num_words} {dtype} {name}"] = value
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_compute_what_one_does(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(spread, args=(str(tmp_path), port), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for num_words in (50, 51):
        for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 5e-3)):
            hidden_NC, head_VC, target_N, weight_N = inputs(num_words)
            hidden_NC = hidden_NC.to(dtype).requires_grad_()
            expected = gradients_of_two_losses(
                hidden_NC, head_VC.requires_grad_(), target_N, weight_N
            )
            for name, value in expected.items():
                ours, other = (rank[f"{num_words} {dtype} {name}"] for rank in ranks)
                assert torch.equal(ours, other)
                assert ours.dtype == value.dtype
                error = (ours.float() - value.float()).norm() / value.float().norm()
                assert error < tolerance, (num_words, dtype, name)
