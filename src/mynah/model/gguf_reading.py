"""GGUF to a checkpoint in Hugging Face layout, without transformers.

Reads one ``.gguf`` of architecture ``llama`` in any quantisation that the ``gguf`` package can
undo; writes ``config.json``, ``model.safetensors`` (bf16), ``tokenizer.json``,
``tokenizer_config.json``, ``chat_template.jinja`` and ``generation_config.json``.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gguf import get_tensor_name_map
from gguf.constants import MODEL_ARCH
from gguf.quants import dequantize
from torch import Tensor

from mynah.errors import CheckpointError, ConfigError
from mynah.model.checkpoint import weight_shapes, write_checkpoint
from mynah.model.config import LlamaConfig
from mynah.model.gguf_header import DAMAGED, GgufHeader, TensorPlace, read_header
from mynah.model.gguf_tokenizer import CHATML_TEMPLATE, TokenizerFacts
from mynah.progress import NO_PROGRESS, Progress
from mynah.workspace import replace_file

__all__ = ["GgufFile", "open_gguf", "read_gguf"]

Json = Any
"""A value that JSON can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFile:
    """A checked GGUF that holds a Llama."""

    header: GgufHeader
    config: LlamaConfig
    tokenizer: TokenizerFacts


def open_gguf(path: Path) -> GgufFile:
    """Map a GGUF and check that everything a Llama needs is inside the file.

    Raises:
        ConfigError: It holds another architecture, a variant of Llama or an unknown tokenizer.
        CheckpointError: It is missing, cut short or no GGUF at all.
    """
    header = read_header(path)
    config = _read_config(header.metadata, header.tensors, source=str(path))
    _check_tensors(config, header.tensors, source=str(path))
    tokenizer = TokenizerFacts.from_gguf(header.metadata, source=str(path))
    if len(tokenizer.tokens) != config.vocab_size:
        raise CheckpointError(
            f"{path}: has {len(tokenizer.tokens)} tokens, its embedding has "
            f"{config.vocab_size} rows",
            hint=DAMAGED,
        )
    for name, number in header.metadata.items():
        is_id = name.startswith("tokenizer.ggml.") and name.endswith("_token_id")
        if is_id and not (isinstance(number, int) and 0 <= number < config.vocab_size):
            raise CheckpointError(f"{path}: {name} is {number!r}, no token's id", hint=DAMAGED)
    return GgufFile(header=header, config=config, tokenizer=tokenizer)


def read_gguf(gguf: Path, out: Path, *, progress: Progress = NO_PROGRESS) -> None:
    """Turn a GGUF into a checkpoint folder; one tensor is in memory at a time.

    ``config.json`` is written last: a folder that has one is finished.

    Raises:
        ConfigError: As ``open_gguf``.
        CheckpointError: As ``open_gguf``, or a quantisation that cannot be undone.
        MachineError: ``out`` cannot be written.
    """
    source = open_gguf(gguf)
    config, tokenizer = source.config, source.tokenizer
    files = {
        "tokenizer.json": tokenizer.to_hf(bos_token_id=config.bos_token_id),
        "tokenizer_config.json": _tokenizer_config(source),
        "generation_config.json": {
            "bos_token_id": config.bos_token_id,
            "eos_token_id": config.eos_token_id,
            "pad_token_id": config.pad_token_id,
        },
    }
    for name, body in files.items():
        replace_file(out / name, json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n")
    template = str(source.header.metadata.get("tokenizer.chat_template") or CHATML_TEMPLATE)
    replace_file(out / "chat_template.jinja", template.encode())
    write_checkpoint(out, config, _weights(source, progress), dtype=torch.bfloat16)


def _weights(source: GgufFile, progress: Progress) -> Iterator[tuple[str, Tensor]]:
    """Yield each weight under its Hugging Face name, in float32 as dequantised."""
    config = source.config
    names = _gguf_names(config)
    for done, (name, gguf_name) in enumerate(names.items(), start=1):
        kind = source.header.tensors[gguf_name].kind
        try:
            values = dequantize(source.header.read(gguf_name), kind)
        except NotImplementedError as error:
            raise CheckpointError(
                f"{source.header.path}: {gguf_name} is stored as {kind.name}, "
                "which cannot be turned back into numbers",
                hint="choose a GGUF in Q8_0, Q4_1, F16 or BF16",
            ) from error
        if name.endswith("q_proj.weight"):
            values = _unpermute(values, num_heads=config.num_attention_heads)
        elif name.endswith("k_proj.weight"):
            values = _unpermute(values, num_heads=config.num_key_value_heads)
        yield name, torch.from_numpy(np.array(values, dtype=np.float32))
        progress(done, len(names), note=name)


def _unpermute(weight: np.ndarray, *, num_heads: int) -> np.ndarray:
    """Bring the rows of a head from llama.cpp's pairs to Hugging Face's halves."""
    rows, columns = weight.shape
    pairs = weight.reshape(num_heads, rows // num_heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _gguf_names(config: LlamaConfig) -> dict[str, str]:
    """llama.cpp's name of each weight, in the order of ``weight_shapes``."""
    table = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    names: dict[str, str] = {}
    for name in weight_shapes(config):
        found = table.get_name(name, try_suffixes=(".weight",))
        assert found is not None, f"the gguf package knows no name for {name}"
        names[name] = found
    return names


def _check_tensors(config: LlamaConfig, tensors: Mapping[str, TensorPlace], *, source: str) -> None:
    shapes, names = weight_shapes(config), _gguf_names(config)
    for name, gguf_name in names.items():
        if gguf_name not in tensors:
            raise CheckpointError(f"{source}: tensor {gguf_name} is missing", hint=DAMAGED)
        found = tensors[gguf_name].shape
        if found != shapes[name]:
            raise CheckpointError(
                f"{source}: {gguf_name} is {list(found)}, not {list(shapes[name])}", hint=DAMAGED
            )
    foreign = sorted(tensors.keys() - set(names.values()))
    if foreign:
        raise ConfigError(
            f"{source}: has tensor {foreign[0]}, a plain Llama has no such weight",
            hint="choose another base of the Llama family, or --base scratch",
        )


def _read_config(
    metadata: Mapping[str, Json], tensors: Mapping[str, TensorPlace], *, source: str
) -> LlamaConfig:
    """Read the shape under the names of ``config.json``, so that one place checks it."""
    architecture = metadata.get("general.architecture")
    scaling = metadata.get("llama.rope.scaling.type", "none")
    num_experts = metadata.get("llama.expert_count", 0)
    raw = {
        "model_type": architecture,
        "architectures": ["LlamaForCausalLM"],  # no other is read from a GGUF
        "hidden_act": "silu",
        "rope_scaling": None if scaling == "none" else {"rope_type": scaling},
        "hidden_size": metadata.get("llama.embedding_length"),
        "intermediate_size": metadata.get("llama.feed_forward_length"),
        "num_hidden_layers": metadata.get("llama.block_count"),
        "num_attention_heads": metadata.get("llama.attention.head_count"),
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv"),
        "head_dim": metadata.get("llama.attention.key_length"),
        "max_position_embeddings": metadata.get("llama.context_length"),
        "rms_norm_eps": _shortest(metadata.get("llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": _shortest(metadata.get("llama.rope.freq_base", 10_000.0)),
        "tie_word_embeddings": "output.weight" not in tensors,
        "vocab_size": tensors["token_embd.weight"].shape[0]
        if "token_embd.weight" in tensors
        else None,
        "bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "pad_token_id": metadata.get("tokenizer.ggml.padding_token_id"),
    }
    if architecture == "llama" and num_experts:
        raw["architectures"] = [f"llama with {num_experts} experts"]
    config = LlamaConfig.from_hf(raw, source=source)
    rotated = metadata.get("llama.rope.dimension_count", config.head_dim)
    if rotated != config.head_dim:
        raise ConfigError(
            f"{source}: rotates {rotated} of {config.head_dim} dimensions of a head, not all",
            hint="choose another base of the Llama family, or --base scratch",
        )
    return config


def _shortest(value: Json) -> Json:
    """Undo float32's tail: 9.99999975e-06 was written as 1e-05."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _tokenizer_config(source: GgufFile) -> dict[str, Json]:
    """Name the special tokens; the class is the one that takes ``tokenizer.json`` as it is."""
    body: dict[str, Json] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": source.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = source.header.metadata.get(f"tokenizer.ggml.{key}_token_id")
        if number is not None:
            body[f"{name}_token"] = source.tokenizer.tokens[cast("int", number)]
    return body
