"""Linear layers whose three products run in 8-bit floats, on GPUs that have them.

Changes modules in place, before they are cut over a mesh; reads and writes nothing else. Weights,
their gradients and the optimizer stay as they are: inputs are scaled and rounded at each product.
"""

import torch
from torch import nn

from mynah.errors import ConfigError

__all__ = ["convert_to_float8"]

FIRST_CAPABILITY = (9, 0)
"""Hopper."""
MULTIPLE = 16
"""Sides of the matrices that the kernels take."""
KEPT = ("lm_head", "gate")
"""Output matrix and routers: few FLOP, and rounding them changes which token or expert is chosen
(DeepSeek-AI 2024, section 3.3.1, arXiv:2412.19437)."""


def convert_to_float8(part: nn.Module, device: torch.device, *, is_emulated: bool = False) -> None:
    """Replace the linear layers of ``part`` by those of torchao with dynamic scales.

    Each tensor has one scale, taken from its largest element at each step; Micikevicius et al.
    2022 (arXiv:2209.05433). Experts' stacked matrices are no linear layers and stay as they are.

    Args:
        part: The layers of one stage, on any device, ``meta`` too; not yet cut over a mesh.
        device: Where it will run.
        is_emulated: Round to 8 bits and multiply in the wider type: the numbers of a GPU, on any
            device, slowly. For tests.

    Raises:
        ConfigError: The device has no 8-bit products, or torchao is not installed.
    """
    if not is_emulated:
        _check_device(device)
    try:
        from torchao.float8 import (  # pyright: ignore[reportMissingImports]
            Float8LinearConfig,
            convert_to_float8_training,
        )
    except ImportError as error:
        raise ConfigError(
            "precision is float8, and torchao is not installed",
            hint='pip install "mynah[float8]", or --set precision=bfloat16',
        ) from error
    convert_to_float8_training(
        part,
        module_filter_fn=_is_converted,
        config=Float8LinearConfig(emulate=is_emulated),
    )


def _is_converted(module: nn.Module, name: str) -> bool:
    if not isinstance(module, nn.Linear) or name.split(".")[-1] in KEPT:
        return False
    return not (module.in_features % MULTIPLE or module.out_features % MULTIPLE)


def _check_device(device: torch.device) -> None:
    found = device.type
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= FIRST_CAPABILITY:
            return
        found = f"{torch.cuda.get_device_name(device)}, capability {capability[0]}.{capability[1]}"
    raise ConfigError(
        f"precision is float8, which needs a Hopper GPU or a newer one; the device is {found}",
        hint="--set precision=bfloat16",
    )
