from dataclasses import replace

import pytest
import torch
from tests.fakes.tiny_model import sparse_config, tiny_config

from mynah.model import (
    Llama,
    LlamaConfig,
    Part,
    active_weights,
    hf_names,
    initial_weight,
    is_parameter,
    num_weights,
    weight_shapes,
)

CONFIGS = {
    "tied": tiny_config(384),
    "untied": tiny_config(384, tie_word_embeddings=False),
    "normed": replace(tiny_config(384), qk_norm=True),
    "sparse": sparse_config(384),
    "unshared": replace(sparse_config(384), num_shared_experts=0, num_dense_layers=0),
}
DEEP = {
    "dense": replace(CONFIGS["untied"], num_hidden_layers=3),
    "sparse": CONFIGS["sparse"],
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_names_and_shapes_are_those_of_the_module(config: LlamaConfig):
    model = Llama(config)
    state = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    assert state == weight_shapes(config)
    assert list(state) == list(weight_shapes(config))
    assert {n for n in state if is_parameter(n)} == {n for n, _ in model.named_parameters()}
    assert num_weights(config) == sum(weight.numel() for weight in model.parameters())
    assert list(hf_names(config)) == list(state)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_active_weights_are_the_matrices_a_token_meets(config: LlamaConfig):
    shapes = {n: torch.Size(s) for n, s in weight_shapes(config).items() if len(s) > 1}
    used = config.num_experts_per_token
    count = config.vocab_size * config.hidden_size  # the output matrix
    for name, shape in shapes.items():
        if len(shape) == 3:
            count += used * shape[1:].numel()
        elif "layers" in name:
            count += shape.numel()
    assert active_weights(config) == count


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_slice_is_drawn_alone_as_in_the_whole(config: LlamaConfig):
    for name, shape in weight_shapes(config).items():
        whole = initial_weight(name, config, seed=5)
        assert whole.shape == shape
        for rows in (range(1), range(shape[0] // 3, shape[0] - 1), range(2, 2)):
            part = initial_weight(name, config, seed=5, rows=rows)
            assert torch.equal(part, whole[rows.start : rows.stop]), (name, rows)


@pytest.mark.parametrize("config", DEEP.values(), ids=DEEP)
def test_parts_begin_as_the_whole_does(config: LlamaConfig):
    whole = Llama(config)
    whole.initialise(seed=7)
    state = whole.state_dict()
    last = config.num_hidden_layers
    seen: list[str] = []
    for layers in (range(1), range(1, 2), range(2, last)):
        part = Llama(config, part=Part(layers, layers.start == 0, layers.stop == last))
        part.initialise(seed=7)
        for name, weight in part.state_dict().items():
            assert torch.equal(weight, state[name]), name
            seen.append(name)
    assert sorted(seen) == sorted(state)


def test_initial_weights_are_a_function_of_seed_and_name_with_residuals_shrunk():
    config = sparse_config(384)
    embedding = initial_weight("model.embed_tokens.weight", config, seed=3)
    assert torch.equal(embedding, initial_weight("model.embed_tokens.weight", config, seed=3))
    assert not torch.equal(embedding, initial_weight("model.embed_tokens.weight", config, seed=4))
    assert not torch.equal(embedding, initial_weight("lm_head.weight", config, seed=3))
    assert not torch.equal(embedding[:128], embedding[256:])  # blocks differ
    model = Llama(config)
    model.initialise(seed=3)
    deviations = {n: w.std().item() for n, w in model.named_parameters() if w.ndim > 1}
    for name, found in deviations.items():
        is_last = "down" in name or "o_proj" in name
        wanted = 0.02 / (2 * config.num_hidden_layers) ** 0.5 if is_last else 0.02
        assert found == pytest.approx(wanted, rel=0.1), name
    assert torch.equal(model.state_dict()["model.norm.weight"], torch.ones(64))
    gate = model.mixtures()[0].gate
    assert torch.equal(gate.e_score_correction_bias, torch.zeros(8))


def test_initial_weights_stay_what_they_are():
    """Another version of mynah must go on from scratch as this one does."""
    config = tiny_config(384)
    drawn = initial_weight("model.layers.1.mlp.up_proj.weight", config, seed=1)[:2, :3]
    assert drawn.flatten().tolist() == pytest.approx(
        [0.003159, -0.0194675, -0.0174186, -0.0125074, -0.0161004, 0.0202671], abs=1e-6
    )
