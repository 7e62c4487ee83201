"""Compiled layers against plain ones, with a real compiler: loss and gradients."""

import pytest
import torch
from tests.fakes.tiny_model import sparse_config

from mynah.errors import ConfigError
from mynah.model import Llama, pack
from mynah.train import linear_cross_entropy
from mynah.train.compiling import check_compiler, compile_model

ROWS = ([3, 5, 9], [1, 15, 16, 16])


@pytest.fixture(autouse=True)
def a_compiler() -> None:
    try:
        check_compiler("cpu")
    except ConfigError as error:
        pytest.skip(str(error))


def test_loss_and_gradients_are_those_of_plain_layers():
    """Both kinds of layers, rows of different lengths, one compilation for all of them."""
    config = sparse_config(96)
    plain, compiled = Llama(config), Llama(config)
    for model in (plain, compiled):
        model.initialise(seed=3)
    compile_model(compiled)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for lengths in ROWS:
            ids_N = torch.randint(config.vocab_size, (sum(lengths),))
            losses = []
            for model in (plain, compiled):
                model.zero_grad()
                hidden_NC = model(ids_N, pack(lengths))
                weight_N = torch.ones(len(ids_N))
                loss = linear_cross_entropy(hidden_NC, model.head_VC, ids_N, weight_N)
                loss.backward()
                losses.append(loss.item())
            assert losses[1] == pytest.approx(losses[0], rel=1e-5)
            for (name, weight), other in zip(
                plain.named_parameters(), compiled.parameters(), strict=True
            ):
                assert weight.grad is not None, name
                assert other.grad is not None, name
                off = (weight.grad - other.grad).norm()
                assert off <= 1e-4 * weight.grad.norm() + 1e-7, name
