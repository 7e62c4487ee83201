"""A checkpoint folder becomes one GGUF file that llama.cpp serves.

Reads ``config.json``, ``model.safetensors``, ``tokenizer.json`` and, where there is one,
``chat_template.jinja``; writes one file in Q8_0, aside and renamed.
"""

import errno
import json
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
from gguf import GGUFWriter, get_tensor_name_map
from gguf.constants import MODEL_ARCH, GGMLQuantizationType, LlamaFileType
from gguf.quants import quantize
from torch import Tensor

from mynah.errors import CheckpointError, machine_errors
from mynah.model.checkpoint import read_config, stream_checkpoint, weight_shapes
from mynah.model.config import LlamaConfig
from mynah.model.gguf_tokenizer import CHATML_TEMPLATE, TokenizerFacts
from mynah.progress import NO_PROGRESS, Progress

__all__ = ["quantise"]

Json = Any
"""A value that JSON can hold."""

BLOCK = 32
"""Weights that share a scale in Q8_0; a row that is no multiple of it stays float16."""


def quantise(checkpoint: Path, out: Path, *, progress: Progress = NO_PROGRESS) -> None:
    """Write ``checkpoint`` as a GGUF: matrices in Q8_0, norms in float32.

    One tensor is in memory at a time. The file appears under its name only when it is whole.

    Args:
        checkpoint: A folder in Hugging Face layout.
        out: The file to write.
        progress: Told the tensors written.

    Raises:
        CheckpointError: The checkpoint is not whole, or its tokenizer does not belong to it.
        ConfigError: Not a Llama-family model, or a tokenizer llama.cpp cannot follow.
        MachineError: The disk is full or may not be written.
    """
    config = read_config(checkpoint)
    tokenizer = TokenizerFacts.from_hf(
        _read_json(checkpoint / "tokenizer.json"),
        vocab_size=config.vocab_size,
        source=str(checkpoint / "tokenizer.json"),
    )
    aside = out.with_name(f".{out.name}.{os.getpid()}.writing")
    with machine_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        writer = GGUFWriter(aside, "llama")
        try:
            _add_shape(writer, config, name=out.stem)
            _add_tokenizer(writer, config, tokenizer)
            writer.add_chat_template(_chat_template(checkpoint))
            _write_tensors(writer, config, checkpoint, progress)
            writer.close()
            with aside.open("rb") as stream:
                os.fsync(stream.fileno())
            aside.replace(out)
        except OSError as error:
            if error.errno is not None:
                raise
            # NumPy says only that it could not write it all.
            raise OSError(errno.ENOSPC, str(error)) from error
        finally:
            aside.unlink(missing_ok=True)
            writer.close()


def _add_shape(writer: GGUFWriter, config: LlamaConfig, *, name: str) -> None:
    writer.add_name(name)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(2)


def _add_tokenizer(writer: GGUFWriter, config: LlamaConfig, tokenizer: TokenizerFacts) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokenizer.pre)
    writer.add_token_list(list(tokenizer.tokens))
    writer.add_token_types(list(tokenizer.kinds))
    writer.add_token_merges(list(tokenizer.merges))
    writer.add_add_bos_token(tokenizer.does_add_bos)
    writer.add_add_space_prefix(False)
    if config.bos_token_id is not None:
        writer.add_bos_token_id(config.bos_token_id)
    if config.eos_token_id is not None:
        writer.add_eos_token_id(config.eos_token_id)
    if config.pad_token_id is not None:
        writer.add_pad_token_id(config.pad_token_id)


def _chat_template(checkpoint: Path) -> str:
    """The checkpoint's own template, from either place, else ChatML."""
    path = checkpoint / "chat_template.jinja"
    if path.is_file():
        return path.read_text()
    settings = checkpoint / "tokenizer_config.json"
    template = _read_json(settings).get("chat_template") if settings.is_file() else None
    return template if isinstance(template, str) else CHATML_TEMPLATE


def _write_tensors(
    writer: GGUFWriter, config: LlamaConfig, checkpoint: Path, progress: Progress
) -> None:
    """Announce every tensor, then stream them: the header holds sizes, not values."""
    table = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    shapes = weight_shapes(config)
    for name, shape in shapes.items():
        gguf_name = table.get_name(name, try_suffixes=(".weight",))
        assert gguf_name is not None, f"the gguf package knows no name for {name}"
        kind = _kind(shape)
        stored = quantize(np.zeros((1, shape[-1]), np.float32), kind)
        num_rows = int(np.prod(shape[:-1], dtype=np.int64))
        writer.add_tensor_info(
            gguf_name,
            (*shape[:-1], stored.shape[-1]),
            stored.dtype,
            num_rows * stored.nbytes,
            raw_dtype=kind,
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, (name, weight) in enumerate(stream_checkpoint(checkpoint, config), start=1):
        writer.write_tensor_data(quantize(_permuted(name, weight, config), _kind(shapes[name])))
        progress(done, len(shapes), note=name)


def _kind(shape: tuple[int, ...]) -> GGMLQuantizationType:
    if len(shape) == 1:
        return GGMLQuantizationType.F32
    return GGMLQuantizationType.F16 if shape[-1] % BLOCK else GGMLQuantizationType.Q8_0


def _permuted(name: str, weight: Tensor, config: LlamaConfig) -> np.ndarray:
    """Return float32 rows in llama.cpp's order: the halves of a rotated head become pairs."""
    values = weight.float().numpy()
    if name.endswith("q_proj.weight"):
        num_heads = config.num_attention_heads
    elif name.endswith("k_proj.weight"):
        num_heads = config.num_key_value_heads
    else:
        return np.ascontiguousarray(values)
    rows, columns = values.shape
    halves = values.reshape(num_heads, 2, rows // num_heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


def _read_json(path: Path) -> dict[str, Json]:
    try:
        raw: Json = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"there is no {path}", hint="a model is served with its tokenizer beside it"
        ) from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON: {error}", hint="fetch or export the checkpoint again"
        ) from error
    if not isinstance(raw, dict):
        raise CheckpointError(
            f"{path} is not a JSON object", hint="fetch or export the checkpoint again"
        )
    return cast("dict[str, Json]", raw)
