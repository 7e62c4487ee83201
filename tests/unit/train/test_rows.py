"""How documents are laid into rows and dealt to ranks: everything once, whoever reads it."""

from pathlib import Path

import pytest
from tests.fakes.tiny_network import Network

from mynah.corpus import TokenShard
from mynah.errors import ConfigError
from mynah.train import CorpusSource, DataOrder
from mynah.train.rows import check_documents, deal, lay_pieces, lay_rows


@pytest.fixture
def order(network: Network) -> DataOrder:
    source = CorpusSource(TokenShard(network.corpus.folder / "train"), boundary=0)
    return DataOrder(source, seed=1, tokens_per_step=640, max_tokens=64)


def numbers(rows) -> list[tuple[int, int, int]]:
    return [piece for row in rows for _, piece in row]


@pytest.mark.parametrize("step", [0, 3, 40])
def test_a_step_is_laid_whole_and_no_row_is_too_long(order: DataOrder, step: int):
    rows = lay_rows([order], step, batch_tokens=128)
    assert sorted(numbers(rows)) == sorted(order.pieces(step))
    assert all(sum(length for _, (_, _, length) in row) <= 128 for row in rows)
    lengths = [length for _, _, length in numbers(rows)]
    assert lengths == sorted(lengths)  # neighbours are of like length


def test_a_piece_that_is_longer_than_a_row_has_one_of_its_own(order: DataOrder):
    pieces = [(order.source, (0, 0, n)) for n in (200, 10, 20)]
    assert [len(row) for row in lay_pieces(pieces, batch_tokens=64)] == [2, 1]
    assert lay_pieces([], batch_tokens=64) == []


@pytest.mark.parametrize("num_data", [1, 2, 3, 7, 50])
def test_every_row_goes_to_one_rank_and_all_get_equally_many(order: DataOrder, num_data: int):
    rows = lay_rows([order], 5, batch_tokens=64)
    plans = [deal(rows, data_rank=rank, num_data=num_data) for rank in range(num_data)]
    assert sorted(numbers(row for plan in plans for row in plan.rows)) == sorted(numbers(rows))
    assert len({len(plan.rows) + plan.num_empty for plan in plans}) == 1


def test_a_pipeline_gets_as_many_rows_as_it_needs(order: DataOrder):
    plan = deal(lay_rows([order], 0, batch_tokens=640), data_rank=0, num_data=1, at_least=9)
    assert len(plan.rows) + plan.num_empty == 9


def test_more_ranks_than_documents_are_refused(order: DataOrder, tmp_path: Path):
    num_pieces = len(order.document_M)
    check_documents([order], num_data=num_pieces)
    with pytest.raises(ConfigError, match=f"{num_pieces + 1} data ranks") as refused:
        check_documents([order], num_data=num_pieces + 1)
    assert "layout.shard" in refused.value.hint
