"""Models that transformers made and saved: read, computed and written back as transformers does."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Dots1Config,
    Dots1ForCausalLM,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers import LlamaConfig as HfLlamaConfig

from mynah.model import (
    Llama,
    hf_names,
    load_checkpoint,
    num_weights,
    pack,
    read_config,
    save_checkpoint,
    stream_checkpoint,
    write_checkpoint,
)

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
EXPERTS = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
FAMILIES = ("llama", "llama tied", "qwen3", "qwen3 tied", "dots1", "dots1 unshared")
KEY_HEADS = {"llama of one key head": 1, "llama of no shared key heads": 4}
LENGTHS = [1, 1, 7, 33, 2, 30, 70, 5, 64, 31, 32, 100, 90, 130]


def theirs_of(family: str) -> PreTrainedModel:
    """A random model of transformers' own, with norms and biases that are not ones and zeros."""
    torch.manual_seed(len(family))
    shape = SHAPE | {"tie_word_embeddings": family.endswith("tied")}
    shape["num_key_value_heads"] = KEY_HEADS.get(family, 2)
    if family.startswith("llama"):
        model = LlamaForCausalLM(HfLlamaConfig(**shape, rope_theta=50_000.0))
    elif family.startswith("qwen3"):
        model = Qwen3ForCausalLM(Qwen3Config(**shape))
    else:
        shared = {"n_shared_experts": 0} if family.endswith("unshared") else {}
        model = Dots1ForCausalLM(Dots1Config(**(shape | EXPERTS | shared), sliding_window=None))
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if "norm" in name:
                weight.copy_(1.0 + 0.3 * torch.randn_like(weight))
            elif name.endswith("e_score_correction_bias"):
                weight.copy_(0.2 * torch.randn_like(weight))
            else:
                weight.copy_(0.1 * torch.randn_like(weight))
    return model.eval()


def files_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as reader:
            found |= {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    return found


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def load(folder: Path) -> Llama:
    config, weights = load_checkpoint(folder)
    model = Llama(config)
    model.load_state_dict(weights, strict=True)
    return model


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # of no shared experts
@pytest.mark.parametrize("family", [*FAMILIES, *KEY_HEADS])
def test_logits_are_those_of_transformers(tmp_path: Path, family: str):
    theirs = theirs_of(family)
    theirs.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.config.model_type == family.split()[0]
    ids_N = torch.randint(96, (sum(LENGTHS),))
    with torch.no_grad():
        expected = torch.cat([theirs(part[None]).logits[0] for part in ids_N.split(LENGTHS)])
        ours = model.logits(ids_N, pack(LENGTHS))
    assert expected.std() > 0.1
    assert (ours - expected).abs().max() < 1e-5


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_transformers(tmp_path: Path, family: str):
    theirs = theirs_of(family)
    theirs.save_pretrained(tmp_path)
    model = load(tmp_path)
    ids_N = torch.randint(96, (60,))
    model.logits(ids_N, pack([60])).logsumexp(-1).sum().backward()
    theirs(ids_N[None]).logits.logsumexp(-1).sum().backward()
    expected = {name: weight.grad for name, weight in theirs.named_parameters()}
    for name, weight in model.named_parameters():
        if ".experts." in name:
            folder = name.rpartition(".")[0]
            down, both = expected[f"{folder}.down_proj"], expected[f"{folder}.gate_up_proj"]
            gate, up = both.chunk(2, dim=1)
            wanted = {"gate_EIC": gate, "up_EIC": up, "down_ECI": down}[name.rpartition(".")[2]]
        else:
            wanted = expected[name]
        assert (weight.grad - wanted).norm() <= 1e-5 * wanted.norm() + 1e-7, name


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("max_shard_size", ["1GB", "40KB"])
@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_bit_for_bit(
    tmp_path: Path, family: str, dtype: torch.dtype, max_shard_size: str
):
    theirs_of(family).save_pretrained(tmp_path / "exact")
    # Loaded in bfloat16, transformers keeps a router's bias in float32.
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path / "exact", dtype=dtype)
    rounded.save_pretrained(tmp_path / "a", max_shard_size=max_shard_size)
    assert (tmp_path / "a" / "model.safetensors.index.json").exists() == (max_shard_size == "40KB")
    config = read_config(tmp_path / "a")
    before = files_of(tmp_path / "a")
    if family.endswith("unshared"):  # transformers keeps matrices without a number in them
        before = {name: tensor for name, tensor in before.items() if tensor.numel()}

    model = load(tmp_path / "a")
    assert num_weights(config) == sum(weight.numel() for weight in model.parameters())
    save_checkpoint(tmp_path / "b", config, dict(load_checkpoint(tmp_path / "a")[1]))
    assert same_bits(before, files_of(tmp_path / "b"))

    stream = stream_checkpoint(tmp_path / "a", config)
    write_checkpoint(tmp_path / "c", config, stream, dtype=dtype)
    assert same_bits(before, files_of(tmp_path / "c"))

    again = AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype="auto")
    assert again.dtype == dtype
    again.save_pretrained(tmp_path / "d")
    kept = {name: tensor for name, tensor in files_of(tmp_path / "d").items() if tensor.numel()}
    assert same_bits(before, kept)
    assert read_config(tmp_path / "d") == read_config(tmp_path / "b") == config


def test_experts_stand_alone_in_files(tmp_path: Path):
    theirs_of("dots1").save_pretrained(tmp_path)
    config, weights = load_checkpoint(tmp_path)
    tensors = files_of(tmp_path)
    for name, places in hf_names(config).items():
        for hf_name, index in places:
            found = weights[name] if index is None else weights[name][index]
            assert torch.equal(found, tensors[hf_name])
    assert {name for places in hf_names(config).values() for name, _ in places} == tensors.keys()


def test_mixed_dtypes_stay_as_they_are(tmp_path: Path):
    theirs_of("qwen3").save_pretrained(tmp_path / "a")
    config, weights = load_checkpoint(tmp_path / "a")
    mixed = {name: w if w.ndim == 1 else w.bfloat16() for name, w in weights.items()}
    save_checkpoint(tmp_path / "b", config, mixed)
    assert same_bits(mixed, load_checkpoint(tmp_path / "b")[1])
    assert json.loads((tmp_path / "b" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_tied_mixture_loads_in_transformers(tmp_path: Path):
    theirs_of("dots1").save_pretrained(tmp_path / "a")
    config = replace(read_config(tmp_path / "a"), tie_word_embeddings=True)
    model = Llama(config)
    model.initialise(seed=0)
    save_checkpoint(tmp_path / "b", config, model.state_dict())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "b", dtype=torch.float32)
    ids_N = torch.arange(40)
    with torch.no_grad():
        assert (model.logits(ids_N, pack([40])) - theirs(ids_N[None]).logits).abs().max() < 1e-5
