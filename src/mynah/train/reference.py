"""What the base says of each preference pair, computed once, before the first step.

Writes and reads ``reference.npy`` of a run, the log-probabilities of both replies of every pair,
and ``reference.json``, which says of which base and which pairs they are. Shapes: N tokens of a
row, P pairs of a row, S = 2 P replies of a row, C model width, V vocabulary, M pairs in all.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mynah.train.data import Batch, Piece
from mynah.train.loss import token_losses
from mynah.train.mesh import Mesh
from mynah.train.pairs import in_order, lay_pairs
from mynah.train.rows import deal, lay_pieces
from mynah.workspace import canonical_json, replace_file

if TYPE_CHECKING:  # that module imports the objectives' configs
    from mynah.train.engine import Engine, Measure

__all__ = ["compute_reference", "log_probabilities", "read_reference", "write_reference"]

VERSION = 1
PAIRS_AT_ONCE = 4096
"""Pairs whose log-probabilities are gathered from all ranks at once."""


def log_probabilities(hidden_NC: Tensor, head_VC: Tensor, batch: Batch) -> Tensor:
    """Log-probability of each reply, ``(S,)``: of its tokens that are in this share of the row."""
    nll_N = token_losses(hidden_NC, head_VC, batch.target_N)
    num_replies = 2 * len(batch.extra["counts_P"])
    sums = nll_N.new_zeros(num_replies + 1)
    return sums.index_add(0, batch.extra["reply_N"], -nll_N * batch.weight_N)[:num_replies]


def compute_reference(engine: "Engine", pieces: Sequence[Piece]) -> np.ndarray:
    """Log-probabilities of both replies of each pair by the weights as they are, ``(M, 2)``.

    The rows are dealt over the data ranks; every rank gets all the values.
    """
    recipe, mesh = engine.recipe, engine.mesh
    row_tokens = recipe.row_tokens(engine.device.type)
    found: list[np.ndarray] = []
    for at in range(0, len(pieces), PAIRS_AT_ONCE):
        part = pieces[at : at + PAIRS_AT_ONCE]
        places = {piece: place for place, piece in enumerate(part)}
        rows = lay_pieces(part, batch_tokens=recipe.data.batch_tokens)
        plan = deal(rows, data_rank=mesh.data_rank, num_data=mesh.num_data)
        own = [*plan.rows, *((),) * plan.num_empty]
        batches = [_placed_row(row, places, row_tokens=row_tokens) for row in own]
        num_sums = 2 * len(part)
        sums = engine.evaluate(batches, _into_places(num_sums), num_sums=num_sums)
        found.append(np.array(sums).reshape(-1, 2))
    return np.concatenate(found)


def _placed_row(
    pieces: Sequence[Piece], places: Mapping[Piece, int], *, row_tokens: int | None
) -> Batch:
    """A row that knows the place of each of its replies among all that are asked for."""
    batch = lay_pairs(pieces, row_tokens=row_tokens)
    place_S = [2 * places[piece] + side for piece in in_order(pieces) for side in (0, 1)]
    extra = {**batch.extra, "place_S": torch.tensor(place_S, dtype=torch.int64)}
    return replace(batch, extra=extra)


def _into_places(num_sums: int) -> "Measure":
    def measure(hidden_NC: Tensor, head_VC: Tensor, batch: Batch, mesh: Mesh) -> Tensor:
        # Shares of a row need no sum here: the engine adds them up as it adds up rows.
        sums_S = log_probabilities(hidden_NC, head_VC, batch).double()
        return sums_S.new_zeros(num_sums).index_copy(0, batch.extra["place_S"], sums_S)

    return measure


def write_reference(run: Path, facts: Mapping[str, str], values_M2: np.ndarray) -> None:
    """Keep the reference in the folder of a run, with what it is a function of."""
    stream = io.BytesIO()
    np.save(stream, values_M2)
    replace_file(run / "reference.npy", stream.getvalue())
    replace_file(run / "reference.json", canonical_json(_manifest(facts, stream.getvalue())))


def read_reference(run: Path, facts: Mapping[str, str]) -> np.ndarray | None:
    """Return the reference that a run has kept, if it is whole and of just these facts."""
    try:
        manifest = json.loads((run / "reference.json").read_bytes())
        content = (run / "reference.npy").read_bytes()
    except (FileNotFoundError, ValueError):
        return None
    return np.load(io.BytesIO(content)) if manifest == _manifest(facts, content) else None


def _manifest(facts: Mapping[str, str], content: bytes) -> dict[str, str | int]:
    return {"version": VERSION, **facts, "sha256": hashlib.sha256(content).hexdigest()}
