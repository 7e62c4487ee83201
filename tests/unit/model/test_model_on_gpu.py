"""The kernels that only a GPU has, beside what a CPU computes."""

import pytest
import torch
from tests.fakes.tiny_model import sparse_config

from mynah.model import Llama, pack
from mynah.model.experts import Experts
from mynah.model.packed_attention import PackedAttention

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU"),
]
LENGTHS = [1, 30, 64, 5, 300]


def near(ours: torch.Tensor, exact: torch.Tensor) -> bool:
    return ((ours.cpu().float() - exact).norm() <= 0.02 * exact.norm()).item()


@pytest.mark.parametrize("num_key_heads", [4, 2])
def test_attention_of_a_row_as_it_lies(num_key_heads: int):
    generator = torch.Generator().manual_seed(0)
    packing = pack(LENGTHS)

    def draw(heads: int) -> torch.Tensor:
        return torch.randn(sum(LENGTHS), heads, 64, generator=generator).bfloat16().float()

    exact = [draw(4).requires_grad_(), *(draw(num_key_heads).requires_grad_() for _ in range(2))]
    rounded = [x.detach().bfloat16().cuda().requires_grad_() for x in exact]
    expected = PackedAttention()(*exact, packing)
    ours = PackedAttention()(*rounded, packing.to("cuda"))
    assert near(ours, expected)
    pull = torch.randn(expected.shape, generator=generator).bfloat16().float()
    expected.backward(pull)
    ours.backward(pull.bfloat16().cuda())
    for mine, other in zip(rounded, exact, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert near(mine.grad, other.grad)


@pytest.mark.parametrize("counts", [[5, 0, 9, 1, 0, 0, 20, 0], [0] * 8])
def test_experts_in_one_kernel(counts: list[int]):
    generator = torch.Generator().manual_seed(0)
    experts = Experts(sparse_config(96))
    with torch.no_grad():
        for stack in experts.stacks():
            stack.copy_(torch.randn(stack.shape, generator=generator).bfloat16() * 0.2)
    y_PC = torch.randn(sum(counts), 64, generator=generator).bfloat16()
    expected = experts(y_PC.float(), counts)
    expected.square().sum().backward()
    gradients = [stack.grad for stack in experts.stacks()]
    experts.zero_grad()
    experts.cuda()
    ours = experts(y_PC.cuda(), counts)
    ours.square().sum().backward()
    assert near(ours, expected.detach())
    for stack, gradient in zip(experts.stacks(), gradients, strict=True):
        assert stack.grad is not None
        assert gradient is not None
        assert near(stack.grad, gradient)


def test_the_whole_model_in_float32():
    model = Llama(sparse_config(96))
    model.initialise(seed=0)
    ids_N = torch.randint(96, (sum(LENGTHS),), generator=torch.Generator().manual_seed(0))
    packing = pack(LENGTHS)
    with torch.no_grad():
        expected = model.logits(ids_N, packing)
        ours = model.cuda().logits(ids_N.cuda(), packing.to("cuda"))
    assert (ours.cpu() - expected).abs().max() < 1e-4
