import json
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
    for name in LlamaConfig.__dataclass_fields__:
        if name != "rope_theta":
            assert getattr(theirs, name) == getattr(config, name), name
    assert LlamaConfig.from_hf(theirs.to_dict()) == config


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
