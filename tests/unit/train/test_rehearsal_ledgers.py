"""What the ledgers write down of single operations, on fake tensors."""

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention.varlen import varlen_attn
from torch.utils.checkpoint import checkpoint

from mynah.train.rehearsal_ledgers import Ledgers


@pytest.fixture
def ledgers() -> Iterator[Ledgers]:
    """Ledgers in force, under which every tensor is fake."""
    with FakeTensorMode(), Ledgers() as found:
        yield found


def test_memory_follows_storages_and_not_views(ledgers: Ledgers) -> None:
    kept = torch.empty(1000)
    view = kept[:500].view(10, 50)
    assert ledgers.memory.now.total() == 4000
    gone = torch.empty(3000)
    del gone
    assert ledgers.memory.now.total() == 4000
    del kept
    assert ledgers.memory.now.total() == 4000, "the view is still there"
    del view
    assert ledgers.memory.now.total() == 0
    assert ledgers.memory.peak_bytes == 16_000


def test_the_peak_is_kept_by_category(ledgers: Ledgers) -> None:
    weight = torch.empty(100, 100, requires_grad=True)
    ledgers.memory.label([weight], "parameters")
    x = torch.empty(7, 100)
    out = (x @ weight).relu() @ weight
    ledgers.memory.held = lambda: [("gradients", weight.grad)]
    ledgers.memory.settle()
    assert ledgers.memory.peak["parameters"] == 40_000
    out.sum().backward()
    update = torch.empty(200, 200)
    ledgers.memory.settle()
    assert update.nbytes == 160_000
    assert ledgers.memory.peak["gradients"] == 40_000
    assert ledgers.memory.peak.total() == ledgers.memory.peak_bytes


def test_a_storage_that_is_emptied_counts_no_more(ledgers: Ledgers) -> None:
    gathered = torch.empty(1000)
    with ledgers.following_storages():
        gathered.untyped_storage().resize_(0)
        assert ledgers.memory.now.total() == 0
        gathered.untyped_storage().resize_(4000)
    assert ledgers.memory.now["gathered_weights"] == 4000
    assert ledgers.memory.peak_bytes == 4000


def test_flop_of_products_are_two_a_multiplication(ledgers: Ledgers) -> None:
    weight = torch.empty(20, 30, requires_grad=True)
    (torch.empty(10, 20, requires_grad=True) @ weight).sum().backward()
    assert ledgers.flop.model == 3 * 2 * 10 * 20 * 30
    assert ledgers.flop.recomputed == 0


def test_what_is_computed_again_is_counted_apart(ledgers: Ledgers) -> None:
    weight = torch.empty(20, 20, requires_grad=True)
    x = torch.empty(10, 20, requires_grad=True)
    out = checkpoint(lambda x: ((x @ weight).relu() @ weight).relu(), x, use_reentrant=False)
    assert isinstance(out, torch.Tensor)
    out.sum().backward()
    product = 2 * 10 * 20 * 20
    assert ledgers.flop.model == 6 * product
    assert ledgers.flop.recomputed == 2 * product


@pytest.mark.parametrize(
    ("ends", "longest", "pairs"),
    [([0, 12], 12, 12 * 13 // 2), ([0, 5, 10, 12], 5, 2 * 15 + 3)],
)
def test_attention_counts_the_pairs_that_it_scores(
    ledgers: Ledgers, ends: list[int], longest: int, pairs: int
) -> None:
    q = torch.empty(12, 4, 8, dtype=torch.bfloat16, requires_grad=True)
    k, v = (torch.empty(12, 2, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    end = torch.tensor(ends, dtype=torch.int32)
    out = varlen_attn(q, k, v, end, end, longest, longest, window_size=(-1, 0), enable_gqa=True)
    assert isinstance(out, torch.Tensor)
    assert ledgers.flop.model == 2 * 2 * 4 * 8 * pairs
    out.sum().backward()
    # Scores, values, and four products back; the fifth makes the scores again.
    assert ledgers.flop.model == 6 * 2 * 4 * 8 * pairs
    assert ledgers.flop.recomputed == 2 * 4 * 8 * pairs


def test_every_number_that_the_host_reads_is_one(ledgers: Ledgers) -> None:
    assert torch.empty((), dtype=torch.float64).item() == 1.0
    assert int(torch.empty(3, dtype=torch.int64).sum()) == 1
    assert bool(torch.empty(3).isfinite().all())
