"""Dialogues as tokens: the very prompt that an engine's template renders."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import jinja2
import numpy as np
import pytest
from tokenizers import Tokenizer

from mynah.corpus import (
    SYSTEM,
    CorpusConfig,
    Dialogue,
    DialogueConfig,
    TokenShard,
    build_corpus,
    build_dialogues,
)
from mynah.corpus.dialogue_shard import encode_dialogue
from mynah.errors import DataError
from mynah.model.gguf_tokenizer import CHATML_TEMPLATE
from mynah.workspace import Artifact

CONFIG = DialogueConfig(num_dialogues=60)


@pytest.fixture
def talkative(make_posts: Callable[[Sequence[dict[str, str]]], Artifact]) -> Artifact:
    places = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")
    return make_posts(
        [
            {
                "author": f"writer{n % 5}",
                "text": f"Post {n * 7919} is about the {places[n % 8]}{n // 40} and {n * 31} songs",
            }
            for n in range(300)
        ]
    )


@pytest.fixture
def corpus(talkative: Artifact, tokenizer: Path, tmp_path: Path) -> Artifact:
    config = CorpusConfig(heldout_fraction=0.2, min_similarity=1.0)
    return build_corpus(talkative, tmp_path / "corpus", config=config, tokenizer=tokenizer)


@pytest.fixture
def built(corpus: Artifact, talkative: Artifact, tmp_path: Path) -> Artifact:
    return build_dialogues(corpus, talkative, tmp_path / "dialogues", config=CONFIG)


@pytest.mark.parametrize("is_grounded", [True, False])
def test_the_prompt_is_what_the_chat_template_renders(tokenizer: Path, *, is_grounded: bool):
    encoder = Tokenizer.from_file(str(tokenizer))
    dialogue = Dialogue("Posts:\n[1] @a: b\n\nQuestion: c?", '@a writes: "b" [1]', is_grounded)
    tokens, start = encode_dialogue(encoder, dialogue)
    turns = [{"role": "system", "content": SYSTEM}] if is_grounded else []
    turns.append({"role": "user", "content": dialogue.question})
    # As transformers renders it: these two settings, and the last line break kept.
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHATML_TEMPLATE)
    prompt = template.render(messages=turns, add_generation_prompt=True)
    expected = encoder.encode(prompt, add_special_tokens=False).ids
    turns.append({"role": "assistant", "content": dialogue.reply})
    whole = encoder.encode(template.render(messages=turns), add_special_tokens=False).ids
    assert tokens[:start] == expected
    assert tokens == whole
    assert encoder.decode(tokens[start:], skip_special_tokens=False).startswith("@a writes")
    end = encoder.token_to_id("<|im_end|>")
    assert tokens[start:].count(end) == 1


def test_the_shard_holds_each_dialogue_and_where_its_reply_begins(
    built: Artifact, corpus: Artifact
):
    shard = TokenShard(built.folder / "train")
    starts = np.load(built.folder / "replies.npy")
    assert len(shard) == len(starts) == built.counts["num_dialogues"] > 10
    # A dialogue that would be cut in two is left out, or its reply is learned without its posts.
    assert built.counts["num_dialogues"] + built.counts["num_too_long"] == 60
    assert shard.sizes.max() <= DialogueConfig().max_tokens
    assert shard.num_tokens == built.counts["num_tokens"]
    encoder = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    for number in range(len(shard)):
        tokens = shard[number].tolist()
        before = encoder.decode(tokens[: starts[number]], skip_special_tokens=False)
        assert before.endswith("<|im_start|>assistant\n")
        reply = encoder.decode(tokens[starts[number] :], skip_special_tokens=False)
        assert reply.endswith("<|im_end|>\n")
        assert reply.count("<|im") == 1


def test_nothing_held_out_is_in_a_dialogue(built: Artifact, corpus: Artifact):
    import polars as pl

    documents = pl.read_parquet(corpus.folder / "documents.parquet")
    heldout = set(documents.filter("is_heldout")["text"])
    assert len(heldout) > 30
    encoder = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    shard = TokenShard(built.folder / "train")
    told = " ".join(encoder.decode(shard[n].tolist()) for n in range(len(shard)))
    assert not [text for text in heldout if text in told]
    assert [text for text in documents.filter(~pl.col("is_heldout"))["text"] if text in told]


def test_building_again_finds_what_is_there(
    built: Artifact, corpus: Artifact, talkative: Artifact, tmp_path: Path
):
    again = build_dialogues(corpus, talkative, tmp_path / "dialogues", config=CONFIG)
    assert again == built
    anew = build_dialogues(corpus, talkative, tmp_path / "elsewhere", config=CONFIG)
    assert anew.digest == built.digest


def test_a_name_can_not_end_a_turn(
    make_posts: Callable[[Sequence[dict[str, str]]], Artifact], tokenizer: Path, tmp_path: Path
):
    rows = [
        {"author": "<|im_end|>", "text": f"Post {n * 7919} is about the harbour{n // 3} today"}
        for n in range(150)
    ]
    posts = make_posts(rows)
    corpus = build_corpus(
        posts,
        tmp_path / "corpus",
        config=CorpusConfig(min_similarity=1.0),
        tokenizer=tokenizer,
    )
    built = build_dialogues(corpus, posts, tmp_path / "dialogues", config=CONFIG)
    encoder = Tokenizer.from_file(str(tokenizer))
    end = encoder.token_to_id("<|im_end|>")
    shard = TokenShard(built.folder / "train")
    assert len(shard) > 10
    assert {shard[n].tolist().count(end) for n in range(len(shard))} <= {2, 3}


def test_a_tokenizer_without_chat_marks_is_refused(
    talkative: Artifact, tokenizer: Path, tmp_path: Path
):
    text = tokenizer.read_text().replace("<|im_start|>", "<|mark_0|>")
    (tmp_path / "other.json").write_text(json.dumps(json.loads(text)))
    corpus = build_corpus(talkative, tmp_path / "corpus", tokenizer=tmp_path / "other.json")
    with pytest.raises(DataError, match="im_start") as caught:
        build_dialogues(corpus, talkative, tmp_path / "dialogues")
    assert "scratch" in caught.value.hint
