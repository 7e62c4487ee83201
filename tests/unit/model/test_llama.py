"""The decoder against transformers' Llama, and documents of one row against one another."""

import gc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.tiny_model import tiny_config

from mynah.model import Llama, LlamaConfig, pack, save_checkpoint
from mynah.model.llama import causal_attention

LENGTHS = ([1], [1, 1, 1], [7, 1, 33, 2, 64, 40, 41], [5, 9, 30, 31, 32, 33, 100, 90, 130])
LONG_THETA = 100_000.0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fresh(config: LlamaConfig) -> Llama:
    model = Llama(config)
    model.initialise(seed=1)
    with torch.no_grad():  # norms of 1 and tiny matrices would hide a mistake
        for name, weight in model.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            noise = torch.randn(weight.shape, generator=generator)
            weight.copy_(1.0 + 0.3 * noise if weight.ndim == 1 else 0.1 * noise)
    return model


def row(lengths: list[int], vocab_size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(lengths))
    return torch.randint(vocab_size, (sum(lengths),), generator=generator)


def hugging_face_logits(folder: Path, ids_N: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    from transformers import LlamaForCausalLM

    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        parts = [theirs(part[None]).logits[0] for part in ids_N.split(lengths)]
    return torch.cat(parts)


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize(("num_heads", "num_key_heads"), [(4, 2), (4, 4), (4, 1)])
def test_logits_are_those_of_transformers(
    tmp_path: Path, *, is_tied: bool, num_heads: int, num_key_heads: int
):
    config = replace(
        tiny_config(96, tie_word_embeddings=is_tied),
        num_attention_heads=num_heads,
        num_key_value_heads=num_key_heads,
        rope_theta=LONG_THETA,
    )
    model = fresh(config)
    save_checkpoint(tmp_path, config, model.state_dict())
    lengths = [n for part in LENGTHS for n in part]
    ids_N = row(lengths, 96)
    with torch.no_grad():
        ours = model(ids_N, pack(lengths))
    theirs = hugging_face_logits(tmp_path, ids_N, lengths)
    assert (ours - theirs).abs().max() < 1e-5
    assert theirs.std() > 0.1  # there was something to differ in
    gc.collect()


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_document_does_not_see_its_neighbours(lengths: list[int]):
    model = fresh(tiny_config(96))
    ids_N = row(lengths, 96)
    with torch.no_grad():
        whole = model(ids_N, pack(lengths))
        other = torch.cat([ids_N[: lengths[0]], (ids_N[lengths[0] :] + 17) % 96])
        changed = model(other, pack(lengths))
        alone = [model(part, pack([len(part)])) for part in ids_N.split(lengths)]
    assert torch.equal(whole[: lengths[0]], changed[: lengths[0]])
    assert (whole - torch.cat(alone)).abs().max() < 1e-5


def test_gradients_of_a_document_come_from_itself_alone():
    model = fresh(tiny_config(96))
    lengths = [3, 20, 35, 1, 50]
    embedded = torch.randn(sum(lengths), 64, generator=torch.Generator().manual_seed(0))
    embedded.requires_grad_()
    model.model.embed_tokens.forward = lambda _: embedded
    out = model.hidden(row(lengths, 96), pack(lengths))
    start, end = 23, 58  # the third
    out[start:end].square().sum().backward()
    assert embedded.grad is not None
    touched = embedded.grad.abs().sum(-1).nonzero().flatten().tolist()
    assert touched == list(range(start, end))


def test_a_token_does_not_see_later_ones():
    model = fresh(tiny_config(96))
    ids_N = row([40], 96)
    with torch.no_grad():
        before = model(ids_N, pack([40]))
        ids_N[25:] = (ids_N[25:] + 5) % 96
        after = model(ids_N, pack([40]))
    assert torch.equal(before[:25], after[:25])
    assert not torch.equal(before[25:], after[25:])


@pytest.mark.parametrize(("num_heads", "num_key_heads"), [(4, 4), (6, 2), (3, 1)])
@pytest.mark.parametrize("length", [1, 2, 16, 48])
def test_attention_is_that_of_torch(num_heads: int, num_key_heads: int, length: int):
    generator = torch.Generator().manual_seed(length)

    def draw(heads: int) -> torch.Tensor:
        drawn = torch.randn(3, heads, length, 8, generator=generator, dtype=torch.float64)
        return drawn.requires_grad_()

    inputs = (draw(num_heads), draw(num_key_heads), draw(num_key_heads))
    ours = causal_attention(*inputs)
    theirs = F.scaled_dot_product_attention(*inputs, is_causal=True, enable_gqa=True)
    assert torch.allclose(ours, theirs, atol=1e-12)
    pull = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for mine, torchs in zip(
        torch.autograd.grad(ours, inputs, pull),
        torch.autograd.grad(theirs, inputs, pull),
        strict=True,
    ):
        assert torch.allclose(mine, torchs, atol=1e-12)


def test_long_rows_take_the_fused_kernel_and_agree():
    config = tiny_config(96)
    model = fresh(config)
    ids_N = row([1030], 96)
    with torch.no_grad():
        fused = model(ids_N, pack([1030]))
        plain = model(ids_N[:1000], pack([1000]))
    assert (fused[:1000] - plain).abs().max() < 1e-5


def test_bfloat16_is_near_float32():
    model = fresh(tiny_config(96))
    lengths = [5, 30, 31, 90]
    ids_N = row(lengths, 96)
    with torch.no_grad():
        exact = model.hidden(ids_N, pack(lengths))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model.hidden(ids_N, pack(lengths)).float()
    assert ((exact - rounded).norm() / exact.norm()) < 0.03


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_any_lengths_in_any_order_are_packed(lengths: list[int]):
    packing = pack(lengths)
    positions = [place for length in lengths for place in range(length)]
    assert packing.position_N.tolist() == positions
    assert packing.groups[0].tokens.start == 0
    row_N = torch.arange(sum(lengths))
    seen: list[int] = []
    document_N = [number for number, length in enumerate(lengths) for _ in range(length)]
    for before, after in zip(packing.groups, packing.groups[1:], strict=False):
        assert before.tokens.stop == after.tokens.start
    for group in packing.groups:
        padded = row_N[group.tokens][group.padded_DL]
        seen += padded.flatten()[group.unpadded_M].tolist()
        for places in padded.tolist():
            assert len({document_N[place] for place in places}) == 1
            length = lengths[document_N[places[0]]]
            assert [positions[place] for place in places[:length]] == list(range(length))
    assert seen == row_N.tolist()


def test_initialise_is_a_function_of_its_seed_and_shrinks_residuals():
    config = tiny_config(384)
    first, again, other = Llama(config), Llama(config), Llama(config)
    first.initialise(seed=3)
    again.initialise(seed=3)
    other.initialise(seed=4)
    state = first.state_dict()
    assert all(torch.equal(state[name], w) for name, w in again.state_dict().items())
    assert not torch.equal(state["model.embed_tokens.weight"], other.head_VC)
    assert state["model.embed_tokens.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    down = state["model.layers.0.mlp.down_proj.weight"]
    assert down.std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert torch.equal(state["model.norm.weight"], torch.ones(64))
