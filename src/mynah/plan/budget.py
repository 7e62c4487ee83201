"""From what is given, time, money, tokens or a shape, to a run: its size, its tokens, its price.

Pure. How fast an accelerator gets through a shape and how much of the time a cluster works come
from elsewhere: here compute is accelerators x seconds x FLOP/s x goodput, and spent by
``mynah.plan.scaling``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.costs import Costs, Passed, Power, Prices, costs_of, days_for, passed
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
from mynah.plan.shapes import Sparsity, flop_per_token, shape_near_active

__all__ = ["Budget", "Outline", "Speed", "outline"]

Speed = Callable[[LlamaConfig], Range]
"""FLOP/s that one accelerator achieves on a shape: those of ``flop_per_token``, so attention's
scores count, once, and what is computed again does not."""

SECONDS_PER_DAY = 86_400.0
MAX_GPUS = 10_000_000
MAX_DAYS = 3650.0
MIN_HOURS = 1.0
"""Shorter runs on a cluster are mostly start: 15 minutes from a failure back to where it was, in
MegaScale (Jiang et al. 2024, section 6, arXiv:2402.15627)."""
SMALLEST_USEFUL = 0.1e9
"""Weights of the smallest model that is worth a plan; mynah's own base has 0.135e9."""
LEAST_TRAINED = 0.02
"""Tokens over those best for the size: MT-NLG 530B, the least trained of the large published ones,
had that with 270B tokens (Smith et al. 2022, arXiv:2201.11990)."""
WRITTEN_TOKENS = 3e14
"""Public text of people there is; 1e14 to 1e15 (Villalobos et al. 2024, arXiv:2211.04325)."""
TYPICAL_WEIGHTS = 10e9
"""Active weights of a shape that shows how sparse others are."""
MAX_ROUNDS = 6


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
    solver = _Solver(budget, speed, goodput, prices)
    solver.check_limits()
    shape, tokens = solver.solve()
    return solver.outline(shape, tokens, power)


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


class _Solver:
    """A budget beside what its accelerators achieve."""

    def __init__(
        self, budget: Budget, speed: Speed | float, goodput: Range, prices: Prices
    ) -> None:
        self.budget = budget
        # A search over layouts may stand behind it, and each shape is asked about several times.
        self.speed = cache(speed if callable(speed) else _constant(speed))
        self.goodput = goodput
        self.prices = prices
        self.sparsity = self._typical_sparsity()
        self.limit = self._limit_days()

    # What the limits allow

    def _limit_days(self) -> Range | None:
        """Days that time and money allow; ``None`` where neither is given."""
        given, days = self.budget, self.budget.days
        if given.usd is None:
            return None if days is None else Range.exactly(days)
        paid = days_for(given.usd, given.num_paid, self.prices)
        return paid if days is None else paid.through(lambda some: min(some, days))

    def a_day(self, shape: LlamaConfig) -> Range:
        """FLOP that all accelerators get through in a day on that shape."""
        rate = self.speed(shape).times(self.goodput)
        if not rate.low > 0:
            raise ConfigError(
                f"an accelerator is said to achieve {rate.low:g} FLOP/s",
                hint="give a rate above 0, such as 4e14",
            )
        return rate.through(lambda some: some * self.budget.num_gpus * SECONDS_PER_DAY)

    def each(self, shape: LlamaConfig) -> float:
        """FLOP of a token."""
        return flop_per_token(shape, row_tokens=self.budget.row_tokens)

    def days_of(self, shape: LlamaConfig, tokens: float) -> Range:
        """Days that a run takes."""
        flop = tokens * self.each(shape)
        return self.a_day(shape).through(lambda done: flop / done)

    def check_limits(self) -> None:
        """Refuse limits that allow nothing useful, and say what would."""
        given = self.budget
        if self.limit is None:
            return
        flop = _flop_where(
            lambda flop: best_size(flop, sparsity=self.sparsity).middle, SMALLEST_USEFUL
        )
        trained = flop / (self._first_guess() * SECONDS_PER_DAY)
        useful = max(MIN_HOURS / 24, trained)
        if self.limit.middle >= useful * 0.999:
            return
        is_poor = given.days is None or self.limit.middle < given.days
        remedy = "raise --budget" if is_poor else "raise --days"
        if is_poor and self.limit.middle >= trained:
            # There is money for the FLOP, and too little for an hour of so many.
            fewer = max(1, math.floor(given.num_gpus * self.limit.middle / useful))
            remedy += f", or take fewer accelerators: --gpus {fewer}"
        raise ConfigError(
            f"{self._limits()} of {given.num_gpus:,} {given.accelerator.name} is too little: "
            f"{self._needs(useful)}",
            hint=remedy,
        )

    def _needs(self, days: float) -> str:
        usd = days / days_for(1.0, self.budget.num_paid, self.prices).middle
        return f"the smallest useful plan needs {_duration(days)}, about {usd:,.0f} USD"

    def _limits(self) -> str:
        given = self.budget
        limits = [] if given.days is None else [_duration(given.days)]
        if given.usd is not None:
            limits.append(f"{given.usd:,.0f} USD")
        return " and ".join(limits)

    # Which run

    def solve(self) -> tuple[LlamaConfig, Range]:
        """The shape, and its tokens."""
        given = self.budget
        shape = given.shape
        if shape is None and self.limit is not None:
            shape = self._fitting_shape(self.limit.middle)
        if shape is None:
            assert given.tokens is not None, "checked: something is given"
            shape = self._shape(self.best_weights(given.tokens))
        tokens = given.tokens
        if tokens is None and self.limit is None:
            tokens = self.best_tokens(active_weights(shape), _sparsity_of(shape))
        if tokens is not None:
            self._check_time(shape, tokens)
            return shape, Range.exactly(tokens)
        assert self.limit is not None, "without a limit there are tokens"
        each = self.each(shape)
        seen = self.limit.times(self.a_day(shape)).through(lambda flop: flop / each)
        self._check_trained(shape, seen.middle)
        return shape, seen

    def _shape(self, weights: float) -> LlamaConfig:
        return shape_near_active(
            weights,
            vocab_size=self.budget.vocab_size,
            max_context_tokens=self.budget.row_tokens,
            sparsity=self.budget.sparsity,
        )

    def _fitting_shape(self, days: float) -> LlamaConfig:
        """The best shape for the time there is; speed and size hang on each other, so by turns."""
        seen = [self._wanted_shape(days * SECONDS_PER_DAY * self._first_guess())]
        for _ in range(MAX_ROUNDS):
            # The laws count no attention scores: what those take is not theirs to spend.
            share = training_flop(active_weights(seen[-1]), 1.0) / self.each(seen[-1])
            shape = self._wanted_shape(days * self.a_day(seen[-1]).middle * share)
            if shape in seen:
                return self._in_time(min(seen[seen.index(shape) :], key=active_weights), days)
            seen.append(shape)
        return self._in_time(min(seen[-2:], key=active_weights), days)

    def _wanted_shape(self, flop: float) -> LlamaConfig:
        """The best for that compute, and for the tokens, where they are given."""
        tokens, weights = self.budget.tokens, self.best_of(flop, self.sparsity)
        if tokens is not None:
            # No more than is best for so many tokens: time may be left, compute not wasted.
            weights = min(flop / training_flop(1.0, tokens), self.best_weights(tokens))
            self._check_room(weights, tokens)
        return self._shape(weights)

    def _in_time(self, shape: LlamaConfig, days: float) -> LlamaConfig:
        """The shape, or the next smaller one that gets through the tokens: shapes come in steps."""
        tokens, weights = self.budget.tokens, float(active_weights(shape))
        while tokens is not None and self.days_of(shape, tokens).middle > days:
            weights *= 0.97
            shape = self._shape(weights)
        return shape

    def _first_guess(self) -> float:
        """FLOP/s of all to begin with: 40% of the best product, as large runs have it."""
        known = self.budget.accelerator
        one = 0.4e12 * known.measured_tflops[known.half]
        return one * self.goodput.middle * self.budget.num_gpus

    def _typical_sparsity(self) -> float:
        """All weights over active ones of the shapes that are made."""
        if self.budget.shape is not None:
            return _sparsity_of(self.budget.shape)
        if self.budget.sparsity is None:
            return 1.0
        return _sparsity_of(self._shape(TYPICAL_WEIGHTS))

    def best_of(self, flop: float, sparsity: float) -> float:
        """Active weights that are best for that compute."""
        served = self.budget.served_tokens
        return best_size(flop, sparsity=sparsity, served_tokens=served).middle

    def best_tokens(self, weights: float, sparsity: float) -> float:
        """Tokens that are best for a size."""
        flop = _flop_where(lambda flop: self.best_of(flop, sparsity), weights)
        return flop / training_flop(weights, 1.0)

    def best_weights(self, tokens: float) -> float:
        """Active weights that are best for so many tokens."""
        best = self.best_of
        flop = _flop_where(
            lambda flop: flop / training_flop(best(flop, self.sparsity), 1.0), tokens
        )
        return flop / training_flop(tokens, 1.0)

    # What contradicts itself

    def _check_room(self, weights: float, tokens: float) -> None:
        """Refuse tokens that leave no time for weights."""
        if weights >= SMALLEST_USEFUL:
            return
        flop = training_flop(SMALLEST_USEFUL, tokens)
        needs = self._needs(flop / (self._first_guess() * SECONDS_PER_DAY))
        raise ConfigError(
            f"{tokens:.3g} tokens in {self._limits()} leave compute for a model of {weights:.2g} "
            f"weights: with so many tokens {needs}",
            hint="lower --tokens, or raise --days, --budget or --gpus",
        )

    def _check_time(self, shape: LlamaConfig, tokens: float) -> None:
        """Refuse a run that the limits do not hold, or no one's patience."""
        days, given = self.days_of(shape, tokens), self.budget
        run = f"{num_weights(shape):.3g} weights on {tokens:.3g} tokens take {given.num_gpus:,} "
        run += f"{given.accelerator.name} {_duration(days.middle)}"
        if self.limit is not None and days.middle > self.limit.middle * 1.001:
            raise ConfigError(
                f"{run}, {self._limits()} are given: for this shape and these tokens "
                f"{self._needs(days.middle)}",
                hint="raise --days, --budget or --gpus, lower --tokens, or leave some of it out",
            )
        if days.middle > MAX_DAYS:
            enough = math.ceil(given.num_gpus * days.middle / 365)
            raise ConfigError(
                f"{run}: no run lasts so long",
                hint=f"about {enough:,} accelerators would do it in a year: --gpus {enough}",
            )

    def _check_trained(self, shape: LlamaConfig, tokens: float) -> None:
        """Refuse a shape that the limits let see next to nothing."""
        weights = active_weights(shape)
        share = overtraining(weights, tokens, sparsity=_sparsity_of(shape)).middle
        if share >= LEAST_TRAINED:
            return
        least = tokens * LEAST_TRAINED / share
        raise ConfigError(
            f"{num_weights(shape):.3g} weights would see {tokens:.3g} tokens in {self._limits()}, "
            f"{share:.2%} of what is best for them: for this shape "
            f"{self._needs(self.days_of(shape, least).middle)}",
            hint="raise --days, --budget or --gpus, or leave the shape to the planner",
        )

    # What follows

    def outline(self, shape: LlamaConfig, tokens: Range, power: Power) -> Outline:
        """All figures of a run."""
        given, weights, sparsity = self.budget, active_weights(shape), _sparsity_of(shape)
        flop = tokens.through(lambda some: some * self.each(shape))
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
            flop_per_s=self.speed(shape),
            best_weights=Range(low=found[0].low, middle=found[1].middle, high=found[2].high),
            loss=loss,
            overtraining=overtraining(weights, tokens.middle, sparsity=sparsity),
            batch_tokens=largest_batch(spent.middle, loss.middle),
            costs=self._costs(shape, tokens, power),
            passed=passed(flop),
            notes=(),
        )
        return replace(result, notes=tuple(self._notes(result)))

    def _costs(self, shape: LlamaConfig, tokens: Range, power: Power) -> Costs:
        given, prices = self.budget, self.prices

        def over(days: Range) -> Costs:
            return costs_of(days, given.num_paid, given.accelerator, prices=prices, power=power)

        if self.limit is None or given.tokens is not None:
            return over(self.days_of(shape, tokens.middle))
        costs, usd = over(self.limit), given.usd
        if usd is None:
            return costs
        # Days follow from the price, dear hours are few: together they come to the budget.
        bill = Range.exactly(usd)
        if given.days is not None:
            bill = over(Range.exactly(given.days)).usd.through(lambda some: min(some, usd))
        return replace(costs, usd=bill, gpu_usd=bill.times(prices.gpu_share))

    def _notes(self, result: Outline) -> list[str]:
        given, notes = self.budget, list[str]()
        if result.tokens.middle > WRITTEN_TOKENS:
            notes.append(
                f"{result.tokens.middle:.2g} tokens are more than people have published, about "
                f"{WRITTEN_TOKENS:.0e} (Villalobos et al. 2024): documents would be repeated"
            )
        if result.overtraining.middle < 0.5:
            notes.append("the model is larger than is best for so many tokens")
        if given.days is not None and result.costs.days.high > given.days * 1.001:
            notes.append("at the slow end of the range the run takes longer than --days")
        if given.usd is not None and result.costs.usd.high > given.usd * 1.001:
            notes.append("at the dear end of the range the run costs more than --budget")
        if self.limit is not None and result.costs.days.middle < 0.9 * self.limit.middle:
            notes.append(
                f"the run is done after {_duration(result.costs.days.middle)}: more compute "
                "would not help a model on so many tokens as much as more tokens"
                if given.shape is None
                else f"the run is done after {_duration(result.costs.days.middle)}"
            )
        if result.shape.num_experts:
            notes.append(
                "that idle experts are worth something is an assumption: "
                f"{result.active_weights:.3g} active weights of {result.all_weights:.3g} are taken "
                "for a dense model somewhere between the two"
            )
        return notes


def _sparsity_of(shape: LlamaConfig) -> float:
    """All weights over active ones; 1 for a dense model, whose embedding is neither."""
    return max(1.0, num_weights(shape) / active_weights(shape)) if shape.num_experts else 1.0


def _constant(flop_per_s: float) -> Speed:
    return lambda shape: Range.exactly(flop_per_s)


def _flop_where(rising: Callable[[float], float], wanted: float) -> float:
    """Compute at which a figure that rises with it is what is wanted, by halving its logarithm."""
    low, high = 10.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        if rising(10.0**middle) < wanted:
            low = middle
        else:
            high = middle
    return 10.0**low


def _duration(days: float) -> str:
    """A time as people say it."""
    if days < 2 / 24:
        return f"{days * 1440:.0f} minutes"
    if days < 2:
        return f"{days * 24:.0f} hours"
    return f"{days:,.0f} days" if days < 1000 else f"{days / 365.25:,.1f} years"
