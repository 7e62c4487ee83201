import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoConfig

from mynah.errors import CheckpointError, ConfigError
from mynah.model.config import LlamaConfig

SMOLLM2 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "rope_theta": 100000,
    "rope_scaling": None,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "attention_bias": False,
    "torch_dtype": "bfloat16",
}


def test_reads_what_transformers_4_wrote():
    config = LlamaConfig.from_hf(SMOLLM2)
    assert config.head_dim == 64
    assert config.rope_theta == 100_000.0
    assert config.tie_word_embeddings
    assert (config.bos_token_id, config.eos_token_id) == (1, 2)


def test_reads_what_transformers_5_wrote():
    raw = {key: value for key, value in SMOLLM2.items() if key != "rope_theta"}
    raw["rope_parameters"] = {"rope_type": "default", "rope_theta": 5e5}
    assert LlamaConfig.from_hf(raw).rope_theta == 5e5


def test_own_json_reads_back_the_same():
    config = LlamaConfig.from_hf(SMOLLM2)
    assert LlamaConfig.from_hf(json.loads(json.dumps(config.to_hf()))) == config


def test_transformers_reads_own_json_with_the_same_meaning(tmp_path: Path):
    config = LlamaConfig.from_hf(SMOLLM2)
    (tmp_path / "config.json").write_text(json.dumps(config.to_hf()))
    theirs = AutoConfig.from_pretrained(tmp_path)
    assert theirs.model_type == "llama"
    assert theirs.rope_parameters["rope_theta"] == config.rope_theta
    for name in SMOLLM2.keys() & LlamaConfig.__dataclass_fields__.keys() - {"rope_theta"}:
        assert getattr(theirs, name) == getattr(config, name), name
    assert LlamaConfig.from_hf(theirs.to_dict()) == config


QWEN3 = SMOLLM2 | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
DOTS1 = SMOLLM2 | {
    "model_type": "dots1",
    "architectures": ["Dots1ForCausalLM"],
    "n_routed_experts": 16,
    "num_experts_per_tok": 4,
    "n_shared_experts": 2,
    "moe_intermediate_size": 384,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "sliding_window": None,
}


def test_reads_normalised_heads_and_experts():
    qwen3 = LlamaConfig.from_hf(QWEN3 | {"sliding_window": 4096, "use_sliding_window": False})
    assert (qwen3.qk_norm, qwen3.num_experts, qwen3.head_dim) == (True, 0, 128)
    dots1 = LlamaConfig.from_hf(DOTS1)
    assert (dots1.qk_norm, dots1.num_experts, dots1.num_experts_per_token) == (True, 16, 4)
    assert (dots1.num_shared_experts, dots1.expert_intermediate_size) == (2, 384)
    assert (dots1.num_dense_layers, dots1.routed_scaling_factor) == (1, 2.5)
    assert [dots1.has_experts(layer) for layer in (0, 1, 29)] == [False, True, True]
    for config in (qwen3, dots1):
        assert LlamaConfig.from_hf(json.loads(json.dumps(config.to_hf()))) == config


@pytest.mark.parametrize("raw", [QWEN3 | {"head_dim": 64}, DOTS1])
def test_transformers_reads_other_families_with_the_same_meaning(
    tmp_path: Path, raw: dict[str, object]
):
    config = LlamaConfig.from_hf(raw)
    (tmp_path / "config.json").write_text(json.dumps(config.to_hf()))
    theirs = AutoConfig.from_pretrained(tmp_path)
    assert theirs.model_type == raw["model_type"]
    assert set(theirs.layer_types) == {"full_attention"}
    assert theirs.head_dim == config.head_dim
    assert LlamaConfig.from_hf(theirs.to_dict()) == config


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (QWEN3 | {"use_sliding_window": True, "sliding_window": 64}, "layer_types.*sliding"),
        (QWEN3 | {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types.*sliding"),
        (QWEN3 | {"attention_bias": True}, "attention_bias"),
        (DOTS1 | {"sliding_window": 4096, "max_window_layers": 12}, "layer_types.*sliding"),
        (DOTS1 | {"norm_topk_prob": False}, "norm_topk_prob"),
        (DOTS1 | {"norm_topk_prob": None}, "norm_topk_prob"),
        (DOTS1 | {"n_group": 4}, "n_group"),
        (QWEN3 | {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]}, "moe"),
        (QWEN3 | {"model_type": "llama"}, "Qwen3ForCausalLM"),
    ],
)
def test_refuses_variants_of_other_families(raw: dict[str, object], named: str):
    with pytest.raises(ConfigError, match=named):
        LlamaConfig.from_hf(raw)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_routed_experts": None}, "n_routed_experts"),
        ({"num_experts_per_tok": 17}, "num_experts_per_tok .* 1 to 16"),
        ({"first_k_dense_replace": 30}, "first_k_dense_replace .* 0 to 29"),
        ({"moe_intermediate_size": "wide"}, "moe_intermediate_size"),
        ({"routed_scaling_factor": 0}, "routed_scaling_factor"),
    ],
)
def test_a_damaged_field_of_experts_is_named(change: dict[str, object], named: str):
    with pytest.raises(CheckpointError, match=named):
        LlamaConfig.from_hf(DOTS1 | change)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_key_value_heads": 4}, "num_attention_heads is 9, .* 4"),
        ({"head_dim": 63}, "head_dim is 63"),
        ({"num_experts_per_token": 2}, "num_experts_per_token is 2, num_experts is 0"),
        ({"num_experts": 4, "num_experts_per_token": 5, "qk_norm": True}, "num_experts_per_token"),
        (
            {"num_experts": 4, "num_experts_per_token": 2, "expert_intermediate_size": 64},
            "qk_norm is false",
        ),
    ],
)
def test_a_shape_that_cannot_be_is_named(change: dict[str, int], named: str):
    config = LlamaConfig.from_hf(SMOLLM2)
    with pytest.raises(ConfigError, match=named) as caught:
        replace(config, **change)  # pyright: ignore[reportArgumentType]
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, "qwen2"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "SequenceClassification"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "linear"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_refuses_what_it_would_compute_wrongly(change: dict[str, object], named: str):
    with pytest.raises(ConfigError, match=named) as caught:
        LlamaConfig.from_hf(SMOLLM2 | change)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": "576"}, "'576'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_key_value_heads": 4}, "divide"),
        ({"head_dim": 63}, "even"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"eos_token_id": "</s>"}, "eos_token_id"),
        ({"rope_parameters": {"rope_theta": True}}, "rope_theta"),
    ],
)
def test_a_damaged_field_is_named(change: dict[str, object], named: str):
    with pytest.raises(CheckpointError, match=named):
        LlamaConfig.from_hf(SMOLLM2 | change)


def test_the_first_of_several_end_tokens_is_taken():
    assert LlamaConfig.from_hf(SMOLLM2 | {"eos_token_id": [2, 0]}).eos_token_id == 2
