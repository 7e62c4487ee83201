"""Attention of padded documents, its backward written out, against torch's own of each document."""

import pytest
import torch
import torch.nn.functional as F

from mynah.model import pack
from mynah.model.padded_attention import BLOCK_TOKENS, padded_attention

ROWS = ([1], [5, 7, 20, 33, 40], [16] * 4, [3, 3, BLOCK_TOKENS + 2, 2 * BLOCK_TOKENS + 40])


def of_each_document(
    q_NHW: torch.Tensor, k_NKW: torch.Tensor, v_NKW: torch.Tensor, lengths: list[int]
) -> torch.Tensor:
    parts = [x.split(lengths) for x in (q_NHW, k_NKW, v_NKW)]
    outs = [
        F.scaled_dot_product_attention(
            *(x.transpose(0, 1)[None] for x in document), is_causal=True, enable_gqa=True
        )
        for document in zip(*parts, strict=True)
    ]
    return torch.cat([out[0].transpose(0, 1).flatten(1) for out in outs])


@pytest.mark.parametrize("lengths", ROWS)
@pytest.mark.parametrize(("num_heads", "num_key_heads"), [(4, 4), (6, 2)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]
)
def test_output_and_gradients_are_those_of_torch(
    lengths: list[int], num_heads: int, num_key_heads: int, dtype: torch.dtype, tolerance: float
):
    generator = torch.Generator().manual_seed(len(lengths))

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(sum(lengths), *shape, generator=generator, dtype=torch.float64).to(dtype)

    inputs = [
        draw(heads, 8).requires_grad_() for heads in (num_heads, num_key_heads, num_key_heads)
    ]
    pull_NX = draw(num_heads * 8)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    ours = padded_attention(*inputs, pack(lengths).groups)
    theirs = of_each_document(*exact, lengths)
    assert ours.dtype == dtype
    found = [ours, *torch.autograd.grad(ours, inputs, pull_NX)]
    expected = [theirs, *torch.autograd.grad(theirs, exact, pull_NX.double())]
    for mine, torchs in zip(found, expected, strict=True):
        assert (mine.double() - torchs).norm() <= tolerance * (1.0 + torchs.norm())
