"""AdamW is torch's, bit for bit; Muon is torch's up to rounding; state goes out and in again."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from mynah.config import parse_config
from mynah.errors import ConfigError
from mynah.train.muon import is_orthogonalised, newton_schulz
from mynah.train.optimizers import OptimizerConfig, Optimizers, make_optimizer

NAMES = {
    "model.embed_tokens.weight": (40, 16),
    "model.layers.0.self_attn.q_proj.weight": (16, 16),
    "model.layers.0.mlp.up_proj.weight": (24, 16),
    "model.layers.0.mlp.down_proj.weight": (16, 24),
    "model.layers.0.mlp.experts.up_proj": (3, 24, 16),
    "model.layers.0.mlp.gate.weight": (3, 16),
    "model.layers.0.input_layernorm.weight": (16,),
    "lm_head.weight": (40, 16),
}
MATRICES = [name for name in NAMES if "proj" in name]


def make_weights() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in NAMES.items()
    }


def gradients_of(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    return {name: torch.randn(shape, generator=generator) for name, shape in NAMES.items()}


def train(
    weights: dict[str, nn.Parameter], optimizer: Optimizers, steps: range
) -> dict[str, nn.Parameter]:
    for step in steps:
        for name, gradient in gradients_of(step).items():
            weights[name].grad = gradient
        optimizer.set_lr_share(1.0 / (1 + step))
        optimizer.step()
        optimizer.zero_grad()
    return weights


def test_adamw_is_what_the_trainer_always_did_bit_for_bit() -> None:
    config = OptimizerConfig(lr=0.01, weight_decay=0.3)
    weights = make_weights()
    train(weights, make_optimizer(weights.items(), config), range(5))
    other = make_weights()
    reference = torch.optim.AdamW(
        [
            {"params": [w for w in other.values() if w.ndim > 1], "weight_decay": 0.3},
            {"params": [w for w in other.values() if w.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.01,
        betas=(0.9, 0.95),
        eps=1e-8,
        fused=True,
    )
    for step in range(5):
        for name, gradient in gradients_of(step).items():
            other[name].grad = gradient
        for group in reference.param_groups:
            group["lr"] = 0.01 * (1.0 / (1 + step))
        reference.step()
    for name, weight in weights.items():
        assert torch.equal(weight, other[name]), name


def test_muon_takes_the_matrices_of_layers_and_nothing_else() -> None:
    weights = make_weights()
    assert [name for name, w in weights.items() if is_orthogonalised(name, w)] == MATRICES
    optimizer = make_optimizer(weights.items(), OptimizerConfig(name="muon"))
    optimizer.materialise_state()
    keys: dict[str, set[str]] = {}
    for name in optimizer.state_tensors():
        weight, _, key = name.rpartition(".")
        keys.setdefault(weight, set()).add(key)
    moments = {"step", "exp_avg", "exp_avg_sq"}
    assert keys == {n: {"momentum_buffer"} if n in MATRICES else moments for n in NAMES}


def test_muon_is_torchs_up_to_rounding() -> None:
    config = OptimizerConfig(name="muon", lr=0.01, weight_decay=0.3)
    weights, before = make_weights(), make_weights()
    train(weights, make_optimizer(weights.items(), config), range(3))
    names = [name for name in MATRICES if len(NAMES[name]) == 2]
    other = make_weights()
    reference = torch.optim.Muon(
        [other[name] for name in names],
        lr=0.01,
        weight_decay=0.3,
        momentum=0.95,
        adjust_lr_fn="match_rms_adamw",
    )
    for step in range(3):
        for name in names:
            other[name].grad = gradients_of(step)[name]
        for group in reference.param_groups:
            group["lr"] = 0.01 / (1 + step)
        reference.step()
    for name in names:
        moved, expected = weights[name] - before[name], other[name] - before[name]
        assert (moved - expected).norm() / expected.norm() < 0.02, name  # products in bfloat16


def test_each_expert_of_a_stack_is_a_matrix_of_its_own() -> None:
    config = OptimizerConfig(name="muon", lr=0.01)
    stack = make_weights()
    train(stack, make_optimizer(stack.items(), config, product_dtype=torch.float32), range(2))
    name = "model.layers.0.mlp.experts.up_proj"
    for expert in range(3):
        alone = {"model.layers.0.up_proj.weight": nn.Parameter(make_weights()[name][expert])}
        optimizer = make_optimizer(alone.items(), config, product_dtype=torch.float32)
        for step in range(2):
            alone["model.layers.0.up_proj.weight"].grad = gradients_of(step)[name][expert]
            optimizer.set_lr_share(1.0 / (1 + step))
            optimizer.step()
        torch.testing.assert_close(stack[name][expert], alone["model.layers.0.up_proj.weight"])


@pytest.mark.parametrize("shape", [(2, 20, 50), (2, 50, 20), (1, 30, 30)])
def test_singular_values_end_near_one(shape: tuple[int, ...]) -> None:
    x_KAB = torch.randn(shape, generator=torch.Generator().manual_seed(5))
    values = torch.linalg.svdvals(newton_schulz(x_KAB))
    assert values.max() < 1.25
    assert values.median() > 0.65
    assert newton_schulz(torch.zeros(1, 4, 4)).abs().max() == 0
    assert newton_schulz(torch.zeros(0, 4, 4)).shape == (0, 4, 4)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_state_that_is_put_back_in_place_goes_on_bit_for_bit(name: str) -> None:
    config = parse_config(OptimizerConfig, {"name": name, "lr": 0.02}, source="test")
    whole = make_weights()
    train(whole, make_optimizer(whole.items(), config), range(4))
    first = make_weights()
    before = make_optimizer(first.items(), config)
    train(first, before, range(2))
    after = make_optimizer(first.items(), config)
    assert after.state_tensors() == {}
    after.materialise_state()
    for key, tensor in after.state_tensors().items():
        assert not tensor.any()
        tensor.copy_(before.state_tensors()[key])
    train(first, after, range(2, 4))
    for key, weight in whole.items():
        assert torch.equal(weight, first[key]), key


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_missing_gradient_is_a_gradient_of_zero(name: str) -> None:
    config = parse_config(OptimizerConfig, {"name": name, "weight_decay": 0.5}, source="test")

    def stepped(gradient: Callable[[nn.Parameter], Tensor | None]) -> dict[str, nn.Parameter]:
        weights = make_weights()
        optimizer = make_optimizer(weights.items(), config)
        for weight in weights.values():
            weight.grad = gradient(weight)
        optimizer.step()
        return weights

    missing, zero = stepped(lambda _: None), stepped(torch.zeros_like)
    assert all(torch.equal(missing[name], zero[name]) for name in NAMES)


def test_frozen_weights_stay() -> None:
    weights = make_weights()
    weights["lm_head.weight"].requires_grad_(False)
    optimizer = make_optimizer(weights.items(), OptimizerConfig())
    train(weights, optimizer, range(1))
    assert torch.equal(weights["lm_head.weight"], make_weights()["lm_head.weight"])
    assert not any(name.startswith("lm_head") for name in optimizer.state_tensors())


@pytest.mark.parametrize(
    "values", [{"name": "adam"}, {"lr": 0}, {"spike_factor": -1}, {"momentum": 1}, {"nesterov": 1}]
)
def test_a_wrong_setting_is_named(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        parse_config(OptimizerConfig, dict(values), source="recipe")
