"""What a step learns: documents and replies; and which dialogues are only ever measured on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from mynah.corpus import TokenShard, write_shard
from mynah.corpus.blanking import blank_posts
from mynah.errors import DataError
from mynah.train import CorpusSource, DataConfig, DialogueSource
from mynah.train.layout import LayoutConfig
from mynah.train.mesh import Mesh
from mynah.train.objectives import HeldOutSplit, PartSource, TokenObjective, pretrain, sft

END = 9
VOCAB = 100
ALONE = Mesh(LayoutConfig(), None)
DATA = DataConfig(tokens_per_step=200, max_document_tokens=100, heldout_max_tokens=60)


def write(folder: Path, sizes: Sequence[int], post_ids: Sequence[list[str]]) -> Path:
    """A shard of documents that count upwards, each ended by ``END``."""
    documents = [[*(10 + (7 * n + np.arange(size - 1)) % 90), END] for n, size in enumerate(sizes)]
    write_shard(folder / "train", documents, post_ids=post_ids, vocab_size=VOCAB)
    return folder / "train"


@pytest.fixture
def documents(tmp_path: Path) -> CorpusSource:
    (tmp_path / "corpus").mkdir()
    sizes = [5 + n % 20 for n in range(80)]
    prefix = write(tmp_path / "corpus", sizes, [[f"p:{n}"] for n in range(80)])
    return CorpusSource(TokenShard(prefix), boundary=END)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Two hundred dialogues over pairs of neighbouring posts."""
    sizes = [12 + n % 9 for n in range(200)]
    return write(tmp_path, sizes, [[f"p:{n}", f"p:{n + 1}"] for n in range(200)])


def open_dialogues(prefix: Path) -> DialogueSource:
    shard = TokenShard(prefix)
    return DialogueSource(shard, reply_starts=np.full(len(shard), 8), boundary=END)


def read_by(objective: TokenObjective, *, num_steps: int) -> list[set[int]]:
    """Documents of each order that some step reads."""
    return [
        {piece[0] for step in range(num_steps) for piece in order.pieces(step)}
        for order in objective.orders
    ]


def test_pretraining_shares_a_step_between_documents_and_dialogues(
    documents: CorpusSource, prefix: Path
):
    dialogues = open_dialogues(prefix)
    both = pretrain(documents, dialogues, DATA)
    assert [order.tokens_per_step for order in both.orders] == [100, 100]
    assert [order.source for order in both.orders] == [documents, dialogues]
    assert read_by(both, num_steps=40) == [set(range(80)), set(range(200))]
    alone = pretrain(documents, None, DATA)
    assert [order.tokens_per_step for order in alone.orders] == [200]
    assert (both.name, both.held_out) == ("pretrain", ())


def test_tuning_reads_dialogues_alone_and_never_those_held_out(prefix: Path):
    dialogues = open_dialogues(prefix)
    split = HeldOutSplit.of_dialogues(prefix)
    objective = sft(dialogues, split, DATA)
    (read,) = read_by(objective, num_steps=60)
    held_out = set(np.flatnonzero(split.is_held_out).tolist())
    assert 2 <= len(held_out) <= 40
    assert read == set(range(200)) - held_out
    measured = [piece[0] for _, piece in objective.held_out]
    assert measured == sorted(held_out)[: len(measured)]
    assert 0 < sum(length for _, (_, _, length) in objective.held_out) <= 60


def test_no_post_is_both_learned_from_and_held_out(prefix: Path):
    split = HeldOutSplit.of_dialogues(prefix)
    table = pl.read_parquet(f"{prefix}.meta.parquet").with_columns(
        pl.Series("is_held_out", split.is_held_out)
    )
    learned = set(table.filter(~pl.col("is_held_out"))["post_ids"].explode())
    for ids in table.filter("is_held_out")["post_ids"]:
        assert set(ids) - learned


def test_the_split_is_of_ids_and_stays_when_a_post_is_taken_back(prefix: Path):
    before = HeldOutSplit.of_dialogues(prefix)
    assert blank_posts(prefix, [f"p:{n}" for n in range(50)], filler=END)
    after = HeldOutSplit.of_dialogues(prefix)
    assert np.array_equal(before.is_held_out, after.is_held_out)


def test_few_dialogues_are_split_or_refused(tmp_path: Path):
    split = HeldOutSplit.of_dialogues(write(tmp_path, [9, 9], [["p:1"], ["p:2"]]))
    assert sorted(split.is_held_out.tolist()) == [False, True]
    with pytest.raises(DataError, match="too few") as caught:
        HeldOutSplit.of_dialogues(write(tmp_path, [9, 9], [["p:1"], ["p:1"]]))
    assert caught.value.hint


def test_a_held_out_dialogue_that_would_be_cut_is_not_measured(tmp_path: Path):
    prefix = write(tmp_path, [150, 20], [["p:1"], ["p:2"]])
    pieces = HeldOutSplit(np.array([True, True])).pieces(open_dialogues(prefix), DATA)
    assert [piece for _, piece in pieces] == [(1, 0, 19)]


def test_loss_and_measures_are_those_of_the_replies(prefix: Path):
    dialogues = open_dialogues(prefix)
    objective = sft(dialogues, HeldOutSplit.of_dialogues(prefix), DATA)
    batch = objective.batch(objective.held_out, row_tokens=None)
    generator = torch.Generator().manual_seed(3)
    hidden_NC = torch.randn(len(batch.ids_N), 16, generator=generator).requires_grad_()
    head_VC = torch.randn(VOCAB, 16, generator=generator)
    nll_N = torch.nn.functional.cross_entropy(
        hidden_NC @ head_VC.T, batch.target_N, reduction="none"
    )
    # Twelve tokens and more, the reply begins at the ninth and ends with a boundary.
    num_counted = sum(length - 8 for _, (_, _, length) in objective.held_out)
    assert objective.weight(batch) == float(batch.weight_N.sum()) == num_counted
    expected = float(nll_N.detach() @ batch.weight_N)
    loss = objective.loss(hidden_NC, head_VC, batch, ALONE)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert hidden_NC.grad is not None
    has_gradient = hidden_NC.grad.abs().sum(1) > 0
    assert torch.equal(has_gradient, batch.weight_N > 0)
    sums = objective.measures(hidden_NC, head_VC, batch, ALONE).tolist()
    assert sums == pytest.approx([expected, num_counted], rel=1e-5)
    assert objective.metrics(sums) == {"heldout_reply_nats": pytest.approx(expected / num_counted)}


def test_some_documents_of_a_source_keep_their_numbers(documents: CorpusSource):
    part = PartSource(documents, np.arange(80) % 2 == 0)
    assert part.sizes[:4].tolist() == [6, 0, 8, 0]
    assert np.array_equal(part.tokens(2), documents.tokens(2))
    assert np.array_equal(part.weights(2), documents.weights(2))
