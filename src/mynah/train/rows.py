"""How the documents of a step are laid into rows, and which rank reads which row.

Reads and writes nothing. Rows are laid from the whole step before anything is dealt out, so that
what a step reads, and which documents share a row, does not depend on how many ranks there are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mynah.errors import ConfigError
from mynah.train.data import DataOrder, Piece

__all__ = ["RowPlan", "check_documents", "deal", "lay_pieces", "lay_rows"]


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What one rank reads in a step.

    Args:
        rows: Pieces of each of its rows.
        num_empty: Rows that count nothing, so that all ranks have equally many.
    """

    rows: tuple[tuple[Piece, ...], ...]
    num_empty: int


def lay_rows(
    orders: Sequence[DataOrder], step: int, *, batch_tokens: int
) -> list[tuple[Piece, ...]]:
    """Lay what ``step`` reads into rows of at most ``batch_tokens``, short pieces first.

    Neighbours of like length share a row: attention pads them least. A piece that is longer than
    a row has one of its own.
    """
    chosen = [(order.source, piece) for order in orders for piece in order.pieces(step)]
    return lay_pieces(chosen, batch_tokens=batch_tokens)


def lay_pieces(pieces: Iterable[Piece], *, batch_tokens: int) -> list[tuple[Piece, ...]]:
    """Lay pieces into rows, as ``lay_rows`` does those of a step."""
    rows: list[list[Piece]] = [[]]
    size = 0
    for piece in sorted(pieces, key=lambda piece: piece[1][2]):
        if rows[-1] and size + piece[1][2] > batch_tokens:
            rows.append([])
            size = 0
        rows[-1].append(piece)
        size += piece[1][2]
    return [tuple(row) for row in rows if row]


def deal(
    rows: Sequence[tuple[Piece, ...]], *, data_rank: int, num_data: int, at_least: int = 1
) -> RowPlan:
    """Give row ``i`` to data rank ``i % num_data``.

    Neighbouring rows hold documents of like length, so that the ranks' work is alike, too.

    Args:
        rows: Of the whole step.
        data_rank: Whose rows are asked for.
        num_data: Data ranks there are.
        at_least: Rows that a rank needs, as for a pipeline with as many stages.
    """
    own = tuple(rows[data_rank::num_data])
    most = max(at_least, -(-len(rows) // num_data))
    return RowPlan(own, most - len(own))


def check_documents(orders: Sequence[DataOrder], *, num_data: int) -> None:
    """Refuse more data ranks than there is anything to read for.

    Raises:
        ConfigError: An epoch has fewer pieces of documents than there are data ranks.
    """
    num_pieces = sum(len(order.document_M) for order in orders)
    if num_pieces < num_data:
        raise ConfigError(
            f"layout: {num_data} data ranks (replicate x shard), but one epoch has only "
            f"{num_pieces} documents to read",
            hint="lower layout.replicate or layout.shard, or give mynah more posts",
        )
