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
    weight_shapes,
)
from mynah.model.config import LlamaConfig
from mynah.model.gguf_reading import read_gguf
from mynah.model.gguf_tokenizer import CHATML_TEMPLATE
from mynah.model.llama import Llama, Packing, pack

__all__ = [
    "CHATML_TEMPLATE",
    "DEFAULT_BASE",
    "Llama",
    "LlamaConfig",
    "Packing",
    "fetch_base",
    "load_checkpoint",
    "pack",
    "read_config",
    "read_gguf",
    "resolve_base",
    "save_checkpoint",
    "stream_checkpoint",
    "weight_shapes",
]
