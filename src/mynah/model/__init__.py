"""Model: a Llama-family decoder and its checkpoints, in the names and files of Hugging Face.

Reads HF folders and GGUF files; writes ``models/<name>/``: ``config.json``,
``model.safetensors``, tokenizer and template.
"""

from mynah.model.base_model import DEFAULT_BASE, fetch_base, resolve_base
from mynah.model.checkpoint import (
    load_checkpoint,
    read_config,
    save_checkpoint,
    stream_checkpoint,
    write_checkpoint,
    write_config,
)
from mynah.model.config import LlamaConfig
from mynah.model.dial import Dial, recipe_from_depth, shape_from_depth
from mynah.model.experts import Exchange, Experts, LocalExchange, MoE
from mynah.model.gguf_reading import read_gguf
from mynah.model.gguf_tokenizer import CHATML_TEMPLATE
from mynah.model.llama import Llama, Part
from mynah.model.packed_attention import PackedAttention, Packing, pack
from mynah.model.weights import (
    active_weights,
    hf_names,
    initial_weight,
    is_parameter,
    num_weights,
    weight_shapes,
)

__all__ = [
    "CHATML_TEMPLATE",
    "DEFAULT_BASE",
    "Dial",
    "Exchange",
    "Experts",
    "Llama",
    "LlamaConfig",
    "LocalExchange",
    "MoE",
    "PackedAttention",
    "Packing",
    "Part",
    "active_weights",
    "fetch_base",
    "hf_names",
    "initial_weight",
    "is_parameter",
    "load_checkpoint",
    "num_weights",
    "pack",
    "read_config",
    "read_gguf",
    "recipe_from_depth",
    "resolve_base",
    "save_checkpoint",
    "shape_from_depth",
    "stream_checkpoint",
    "weight_shapes",
    "write_checkpoint",
    "write_config",
]
