"""Preferences where two processes share each row: loss, measures and gradient of one process."""

import socket
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from tests.fakes.preference_pairs import VOCAB, make_preferences

pytestmark = pytest.mark.distributed

WIDTH = 16


def work(folder: Path, num_context: int) -> dict[str, torch.Tensor]:
    """Loss, measures and gradients over a row whose pairs lie across the border of the ranks."""
    from mynah.train import DataConfig
    from mynah.train.context_parallel import cut_row
    from mynah.train.layout import LayoutConfig
    from mynah.train.mesh import build_mesh
    from mynah.train.preferences import DpoConfig, dpo

    mesh = build_mesh(LayoutConfig(context=num_context), "cpu")
    data = DataConfig(tokens_per_step=300, batch_tokens=300)
    preferences = make_preferences(folder / f"preferences.{mesh.context_rank}")
    objective = dpo(preferences, data, DpoConfig(beta=0.3), base_digest="")
    (order,) = objective.orders
    pieces = [(order.source, piece) for piece in order.pieces(0)]
    objective.reference = {(1, n): np.array([-n, 3.0 - n]) for n in range(12)}
    row = objective.batch(pieces, row_tokens=384)
    assert row.weight == 12.0
    generator = torch.Generator().manual_seed(3)
    whole_NC = torch.randn(384, WIDTH, generator=generator)
    head_VC = torch.randn(VOCAB, WIDTH, generator=generator).requires_grad_()
    own = cut_row(row, context_rank=mesh.context_rank, num_context=num_context)
    # Of as many chunks as two for each rank, a rank has one and that one's mirror image.
    chunks = whole_NC.chunk(2 * num_context)
    own_chunks = (chunks[mesh.context_rank], chunks[-1 - mesh.context_rank])
    hidden_NC = torch.cat(own_chunks) if num_context > 1 else whole_NC
    hidden_NC.requires_grad_()
    loss = objective.loss(hidden_NC, head_VC, own, mesh)
    to_hidden, to_head = torch.autograd.grad(loss / row.weight, (hidden_NC, head_VC))
    with torch.no_grad():
        measures = objective.measures(hidden_NC, head_VC, own, mesh)
    return {
        "loss": loss.detach(),
        "measures": measures,
        "to_hidden": to_hidden,
        "to_head": to_head,
    }


def shared(rank: int, folder: str, port: int) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    torch.save(work(Path(folder), 2), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_that_share_rows_prefer_as_one_does(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(shared, args=(str(tmp_path), port), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = work(tmp_path, 1)
    # Sums over ranks, as the engine takes them.
    for name in ("loss", "measures", "to_head"):
        assert torch.allclose(first[name] + second[name], alone[name], rtol=1e-5, atol=1e-6), name
    # Rank 0 has the first and the last of four chunks, rank 1 the two between them.
    first_half, last_half = first["to_hidden"].chunk(2)
    together = torch.cat((first_half, second["to_hidden"], last_half))
    assert torch.allclose(together, alone["to_hidden"], rtol=1e-5, atol=1e-6)
