"""The shape of a Llama-family decoder, under the names that Hugging Face's ``config.json`` uses.

Reads and writes the JSON object of ``config.json``; transformers 4 and 5, vLLM and llama.cpp's
converter load what is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ConfigDict

from mynah.errors import ConfigError
from mynah.model.hf_config import FAMILIES, Fields, check_variant, family_of

__all__ = ["LlamaConfig"]

Json = Any
"""A value that JSON can hold."""

MAX_LAYERS = 10_000
"""More than any model has: a damaged file must not send us off making a billion names."""
MAX_EXPERTS = 100_000
"""Likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaConfig:
    """Shape and token ids of a decoder with RMSNorm, RoPE, grouped queries and SwiGLU.

    In Hugging Face's layout it is a ``llama``; with ``qk_norm`` a ``qwen3``; with experts a
    ``dots1``, which has normalised heads as well and routes like DeepSeek-V3.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    vocab_size: int
    """Rows of the embedding."""
    hidden_size: int
    """Width of the residual stream."""
    intermediate_size: int
    """Width inside the gated MLP; with experts, that of the dense layers."""
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
    qk_norm: bool = False
    """Whether queries and keys are normalised head by head before they are rotated."""
    num_experts: int = 0
    """Experts of a sparse layer, from which each token chooses; 0 for a dense model."""
    num_experts_per_token: int = 0
    """Experts that a token chooses."""
    num_shared_experts: int = 0
    """Experts that every token passes through besides; one MLP of their joint width."""
    expert_intermediate_size: int = 0
    """Width inside one expert's gated MLP."""
    num_dense_layers: int = 0
    """Layers at the beginning that have no experts."""
    routed_scaling_factor: float = 1.0
    """Multiplies what the chosen experts say, whose weights add up to 1."""
    bos_token_id: int | None = None
    """Token that begins a document, if the model has one."""
    eos_token_id: int | None = None
    """Token that ends a document or a turn; the first where ``config.json`` lists several."""
    pad_token_id: int | None = None
    """Token that fills up rows of a batch, if the model has one."""

    def __post_init__(self) -> None:
        for problem, remedy in self._problems():
            raise ConfigError(f"the model's shape: {problem}", hint=remedy)

    def _problems(self) -> list[tuple[str, str]]:
        """What cannot be, and what to do about it."""
        found: list[tuple[str, str]] = []
        sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        heads = ("num_attention_heads", "num_key_value_heads", "head_dim")
        for name in (*sizes, *heads, "max_position_embeddings"):
            if getattr(self, name) < 1:
                found.append((f"{name} is {getattr(self, name)}", f"{name} is at least 1"))
        if found:
            return found
        if self.num_attention_heads % self.num_key_value_heads:
            problem = (
                f"num_attention_heads is {self.num_attention_heads}, which does not divide by "
                f"num_key_value_heads, {self.num_key_value_heads}"
            )
            found.append((problem, "every key head serves the same number of query heads"))
        if self.head_dim % 2:
            problem = f"head_dim is {self.head_dim}"
            found.append((problem, "rotary positions need an even head_dim"))
        return found + (self._expert_problems() if self.num_experts else self._dense_problems())

    def _dense_problems(self) -> list[tuple[str, str]]:
        names = ("num_experts_per_token", "num_shared_experts", "expert_intermediate_size")
        return [
            (f"{name} is {getattr(self, name)}, num_experts is 0", f"set num_experts, or {name}=0")
            for name in (*names, "num_dense_layers")
            if getattr(self, name)
        ]

    def _expert_problems(self) -> list[tuple[str, str]]:
        limits = {
            "num_experts": (2, MAX_EXPERTS),
            "num_experts_per_token": (1, self.num_experts),
            "num_shared_experts": (0, MAX_EXPERTS),
            "expert_intermediate_size": (1, 2**40),
            "num_dense_layers": (0, self.num_hidden_layers - 1),
        }
        found = [
            (f"{name} is {getattr(self, name)}", f"{name} lies within {least} and {most:,}")
            for name, (least, most) in limits.items()
            if not least <= getattr(self, name) <= most
        ]
        if not self.qk_norm:
            remedy = "set qk_norm = true: files have no layout for experts without it"
            found.append((f"qk_norm is false, num_experts is {self.num_experts}", remedy))
        return found

    @property
    def model_type(self) -> str:
        """Hugging Face's name of the architecture."""
        if self.num_experts:
            return "dots1"
        return "qwen3" if self.qk_norm else "llama"

    def has_experts(self, layer: int) -> bool:
        """Whether ``layer``, counted from 0, is a mixture of experts."""
        return self.num_experts > 0 and layer >= self.num_dense_layers

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
        family = family_of(raw, source)
        check_variant(raw, source)
        fields = Fields(raw, source)
        num_heads = fields.count("num_attention_heads")
        hidden_size = fields.count("hidden_size")
        num_kv_heads = fields.count("num_key_value_heads", default=num_heads)
        if num_heads % num_kv_heads:
            fields.fail(f"{num_heads} query heads do not divide by {num_kv_heads} key heads")
        default_dim = 128 if family == "qwen3" else hidden_size // num_heads
        head_dim = fields.count("head_dim", default=default_dim)
        if head_dim % 2:
            fields.fail(f"head_dim is {head_dim}, rotary positions need an even one")
        dense = cls(
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
            qk_norm=family != "llama",
            bos_token_id=fields.token_id("bos_token_id"),
            eos_token_id=fields.token_id("eos_token_id"),
            pad_token_id=fields.token_id("pad_token_id"),
        )
        return _with_experts(dense, fields) if family == "dots1" else dense

    def to_hf(self, *, dtype: str = "bfloat16") -> dict[str, Json]:
        """Return the object of a ``config.json`` for weights stored in ``dtype``.

        The rotary base stands twice and so does the dtype: transformers 4 and llama.cpp's
        converter read the first name, transformers 5 the second.
        """
        body: dict[str, Json] = {
            "architectures": [FAMILIES[self.model_type]],
            "model_type": self.model_type,
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
        }
        if self.model_type == "llama":
            body["mlp_bias"] = False
        else:  # these families would else have windows in some layers
            body |= {"sliding_window": None, "use_sliding_window": False}
        if self.num_experts:
            body |= _experts_to_hf(self)
        return body | {
            "tie_word_embeddings": self.tie_word_embeddings,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": self.pad_token_id,
            "use_cache": True,
            "torch_dtype": dtype,
            "dtype": dtype,
        }


def _with_experts(dense: LlamaConfig, fields: Fields) -> LlamaConfig:
    """Read what a ``dots1`` says of its experts."""
    num_experts = fields.count("n_routed_experts", least=2, most=MAX_EXPERTS)
    return replace(
        dense,
        num_experts=num_experts,
        num_experts_per_token=fields.count("num_experts_per_tok", most=num_experts),
        num_shared_experts=fields.count("n_shared_experts", default=0, least=0, most=MAX_EXPERTS),
        expert_intermediate_size=fields.count("moe_intermediate_size"),
        num_dense_layers=fields.count(
            "first_k_dense_replace", default=0, least=0, most=dense.num_hidden_layers - 1
        ),
        routed_scaling_factor=fields.positive("routed_scaling_factor", default=1.0),
    )


def _experts_to_hf(config: LlamaConfig) -> dict[str, Json]:
    return {
        "n_routed_experts": config.num_experts,
        "num_experts_per_tok": config.num_experts_per_token,
        "n_shared_experts": config.num_shared_experts,
        "moe_intermediate_size": config.expert_intermediate_size,
        "first_k_dense_replace": config.num_dense_layers,
        "norm_topk_prob": True,
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": config.routed_scaling_factor,
    }
