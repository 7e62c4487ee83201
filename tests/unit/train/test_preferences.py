"""Direct preference optimisation: pairs in a row, the loss, and what the base says of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.fakes.preference_pairs import VOCAB, make_preferences
from tests.fakes.tiny_model import tiny_config

from mynah.corpus.preference_shard import PREFERENCES_KIND, forget_in_preferences
from mynah.errors import DataError
from mynah.model import Llama
from mynah.train import Batch, DataConfig
from mynah.train.layout import LayoutConfig
from mynah.train.mesh import Mesh
from mynah.train.pairs import PairSource, pairs_digest
from mynah.train.preferences import DpoConfig, PreferenceObjective, dpo
from mynah.train.reference import read_reference, write_reference
from mynah.train.world import World
from mynah.workspace import Artifact

ALONE = Mesh(LayoutConfig(), None)
DATA = DataConfig(tokens_per_step=200, batch_tokens=100, heldout_max_tokens=100)
BETA = 0.3


@pytest.fixture
def preferences(tmp_path: Path) -> Artifact:
    return make_preferences(tmp_path / "preferences")


@dataclass
class OneProcess:
    """What a reference is computed with: a model and the rows of one rank."""

    model: Llama
    num_rows: int = 0

    def __post_init__(self) -> None:
        self.mesh, self.device = ALONE, torch.device("cpu")
        self.recipe = SimpleNamespace(data=DATA, row_tokens=lambda _: None)

    @torch.no_grad()
    def evaluate(self, rows, measure, *, num_sums: int) -> list[float]:
        total = torch.zeros(num_sums, dtype=torch.float64)
        for row in rows:
            total += measure(self.model(row.ids_N, row.packing), self.model.head_VC, row, ALONE)
        self.num_rows += len(rows)
        return total.tolist()


@pytest.fixture
def model() -> Llama:
    model = Llama(tiny_config(VOCAB))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, weight.shape[-1] ** -0.5, generator=generator)
    return model


def objective_of(preferences: Artifact) -> PreferenceObjective:
    return dpo(preferences, DATA, DpoConfig(beta=BETA), base_digest="b" * 64)


def all_pieces(objective: PreferenceObjective):
    (order,) = objective.orders
    return [
        (order.source, piece)
        for step in range(order.steps_per_epoch)
        for piece in order.pieces(step)
    ]


def log_probability(model: Llama, tokens: list[int], reply: int) -> torch.Tensor:
    """Of a reply after its prompt, with nothing else in the row."""
    from mynah.model import pack

    ids = torch.tensor(tokens)
    hidden_NC = model(ids[:-1], pack([len(ids) - 1]))
    logits_NV = F.linear(hidden_NC, model.head_VC)
    return -F.cross_entropy(logits_NV[reply - 1 :], ids[reply:], reduction="sum")


def gains_by_hand(model: Llama, source: PairSource, number: int) -> torch.Tensor:
    """Difference of log-probabilities of the two replies of a pair."""
    chosen, second, other = source.starts_M3[number].tolist()
    tokens = source.tokens(number).tolist()
    return log_probability(model, tokens[:second], chosen) - log_probability(
        model, tokens[second:], other - second
    )


def test_only_the_replies_of_a_pair_count(preferences: Artifact):
    source = PairSource.open(preferences, "train", max_tokens=100)
    assert source.weights(2).tolist() == [0] * 6 + [1] * 5 + [0] * 6 + [1] * 5
    assert source.lengths(2) == [11, 10]
    assert sum(source.lengths(2)) == source.sizes[2] - 1 == 21
    assert source.num_left_out == 0


def test_a_pair_that_does_not_fit_is_left_out_and_counted(
    preferences: Artifact, caplog: pytest.LogCaptureFixture
):
    source = PairSource.open(preferences, "train", max_tokens=25)
    assert source.num_left_out == 5
    assert source.sizes.tolist() == [20, 21, 22, 23, 24, 25, 26, 0, 0, 0, 0, 0]
    tight = DataConfig(tokens_per_step=200, batch_tokens=22)
    objective = dpo(preferences, tight, DpoConfig(), base_digest="")
    assert "10 of 18 preference pairs are longer than a row of 22 tokens" in caplog.text
    assert {piece[0] for _, piece in all_pieces(objective)} == {0, 1, 2, 3}
    with pytest.raises(DataError, match="none of the 12") as caught:
        dpo(preferences, DataConfig(batch_tokens=10), DpoConfig(), base_digest="")
    assert "batch_tokens" in caught.value.hint


def test_a_row_holds_pairs_as_documents_that_see_nothing_of_one_another(
    preferences: Artifact, model: Llama, tmp_path: Path
):
    objective = objective_of(preferences)
    objective.prepare(OneProcess(model), tmp_path, World())  # pyright: ignore[reportArgumentType]
    source = objective.orders[0].source
    pieces = [(source, (n, 0, int(source.sizes[n]) - 1)) for n in (4, 1)]
    batch = objective.batch(pieces, row_tokens=128)
    assert batch.num_tokens == 20 + 23
    assert objective.weight(batch) == 2.0
    starts = (batch.packing.position_N == 0).nonzero().flatten().tolist()
    # The shorter pair first, after what fills the row.
    assert starts == [0, 21, 85, 95, 105, 118]
    lengths = np.diff([*starts[2:], 128]).tolist()
    expected = np.repeat([4, 0, 1, 2, 3], [85, *lengths]).tolist()
    assert batch.extra["reply_N"].tolist() == expected
    reference = np.concatenate([objective.reference[1, n] for n in (1, 4)])
    assert batch.extra["reference_S"].tolist() == pytest.approx(reference.tolist())


def test_loss_and_gradient_are_those_of_each_pair_by_itself(
    preferences: Artifact, model: Llama, tmp_path: Path
):
    objective = objective_of(preferences)
    objective.prepare(OneProcess(model), tmp_path, World())  # pyright: ignore[reportArgumentType]
    pieces = all_pieces(objective)
    source = objective.orders[0].source
    assert isinstance(source, PairSource)
    base = [gains_by_hand(model, source, number).item() for number in range(12)]
    for number in range(12):
        chosen, other = objective.reference[1, number].tolist()
        assert chosen - other == pytest.approx(base[number], abs=1e-4)
    with torch.no_grad():  # one step away from the base
        generator = torch.Generator().manual_seed(2)
        for weight in model.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    batch = objective.batch(pieces, row_tokens=None)
    loss = objective.loss(model(batch.ids_N, batch.packing), model.head_VC, batch, ALONE)
    by_hand = torch.stack(
        [
            -F.logsigmoid(BETA * (gains_by_hand(model, source, number) - base[number]))
            for number in range(12)
        ]
    ).sum()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)
    weights = list(model.parameters())
    ours, theirs = torch.autograd.grad(loss, weights), torch.autograd.grad(by_hand, weights)
    for gradient, expected in zip(ours, theirs, strict=True):
        assert (gradient - expected).norm() / expected.norm() < 1e-4


@torch.no_grad()
def test_measures_of_the_base_itself_are_ties(preferences: Artifact, model: Llama, tmp_path: Path):
    objective = objective_of(preferences)
    objective.prepare(OneProcess(model), tmp_path, World())  # pyright: ignore[reportArgumentType]
    batch = objective.batch(objective.held_out, row_tokens=None)
    num_pairs = len(objective.held_out)
    assert 2 <= num_pairs <= 6
    # A reference that is what the weights say now, whatever else shares the row.
    hidden_NC = model(batch.ids_N, batch.packing)
    sums = objective.measures(hidden_NC, model.head_VC, batch, ALONE)
    exact = batch.extra["reference_S"] * 0.0
    assert sums[3] == num_pairs
    assert sums[0] == pytest.approx(num_pairs * np.log(2.0), rel=1e-4)
    batch.extra["counts_P"][0] = 0.0
    batch.extra["reference_S"].copy_(exact)  # now every reply has gained what it is likely
    gained = objective.measures(hidden_NC, model.head_VC, batch, ALONE).tolist()
    source = objective.held_out[0][0]
    assert isinstance(source, PairSource)
    margins = [gains_by_hand(model, source, n).item() for n in range(1, num_pairs)]
    assert gained[1:] == pytest.approx(
        [sum(margin > 0 for margin in margins), sum(margins), num_pairs - 1], rel=1e-4
    )
    metrics = objective.metrics(gained)
    assert metrics["heldout_pair_accuracy"] == gained[1] / (num_pairs - 1)
    assert metrics["heldout_reward_margin"] == pytest.approx(BETA * gained[2] / (num_pairs - 1))


def test_a_row_of_nothing_has_no_loss_but_a_gradient(preferences: Artifact, model: Llama):
    objective = objective_of(preferences)
    batch = objective.batch((), row_tokens=64)
    assert (batch.weight, batch.num_tokens) == (0.0, 0)
    loss = objective.loss(model(batch.ids_N, batch.packing), model.head_VC, batch, ALONE)
    assert loss.item() == 0.0
    loss.backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_pair_that_was_taken_back_counts_nothing(
    preferences: Artifact, model: Llama, tmp_path: Path
):
    engine = OneProcess(model)
    before = objective_of(preferences)
    before.prepare(engine, tmp_path, World())  # pyright: ignore[reportArgumentType]
    num_rows = engine.num_rows

    def losses(objective: PreferenceObjective) -> dict[int, float]:
        found: dict[int, float] = {}
        for piece in all_pieces(objective):
            batch = objective.batch([piece], row_tokens=None)
            hidden_NC = model(batch.ids_N, batch.packing) * 0.5
            loss = objective.loss(hidden_NC, model.head_VC, batch, ALONE)
            found[piece[1][0]] = loss.item()
            assert batch.weight == float(loss.item() != 0.0)
        return found

    pieces, expected = all_pieces(before), losses(before)
    assert min(expected.values()) > 0.0
    assert forget_in_preferences(preferences, ["train:5:b"]) is not None
    after = objective_of(preferences)
    after.prepare(engine, tmp_path, World())  # pyright: ignore[reportArgumentType]
    assert engine.num_rows == num_rows  # the run goes on with the reference that it has
    assert [piece for _, piece in all_pieces(after)] == [piece for _, piece in pieces]
    assert losses(after) == expected | {5: 0.0}


def test_the_reference_is_kept_and_only_of_its_base_and_pairs(
    preferences: Artifact, model: Llama, tmp_path: Path
):
    objective, engine = objective_of(preferences), OneProcess(model)
    objective.prepare(engine, tmp_path, World())  # pyright: ignore[reportArgumentType]
    num_rows = engine.num_rows
    assert num_rows > 2
    again = objective_of(preferences)
    again.prepare(engine, tmp_path, World())  # pyright: ignore[reportArgumentType]
    assert engine.num_rows == num_rows
    assert again.reference.keys() == objective.reference.keys()
    assert all(np.array_equal(again.reference[k], v) for k, v in objective.reference.items())
    other = dpo(preferences, DATA, DpoConfig(), base_digest="c" * 64)
    other.prepare(engine, tmp_path, World())  # pyright: ignore[reportArgumentType]
    assert engine.num_rows == 2 * num_rows
    assert json.loads((tmp_path / "reference.json").read_text())["base"] == "c" * 64
    content = bytearray((tmp_path / "reference.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "reference.npy").write_bytes(content)
    other.prepare(engine, tmp_path, World())  # pyright: ignore[reportArgumentType]
    assert engine.num_rows == 3 * num_rows


def test_a_reference_that_is_cut_short_is_none(tmp_path: Path):
    facts = {"base": "b", "pairs": "p"}
    values = np.arange(6.0).reshape(3, 2)
    write_reference(tmp_path, facts, values)
    found = read_reference(tmp_path, facts)
    assert found is not None
    assert np.array_equal(found, values)
    assert read_reference(tmp_path, {**facts, "pairs": "q"}) is None
    (tmp_path / "reference.json").write_text("{")
    assert read_reference(tmp_path, facts) is None
    assert read_reference(tmp_path / "nowhere", facts) is None


def test_the_digest_of_pairs_is_of_which_they_are(preferences: Artifact, tmp_path: Path):
    from mynah.workspace import read_artifact

    before = pairs_digest(preferences)
    assert forget_in_preferences(preferences, ["train:5:b"]) is not None
    restated = read_artifact(preferences.folder, kind=PREFERENCES_KIND)
    assert restated is not None
    assert restated.digest != preferences.digest
    assert pairs_digest(restated) == before
    assert pairs_digest(make_preferences(tmp_path / "other", num_train=11)) != before


def test_batches_of_a_reference_name_what_they_hold(preferences: Artifact, model: Llama):
    from mynah.train import reference

    source = PairSource.open(preferences, "train", max_tokens=100)
    pieces = list(reversed(source.pieces()))
    seen: list[Batch] = []

    class Noting(OneProcess):
        def evaluate(self, rows, measure, *, num_sums: int) -> list[float]:
            seen.extend(rows)
            return super().evaluate(rows, measure, num_sums=num_sums)

    values = reference.compute_reference(Noting(model), pieces)  # pyright: ignore[reportArgumentType]
    assert all(batch.num_tokens <= DATA.batch_tokens for batch in seen)
    places = [place for batch in seen for place in batch.extra["place_S"].tolist()]
    assert sorted(places) == list(range(24))
    for (_, (number, _, _)), (chosen, other) in zip(pieces, values, strict=True):
        expected = gains_by_hand(model, source, number).item()
        assert chosen - other == pytest.approx(expected, abs=1e-4)
