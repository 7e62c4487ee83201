"""Serve: a checkpoint becomes a stream of tokens.

Reads ``models/<name>/``; writes nothing but the quantised GGUF beside it.
"""

from mynah.serve.engine import Delta, Engine, FinishReason, Message, Role, Sampling
from mynah.serve.llama_cpp import LlamaCppConfig, LlamaCppEngine, num_physical_cores
from mynah.serve.pool import EnginePool
from mynah.serve.quantise import quantise

__all__ = [
    "Delta",
    "Engine",
    "EnginePool",
    "FinishReason",
    "LlamaCppConfig",
    "LlamaCppEngine",
    "Message",
    "Role",
    "Sampling",
    "num_physical_cores",
    "quantise",
]
