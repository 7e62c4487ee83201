"""Documents of one row against one another, parts against the whole; see the integration tests of
training for transformers' models."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.tiny_model import sparse_config, tiny_config

from mynah.errors import ConfigError
from mynah.model import Llama, LlamaConfig, PackedAttention, Part, pack
from mynah.model.llama import Norm
from mynah.model.packed_attention import causal_attention

LENGTHS = ([1], [1, 1, 1], [7, 1, 33, 2, 64, 40, 41], [5, 9, 30, 31, 32, 33, 100, 90, 130])
UNTIED = replace(tiny_config(96, tie_word_embeddings=False), num_hidden_layers=3)


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


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_document_does_not_see_its_neighbours(lengths: list[int]):
    model = fresh(tiny_config(96))
    ids_N = row(lengths, 96)
    with torch.no_grad():
        whole = model.logits(ids_N, pack(lengths))
        other = torch.cat([ids_N[: lengths[0]], (ids_N[lengths[0] :] + 17) % 96])
        changed = model.logits(other, pack(lengths))
        alone = [model.logits(part, pack([len(part)])) for part in ids_N.split(lengths)]
    assert torch.equal(whole[: lengths[0]], changed[: lengths[0]])
    assert (whole - torch.cat(alone)).abs().max() < 1e-5


def test_gradients_of_a_document_come_from_itself_alone():
    model = fresh(tiny_config(96))
    lengths = [3, 20, 35, 1, 50]
    embedded = torch.randn(sum(lengths), 64, generator=torch.Generator().manual_seed(0))
    embedded.requires_grad_()
    assert model.model.embed_tokens is not None
    model.model.embed_tokens.forward = lambda _: embedded
    out = model(row(lengths, 96), pack(lengths))
    start, end = 23, 58  # the third
    out[start:end].square().sum().backward()
    assert embedded.grad is not None
    touched = embedded.grad.abs().sum(-1).nonzero().flatten().tolist()
    assert touched == list(range(start, end))


def test_a_token_does_not_see_later_ones():
    model = fresh(tiny_config(96))
    ids_N = row([40], 96)
    with torch.no_grad():
        before = model.logits(ids_N, pack([40]))
        ids_N[25:] = (ids_N[25:] + 5) % 96
        after = model.logits(ids_N, pack([40]))
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
        fused = model.logits(ids_N, pack([1030]))
        plain = model.logits(ids_N[:1000], pack([1000]))
    assert (fused[:1000] - plain).abs().max() < 1e-5


def test_bfloat16_is_near_float32():
    model = fresh(tiny_config(96))
    lengths = [5, 30, 31, 90]
    ids_N = row(lengths, 96)
    with torch.no_grad():
        exact = model(ids_N, pack(lengths))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(ids_N, pack(lengths)).float()
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


def test_a_packing_says_where_documents_end():
    packing = pack([3, 20, 1], num_filling=3)
    assert packing.ends.tolist() == [0, 3, 23, 24]
    assert packing.ends.dtype == torch.int32
    assert packing.max_length == 20
    assert packing.real_N is not None
    assert packing.real_N.tolist() == [False] * 3 + [True] * 21
    assert pack([3]).real_N is None
    moved = packing.to("meta")
    assert moved.position_N.device.type == moved.ends.device.type == "meta"
    assert moved.groups[0].padded_DL.device.type == "meta"
    assert (moved.max_length, len(moved.groups)) == (20, len(packing.groups))


def test_rows_are_packed_and_read_without_a_look_at_their_values():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        model = Llama(tiny_config(96))
        packing = pack([40, 7, 17])
        hidden_NC = model(torch.zeros(64, dtype=torch.int64), packing)
        hidden_NC.sum().backward()
    assert hidden_NC.shape == (64, 64)
    assert packing.max_length == 40


@pytest.mark.parametrize("config", [UNTIED, sparse_config(96)], ids=["dense", "sparse"])
def test_parts_in_a_row_are_the_whole(config: LlamaConfig):
    whole = fresh(config)
    lengths = [5, 30, 31, 90]
    packing, ids_N = pack(lengths), row(lengths, 96)
    parts = [
        Llama(config, part=Part(range(1), has_embedding=True, has_head=False)),
        Llama(config, part=Part(range(1, 2), has_embedding=False, has_head=False)),
        Llama(config, part=Part(range(2, 3), has_embedding=False, has_head=True)),
    ]
    state = whole.state_dict()
    x = ids_N
    for part in parts:
        part.load_state_dict({name: state[name] for name in part.state_dict()})
        x = part(x, packing)
    assert torch.equal(x, whole(ids_N, packing))
    assert torch.equal(parts[-1].head_VC, whole.head_VC)
    last = parts[-1].model
    assert (last.embed_tokens, parts[0].model.norm, parts[0].lm_head) == (None, None, None)
    assert sorted(n for part in parts for n in part.state_dict()) == sorted(state)
    assert [len(part.layers()) for part in parts] == [1, 1, 1]


def test_a_part_that_cannot_be_is_refused():
    first = Part(range(1), has_embedding=True, has_head=False)
    with pytest.raises(ConfigError, match="tie_word_embeddings is true") as caught:
        Llama(tiny_config(96), part=first)
    assert "tie_word_embeddings = false" in caught.value.hint
    with pytest.raises(ConfigError, match="layers 0 to 3, the model has 3"):
        Llama(UNTIED, part=Part(range(4), has_embedding=True, has_head=True))
    with pytest.raises(AssertionError, match="no output matrix"):
        _ = Llama(UNTIED, part=first).head_VC


def test_some_of_the_heads_attend_as_they_do_among_all():
    lengths = [5, 30, 31]
    packing = pack(lengths)
    generator = torch.Generator().manual_seed(0)
    q_NHW = torch.randn(66, 4, 16, generator=generator)
    k_NKW, v_NKW = torch.randn(2, 66, 2, 16, generator=generator)
    attend = PackedAttention()
    whole_NX = attend(q_NHW, k_NKW, v_NKW, packing)
    half_NX = attend(q_NHW[:, 2:], k_NKW[:, 1:], v_NKW[:, 1:], packing)
    assert torch.allclose(whole_NX[:, 32:], half_NX, atol=1e-6)


def test_norms_take_and_give_the_dtype_of_their_input():
    norm = Norm(64, eps=1e-5)
    x_NC = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    exact = norm(x_NC)
    for inner, weight in ((torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)):
        out = norm.to(weight)(x_NC.to(inner))
        assert out.dtype == inner
        assert (out - exact).norm() < 0.01 * exact.norm()
