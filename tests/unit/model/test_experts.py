"""A mixture of experts: where tokens go, what comes back, and how the load evens out."""

from dataclasses import replace

import pytest
import torch
from tests.fakes.tiny_model import sparse_config
from torch import Tensor, nn

from mynah.model import LocalExchange, MoE, initial_weight
from mynah.model.experts import Experts, FeedForward


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fresh(**changes: object) -> MoE:
    config = replace(sparse_config(96), **changes)  # pyright: ignore[reportArgumentType]
    mixture = MoE(config)
    with torch.no_grad():
        for name, weight in mixture.named_parameters():
            generator = torch.Generator().manual_seed(len(name))
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return mixture


def tokens(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 64, generator=torch.Generator().manual_seed(seed))


def by_hand(mixture: MoE, x_NC: Tensor) -> Tensor:
    """Token by token and choice by choice."""
    rows: list[Tensor] = []
    for x_C in x_NC:
        score_E = (mixture.gate.weight @ x_C).sigmoid()
        order = (score_E + mixture.gate.e_score_correction_bias).argsort(descending=True)
        chosen = order[: mixture.num_chosen].tolist()
        total = sum(score_E[e] for e in chosen)
        row = torch.zeros(64) if mixture.shared_experts is None else mixture.shared_experts(x_C)
        for e in chosen:
            stacks = mixture.experts.stacks()
            gate, up, down = (stack[e] for stack in stacks)
            said = down @ (nn.functional.silu(gate @ x_C) * (up @ x_C))
            row = row + mixture.scale * score_E[e] / total * said
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("changes", [{}, {"num_shared_experts": 0}, {"num_experts_per_token": 1}])
def test_outputs_and_gradients_are_those_of_the_definition(changes: dict[str, int]):
    mixture = fresh(**changes)
    mixture.gate.e_score_correction_bias += 0.1 * torch.arange(8)
    x_NC = tokens(20).requires_grad_()
    ours, theirs = mixture(x_NC), by_hand(mixture, x_NC)
    assert torch.allclose(ours, theirs, atol=1e-5)
    wanted = [x_NC, *mixture.parameters()]
    pull = tokens(20, seed=1)
    for mine, other in zip(
        torch.autograd.grad(ours, wanted, pull),
        torch.autograd.grad(theirs, wanted, pull),
        strict=True,
    ):
        assert torch.allclose(mine, other, atol=1e-5)


def test_the_bias_chooses_and_does_not_weigh():
    mixture = fresh()
    x_NC = tokens(50)
    score_NE = (x_NC @ mixture.gate.weight.T).sigmoid()
    mixture.gate.e_score_correction_bias[5] = 10.0
    weight_Nk, expert_Nk = mixture.route(x_NC)
    assert (expert_Nk == 5).any(-1).all()
    assert torch.allclose(weight_Nk.sum(-1), torch.full((50,), 1.5))
    score_Nk = score_NE.gather(-1, expert_Nk)
    assert torch.allclose(weight_Nk, 1.5 * score_Nk / score_Nk.sum(-1, keepdim=True))


def test_a_router_chooses_in_float32_under_autocast():
    mixture = fresh()
    x_NC = tokens(200)
    exact = mixture.route(x_NC)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = mixture.route(x_NC)
        out_NC = mixture(x_NC)
    assert all(torch.equal(one, other) for one, other in zip(exact, rounded, strict=True))
    assert (out_NC - mixture(x_NC)).norm() < 0.02 * out_NC.norm()


def test_experts_without_a_token_have_a_gradient_of_zero():
    mixture = fresh(num_experts_per_token=1)
    mixture.gate.e_score_correction_bias[2] = 10.0
    for x_NC in (tokens(7), tokens(0)):
        mixture.zero_grad()
        mixture(x_NC).sum().backward()
        for name, weight in mixture.named_parameters():
            assert weight.grad is not None, name
        grad_EIC = mixture.experts.gate_EIC.grad
        assert grad_EIC is not None
        touched = grad_EIC.abs().sum((1, 2)).nonzero().flatten().tolist()
        assert touched == ([2] if len(x_NC) else [])


def test_no_value_is_read_on_the_host_but_in_count():
    """On fake tensors whatever reads a value fails; rehearsals put a count of their own."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        mixture = fresh()
        mixture.count = lambda expert_Nk: [expert_Nk.numel() // 8] * 8
        x_NC = torch.randn(64, 64, requires_grad=True)
        out_NC = mixture(x_NC, torch.ones(64, dtype=torch.bool))
        out_NC.sum().backward()
        mixture.rebalance(mixture.load_E)
        assert out_NC.shape == x_NC.shape


class OtherOrder(LocalExchange):
    """An exchange between two halves of the experts in one process, the second half first."""

    def send(self, x_MC: Tensor, counts: list[int]) -> tuple[Tensor, list[int]]:
        half = sum(counts[:4])
        self.sizes = [len(x_MC) - half, half]
        return torch.cat([x_MC[half:], x_MC[:half]]), counts[4:] + counts[:4]

    def give_back(self, y_PC: Tensor) -> Tensor:
        second, first = y_PC.split(self.sizes)
        return torch.cat([first, second])


def test_another_exchange_may_stand_in_its_place():
    mixture, other = fresh(), fresh()
    other.exchange = OtherOrder()
    with torch.no_grad():
        for stack in other.experts.stacks():
            stack.copy_(torch.cat([stack[4:], stack[:4]]))
    x_NC = tokens(33)
    assert torch.equal(mixture(x_NC), other(x_NC))


def test_the_load_counts_real_tokens_in_training_alone():
    mixture = fresh()
    x_NC = tokens(40)
    _, expert_Nk = mixture.route(x_NC)
    real_N = torch.arange(40) >= 10
    mixture(x_NC, real_N)
    expected = expert_Nk[10:].flatten().bincount(minlength=8)
    assert torch.equal(mixture.load_E, expected)
    assert mixture.count(expert_Nk) == expert_Nk.flatten().bincount(minlength=8).tolist()
    mixture(x_NC)
    assert mixture.load_E.sum() == 3 * (30 + 40)
    with torch.no_grad():
        mixture(x_NC)
    mixture.eval()(x_NC)
    assert mixture.load_E.sum() == 3 * (30 + 40)
    assert "load_E" not in mixture.state_dict()
    mixture.rebalance(mixture.load_E.clone())
    assert mixture.load_E.sum() == 0


def test_rebalancing_shifts_towards_experts_with_less_than_their_share():
    mixture = fresh()
    mixture.rebalance(torch.tensor([5, 3, 3, 3, 3, 3, 1, 3]), speed=0.5)
    assert mixture.gate.e_score_correction_bias.tolist() == [-0.5, 0, 0, 0, 0, 0, 0.5, 0]


def test_a_skewed_load_evens_out():
    mixture = fresh()
    with torch.no_grad():
        mixture.gate.weight[1] = 0.0
        mixture.gate.weight[:, 0] += torch.linspace(0.0, 6.0, 8)
    skew: list[float] = []
    for step in range(400):
        x_NC = tokens(256, seed=step)
        x_NC[:, 0] = x_NC[:, 0].abs()  # all tokens lean the same way
        load_E = torch.tensor(mixture.count(mixture.route(x_NC)[1]))
        skew.append(load_E.max().item() / (256 * 3 / 8))
        mixture.rebalance(load_E, speed=5e-3)
    assert skew[0] > 2.0
    assert sum(skew[-20:]) / 20 < 1.25


def test_experts_are_the_dense_mlp_when_there_is_one():
    config = sparse_config(96)
    experts, dense = Experts(config), FeedForward(64, 32)
    with torch.no_grad():
        for name, stack in zip(("gate", "up", "down"), experts.stacks(), strict=True):
            hf = f"model.layers.1.mlp.experts.{name}_{'ECI' if name == 'down' else 'EIC'}"
            stack.copy_(initial_weight(hf, config, seed=0))
            getattr(dense, f"{name}_proj").weight.copy_(stack[3])
    x_NC = tokens(9)
    assert torch.equal(experts(x_NC, [0, 0, 0, 9, 0, 0, 0, 0]), dense(x_NC))
