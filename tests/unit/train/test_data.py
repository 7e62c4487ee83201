"""The order of documents, and the batches made of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fakes.tiny_network import Network

from mynah.corpus import TokenShard, write_shard
from mynah.errors import ConfigError
from mynah.model import pack
from mynah.train import (
    CorpusSource,
    DataOrder,
    DialogueSource,
    make_batch,
)

END = 9


def shard(folder: Path, sizes: list[int]) -> TokenShard:
    """Documents that count upwards, each ended by ``END``."""
    starts = np.cumsum(sizes) * 7
    documents = [
        [*(10 + (s + np.arange(n - 1)) % 90), END] for s, n in zip(starts, sizes, strict=True)
    ]
    write_shard(folder / "train", documents, post_ids=[[] for _ in sizes], vocab_size=100)
    return TokenShard(folder / "train")


def test_each_document_begins_with_the_end_of_another_and_predicts_its_own(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [5, 1, 3]), boundary=END)
    assert source.sizes.tolist() == [6, 2, 4]
    for number in range(3):
        tokens = source.tokens(number)
        assert len(tokens) == len(source.weights(number)) == source.sizes[number]
        assert tokens[0] == tokens[-1] == END
        assert np.array_equal(tokens[1:], source.shard[number])


def test_dialogues_count_from_the_first_token_of_the_reply(tmp_path: Path):
    source = DialogueSource(shard(tmp_path, [6, 4]), reply_starts=np.array([4, 1]), boundary=0)
    assert source.weights(0).tolist() == [0, 0, 0, 0, 1, 1]
    batch = make_batch([(source, (0, 0, 5))])
    # What is read before the reply predicts its first token.
    assert batch.weight_N[-5:].tolist() == [0, 0, 0, 1, 1]
    assert batch.target_N[-5:].tolist() == source.tokens(0)[1:].tolist()


def test_a_batch_is_filled_in_front_and_shortest_first(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [30, 5, 12]), boundary=END)
    batch = make_batch([(source, (n, 0, int(size) - 1)) for n, size in enumerate(source.sizes)])
    assert len(batch.ids_N) == 64
    assert batch.num_tokens == 47
    assert batch.weight_N.tolist() == [0.0] * 17 + [1.0] * 47
    starts = (batch.packing.position_N == 0).nonzero().flatten().tolist()
    assert starts == [0, 17, 22, 34]
    assert batch.ids_N[17:22].tolist() == source.tokens(1)[:-1].tolist()
    assert batch.target_N[34:].tolist() == source.tokens(0)[1:].tolist()
    assert batch.ids_N.dtype == batch.target_N.dtype == torch.int64
    assert batch.weight_N.dtype == torch.float32


def test_a_full_row_gets_nothing_in_front(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [64, 64]), boundary=END)
    batch = make_batch([(source, (0, 0, 64)), (source, (1, 0, 64))])
    assert len(batch.ids_N) == batch.num_tokens == 128
    assert batch.weight_N.min() == 1.0


def test_a_long_document_is_cut_and_no_prediction_is_lost(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [25]), boundary=END)
    order = DataOrder(source, seed=0, tokens_per_step=100, max_tokens=10)
    pieces = sorted(order.pieces(0))
    assert pieces == [(0, 0, 10), (0, 10, 10), (0, 20, 5)]
    read = [make_batch([(source, piece)]) for piece in pieces]
    targets = [int(t) for b in read for t in b.target_N[b.weight_N > 0]]
    assert targets == source.tokens(0)[1:].tolist()


def test_a_step_smaller_than_a_document_is_refused(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [5]), boundary=END)
    with pytest.raises(ConfigError, match="tokens_per_step") as caught:
        DataOrder(source, seed=0, tokens_per_step=9, max_tokens=10)
    assert caught.value.hint
    with pytest.raises(ConfigError, match="one at least"):
        DataOrder(source, seed=0, tokens_per_step=0, max_tokens=0)


def test_few_documents_come_again_every_step_in_another_order(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [4, 5, 6, 7, 8]), boundary=END)
    order = DataOrder(source, seed=0, tokens_per_step=1000, max_tokens=10)
    assert order.steps_per_epoch == 1
    steps = [order.pieces(step) for step in range(6)]
    assert all(sorted(step) == sorted(steps[0]) for step in steps)
    assert any(step != steps[0] for step in steps)
    assert order.step_of(3, epoch=4) == 4


def test_documents_without_a_prediction_have_no_piece(tmp_path: Path):
    source = DialogueSource(
        shard(tmp_path, [1, 3, 1]), reply_starts=np.zeros(3, dtype=int), boundary=0
    )
    order = DataOrder(source, seed=0, tokens_per_step=5, max_tokens=5)
    assert order.pieces(0) == order.pieces(1) == [(1, 0, 2)]
    with pytest.raises(IndexError, match="document 0"):
        order.step_of(0)


def test_orders_of_two_seeds_differ(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [3] * 50), boundary=END)
    first, other = (DataOrder(source, seed=s, tokens_per_step=20, max_tokens=9) for s in (0, 1))
    assert [first.pieces(s) for s in range(3)] != [other.pieces(s) for s in range(3)]


@pytest.mark.parametrize(
    "line",
    [
        "data.tokens_per_step=0",
        "data.dialogue_share=1.0",
        "data.max_document_tokens=0",
        "schedule.num_steps=0",
        "schedule.max_minutes=0",
        "optimizer.lr=-1.0",
        "num_threads=0",
        "data.dialog_share=0.5",
    ],
)
def test_a_recipe_out_of_range_is_refused_on_load(network: Network, tmp_path: Path, line: str):
    from mynah.config import load_config
    from mynah.train import TrainConfig

    run = network.write_run(tmp_path / "run", network.config())
    with pytest.raises(ConfigError, match=line.partition("=")[0]):
        load_config(TrainConfig, run / "recipe.toml", overrides=[line])


def test_a_row_is_filled_to_the_length_that_is_asked_for(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [30, 5]), boundary=END)
    pieces = [(source, (0, 0, 30)), (source, (1, 0, 5))]
    batch = make_batch(pieces, row_tokens=200)
    assert len(batch.ids_N) == len(batch.target_N) == len(batch.weight_N) == 200
    assert (batch.num_tokens, batch.weight) == (35, 35.0)
    assert batch.weight_N.sum() == 35.0
    # What fills it is short documents: attention over one of 165 would cost more.
    starts = (batch.packing.position_N == 0).nonzero().flatten().tolist()
    assert starts == [0, 37, 101, 165, 170]
    short = make_batch(pieces)
    assert torch.equal(batch.ids_N[-35:], short.ids_N[-35:])
    with pytest.raises(AssertionError, match="do not fit"):
        make_batch(pieces, row_tokens=34)


@pytest.mark.parametrize(("row_tokens", "expected"), [(None, 64), (100, 100)])
def test_a_row_of_nothing_counts_nothing(row_tokens: int | None, expected: int):
    batch = make_batch([], row_tokens=row_tokens)
    assert len(batch.ids_N) == len(batch.packing.position_N) == expected
    assert (batch.num_tokens, batch.weight, float(batch.weight_N.sum())) == (0, 0.0, 0.0)


def test_a_piece_may_be_several_documents_of_a_row(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [64]), boundary=END)
    batch = make_batch([(source, (0, 0, 64))], cut=lambda _: [20, 44])
    assert torch.equal(batch.ids_N, make_batch([(source, (0, 0, 64))]).ids_N)
    assert (batch.packing.position_N == 0).nonzero().flatten().tolist() == [0, 20]


def test_extras_of_tokens_are_cut_with_the_row_and_others_are_not(tmp_path: Path):
    source = CorpusSource(shard(tmp_path, [64]), boundary=END)
    batch = make_batch([(source, (0, 0, 64))])
    extra = {"reply_N": torch.arange(64), "counts_P": torch.ones(3)}
    batch = replace(batch, extra=extra).to("cpu")
    place_N = torch.tensor([5, 4, 60])
    part = batch.at(place_N, pack([3]))
    assert part.extra["reply_N"].tolist() == [5, 4, 60]
    assert part.extra["counts_P"].tolist() == [1.0, 1.0, 1.0]
    assert torch.equal(part.ids_N, batch.ids_N[place_N])
    assert torch.equal(part.target_N, batch.target_N[place_N])
    assert len(part.packing.position_N) == len(part.weight_N) == 3
    # What the step is divided by is the whole row's.
    assert part.weight == batch.weight == 64.0
