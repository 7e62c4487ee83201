"""A real but tiny Llama: random weights, its own small byte-level BPE, served in milliseconds."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mynah.model.checkpoint import save_checkpoint, weight_shapes
from mynah.model.config import LlamaConfig

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEXTS = (
    "The harbour fog lifted at nine and the ferries left one after another.",
    "Nobody said that the budget would pass; it passed, 51 to 49, before lunch.",
    "I'd rather walk than wait 20 minutes for the number 7 bus, wouldn't you?",
    "Rain again. The allotment is happy, the laundry isn't, and I'm somewhere between.",
    "def total(items):\n    return sum(item.price for item in items)\n",
)


def train_tiny_tokenizer(
    texts: Iterable[str] = TEXTS, *, vocab_size: int = 384, has_digits: bool = False
) -> Tokenizer:
    """Train byte-level BPE: plain as GPT-2's, or with single digits as SmolLM's."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
        if has_digits
        else byte_level
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tiny_config(vocab_size: int, *, tie_word_embeddings: bool = True) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        tie_word_embeddings=tie_word_embeddings,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


def sparse_config(vocab_size: int) -> LlamaConfig:
    """Three layers: a dense one, and two of 8 experts of which a token chooses 3."""
    return replace(
        tiny_config(vocab_size, tie_word_embeddings=False),
        num_hidden_layers=3,
        qk_norm=True,
        num_experts=8,
        num_experts_per_token=3,
        num_shared_experts=1,
        expert_intermediate_size=32,
        num_dense_layers=1,
        routed_scaling_factor=1.5,
    )


def write_tiny_checkpoint(
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    tie_word_embeddings: bool = True,
    seed: int = 0,
) -> Path:
    """Write a checkpoint in Hugging Face layout with random weights; return ``folder``."""
    tokenizer = tokenizer or train_tiny_tokenizer()
    vocab_size = -(-tokenizer.get_vocab_size() // 32) * 32  # padded, as trained models are
    config = tiny_config(vocab_size, tie_word_embeddings=tie_word_embeddings)
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: torch.ones(shape)
        if len(shape) == 1
        else torch.randn(shape, generator=generator) * shape[-1] ** -0.5
        for name, shape in weight_shapes(config).items()
    }
    save_checkpoint(folder, config, {name: w.bfloat16() for name, w in state.items()})
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL_TOKENS[1],
        "eos_token": SPECIAL_TOKENS[2],
        "pad_token": SPECIAL_TOKENS[0],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
