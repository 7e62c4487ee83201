"""The shape of a Llama-family decoder, under the names that Hugging Face's ``config.json`` uses.

Reads and writes the JSON object of ``config.json``; transformers 4 and 5, vLLM and llama.cpp's
converter load what is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from mynah.errors import CheckpointError, ConfigError

__all__ = ["LlamaConfig"]

Json = Any
"""A value that JSON can hold."""

ARCHITECTURE = "LlamaForCausalLM"
MAX_LAYERS = 10_000
"""More than any model has: a damaged file must not send us off making a billion names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """Shape and token ids of a decoder with RMSNorm, RoPE, grouped queries and SwiGLU."""

    vocab_size: int
    """Rows of the embedding."""
    hidden_size: int
    """Width of the residual stream."""
    intermediate_size: int
    """Width inside the gated MLP."""
    num_hidden_layers: int
    """Blocks of attention and MLP."""
    num_attention_heads: int
    """Query heads."""
    num_key_value_heads: int
    """Key and value heads; divides the query heads."""
    head_dim: int
    """Width of one head."""
    max_position_embeddings: int
    """Longest context in tokens that the positions were made for."""
    rms_norm_eps: float = 1e-5
    """Added to the mean square before its root."""
    rope_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    tie_word_embeddings: bool = False
    """Whether the output matrix is the embedding itself."""
    bos_token_id: int | None = None
    """Token that begins a document, if the model has one."""
    eos_token_id: int | None = None
    """Token that ends a document or a turn; the first where ``config.json`` lists several."""
    pad_token_id: int | None = None
    """Token that fills up rows of a batch, if the model has one."""

    @classmethod
    def from_hf(cls, raw: Mapping[str, Json], *, source: str = "config.json") -> "LlamaConfig":
        """Read the object of a ``config.json``.

        Args:
            raw: The parsed JSON object, as transformers 4 or 5 writes it.
            source: What to call the file in an error.

        Raises:
            ConfigError: It is not a Llama-family model, or a variant this package does not run.
            CheckpointError: A field is missing, of a wrong type or contradicts another.
        """
        _refuse_other_families(raw, source)
        fields = _Fields(raw, source)
        num_heads = fields.count("num_attention_heads")
        hidden_size = fields.count("hidden_size")
        num_kv_heads = fields.count("num_key_value_heads", default=num_heads)
        if num_heads % num_kv_heads:
            fields.fail(f"{num_heads} query heads do not divide by {num_kv_heads} key heads")
        head_dim = fields.count("head_dim", default=hidden_size // num_heads)
        if head_dim % 2:
            fields.fail(f"head_dim is {head_dim}, rotary positions need an even one")
        return cls(
            vocab_size=fields.count("vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=fields.count("intermediate_size"),
            num_hidden_layers=fields.count("num_hidden_layers", most=MAX_LAYERS),
            num_attention_heads=num_heads,
            num_key_value_heads=num_kv_heads,
            head_dim=head_dim,
            max_position_embeddings=fields.count("max_position_embeddings", default=2048),
            rms_norm_eps=fields.positive("rms_norm_eps", default=1e-6),
            rope_theta=fields.rope_theta(),
            tie_word_embeddings=fields.flag("tie_word_embeddings"),
            bos_token_id=fields.token_id("bos_token_id"),
            eos_token_id=fields.token_id("eos_token_id"),
            pad_token_id=fields.token_id("pad_token_id"),
        )

    def to_hf(self, *, dtype: str = "bfloat16") -> dict[str, Json]:
        """Return the object of a ``config.json`` for weights stored in ``dtype``.

        The rotary base stands twice and so does the dtype: transformers 4 and llama.cpp's
        converter read the first name, transformers 5 the second.
        """
        return {
            "architectures": [ARCHITECTURE],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": self.pad_token_id,
            "use_cache": True,
            "torch_dtype": dtype,
            "dtype": dtype,
        }


def _refuse_other_families(raw: Mapping[str, Json], source: str) -> None:
    """Raise on an architecture, or a variant of Llama, whose arithmetic differs from ours."""
    model_type, architectures = raw.get("model_type"), raw.get("architectures") or [ARCHITECTURE]
    if model_type != "llama" or ARCHITECTURE not in architectures:
        raise ConfigError(
            f"{source}: expected a Llama-family model, found model_type {model_type!r}, "
            f"architectures {architectures!r}",
            hint="choose a base with model_type 'llama', such as SmolLM2, or --base scratch",
        )
    rope = cast("dict[str, Json]", raw.get("rope_parameters") or {})
    scaling = cast("dict[str, Json]", raw.get("rope_scaling") or {})
    rope_type = scaling.get("rope_type", scaling.get("type", rope.get("rope_type", "default")))
    variants = {
        "rope_type": (rope_type, "default"),
        "partial_rotary_factor": (
            rope.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0)),
            1.0,
        ),
        "hidden_act": (raw.get("hidden_act", "silu"), "silu"),
        "attention_bias": (raw.get("attention_bias", False), False),
        "mlp_bias": (raw.get("mlp_bias", False), False),
        "quantization_config": (raw.get("quantization_config"), None),
    }
    for name, (found, expected) in variants.items():
        if found != expected:
            raise ConfigError(
                f"{source}: {name} is {found!r}, this package runs only {expected!r}",
                hint="choose another base of the Llama family, or --base scratch",
            )


class _Fields:
    """Typed reading of one ``config.json``; a failure names the file, the field and its value."""

    def __init__(self, raw: Mapping[str, Json], source: str) -> None:
        self.raw = raw
        self.source = source

    def fail(self, problem: str) -> NoReturn:
        raise CheckpointError(
            f"{self.source}: {problem}",
            hint="the checkpoint is damaged: fetch or export it again",
        )

    def count(self, name: str, *, default: int | None = None, most: int = 2**40) -> int:
        """A whole number above 0."""
        value = self.raw.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self.fail(f"{name} must be a whole number from 1 to {most:,}, found {value!r}")
        return value

    def positive(self, name: str, *, default: float) -> float:
        """A number above 0."""
        value = self.raw.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            self.fail(f"{name} must be a number above 0, found {value!r}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false; false when absent, as in Hugging Face's Llama."""
        value = self.raw.get(name, False)
        if not isinstance(value, bool):
            self.fail(f"{name} must be true or false, found {value!r}")
        return value

    def rope_theta(self) -> float:
        """The rotary base, from the place of transformers 5 or that of transformers 4."""
        inner = self.raw.get("rope_parameters")
        if isinstance(inner, dict) and "rope_theta" in inner:
            return _Fields(cast("dict[str, Json]", inner), self.source).positive(
                "rope_theta", default=10_000.0
            )
        return self.positive("rope_theta", default=10_000.0)

    def token_id(self, name: str) -> int | None:
        """A token id, the first of several, or none."""
        value = self.raw.get(name)
        if isinstance(value, list) and value:
            value = cast("list[Json]", value)[0]
        if value is None or value == -1:  # -1: old exports' way of saying "none"
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(f"{name} must be a token id, found {value!r}")
        return value
