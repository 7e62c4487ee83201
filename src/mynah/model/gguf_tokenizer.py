"""Byte-level BPE tokenizers in two forms: GGUF metadata and Hugging Face's ``tokenizer.json``.

llama.cpp knows a way of splitting text before BPE by a name, Hugging Face by a description; the
table here pairs those that agree on every text. Reads and writes plain values, no files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from gguf import TokenType

from mynah.errors import CheckpointError, ConfigError

__all__ = ["CHATML_TEMPLATE", "TokenizerFacts", "pre_tokenizer_name"]

Json = Any
"""A value that JSON can hold."""
T = TypeVar("T")

CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' "
    "+ message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template of models that bring none: ChatML, as SmolLM2 and many others use it."""

BYTE_LEVEL: dict[str, Json] = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
PRE_TOKENIZERS: dict[str, dict[str, Json]] = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    },
}
"""llama.cpp's name, and the pre-tokenizer of ``tokenizer.json`` that splits alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFacts:
    """What a byte-level BPE tokenizer is, whichever form it came in."""

    pre: str
    """llama.cpp's name for the pre-tokenizer."""
    tokens: tuple[str, ...]
    """Spelling of each id, in GPT-2's byte alphabet; special tokens as they are."""
    kinds: tuple[int, ...]
    """``gguf.TokenType`` of each id."""
    merges: tuple[str, ...]
    """Pairs joined by a space, best first."""
    does_add_bos: bool = False

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Spellings that steer the model; text from people must never become one."""
        return tuple(
            token
            for token, kind in zip(self.tokens, self.kinds, strict=True)
            if kind == TokenType.CONTROL
        )

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Json], *, source: str) -> "TokenizerFacts":
        """Read the ``tokenizer.ggml.*`` values.

        Raises:
            ConfigError: Not byte-level BPE, or split in an unknown way.
            CheckpointError: Lists are missing or differ in length.
        """
        model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
        if model != "gpt2" or pre not in PRE_TOKENIZERS:
            raise ConfigError(
                f"{source}: expected a byte-level BPE tokenizer with pre-tokenizer "
                f"{' or '.join(map(repr, PRE_TOKENIZERS))}, found model {model!r}, pre {pre!r}",
                hint="choose a base with such a tokenizer, such as SmolLM2, or --base scratch",
            )
        tokens = _list_of(metadata, "tokens", str, source=source)
        merges = _list_of(metadata, "merges", str, source=source)
        kinds = [int(TokenType.NORMAL)] * len(tokens)
        if "tokenizer.ggml.token_type" in metadata:
            kinds = _list_of(metadata, "token_type", int, source=source)
        _check_unique(tokens, source)
        if not tokens or len(kinds) != len(tokens):
            raise _damaged(f"{source}: has {len(tokens)} tokens and {len(kinds)} token types")
        known = {t for t, kind in zip(tokens, kinds, strict=True) if kind != TokenType.UNUSED}
        for merge in merges:
            left, _, right = merge.partition(" ")
            if not {left, right, left + right} <= known:
                raise _damaged(f"{source}: the merge {merge!r} makes no token")
        return cls(
            pre=cast("str", pre),
            tokens=tuple(tokens),
            kinds=tuple(kinds),
            merges=tuple(merges),
            does_add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        )

    @classmethod
    def from_hf(
        cls, tokenizer: Mapping[str, Json], *, vocab_size: int, source: str
    ) -> "TokenizerFacts":
        """Read the object of a ``tokenizer.json``.

        Args:
            tokenizer: The parsed object.
            vocab_size: Rows of the model's embedding; ids without a token are marked unused.
            source: What to call the file in an error.

        Raises:
            ConfigError: Not byte-level BPE, or split in a way llama.cpp has no known name for.
            CheckpointError: It has an id that the embedding has no row for.
        """
        pre = pre_tokenizer_name(tokenizer, source=source)
        model = tokenizer["model"]
        spelling = {int(number): text for text, number in model["vocab"].items()}
        kind = dict.fromkeys(spelling, TokenType.NORMAL)
        for added in tokenizer.get("added_tokens") or ():
            number = int(added["id"])
            spelling[number] = added["content"]
            kind[number] = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        if max(spelling) >= vocab_size:
            raise CheckpointError(
                f"{source}: has token id {max(spelling)}, the model's embedding has "
                f"{vocab_size} rows",
                hint="use the tokenizer that the model was trained with",
            )
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        tokens = tuple(spelling.get(i, f"[PAD{i}]") for i in range(vocab_size))
        _check_unique(tokens, source)
        return cls(
            pre=pre,
            tokens=tokens,
            kinds=tuple(int(kind.get(i, TokenType.UNUSED)) for i in range(vocab_size)),
            merges=tuple(merges),
            does_add_bos=_adds_bos(tokenizer),
        )

    def to_hf(self, *, bos_token_id: int | None) -> dict[str, Json]:
        """Return the object of a ``tokenizer.json`` that gives the same ids as llama.cpp."""
        numbered = list(zip(self.tokens, self.kinds, strict=True))
        added = [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": kind == TokenType.CONTROL,
            }
            for number, (token, kind) in enumerate(numbered)
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
        ]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": PRE_TOKENIZERS[self.pre],
            "post_processor": self._post_processor(bos_token_id),
            "decoder": {**BYTE_LEVEL, "add_prefix_space": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {t: i for i, (t, kind) in enumerate(numbered) if kind != TokenType.UNUSED},
                "merges": [merge.split(" ", 1) for merge in self.merges],
            },
        }

    def _post_processor(self, bos_token_id: int | None) -> dict[str, Json] | None:
        """Put the first token of a document in front, where the model wants one."""
        if not self.does_add_bos or bos_token_id is None:
            return None
        token = self.tokens[bos_token_id]
        special = {"SpecialToken": {"id": token, "type_id": 0}}
        first: dict[str, Json] = {"Sequence": {"id": "A", "type_id": 0}}
        second: dict[str, Json] = {"Sequence": {"id": "B", "type_id": 1}}
        return {
            "type": "TemplateProcessing",
            "single": [special, first],
            "pair": [special, first, second],
            "special_tokens": {token: {"id": token, "ids": [bos_token_id], "tokens": [token]}},
        }


def pre_tokenizer_name(tokenizer: Mapping[str, Json], *, source: str) -> str:
    """Return llama.cpp's name for how a ``tokenizer.json`` splits text before BPE.

    Raises:
        ConfigError: It is no byte-level BPE, or llama.cpp has no name that is known to agree.
    """
    model = cast("dict[str, Json]", tokenizer.get("model") or {})
    found = _simplified(tokenizer.get("pre_tokenizer"))
    is_bpe = model.get("type") == "BPE" and not model.get("byte_fallback")
    is_plain = is_bpe and not model.get("ignore_merges") and tokenizer.get("normalizer") is None
    for name, description in PRE_TOKENIZERS.items():
        if is_plain and found == _simplified(description):
            return name
    raise ConfigError(
        f"{source}: expected byte-level BPE, plain or with single digits, and no normalizer; found "
        f"model {model.get('type')!r}, pre_tokenizer {found!r}, "
        f"normalizer {tokenizer.get('normalizer')!r}",
        hint="choose a base with such a tokenizer, such as SmolLM2, or --base scratch",
    )


def _list_of(metadata: Mapping[str, Json], name: str, kind: type[T], *, source: str) -> list[T]:
    values = metadata.get(f"tokenizer.ggml.{name}")
    if isinstance(values, list):
        listed = cast("list[Json]", values)
        if all(isinstance(value, kind) for value in listed):
            return listed
    raise _damaged(f"{source}: tokenizer.ggml.{name} is no list of {kind.__name__}")


def _check_unique(tokens: Sequence[str], source: str) -> None:
    """Refuse a spelling with two ids: llama.cpp would end the whole process over it."""
    if len(set(tokens)) < len(tokens):
        seen: set[str] = set()
        twice = next(token for token in tokens if token in seen or seen.add(token))
        raise _damaged(f"{source}: the token {twice!r} has two ids")


def _damaged(problem: str) -> CheckpointError:
    return CheckpointError(problem, hint="the file is damaged: fetch it again")


def _simplified(value: Json) -> Json:
    """Leave out what does not change ids: offsets, defaults, a sequence of one."""
    if not isinstance(value, dict):
        return value
    body = cast("dict[str, Json]", value)
    if body.get("type") == "Sequence":
        parts = [_simplified(part) for part in cast("Sequence[Json]", body["pretokenizers"])]
        return parts[0] if len(parts) == 1 else {"type": "Sequence", "pretokenizers": parts}
    kept = {key: part for key, part in body.items() if key != "trim_offsets"}
    return {"use_regex": True, **kept} if kept.get("type") == "ByteLevel" else kept


def _adds_bos(tokenizer: Mapping[str, Json]) -> bool:
    """Whether the post-processor puts a special token in front of a text."""
    processor = cast("dict[str, Json]", tokenizer.get("post_processor") or {})
    single = cast("list[dict[str, Json]]", processor.get("single") or [{}])
    return processor.get("type") == "TemplateProcessing" and "SpecialToken" in single[0]
