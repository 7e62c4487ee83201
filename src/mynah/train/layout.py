"""How a run is laid out over its ranks, and which layouts are refused.

Reads the shape of a model; writes nothing. Every refusal is an error before the first step that
names the field, its value and what to set instead: a layout that computes something else than one
process does is never run with a warning.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from mynah.errors import ConfigError
from mynah.model import LlamaConfig

__all__ = ["LayoutConfig", "check_layout"]

Degree = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutConfig:
    """The degrees of parallelism; all 1 is one process.

    Llama 3, section 3.3 (arXiv:2407.21783), describes most of them together.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    pipeline: Degree = 1
    """Ranks that the layers are cut over."""
    replicate: Degree = 1
    """Groups of ranks that each hold a whole copy of weights and optimizer state."""
    shard: Degree = 1
    """Ranks of a group that weights, gradients and optimizer state are cut over (FSDP)."""
    expert: Degree = 1
    """Ranks, of those of ``shard``, that the experts of a layer are dealt over."""
    context: Degree = 1
    """Ranks that the tokens of one row are cut over."""
    tensor: Degree = 1
    """Ranks that each matrix is cut over; keep them on one machine."""
    schedule: Literal["1f1b", "interleaved", "zero_bubble"] = "1f1b"
    """Order of forwards and backwards in a pipeline."""
    stages_per_rank: Degree = 1
    """Stretches of layers that a rank of the pipeline holds: 1 with 1f1b, 2 with zero_bubble
    (its stages lie in a V), 2 or more with interleaved."""
    recompute: Literal["nothing", "layers"] = "nothing"
    """What the backward pass computes again to save memory."""

    @property
    def world_size(self) -> int:
        """Ranks that the layout needs; ``expert`` is a part of ``shard``."""
        return self.pipeline * self.replicate * self.shard * self.context * self.tensor

    @property
    def num_data(self) -> int:
        """Ranks that read different documents."""
        return self.replicate * self.shard

    @property
    def num_stages(self) -> int:
        """Stretches that the layers are cut into."""
        return self.pipeline * self.stages_per_rank


def check_layout(
    layout: LayoutConfig,
    config: LlamaConfig,
    *,
    world_size: int,
    row_tokens: int,
    is_compiled: bool = False,
    is_float8: bool = False,
) -> None:
    """Refuse a layout that cannot run, or that would compute something else than one process.

    Args:
        layout: What the recipe asks for.
        config: The model.
        world_size: Ranks that there are.
        row_tokens: Tokens of each packed row.
        is_compiled: Whether the layers go through ``torch.compile``.
        is_float8: Whether products run in 8 bits.

    Raises:
        ConfigError: The first thing that is wrong.
    """
    _check_world(layout, world_size)
    _check_tensor(layout, config, is_compiled=is_compiled, is_float8=is_float8)
    _check_row(layout, row_tokens)
    _check_experts(layout, config)
    _check_pipeline(layout, config, is_compiled=is_compiled)


def _check_world(layout: LayoutConfig, world_size: int) -> None:
    if layout.world_size != world_size:
        raise ConfigError(
            f"the layout needs {layout.world_size} ranks (pipeline {layout.pipeline} x replicate "
            f"{layout.replicate} x shard {layout.shard} x context {layout.context} x tensor "
            f"{layout.tensor}), there are {world_size}",
            hint=f"start {layout.world_size} processes, or set layout.shard and its like so that "
            f"their product is {world_size}",
        )


def _check_tensor(
    layout: LayoutConfig, config: LlamaConfig, *, is_compiled: bool, is_float8: bool
) -> None:
    sides = {
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "intermediate_size": config.intermediate_size,
        "vocab_size": config.vocab_size,
    }
    for name, side in sides.items():
        if side % layout.tensor:
            raise ConfigError(
                f"layout.tensor is {layout.tensor}: the model's {name}, {side}, does not divide "
                "by it",
                hint=f"set layout.tensor to a divisor of {side}",
            )
    if is_compiled and layout.tensor > 1:
        raise ConfigError(
            f"layout.tensor is {layout.tensor} and is_compiled is true: in torch 2.13 compiled "
            "layers under tensor parallelism silently compute something else",
            hint="set is_compiled = false, or layout.tensor = 1",
        )
    if is_float8 and layout.tensor > 1:
        raise ConfigError(
            f"layout.tensor is {layout.tensor} and precision is 'float8': nobody has compared that "
            "with one process",
            hint="set precision = 'bfloat16', or layout.tensor = 1",
        )


def _check_row(layout: LayoutConfig, row_tokens: int) -> None:
    pieces = (2 * layout.context if layout.context > 1 else 1) * layout.tensor
    if row_tokens % pieces:
        raise ConfigError(
            f"rows of {row_tokens} tokens do not divide by {pieces}: layout.context "
            f"{layout.context} cuts each into twice as many stretches, layout.tensor "
            f"{layout.tensor} each rank's share again",
            hint=f"make the tokens of a row a multiple of {pieces}",
        )


def _check_experts(layout: LayoutConfig, config: LlamaConfig) -> None:
    num_experts = config.num_experts
    if layout.shard % layout.expert:
        raise ConfigError(
            f"layout.expert is {layout.expert}: layout.shard, {layout.shard}, does not divide "
            "by it",
            hint="experts are dealt over ranks of layout.shard: make the one divide the other",
        )
    if layout.expert > 1 and num_experts == 0:
        raise ConfigError(
            f"layout.expert is {layout.expert}, the model has no experts",
            hint="set layout.expert = 1",
        )
    if num_experts % layout.expert:
        raise ConfigError(
            f"layout.expert is {layout.expert}: the model's num_experts, {num_experts}, does not "
            "divide by it",
            hint=f"set layout.expert to a divisor of {num_experts}",
        )
    if num_experts and layout.tensor > 1:
        raise ConfigError(
            f"layout.tensor is {layout.tensor}: a model with experts is not cut over it",
            hint="set layout.tensor = 1 and raise layout.expert instead",
        )


def _check_pipeline(layout: LayoutConfig, config: LlamaConfig, *, is_compiled: bool) -> None:
    _check_schedule(layout)
    if config.num_hidden_layers < layout.num_stages:
        raise ConfigError(
            f"layout.pipeline {layout.pipeline} x layout.stages_per_rank "
            f"{layout.stages_per_rank} are {layout.num_stages} stages, the model has "
            f"{config.num_hidden_layers} layers",
            hint="lower layout.pipeline or layout.stages_per_rank",
        )
    if layout.pipeline > 1 and config.tie_word_embeddings:
        raise ConfigError(
            f"layout.pipeline is {layout.pipeline}: the first stage and the last would each hold "
            "the embedding that this model uses twice (tie_word_embeddings)",
            hint="set layout.pipeline = 1, or train a model whose embeddings are not tied",
        )
    if layout.schedule == "zero_bubble" and layout.recompute != "nothing":
        raise ConfigError(
            f"layout.recompute is {layout.recompute!r} with layout.schedule 'zero_bubble': its "
            "backward is split, and would compute a layer again for each of its weights",
            hint="set layout.recompute = 'nothing', or layout.schedule = '1f1b' or 'interleaved'",
        )
    if layout.schedule == "zero_bubble" and is_compiled:
        raise ConfigError(
            "layout.schedule is 'zero_bubble' and is_compiled is true: a compiled layer's backward "
            "cannot be split",
            hint="set is_compiled = false, or another layout.schedule",
        )


def _check_schedule(layout: LayoutConfig) -> None:
    stages = layout.stages_per_rank
    fits = {"1f1b": stages == 1, "interleaved": stages >= 2, "zero_bubble": stages == 2}
    needs = {"1f1b": "1", "interleaved": "2 or more", "zero_bubble": "2"}
    if layout.pipeline > 1 and not fits[layout.schedule]:
        raise ConfigError(
            f"layout.stages_per_rank is {stages}, layout.schedule {layout.schedule!r} needs "
            f"{needs[layout.schedule]}",
            hint=f"set layout.stages_per_rank = {needs[layout.schedule].split()[0]}",
        )
    if layout.pipeline == 1 and (stages != 1 or layout.schedule != "1f1b"):
        raise ConfigError(
            f"layout.pipeline is 1 with layout.schedule {layout.schedule!r} and "
            f"layout.stages_per_rank {stages}: without a pipeline there is nothing to schedule",
            hint="set layout.schedule = '1f1b' and layout.stages_per_rank = 1",
        )
