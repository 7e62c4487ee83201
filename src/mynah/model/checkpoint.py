"""Checkpoints in Hugging Face layout: ``config.json`` and ``model.safetensors``.

Reads one file or shards named by ``model.safetensors.index.json``, in bf16, fp16 or fp32; writes
one file. Both files are written aside and renamed, weights first: a folder without ``config.json``
is no checkpoint, and a kill between the two renames leaves weights that ``load_checkpoint``
either accepts or refuses by shape, never half of them.

Experts stand alone in files and are stacked in memory: one stack at a time is put together or
taken apart.
"""

import json
import os
import struct
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mynah.errors import CheckpointError, machine_errors
from mynah.model.config import LlamaConfig
from mynah.model.weights import OUTPUT, hf_names, is_parameter, weight_shapes
from mynah.workspace import replace_file

__all__ = [
    "load_checkpoint",
    "read_config",
    "save_checkpoint",
    "stream_checkpoint",
    "weight_shapes",
    "write_checkpoint",
    "write_config",
]

Json = Any
"""A value that JSON can hold."""

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_config(folder: Path) -> LlamaConfig:
    """Read ``config.json`` of a checkpoint.

    Raises:
        CheckpointError: The file is missing or damaged.
        ConfigError: It is not a Llama-family model.
    """
    path = folder / "config.json"
    return LlamaConfig.from_hf(_read_json(path), source=str(path))


def load_checkpoint(folder: Path) -> tuple[LlamaConfig, dict[str, Tensor]]:
    """Read a checkpoint; weights keep the dtype they are stored in.

    A tied model's ``lm_head.weight`` is left out even where the file repeats it.

    Raises:
        CheckpointError: A file is missing or cut short, or a tensor is missing, of a wrong shape
            or dtype, or one this architecture has no place for. The message names both.
        ConfigError: It is not a Llama-family model.
    """
    config = read_config(folder)
    return config, dict(stream_checkpoint(folder, config))


def stream_checkpoint(
    folder: Path, config: LlamaConfig, *, wanted: Container[str] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights in the order of ``weight_shapes``, one in memory at a time, checked.

    Args:
        folder: The checkpoint.
        config: What ``read_config(folder)`` says.
        wanted: Names to yield, for a process that holds a part of the model; ``None`` is all.

    Raises:
        CheckpointError: As ``load_checkpoint``; everything but a tensor's own bytes is checked
            before the first one is yielded.
    """
    names, shapes = hf_names(config), _file_shapes(config)
    files = _weight_files(folder)
    places: dict[str, Path] = {}
    dtypes: dict[str, str] = {}
    for path in files:
        for name, (dtype, shape) in _read_header(path).items():
            if name.endswith("rotary_emb.inv_freq") or (name == OUTPUT and name not in shapes):
                continue  # derived values that old exports repeat
            if name not in shapes and 0 in shape:
                continue  # transformers' way to say that no expert is shared
            if name not in shapes:
                kind = config.model_type
                raise _damaged(path, f"has tensor {name}, a {kind} has no such weight")
            if shape != shapes[name]:
                raise _damaged(path, f"{name} is {list(shape)}, not {list(shapes[name])}")
            if dtype not in DTYPES.values():
                raise _damaged(path, f"{name} is stored as {dtype}, not as F32, F16 or BF16")
            places[name], dtypes[name] = path, dtype
    for name in shapes:
        if name not in places:
            raise _damaged(files[-1], f"tensor {name} is missing")
    for stacked in names.values():
        _check_stack(stacked, places, dtypes)
    with ExitStack() as stack:
        readers = {f: stack.enter_context(safe_open(f, framework="pt")) for f in files}
        for name, stacked in names.items():
            if wanted is not None and name not in wanted:
                continue
            tensors = (readers[places[hf_name]].get_tensor(hf_name) for hf_name, _ in stacked)
            yield name, _joined(tensors, stacked)


def _check_stack(
    stacked: list[tuple[str, int | None]], places: Mapping[str, Path], dtypes: Mapping[str, str]
) -> None:
    first = stacked[0][0]
    for name, _ in stacked:
        if dtypes[name] != dtypes[first]:
            problem = f"{name} is stored as {dtypes[name]}, {first} as {dtypes[first]}"
            raise _damaged(places[name], problem)


def _joined(tensors: Iterator[Tensor], stacked: list[tuple[str, int | None]]) -> Tensor:
    """One weight from its tensors, at the cost of one of them besides."""
    first = next(tensors)
    if stacked[0][1] is None:
        return first
    out = first.new_empty(len(stacked), *first.shape)
    out[0] = first
    for number, tensor in enumerate(tensors, start=1):
        out[number] = tensor
    return out


def _file_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in files, in the order of ``weight_shapes``."""
    shapes: dict[str, tuple[int, ...]] = {}
    names = hf_names(config)
    for name, shape in weight_shapes(config).items():
        for hf_name, index in names[name]:
            shapes[hf_name] = shape if index is None else shape[1:]
    return shapes


def save_checkpoint(folder: Path, config: LlamaConfig, state: Mapping[str, Tensor]) -> None:
    """Write ``config.json`` and ``model.safetensors``; other files of ``folder`` stay.

    Each weight is stored in its own dtype; ``config.json`` names that of the embedding. A tied
    model's ``lm_head.weight`` is not stored.

    Raises:
        CheckpointError: ``state`` lacks a weight, or one has another shape than ``config`` says.
        MachineError: The disk is full or may not be written.
    """
    for name, shape in weight_shapes(config).items():
        found = list(state[name].shape) if name in state else "nothing"
        if found != list(shape):
            raise CheckpointError(
                f"cannot save {folder}: {name} should be {list(shape)}, found {found}",
                hint="save the config that the model was built from",
            )
    dtypes = {name: state[name].dtype for name in weight_shapes(config)}
    tensors = ((name, state[name]) for name in dtypes)
    _write(folder, config, tensors, dtypes=dtypes)


def write_config(folder: Path, config: LlamaConfig, *, dtype: torch.dtype) -> None:
    """Write ``config.json`` alone; ``dtype`` is that of the weights, there or to come."""
    hf = config.to_hf(dtype=str(dtype).removeprefix("torch."))
    replace_file(folder / "config.json", json.dumps(hf, indent=2).encode() + b"\n")


def write_checkpoint(
    folder: Path,
    config: LlamaConfig,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    dtype: torch.dtype,
) -> None:
    """Write a checkpoint from a stream of all its weights in order, one in memory at a time.

    Args:
        folder: Made if it is not there.
        config: Shape of the model.
        tensors: Exactly the names of ``weight_shapes(config)``, in that order.
        dtype: What to store the weights in; routers' biases are always in float32, as steps of a
            thousandth are lost in less.
    """
    names = weight_shapes(config)
    dtypes = {name: dtype if is_parameter(name) else torch.float32 for name in names}
    _write(folder, config, tensors, dtypes=dtypes)


def _write(
    folder: Path,
    config: LlamaConfig,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    dtypes: Mapping[str, torch.dtype],
) -> None:
    path = folder / WEIGHTS
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{WEIGHTS}.{os.getpid()}.writing"
        try:
            with aside.open("wb") as stream:
                _write_weights(stream, config, tensors, dtypes=dtypes)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    first = next(iter(dtypes.values()))
    write_config(folder, config, dtype=first)
    (folder / INDEX).unlink(missing_ok=True)  # of an earlier, sharded checkpoint here


def _write_weights(
    stream: IO[bytes],
    config: LlamaConfig,
    tensors: Iterable[tuple[str, Tensor]],
    *,
    dtypes: Mapping[str, torch.dtype],
) -> None:
    """Write the safetensors format by hand: the library has no way to write tensor by tensor."""
    shapes, names, file_shapes = weight_shapes(config), hf_names(config), _file_shapes(config)
    header: dict[str, Json] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype in dtypes.items():
        for hf_name, _ in names[name]:
            shape = file_shapes[hf_name]
            begin, end = end, end + torch.Size(shape).numel() * dtype.itemsize
            place = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [begin, end]}
            header[hf_name] = place
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    stream.write(struct.pack("<Q", len(text)) + text)
    for expected, (name, tensor) in zip(dtypes, tensors, strict=True):
        assert name == expected, f"weights out of order: {name} where {expected} belongs"
        assert tuple(tensor.shape) == shapes[name], f"{name} is {list(tensor.shape)}"
        for _, index in names[name]:
            part = tensor.detach() if index is None else tensor.detach()[index]
            flat = part.to(device="cpu", dtype=dtypes[name]).contiguous().reshape(-1)
            stream.write(flat.view(torch.uint8).numpy().data)


def _weight_files(folder: Path) -> list[Path]:
    """Files that hold the weights: one, or those the index names."""
    single, index = folder / WEIGHTS, folder / INDEX
    if single.is_file():
        return [single]
    if not index.is_file():
        raise CheckpointError(
            f"{folder} has no {WEIGHTS}",
            hint="a checkpoint in Hugging Face layout holds its weights as safetensors",
        )
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _damaged(index, "has no weight_map")
    names = sorted({str(name) for name in cast("dict[str, Json]", weight_map).values()})
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise _damaged(index, f"names {name!r}, there is no such file beside it")
    return [folder / name for name in names]


def _read_header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return dtype and shape by tensor name.

    Raises:
        CheckpointError: The file is cut short; names the first tensor whose bytes are not there.
    """
    try:
        with safe_open(path, framework="pt") as reader:
            slices = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118
            return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except SafetensorError as error:
        raise _damaged(path, _missing_bytes(path) or str(error)) from error


def _missing_bytes(path: Path) -> str | None:
    """Say which tensor a cut-short file ends in, if its header can be read at all."""
    num_bytes = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(8)
        if len(head) < 8:
            return f"is cut short: {num_bytes} bytes"
        length = struct.unpack("<Q", head)[0]
        if 8 + length > num_bytes:
            return f"is cut short inside its header: {num_bytes} bytes"
        try:
            header: dict[str, Json] = json.loads(stream.read(length))
            ends = {n: 8 + length + t["data_offsets"][1] for n, t in header.items() if n[0] != "_"}
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return None
    missing = [name for name, end in sorted(ends.items(), key=lambda x: x[1]) if end > num_bytes]
    return f"is cut short: the bytes of {missing[0]} are not all there" if missing else None


def _read_json(path: Path) -> dict[str, Json]:
    try:
        raw: Json = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"there is no {path}", hint="name a folder that holds a finished checkpoint"
        ) from error
    except ValueError as error:
        raise _damaged(path, f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise _damaged(path, "is not a JSON object")
    return cast("dict[str, Json]", raw)


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {problem}", hint="the checkpoint is damaged: fetch or export it again"
    )
