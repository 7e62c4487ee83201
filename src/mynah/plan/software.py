"""What is publicly known of training software: kernels, fusion, overlap, what it shares out.

Pure. A table of runs names the software; what it does by itself is looked up here.
"""

import re
from dataclasses import dataclass

from mynah.plan.setups import Attention, Recompute, Sharding

__all__ = ["SOFTWARE", "Software", "recompute_of", "sharding_of", "software_of"]

UNFUSED_LOSS, PARALLEL_LOSS, COMPILED_LOSS, FUSED_LOSS = 14.0, 8.0, 8.0, 4.0
"""Bytes held of a logit. Operator by operator: 16 bits, float32, its softmax and its gradient.
Megatron's parallel loss writes softmax and gradient over the float32 copy; a compiler joins softmax
and gradient; one fused kernel (flash-attn, as llm-foundry takes it) writes the gradient over the
logits, and the product behind it reads a copy."""


@dataclass(frozen=True, slots=True)
class Software:
    """What is publicly known of a training framework."""

    pattern: str
    """Found in the framework's name, upper or lower case."""
    attention: float
    is_norm_fused: bool
    is_fused: bool
    overlaps: bool
    """Collectives of tensor and data parallelism run beside products."""
    cuts_sequence: bool = False
    """Sequence parallelism unless a column says otherwise."""
    sends_whole: bool = False
    gradient_bytes: float = 4.0
    logit_bytes: float = UNFUSED_LOSS
    gathers_logits: bool = False
    is_context_even: bool = True
    hides_context: bool = True
    sharding: float = Sharding.NOTHING
    """What data-parallel ranks share out unless a column says otherwise."""
    keeps_gathered: bool = False


SOFTWARE = (
    # Transformer Engine: cuDNN attention, fused norms, sequence parallelism by default.
    Software(
        r"nemo|megatron.?bridge|megatron.?core",
        Attention.FLASH_3,
        True,
        True,
        True,
        cuts_sequence=True,
        logit_bytes=PARALLEL_LOSS,
        sharding=Sharding.OPTIMIZER,
    ),
    # A sweep that names its kernels: Llama in plain PyTorch otherwise.
    *(
        Software(
            f"kernel={kernel}",
            attention,
            is_norm_fused,
            False,
            False,
            gradient_bytes=2.0,
            gathers_logits=True,
        )
        for kernel, attention, is_norm_fused in (
            (r"flash_attention2 \+ rms", Attention.FLASH_2, True),
            ("flash_attention2", Attention.FLASH_2, False),
            ("flash_attentionv1", Attention.FLASH_1, False),
            ("fused", Attention.FUSED_SOFTMAX, False),
            ("torch", Attention.EAGER, False),
        )
    ),
    # PyTorch's own attention is FlashAttention-2, layers are compiled, keys gathered beforehand;
    # releases of 2024 cut a row into plain stretches.
    Software(
        r"torchtitan|compile",
        Attention.FLASH_2,
        True,
        True,
        True,
        logit_bytes=COMPILED_LOSS,
        is_context_even=False,
        hides_context=False,
        keeps_gathered=True,
    ),
    # Flash attention and a fused loss are what its recipes set.
    Software(r"llm.?foundry", Attention.FLASH_2, False, False, False, logit_bytes=FUSED_LOSS),
    # XLA fuses what waits for memory; splash attention and FSDP are what its recipes set.
    Software(
        r"maxtext|t5x|jax|xla",
        Attention.FLASH_2,
        True,
        True,
        True,
        logit_bytes=COMPILED_LOSS,
        sharding=Sharding.WEIGHTS,
    ),
    Software(
        r"megatron.*deepspeed|deepspeed|neox",
        Attention.FUSED_SOFTMAX,
        True,
        True,
        False,
        sends_whole=True,
        gradient_bytes=2.0,
    ),
    Software(
        r"megatron|metaseq|colossal",
        Attention.FUSED_SOFTMAX,
        True,
        True,
        False,
        logit_bytes=PARALLEL_LOSS,
    ),
    Software(r"xformers", Attention.FLASH_1, True, False, True),
    Software(r"mynah", Attention.FLASH_2, True, True, True),
)
"""The first that matches; sources are the frameworks' own papers and release notes."""
PLAIN = Software("", Attention.FLASH_2, False, False, False)


def software_of(name: str) -> Software:
    """The first of ``SOFTWARE`` whose pattern is in a name of lower case; else a plain one."""
    return next((one for one in SOFTWARE if re.search(one.pattern, name)), PLAIN)


def recompute_of(text: str) -> float:
    """One of ``Recompute``, by a description of lower case."""
    if "every other layer" in text:
        return Recompute.HALF
    if re.search(r"policy|partial|per op|config default|^selective$", text):
        return Recompute.OPERATORS
    if re.search(r"norm|manual backward|small", text):
        return Recompute.SMALL
    if "selective" in text:
        return Recompute.SELECTIVE
    return Recompute.LAYERS if re.match(r"full|yes|layers|true|1", text) else Recompute.NOTHING


def sharding_of(text: str) -> float:
    """One of ``Sharding``, by a description of lower case."""
    if re.search(r"zero-?3|fsdp|full shard|hsdp", text):
        return Sharding.WEIGHTS
    if re.search(r"zero-?2", text):
        return Sharding.GRADIENTS
    if re.search(r"zero-?1|distributed optimizer", text):
        return Sharding.OPTIMIZER
    return Sharding.NOTHING
