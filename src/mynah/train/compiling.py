"""The arithmetic of layers compiled from outside; attention stays as it is.

Reads and writes nothing but torch's cache of kernels, in the user's cache folder. What is compiled
are the stretches of a layer between its attentions: norm, projections and rotation; projection
back, norm and feed-forward. Their shapes differ in the number of tokens alone, so each is compiled
once for all layers and all rows. Attention is not in them: its shapes change with the documents of
every row, and so would the kernels.

Shapes: N tokens, C model width, H query heads, K key heads, W width of a head, X width of all
query heads.
"""

import os
import shutil
import sysconfig
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mynah.errors import ConfigError
from mynah.model import Llama, Packing
from mynah.model.experts import FeedForward
from mynah.model.llama import Layer, rotate
from mynah.wheel import cache_folder

__all__ = ["check_compiler", "compile_model"]

Turn = tuple[Tensor, Tensor]


def check_compiler(device_type: str) -> None:
    """Refuse to compile where it cannot be done.

    Kernels for a CPU are C++ that includes Python's own headers; those for a GPU are started by
    C that does.

    Raises:
        ConfigError: There is no compiler, or Python's headers are not installed.
    """
    name = {"cpu": os.environ.get("CXX", "g++")}.get(device_type, os.environ.get("CC", "gcc"))
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if shutil.which(name) is None:
        missing = f"no compiler, {name}, on this machine"
    elif not header.exists():
        missing = f"no {header}"
    else:
        return
    raise ConfigError(
        f"is_compiled is true, but there is {missing}",
        hint="install it (Debian: apt-get install g++ python3-dev), or --set is_compiled=false",
    )


def compile_model(part: Llama, *, device_type: str = "cpu") -> None:
    """Compile what lies between the attentions of each layer, in place.

    The layers' own forward is replaced, not the modules: names of weights stay, and hooks that
    gather weights stay outside. Compiled on first use, some 10 to 20 s for a CPU; from the cache
    in the next process.

    Args:
        part: On any device, ``meta`` too; before its weights are sharded.
        device_type: Where it will run.

    Raises:
        ConfigError: There is no compiler.
    """
    check_compiler(device_type)
    _keep_kernels()
    enter = torch.compile(_enter, dynamic=True, fullgraph=True)
    leave = torch.compile(_leave, dynamic=True, fullgraph=True)
    leave_attention = torch.compile(_leave_attention, dynamic=True, fullgraph=True)
    for layer in part.layers():
        last = leave if isinstance(layer.mlp, FeedForward) else leave_attention
        forward: Any = partial(_run, layer, enter, last)
        layer.forward = forward


def _keep_kernels() -> None:
    """Put torch's cache of kernels where it outlives a restart; its own default is ``/tmp``."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "kernels"))


def _run(
    layer: Layer,
    enter: Callable[..., tuple[Tensor, Tensor, Tensor]],
    leave: Callable[..., Any],
    x_NC: Tensor,
    packing: Packing,
    turn: Turn,
) -> Tensor:
    """What ``Layer.forward`` computes."""
    with _quiet():
        q_NHW, k_NKW, v_NKW = enter(layer, x_NC, turn)
    mixed_NX = layer.self_attn.attend(q_NHW, k_NKW, v_NKW, packing)
    with _quiet():
        left = leave(layer, x_NC, mixed_NX)
    if isinstance(layer.mlp, FeedForward):
        return left
    x_NC, inner_NC = left
    return x_NC + layer.mlp(inner_NC, packing.real_N)


@contextmanager
def _quiet() -> Generator[None]:
    """Two warnings that torch's compiler makes torch give, whatever it compiles.

    It looks at the gradient of what it is given, and it imports modules that are deprecated.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
        warnings.filterwarnings("ignore", "`torch.jit.script", DeprecationWarning)
        yield


def _enter(layer: Layer, x_NC: Tensor, turn: Turn) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of a layer."""
    attention = layer.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    q_NHW, k_NKW, v_NKW = (
        x.unflatten(-1, (-1, attention.width))
        for x in _project(layer.input_layernorm(x_NC), projections)
    )
    if attention.q_norm is not None and attention.k_norm is not None:
        q_NHW, k_NKW = attention.q_norm(q_NHW), attention.k_norm(k_NKW)
    return rotate(q_NHW, *turn), rotate(k_NKW, *turn), v_NKW.contiguous()


def _leave_attention(layer: Layer, x_NC: Tensor, mixed_NX: Tensor) -> tuple[Tensor, Tensor]:
    """The residual stream after attention, and the same normalised."""
    x_NC = x_NC + layer.self_attn.o_proj(mixed_NX)
    return x_NC, layer.post_attention_layernorm(x_NC)


def _leave(layer: Layer, x_NC: Tensor, mixed_NX: Tensor) -> Tensor:
    """The residual stream after attention and feed-forward."""
    mlp = layer.mlp
    assert isinstance(mlp, FeedForward)
    x_NC, inner_NC = _leave_attention(layer, x_NC, mixed_NX)
    gate_NI, up_NI = _project(inner_NC, (mlp.gate_proj, mlp.up_proj))
    return x_NC + mlp.down_proj(F.silu(gate_NI) * up_NI)


def _project(x_NC: Tensor, projections: Sequence[nn.Linear]) -> Sequence[Tensor]:
    """Several matrices in one product; laid together where they are rounded anyway."""
    if any(type(projection) is not nn.Linear for projection in projections):
        return [projection(x_NC) for projection in projections]
    weight = torch.cat([projection.weight for projection in projections])
    sizes = [projection.out_features for projection in projections]
    return F.linear(x_NC, weight).split(sizes, dim=-1)
