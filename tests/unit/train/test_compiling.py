"""Layers whose arithmetic is compiled: the same model, and refusal where nothing can compile.

Here the compiled stretches run uncompiled; ``tests/integration/train/test_compiled.py`` compiles.
"""

import sysconfig
from pathlib import Path

import pytest
import torch
from tests.fakes.tiny_model import sparse_config, tiny_config

from mynah.errors import ConfigError
from mynah.model import Llama, LlamaConfig, Packing, pack
from mynah.train import compiling
from mynah.train.compiling import check_compiler, compile_model

ROWS = ([3, 5, 8], [1, 15, 16, 16])
CONFIGS = [tiny_config(96), sparse_config(96)]


def gradients(model: Llama, ids_N: torch.Tensor, packing: Packing) -> dict[str, torch.Tensor]:
    model.zero_grad()
    hidden_NC = model(ids_N, packing)
    (hidden_NC.float() ** 2 * torch.arange(1.0, hidden_NC.shape[1] + 1)).sum().backward()
    found = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    return found | {"hidden": hidden_NC.detach()}


@pytest.fixture(autouse=True)
def a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "check_compiler", lambda _: None)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "never written: nothing is compiled here")


@pytest.mark.parametrize("lengths", ROWS)
@pytest.mark.parametrize("config", CONFIGS, ids=["dense", "sparse"])
@pytest.mark.parametrize("is_bfloat16", [False, True])
def test_it_is_the_same_model(config: LlamaConfig, lengths: list[int], is_bfloat16: bool):
    plain, compiled = Llama(config), Llama(config)
    for model in (plain, compiled):
        model.initialise(seed=3)
    compile_model(compiled)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    ids_N = torch.randint(config.vocab_size, (sum(lengths),))
    with (
        torch.compiler.set_stance("force_eager"),
        torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16),
    ):
        expected = gradients(plain, ids_N, pack(lengths))
        found = gradients(compiled, ids_N, pack(lengths))
    assert found.keys() == expected.keys()
    tolerance = 0.02 if is_bfloat16 else 1e-5
    for name, gradient in found.items():
        assert (gradient - expected[name]).norm() <= tolerance * expected[name].norm(), name


def test_without_a_compiler_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"no compiler, g\+\+"):
        check_compiler("cpu")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ConfigError, match="no compiler, no-such-compiler"):
        check_compiler("cuda")


def test_without_the_headers_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "g++").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(ConfigError, match=r"Python\.h") as caught:
        check_compiler("cpu")
    assert "python3-dev" in caught.value.hint
    (tmp_path / "Python.h").touch()
    check_compiler("cpu")
