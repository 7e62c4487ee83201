"""8-bit products: refused where they cannot run, and close to the others where they can."""

import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from mynah.errors import ConfigError
from mynah.train.float8 import convert_to_float8

CPU = torch.device("cpu")
needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="the extra mynah[float8] is not installed"
)


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(32, 16, bias=False)
        self.up_proj = nn.Linear(32, 64, bias=False)
        self.odd = nn.Linear(32, 40, bias=False)


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.lm_head = nn.Linear(32, 64, bias=False)


def test_a_cpu_is_refused_before_anything_is_changed() -> None:
    part = Part()
    with pytest.raises(ConfigError, match="needs a Hopper GPU or a newer one; the device is cpu"):
        convert_to_float8(part, CPU)
    assert type(part.layers[0].up_proj) is nn.Linear


def test_a_missing_torchao_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.float8", ModuleType("empty"))
    with pytest.raises(ConfigError, match="torchao is not installed") as error:
        convert_to_float8(Part(), CPU, is_emulated=True)
    assert 'pip install "mynah[float8]"' in error.value.hint


@needs_torchao
def test_only_layers_that_gain_are_replaced_and_names_stay() -> None:
    with torch.device("meta"):
        part = Part()
    names = [name for name, _ in part.named_parameters()]
    convert_to_float8(part, CPU, is_emulated=True)
    converted = {name for name, one in part.named_modules() if type(one).__name__ != "Linear"}
    assert {name for name in converted if name.endswith(("proj", "gate", "odd", "head"))} == {
        "layers.0.up_proj",
        "layers.1.up_proj",
    }
    assert [name for name, _ in part.named_parameters()] == names


@needs_torchao
def test_values_and_gradients_are_those_of_the_wide_product_but_for_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    wide, narrow = nn.Sequential(nn.Linear(64, 48, bias=False)), nn.Sequential()
    narrow.append(nn.Linear(64, 48, bias=False))
    narrow.load_state_dict(wide.state_dict())
    convert_to_float8(narrow, CPU, is_emulated=True)
    x_NC = torch.randn(32, 64, generator=generator)
    for linear in (wide, narrow):
        with torch.autocast("cpu", torch.bfloat16):
            linear(x_NC).square().sum().backward()
    expected, found = wide[0].weight.grad, narrow[0].weight.grad
    assert expected is not None
    assert found is not None
    assert found.dtype == torch.float32
    assert 1e-4 < (found - expected).norm() / expected.norm() < 0.1
