"""A Llama-family decoder over packed documents, or a part of one. Names are Hugging Face's.

Linear layers see the N tokens of a packed row and no padding. Posts are about 30 tokens, and this
is what makes them cheap to train on. Nothing here knows of other processes: those that share a
model give each its ``Part``, and put modules of their own where ``attend`` and ``exchange`` are.

Shapes: N tokens of all documents, C model width, H query heads, K key heads, W width of a head,
X width of all query heads, V vocabulary.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mynah.errors import ConfigError
from mynah.model.config import LlamaConfig
from mynah.model.experts import FeedForward, MoE
from mynah.model.packed_attention import PackedAttention, Packing
from mynah.model.weights import initial_weight

__all__ = ["Llama", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """Which of a model's layers a module holds, and whether the two ends.

    Args:
        layers: Neighbouring layers by their global number, from 0.
        has_embedding: It begins the model: it takes token ids.
        has_head: It ends the model: it applies the last norm and holds the output matrix.
    """

    layers: range
    has_embedding: bool
    has_head: bool

    @classmethod
    def whole(cls, config: LlamaConfig) -> "Part":
        """All layers and both ends."""
        return cls(range(config.num_hidden_layers), has_embedding=True, has_head=True)


def rotary(position_N: Tensor, *, width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position, ``(N, 1, W)``, in float32.

    Source: Su et al. 2021 (arXiv:2104.09864), halves layout as in Hugging Face's Llama.
    """
    frequency = theta ** (
        -torch.arange(0, width, 2, device=position_N.device, dtype=torch.float32) / width
    )
    angle_NW = torch.outer(position_N.float(), frequency).repeat(1, 2)
    return angle_NW.cos()[:, None], angle_NW.sin()[:, None]


def rotate(x_NHW: Tensor, cos_N1W: Tensor, sin_N1W: Tensor) -> Tensor:
    """Rotate pairs ``(w, w + W/2)`` by the angle of the token's position."""
    first, second = x_NHW.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (x_NHW * cos_N1W + turned * sin_N1W).to(x_NHW.dtype)


class Norm(nn.RMSNorm):
    """RMSNorm in the wider of the two dtypes that meet, out in that of its input.

    Source: Zhang & Sennrich 2019 (arXiv:1910.07467).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Bring each vector to root mean square 1, then scale its channels."""
        wide = torch.promote_types(x.dtype, self.weight.dtype)
        out = F.rms_norm(x.to(wide), self.normalized_shape, self.weight.to(wide), self.eps)
        return out.to(x.dtype)


class Attention(nn.Module):
    """Grouped-query causal attention within documents, Ainslie et al. 2023 (arXiv:2305.13245).

    Normalised heads: Dehghani et al. 2023 (arXiv:2302.05442), here with RMSNorm as in Qwen3.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.width = config.head_dim
        wide = config.num_attention_heads * self.width
        narrow = config.num_key_value_heads * self.width
        self.q_proj = nn.Linear(config.hidden_size, wide, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, narrow, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, narrow, bias=False)
        self.o_proj = nn.Linear(wide, config.hidden_size, bias=False)
        self.q_norm: Norm | None = None
        self.k_norm: Norm | None = None
        if config.qk_norm:
            self.q_norm = Norm(self.width, eps=config.rms_norm_eps)
            self.k_norm = Norm(self.width, eps=config.rms_norm_eps)
        self.attend: nn.Module = PackedAttention()

    def forward(self, x_NC: Tensor, packing: Packing, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Mix each token with the earlier ones of its own document."""
        q_NHW = self.q_proj(x_NC).unflatten(-1, (-1, self.width))
        k_NKW = self.k_proj(x_NC).unflatten(-1, (-1, self.width))
        v_NKW = self.v_proj(x_NC).unflatten(-1, (-1, self.width))
        if self.q_norm is not None and self.k_norm is not None:
            q_NHW, k_NKW = self.q_norm(q_NHW), self.k_norm(k_NKW)
        q_NHW, k_NKW = rotate(q_NHW, *turn), rotate(k_NKW, *turn)
        return self.o_proj(self.attend(q_NHW, k_NKW, v_NKW, packing))


class Layer(nn.Module):
    """One pre-norm block.

    Args:
        config: The model.
        number: Of this layer in the whole model, from 0.
    """

    def __init__(self, config: LlamaConfig, number: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.input_layernorm = Norm(width, eps=config.rms_norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(width, eps=config.rms_norm_eps)
        self.mlp: FeedForward | MoE = (
            MoE(config)
            if config.has_experts(number)
            else FeedForward(width, config.intermediate_size)
        )

    def forward(self, x_NC: Tensor, packing: Packing, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Attention, then feed-forward, each added to its input."""
        x_NC = x_NC + self.self_attn(self.input_layernorm(x_NC), packing, turn)
        inner_NC = self.post_attention_layernorm(x_NC)
        if isinstance(self.mlp, MoE):
            return x_NC + self.mlp(inner_NC, packing.real_N)
        return x_NC + self.mlp(inner_NC)


class Decoder(nn.Module):
    """Embedding, layers and the last norm: what Hugging Face calls ``model``."""

    def __init__(self, config: LlamaConfig, part: Part) -> None:
        super().__init__()
        self.embed_tokens: nn.Embedding | None = None
        if part.has_embedding:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleDict({str(n): Layer(config, n) for n in part.layers})
        self.norm: Norm | None = None
        if part.has_head:
            self.norm = Norm(config.hidden_size, eps=config.rms_norm_eps)


class Llama(nn.Module):
    """The whole decoder, or the part of it that one process of a pipeline holds.

    ``lm_head`` is the embedding itself when the config ties them, and then has no weight of its
    own in a checkpoint.

    Args:
        config: Shape of the whole model.
        part: What of it to hold; ``None`` is all. Weights keep their names in the whole model.

    Raises:
        ConfigError: The part has layers that the model has not, or one end of a model whose ends
            are one matrix.
    """

    def __init__(self, config: LlamaConfig, *, part: Part | None = None) -> None:
        super().__init__()
        part = part or Part.whole(config)
        _check_part(config, part)
        self.config = config
        self.part = part
        self.model = Decoder(config, part)
        self.lm_head: nn.Linear | None = None
        if part.has_head and not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @property
    def head_VC(self) -> Tensor:
        """The matrix that turns a hidden state into logits; of a part that has a head."""
        if self.lm_head is not None:
            return self.lm_head.weight
        assert self.part.has_head, f"layers {self.part.layers} have no output matrix"
        assert self.model.embed_tokens is not None
        return self.model.embed_tokens.weight

    def layers(self) -> list[Layer]:
        """The layers that it holds, in order."""
        return [cast("Layer", layer) for layer in self.model.layers.values()]

    def mixtures(self) -> list[MoE]:
        """The mixtures of experts among its layers, whose bias the trainer shifts."""
        return [layer.mlp for layer in self.layers() if isinstance(layer.mlp, MoE)]

    def forward(self, x: Tensor, packing: Packing) -> Tensor:
        """Hidden states, ``(N, C)``: after the last norm where the part has the head.

        Args:
            x: Token ids ``(N,)`` where it has the embedding, else the hidden states ``(N, C)``
                that the part before it returned.
            packing: Of these tokens.
        """
        x_NC = x if self.model.embed_tokens is None else self.model.embed_tokens(x)
        # In float32 whatever the states are in: an angle of bfloat16 is off by whole positions.
        turn = rotary(packing.position_N, width=self.config.head_dim, theta=self.config.rope_theta)
        for layer in self.model.layers.values():
            x_NC = layer(x_NC, packing, turn)
        return x_NC if self.model.norm is None else self.model.norm(x_NC)

    def logits(self, ids_N: Tensor, packing: Packing) -> Tensor:
        """Logits of the next token, ``(N, V)``; memory N * V, so for short inputs only."""
        return F.linear(self(ids_N, packing), self.head_VC)

    @torch.no_grad()
    def initialise(self, *, seed: int) -> None:
        """Fill all weights as ``initial_weight`` draws them; a part gets those of the whole."""
        for name, weight in self.state_dict(keep_vars=True).items():
            weight.copy_(initial_weight(name, self.config, seed=seed))
        for mixture in self.mixtures():
            mixture.load_E.zero_()


def _check_part(config: LlamaConfig, part: Part) -> None:
    layers = part.layers
    if layers.step != 1 or not 0 <= layers.start <= layers.stop <= config.num_hidden_layers:
        raise ConfigError(
            f"a part has layers {layers.start} to {layers.stop - 1}, the model has "
            f"{config.num_hidden_layers} layers, from 0",
            hint="choose fewer pipeline parts, or a deeper model",
        )
    if config.tie_word_embeddings and part.has_embedding != part.has_head:
        raise ConfigError(
            "tie_word_embeddings is true: the output matrix is the embedding, and a pipeline "
            "would hold them in different processes",
            hint="set tie_word_embeddings = false, or the pipeline axis to 1",
        )
