"""What a ``config.json`` of Hugging Face may say: typed fields, and what is refused.

Reads the parsed JSON object; writes nothing.
"""

from collections.abc import Mapping
from typing import Any, NoReturn, cast

from mynah.errors import CheckpointError, ConfigError

__all__ = ["FAMILIES", "Fields", "check_variant", "family_of"]

Json = Any
"""A value that JSON can hold."""

FAMILIES = {
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "dots1": "Dots1ForCausalLM",
}
"""Architecture by ``model_type``: plain; with normalised heads; with these and experts."""
OTHER_BASE = "choose another base of the Llama family, or --base scratch"


def family_of(raw: Mapping[str, Json], source: str) -> str:
    """Return the ``model_type``, one of ``FAMILIES``.

    Raises:
        ConfigError: It is another, or the architecture is not that of a language model.
    """
    model_type = raw.get("model_type")
    expected = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    architectures = raw.get("architectures") or [expected]
    if expected is None or expected not in architectures:
        raise ConfigError(
            f"{source}: expected a Llama-family model, found model_type {model_type!r}, "
            f"architectures {architectures!r}",
            hint="choose a base with model_type 'llama', such as SmolLM2, or --base scratch",
        )
    return cast("str", model_type)


def check_variant(raw: Mapping[str, Json], source: str) -> None:
    """Refuse a variant whose arithmetic differs from ours.

    Raises:
        ConfigError: Names the field, what it says and what it should say.
    """
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
        "layer_types": (_attention_of_layers(raw), "full_attention"),
    }
    if raw.get("model_type") == "dots1":
        # Left out, it is false in transformers, and the weights of a token's experts differ.
        variants["norm_topk_prob"] = (raw.get("norm_topk_prob") or False, True)
        variants["n_group"] = (raw.get("n_group") or 1, 1)
    for name, (found, expected) in variants.items():
        if found != expected:
            raise ConfigError(
                f"{source}: {name} is {found!r}, this package runs only {expected!r}",
                hint=OTHER_BASE,
            )


def _attention_of_layers(raw: Mapping[str, Json]) -> str:
    """The first kind of attention other than full, by the rules of transformers 5."""
    listed = raw.get("layer_types")
    if isinstance(listed, list):
        others = [str(kind) for kind in cast("list[Json]", listed) if kind != "full_attention"]
        return others[0] if others else "full_attention"
    family = raw.get("model_type")
    if family == "dots1":
        window, first = raw.get("sliding_window", 4096), raw.get("max_window_layers", 62)
    elif family == "qwen3" and raw.get("use_sliding_window"):
        window, first = raw.get("sliding_window", 4096), raw.get("max_window_layers", 28)
    else:
        return "full_attention"
    num_layers = raw.get("num_hidden_layers")
    if window is None or not isinstance(num_layers, int) or not isinstance(first, int):
        return "full_attention"
    return "sliding_attention" if num_layers > first else "full_attention"


class Fields:
    """Typed reading of one ``config.json``; a failure names the file, the field and its value."""

    def __init__(self, raw: Mapping[str, Json], source: str) -> None:
        self.raw = raw
        self.source = source

    def fail(self, problem: str) -> NoReturn:
        """Say what is wrong with the file.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(
            f"{self.source}: {problem}",
            hint="the checkpoint is damaged: fetch or export it again",
        )

    def count(
        self, name: str, *, default: int | None = None, least: int = 1, most: int = 2**40
    ) -> int:
        """A whole number, by default above 0."""
        value = self.raw.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fail(f"{name} must be a whole number from {least} to {most:,}, found {value!r}")
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
            return Fields(cast("dict[str, Json]", inner), self.source).positive(
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
