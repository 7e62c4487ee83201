"""Every weight of a model: its name here, in Hugging Face's files, its shape and its first value.

Reads a ``LlamaConfig``; writes nothing. Names here are Hugging Face's, but for experts: those of
one layer are stacked here, so that they can be dealt out, and stand alone in files.
"""

import hashlib

import torch
from torch import Tensor

from mynah.model.config import LlamaConfig

__all__ = [
    "OUTPUT",
    "ROUTER_BIAS",
    "active_weights",
    "hf_names",
    "initial_weight",
    "is_parameter",
    "num_weights",
    "weight_shapes",
]

OUTPUT = "lm_head.weight"
"""The output matrix, which a tied model has not."""
ROUTER_BIAS = "e_score_correction_bias"
"""Last part of the name of the one tensor of a checkpoint that has no gradient."""
STACKED = {"gate_EIC": "gate_proj", "up_EIC": "up_proj", "down_ECI": "down_proj"}
"""What an expert's matrix is called in files, by the name of the stack."""

DEVIATION = 0.02
BLOCK_ROWS = 256
"""Rows of a matrix that are drawn from one generator."""


def weight_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that ``config`` calls for, in the order of the forward.

    The bias by which a router chooses is one of them: it is learned, if not by gradients.
    """
    width = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, width)}
    for layer in range(config.num_hidden_layers):
        shapes |= _layer_shapes(config, layer)
    shapes["model.norm.weight"] = (width,)
    if not config.tie_word_embeddings:
        shapes[OUTPUT] = (config.vocab_size, width)
    return shapes


def _layer_shapes(config: LlamaConfig, layer: int) -> dict[str, tuple[int, ...]]:
    prefix, width = f"model.layers.{layer}.", config.hidden_size
    query = config.num_attention_heads * config.head_dim
    key = config.num_key_value_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        prefix + "input_layernorm.weight": (width,),
        prefix + "self_attn.q_proj.weight": (query, width),
        prefix + "self_attn.k_proj.weight": (key, width),
        prefix + "self_attn.v_proj.weight": (key, width),
        prefix + "self_attn.o_proj.weight": (width, query),
    }
    if config.qk_norm:
        shapes[prefix + "self_attn.q_norm.weight"] = (config.head_dim,)
        shapes[prefix + "self_attn.k_norm.weight"] = (config.head_dim,)
    shapes[prefix + "post_attention_layernorm.weight"] = (width,)
    if not config.has_experts(layer):
        return shapes | _gated(prefix + "mlp.", width, config.intermediate_size)
    num, inner = config.num_experts, config.expert_intermediate_size
    shapes |= {
        prefix + "mlp.gate.weight": (num, width),
        prefix + f"mlp.gate.{ROUTER_BIAS}": (num,),
        prefix + "mlp.experts.gate_EIC": (num, inner, width),
        prefix + "mlp.experts.up_EIC": (num, inner, width),
        prefix + "mlp.experts.down_ECI": (num, width, inner),
    }
    if config.num_shared_experts:
        shared = config.num_shared_experts * inner
        shapes |= _gated(prefix + "mlp.shared_experts.", width, shared)
    return shapes


def _gated(prefix: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {
        prefix + "gate_proj.weight": (inner, width),
        prefix + "up_proj.weight": (inner, width),
        prefix + "down_proj.weight": (width, inner),
    }


def is_parameter(name: str) -> bool:
    """Whether gradients change the weight ``name``; a router's bias is a buffer."""
    return not name.endswith(ROUTER_BIAS)


def hf_names(config: LlamaConfig) -> dict[str, list[tuple[str, int | None]]]:
    """Where in Hugging Face's files each weight of ``weight_shapes`` lies.

    Returns:
        By our name, the names of its tensors in files and, for each, the index of the expert in
        our stack, or ``None`` where the tensor is the whole weight.
    """
    names: dict[str, list[tuple[str, int | None]]] = {}
    for name in weight_shapes(config):
        folder, _, last = name.rpartition(".")
        if last in STACKED:
            experts = range(config.num_experts)
            names[name] = [(f"{folder}.{e}.{STACKED[last]}.weight", e) for e in experts]
        else:
            names[name] = [(name, None)]
    return names


def num_weights(config: LlamaConfig) -> int:
    """Weights of the whole model, a tied output counted once, routers' biases not."""
    shapes = weight_shapes(config)
    return sum(torch.Size(shape).numel() for name, shape in shapes.items() if is_parameter(name))


def active_weights(config: LlamaConfig) -> int:
    """Weights that one token is multiplied by: two FLOP each forward, four backward.

    All matrices but the embedding that is looked up; of the experts those that a token chooses
    and the shared ones; the output matrix, tied or not; no norms.
    """
    width = config.hidden_size
    heads = 2 * (config.num_attention_heads + config.num_key_value_heads)
    attention = config.num_hidden_layers * width * heads * config.head_dim
    num_sparse = sum(config.has_experts(layer) for layer in range(config.num_hidden_layers))
    dense = (config.num_hidden_layers - num_sparse) * 3 * width * config.intermediate_size
    used = config.num_experts_per_token + config.num_shared_experts
    expert = 3 * width * config.expert_intermediate_size
    sparse = num_sparse * (width * config.num_experts + used * expert)
    return attention + dense + sparse + config.vocab_size * width


def initial_weight(
    name: str, config: LlamaConfig, *, seed: int, rows: range | None = None
) -> Tensor:
    """Draw a fresh weight, or some rows of it, in float32 on the CPU.

    A pure function of its arguments: a part of a model, or a slice of a weight along its first
    dim, is the same number for number whoever draws it. Only the blocks that ``rows`` touch are
    drawn; a stack of experts has an expert a block.

    Matrices are normal with deviation 0.02; those that end a residual branch are shrunk by the
    root of the number of branches. Norms are 1, a router's bias is 0.

    Args:
        name: One of ``weight_shapes(config)``.
        config: Shape of the whole model.
        seed: Of the model.
        rows: Stretch of the first dim, of step 1; ``None`` is all of it.

    Source: Radford et al. 2019, section 2.3 (the GPT-2 report), for both; Wang et al. 2024
    (arXiv:2408.15664), algorithm 1, for the bias.
    """
    shape = _shape(name, config)
    wanted = range(shape[0]) if rows is None else rows
    assert wanted.step == 1, f"rows of {name} with step {wanted.step}"
    out = torch.empty(len(wanted), *shape[1:])
    if len(shape) == 1:
        return out.fill_(1.0 if is_parameter(name) else 0.0)
    deviation = DEVIATION
    if name.endswith(("o_proj.weight", "down_proj.weight", "down_ECI")):
        deviation /= (2 * config.num_hidden_layers) ** 0.5
    size = 1 if len(shape) == 3 else BLOCK_ROWS
    for start in range(wanted.start // size * size, wanted.stop, size):
        end = min(start + size, shape[0])
        block = torch.empty(end - start, *shape[1:])
        block.normal_(0.0, deviation, generator=_generator(seed, name, start // size))
        first, last = max(start, wanted.start), min(end, wanted.stop)
        out[first - wanted.start : last - wanted.start] = block[first - start : last - start]
    return out


def _shape(name: str, config: LlamaConfig) -> tuple[int, ...]:
    """Shape of one weight without naming those of all layers."""
    parts = name.split(".")
    if parts[1] == "layers":
        return _layer_shapes(config, int(parts[2]))[name]
    is_norm = name == "model.norm.weight"
    return (config.hidden_size,) if is_norm else (config.vocab_size, config.hidden_size)


def _generator(seed: int, name: str, block: int) -> torch.Generator:
    """A generator of its own for each block, the same in every process."""
    digest = hashlib.sha256(f"{seed}/{name}/{block}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
