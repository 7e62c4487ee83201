"""Preference pairs as tokens: the text of the chat template, held-out threads, taking back."""

import csv
from pathlib import Path

import jinja2
import numpy as np
import polars as pl
import pytest
from tokenizers import Tokenizer

from mynah.corpus import CorpusConfig, TokenShard, build_corpus
from mynah.corpus.preference_shard import (
    PreferenceShardConfig,
    build_preferences,
    encode_pair,
    forget_in_preferences,
)
from mynah.corpus.shards import pair_starts_path
from mynah.errors import DataError
from mynah.model import CHATML_TEMPLATE
from mynah.posts import read_posts
from mynah.workspace import Artifact

PLACES = ("river", "market", "station", "harbour", "library", "stadium", "bridge", "garden")
NUM_THREADS = 40


def make_corpus(folder: Path, *, likes: int = 40) -> Artifact:
    """A question a thread, a reply that is liked, and one that is not."""
    with (folder / "posts.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "author", "created_at", "text", "reply_to", "likes"])
        for n in range(NUM_THREADS):
            words = f"the {PLACES[n % 8]} of street {n * 7919}"
            rows = [
                (f"q{n}", "asker", 0, f"who of you has seen {words} this morning?", "", 1),
                (
                    f"b{n}",
                    f"b{n % 3}",
                    1,
                    f"not I, and {n * 31} others have not either",
                    f"q{n}",
                    2,
                ),
                (
                    f"a{n}",
                    f"a{n % 3}",
                    2,
                    f"{words} was open, said {n * 17} people",
                    f"q{n}",
                    likes,
                ),
            ]
            for name, author, minute, text, parent, liked in rows:
                when = f"2020-01-01 {n % 24:02}:{minute:02}:00"
                table.writerow([name, author, when, text, parent, liked])
    posts = read_posts([folder / "posts.csv"], folder / "posts")
    config = CorpusConfig(heldout_fraction=0.1, min_similarity=1.0)
    return build_corpus(posts, folder / "corpus", config=config, tokenizer=400)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def built(corpus: Artifact, tmp_path: Path) -> Artifact:
    config = PreferenceShardConfig(heldout_share=0.3)
    return build_preferences(corpus, tmp_path / "preferences", config=config)


def pairs_of(built: Artifact, part: str) -> list[tuple[list[int], list[int]]]:
    """Tokens and starts of each pair."""
    prefix = built.folder / part
    shard, starts = TokenShard(prefix), np.load(pair_starts_path(prefix))
    assert len(shard) == len(starts) == built.counts[f"num_{part}"]
    return [(shard[n].tolist(), starts[n].tolist()) for n in range(len(shard))]


def render(prompt: str, reply: str = "", *, is_open: bool = False) -> str:
    """As transformers renders it: these two settings, and the last line break kept."""
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(CHATML_TEMPLATE)
    turns = [{"role": "user", "content": prompt}]
    if not is_open:
        turns.append({"role": "assistant", "content": reply})
    return template.render(messages=turns, add_generation_prompt=is_open)


def test_a_pair_is_two_dialogues_as_the_chat_template_renders_them(
    built: Artifact, corpus: Artifact
):
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    table = pl.read_parquet(corpus.folder / "preferences.parquet")
    expected = {
        (
            tuple(tokenizer.encode(render(prompt, chosen)).ids),
            tuple(tokenizer.encode(render(prompt, rejected)).ids),
            len(tokenizer.encode(render(prompt, is_open=True)).ids),
        )
        for prompt, chosen, rejected in table.select("prompt", "chosen", "rejected").iter_rows()
    }
    found = {
        (tuple(tokens[:second]), tuple(tokens[second:]), chosen)
        for part in ("train", "heldout")
        for tokens, (chosen, second, other) in pairs_of(built, part)
        if other - second == chosen
    }
    assert len(found) == table.height > 30
    assert found == expected


def test_whole_threads_are_held_out(built: Artifact):
    ids = {
        part: set(pl.read_parquet(built.folder / f"{part}.meta.parquet")["post_ids"].explode())
        for part in ("train", "heldout")
    }
    assert built.counts["num_train"] > built.counts["num_heldout"] > 3
    assert not ids["train"] & ids["heldout"]


def test_a_thread_of_several_levels_is_not_cut_by_the_split():
    from mynah.corpus.preference_shard import _held_out

    names = [(f"t{n}", f"u{n}") for n in range(60)]
    table = pl.DataFrame(
        {
            "parent_id": [name for first, second in names for name in (first, second)],
            # The second pair's prompt is the first one's chosen reply.
            "chosen_id": [name for first, second in names for name in (second, f"{second} chosen")],
            "rejected_id": [
                f"{name} rejected" for first, second in names for name in (first, second)
            ],
        }
    )
    is_heldout = _held_out(table, share=0.3).to_list()
    assert 5 < sum(is_heldout) < 60
    assert is_heldout[::2] == is_heldout[1::2]


def test_building_again_finds_what_is_there(built: Artifact, corpus: Artifact, tmp_path: Path):
    config = PreferenceShardConfig(heldout_share=0.3)
    assert build_preferences(corpus, tmp_path / "preferences", config=config) == built
    anew = build_preferences(corpus, tmp_path / "elsewhere", config=config)
    assert anew.digest == built.digest


def test_a_long_prompt_loses_its_beginning_in_both_dialogues(corpus: Artifact):
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    prompt = " ".join(f"word{n} \u00e9t\u00e9" for n in range(60))
    replies = ("a chosen reply", "another reply that is longer than the first")
    whole = encode_pair(tokenizer, prompt, replies, max_tokens=2_000)
    pair = encode_pair(tokenizer, prompt, replies, max_tokens=150)
    assert whole is not None
    assert pair is not None
    assert (whole.is_cut, pair.is_cut) == (False, True)
    chosen, second, other = pair.starts
    assert max(second, len(pair.tokens) - second) <= 150 < len(whole.tokens) - whole.starts[1]
    heads = [pair.tokens[:chosen], pair.tokens[second:other]]
    assert heads[0] == heads[1]
    told = tokenizer.decode(heads[0], skip_special_tokens=False)
    kept = told.removeprefix("<|im_start|>user\n").removesuffix(
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert kept
    assert prompt.endswith(kept)
    assert tokenizer.encode(render(kept, replies[1])).ids == pair.tokens[second:]


def test_a_pair_without_room_for_a_prompt_is_left_out_and_counted(corpus: Artifact, tmp_path: Path):
    tokenizer = Tokenizer.from_file(str(corpus.folder / "tokenizer.json"))
    assert encode_pair(tokenizer, "hello", ("yes " * 40, "no"), max_tokens=40) is None
    num_pairs = corpus.counts["num_preferences"]
    sizes = PreferenceShardConfig(max_tokens=36, heldout_share=0.3)
    built = build_preferences(corpus, tmp_path / "preferences", config=sizes)
    num_kept = built.counts["num_train"] + built.counts["num_heldout"]
    assert 0 < built.counts["num_too_long"] == num_pairs - num_kept < num_pairs
    assert built.counts["num_cut"] > 0
    for part in ("train", "heldout"):
        for tokens, (_, second, _) in pairs_of(built, part):
            assert max(second, len(tokens) - second) <= 36


@pytest.mark.parametrize("role", ["q", "a", "b"])
def test_whoever_is_taken_back_takes_the_whole_pair_along(built: Artifact, role: str):
    meta = pl.read_parquet(built.folder / "train.meta.parquet")
    document, ids = meta.select("document", "post_ids").row(3)
    (gone,) = [name for name in ids if name.startswith(f"posts:{role}")]
    before = pairs_of(built, "train")
    taken = forget_in_preferences(built, [gone, "posts:unknown"])
    assert taken is not None
    assert (taken.snapshot, taken.num_documents) == (built.snapshot, 1)
    assert taken.num_tokens == len(before[3][0])
    after = pairs_of(built, "train")
    filler = built.counts["end_of_text"]
    assert after[document] == ([filler] * len(before[3][0]), before[3][1])
    assert [pair for n, pair in enumerate(after) if n != 3] == [
        pair for n, pair in enumerate(before) if n != 3
    ]
    assert pl.read_parquet(built.folder / "train.meta.parquet").equals(meta)
    from mynah.corpus.preference_shard import PREFERENCES_KIND
    from mynah.workspace import read_artifact

    restated = read_artifact(built.folder, kind=PREFERENCES_KIND)
    assert restated is not None
    restated.verify()
    assert forget_in_preferences(restated, ["posts:unknown"]) is None


def test_held_out_pairs_are_taken_back_too(built: Artifact):
    ids = pl.read_parquet(built.folder / "heldout.meta.parquet")["post_ids"][0].to_list()
    taken = forget_in_preferences(built, ids)
    assert taken is not None
    assert taken.num_documents == 1
    tokens, _ = pairs_of(built, "heldout")[0]
    assert set(tokens) == {built.counts["end_of_text"]}


def test_a_corpus_without_clear_preferences_is_refused(tmp_path: Path):
    corpus = make_corpus(tmp_path, likes=3)
    with pytest.raises(DataError, match="0 preference pairs") as caught:
        build_preferences(corpus, tmp_path / "preferences")
    assert "likes" in caught.value.hint
    (corpus.folder / "preferences.parquet").unlink()
    with pytest.raises(DataError, match="earlier release"):
        build_preferences(corpus, tmp_path / "preferences")
