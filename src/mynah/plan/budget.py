"""From what is given, time, money, tokens or a shape, to a run: its size, its tokens, its price.

Pure. How fast an accelerator gets through a shape and how much of the time a cluster works come
from elsewhere: here compute is accelerators x seconds x FLOP/s x goodput, and spent by
``mynah.plan.scaling``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.costs import Costs, Passed, Power, Prices, costs_of, passed
from mynah.plan.hardware import Accelerator
from mynah.plan.ranges import Range
from mynah.plan.scaling import (
    best_size,
    dense_equivalent,
    expected_loss,
    largest_batch,
    overtraining,
    training_flop,
)
from mynah.plan.shapes import Sparsity
from mynah.plan.solver import MAX_DAYS, Solver, sparsity_of, spoken_days
from mynah.plan.wording import count_words

__all__ = ["Budget", "Outline", "Speed", "outline"]

Speed = Callable[[LlamaConfig], Range]
"""FLOP/s that one accelerator achieves on a shape: those of ``flop_per_token``, so attention's
scores count, once, and what is computed again does not."""

MAX_GPUS = 10_000_000
WRITTEN_TOKENS = 3e14
"""Public text of people there is; 1e14 to 1e15 (Villalobos et al. 2024, arXiv:2211.04325)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is given. One of days, usd, tokens and shape is enough.

    Days and money are limits. Tokens and shape are wishes: where one is missing it is the best for
    the other and for the limits, where both are there the limits must hold them.
    """

    num_gpus: int
    """Accelerators that work."""
    num_spares: int = 0
    """Accelerators that wait for one of those to fail; they are paid for."""
    accelerator: Accelerator
    days: float | None = None
    """Of wall-clock time, at most."""
    usd: float | None = None
    """Of the whole bill, at most."""
    tokens: float | None = None
    """Of the run."""
    shape: LlamaConfig | None = None
    """Of the model."""
    served_tokens: float = 0.0
    """Tokens that the model is to read and write in service; 0 asks for the lowest loss."""
    sparsity: Sparsity | None = None
    """Experts of a shape that is not given; ``None`` is a dense model."""
    vocab_size: int = 128_256
    """Words of the tokenizer of a shape that is not given."""
    row_tokens: int = 8192
    """Tokens that attention looks back over, at most."""

    @property
    def num_paid(self) -> int:
        """Accelerators that are paid for."""
        return self.num_gpus + self.num_spares


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A run that the budget allows."""

    shape: LlamaConfig
    all_weights: int
    active_weights: int
    """Those that a token is multiplied by."""
    tokens: Range
    """Of the run; with a limit on time they follow the speed."""
    flop: Range
    """Of the run, with attention's scores."""
    flop_per_s: Range
    """That one accelerator achieves."""
    best_weights: Range
    """Active weights that the published laws would take for that compute."""
    loss: Range
    """Nats a token that the laws expect, on the text of Hoffmann et al.; compares plans."""
    overtraining: Range
    """Tokens over those for which the size would be best."""
    batch_tokens: Range
    """Largest step that still helps: ranks that read different documents share it."""
    costs: Costs
    """Time, money and energy."""
    passed: tuple[Passed, ...]
    """Thresholds of compute, of this run alone: a base that it starts from comes on top."""
    notes: tuple[str, ...]
    """What whoever reads the plan ought to know."""


def outline(
    budget: Budget, speed: Speed | float, *, goodput: Range, prices: Prices, power: Power
) -> Outline:
    """Say what run the budget allows.

    Args:
        budget: What is given.
        speed: FLOP/s that one accelerator achieves, by shape or for all shapes alike.
        goodput: Share of the time in which the run gets on.
        prices: Of an hour of an accelerator.
        power: How much machines draw.

    Raises:
        ConfigError: Nothing is given, something is absurd, what is given contradicts itself, or it
            allows no useful run; the message says what the smallest useful one needs.
    """
    _check(budget)
    if not 0 < goodput.low <= goodput.high <= 1:
        raise ConfigError(
            f"goodput is said to lie between {goodput.low:g} and {goodput.high:g}",
            hint="give a share of the time, above 0 and at most 1",
        )
    solver = Solver(budget, speed, goodput, prices)
    solver.check_limits()
    shape, tokens = solver.solve()
    return _outlined(solver, shape, tokens, power)


def _check(budget: Budget) -> None:
    """Refuse what no run can be."""
    limits = {
        "--gpus": (budget.num_gpus, 1, MAX_GPUS, "accelerators"),
        "spares": (budget.num_spares, 0, MAX_GPUS, "accelerators"),
        "--days": (budget.days, 1e-9, MAX_DAYS, "days"),
        "--budget": (budget.usd, 1e-9, 1e15, "USD"),
        "--tokens": (budget.tokens, 1e6, 1e17, "tokens"),
        "--serve-tokens": (budget.served_tokens, 0, 1e21, "tokens"),
        "a row": (budget.row_tokens, 1, 1e8, "tokens"),
    }
    for flag, (value, least, most, unit) in limits.items():
        if value is not None and not least <= value <= most:
            raise ConfigError(
                f"{flag} is {value:,.10g} {unit}",
                hint=f"give from {least:,.10g} to {most:,.10g}",
            )
    if budget.days is budget.usd is budget.tokens is budget.shape is None:
        raise ConfigError(
            f"{budget.num_gpus:,} accelerators are given, and nothing that says for how long",
            hint="give --days, --budget, --tokens or --recipe",
        )


def _outlined(solver: Solver, shape: LlamaConfig, tokens: Range, power: Power) -> Outline:
    """All figures of a run."""
    given, weights, sparsity = solver.budget, active_weights(shape), sparsity_of(shape)
    flop = tokens.through(lambda some: some * solver.each(shape))
    spent = tokens.through(lambda some: training_flop(weights, some))
    found = [
        best_size(some, sparsity=sparsity, served_tokens=given.served_tokens)
        for some in (spent.low, spent.middle, spent.high)
    ]
    dense = dense_equivalent(weights, weights * sparsity)
    losses = [expected_loss(dense, some) for some in (tokens.high, tokens.middle, tokens.low)]
    loss = Range(low=losses[0].low, middle=losses[1].middle, high=losses[2].high)
    result = Outline(
        shape=shape,
        all_weights=num_weights(shape),
        active_weights=weights,
        tokens=tokens,
        flop=flop,
        flop_per_s=solver.speed(shape),
        best_weights=Range(low=found[0].low, middle=found[1].middle, high=found[2].high),
        loss=loss,
        overtraining=overtraining(weights, tokens.middle, sparsity=sparsity),
        batch_tokens=largest_batch(spent.middle, loss.middle),
        costs=_costs(solver, shape, tokens, power),
        passed=passed(flop),
        notes=(),
    )
    return replace(result, notes=tuple(_notes(solver, result)))


def _costs(solver: Solver, shape: LlamaConfig, tokens: Range, power: Power) -> Costs:
    given, prices = solver.budget, solver.prices

    def over(days: Range) -> Costs:
        return costs_of(days, given.num_paid, given.accelerator, prices=prices, power=power)

    if solver.limit is None or given.tokens is not None:
        return over(solver.days_of(shape, tokens.middle))
    costs, usd = over(solver.limit), given.usd
    if usd is None:
        return costs
    # Days follow from the price, dear hours are few: together they come to the budget.
    bill = Range.exactly(usd)
    if given.days is not None:
        bill = over(Range.exactly(given.days)).usd.through(lambda some: min(some, usd))
    return replace(costs, usd=bill, gpu_usd=bill.times(prices.gpu_share))


def _notes(solver: Solver, result: Outline) -> list[str]:
    given, notes = solver.budget, list[str]()
    if result.tokens.middle > WRITTEN_TOKENS:
        notes.append(
            f"{count_words(result.tokens.middle)} tokens are more than people have published, "
            f"about {count_words(WRITTEN_TOKENS)} (Villalobos et al. 2024): documents would be "
            "repeated"
        )
    if result.overtraining.middle < 0.5:
        notes.append("the model is larger than is best for so many tokens")
    if given.days is not None and result.costs.days.high > given.days * 1.001:
        notes.append("at the slow end of the range the run takes longer than --days")
    if given.usd is not None and result.costs.usd.high > given.usd * 1.001:
        notes.append("at the dear end of the range the run costs more than --budget")
    if solver.limit is not None and result.costs.days.middle < 0.9 * solver.limit.middle:
        notes.append(
            f"the run is done after {spoken_days(result.costs.days.middle)}: more compute "
            "would not help a model on so many tokens as much as more tokens"
            if given.shape is None
            else f"the run is done after {spoken_days(result.costs.days.middle)}"
        )
    if result.shape.num_experts:
        notes.append(
            "that idle experts are worth something is an assumption: "
            f"{count_words(result.active_weights)} active weights of "
            f"{count_words(result.all_weights)} are taken "
            "for a dense model somewhere between the two"
        )
    return notes
