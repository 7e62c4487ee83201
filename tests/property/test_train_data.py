"""The order of the training data: nothing is left out, nothing comes twice, nothing is kept."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mynah.train import DataOrder, make_batch


@dataclass
class Counting:
    """Documents whose tokens say where they are: 1,000 times the document plus the place."""

    lengths: list[int]

    @property
    def sizes(self) -> np.ndarray:
        return np.array(self.lengths, dtype=np.int64)

    def tokens(self, number: int) -> np.ndarray:
        return 1000 * number + np.arange(self.lengths[number])

    def weights(self, number: int) -> np.ndarray:
        return np.ones(self.lengths[number])


@st.composite
def orders(draw: st.DrawFn) -> DataOrder:
    lengths = draw(st.lists(st.integers(0, 90), min_size=1, max_size=40))
    max_tokens = draw(st.integers(1, 60))
    tokens_per_step = max_tokens + draw(st.integers(0, 100))
    seed = draw(st.integers(0, 2**31))
    return DataOrder(
        Counting(lengths), seed=seed, tokens_per_step=tokens_per_step, max_tokens=max_tokens
    )


def predictions(order: DataOrder) -> list[int]:
    return [token for n in range(len(order.source.sizes)) for token in order.source.tokens(n)[1:]]


@settings(max_examples=150, deadline=None)
@given(orders(), st.integers(0, 3))
def test_an_epoch_predicts_every_token_once(order: DataOrder, epoch: int):
    first = epoch * order.steps_per_epoch
    chosen = [
        (order.source, piece)
        for step in range(first, first + order.steps_per_epoch)
        for piece in order.pieces(step)
    ]
    expected = predictions(order)
    if not chosen:
        assert not expected
        return
    batch = make_batch(chosen)
    real = batch.weight_N > 0
    assert sorted(batch.target_N[real].tolist()) == expected
    assert (batch.ids_N[real] + 1).tolist() == batch.target_N[real].tolist()
    assert len(batch.ids_N) % 64 == 0
    assert batch.num_tokens == len(expected)


@settings(max_examples=150, deadline=None)
@given(orders())
def test_no_step_is_empty_and_none_is_too_large(order: DataOrder):
    sizes = [
        sum(length for _, _, length in order.pieces(step)) for step in range(order.steps_per_epoch)
    ]
    if not sum(sizes):
        return
    assert min(sizes) > 0
    # A piece that begins in a step's stretch may end in the next one's.
    assert max(sizes) < order.tokens_per_step + order.max_tokens


@settings(max_examples=100, deadline=None)
@given(orders(), st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_a_step_is_a_function_of_its_number_alone(order: DataOrder, steps: list[int]):
    asked = {step: order.pieces(step) for step in steps}
    again = DataOrder(
        order.source,
        seed=order.seed,
        tokens_per_step=order.tokens_per_step,
        max_tokens=order.max_tokens,
    )
    assert all(again.pieces(step) == asked[step] for step in sorted(steps, reverse=True))


@settings(max_examples=100, deadline=None)
@given(orders(), st.integers(0, 2))
def test_step_of_finds_the_first_step_that_reads_a_document(order: DataOrder, epoch: int):
    first = epoch * order.steps_per_epoch
    seen: dict[int, int] = {}
    for step in range(first, first + order.steps_per_epoch):
        for document, _, _ in order.pieces(step):
            seen.setdefault(document, step)
    for document, step in seen.items():
        assert order.step_of(document, epoch=epoch) == step


@settings(max_examples=100, deadline=None)
@given(orders(), st.integers(0, 80))
def test_steps_of_names_every_step_that_reads_a_document(order: DataOrder, num_steps: int):
    readers: dict[int, list[int]] = {n: [] for n in range(len(order.source.sizes))}
    for step in range(num_steps):
        for document in {document for document, _, _ in order.pieces(step)}:
            readers[document].append(step)
    for document, steps in readers.items():
        assert order.steps_of(document, num_steps=num_steps) == steps
