"""Which run a budget allows: the limits that time and money set, and the best shape inside them.

Pure. Refuses what allows nothing useful, and says what would.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.costs import Prices, days_for
from mynah.plan.ranges import Range
from mynah.plan.scaling import best_size, overtraining, training_flop
from mynah.plan.shapes import flop_per_token, shape_near_active
from mynah.plan.wording import count_words

if TYPE_CHECKING:  # what is given is described where it is asked for
    from mynah.plan.budget import Budget, Speed

__all__ = ["MAX_DAYS", "Solver", "sparsity_of", "spoken_days"]

SECONDS_PER_DAY = 86_400.0
MAX_DAYS = 3650.0
MIN_HOURS = 1.0
"""Shorter runs on a cluster are mostly start: 15 minutes from a failure back to where it was, in
MegaScale (Jiang et al. 2024, section 6, arXiv:2402.15627)."""
SMALLEST_USEFUL = 0.1e9
"""Weights of the smallest model that is worth a plan; mynah's own base has 0.135e9."""
LEAST_TRAINED = 0.02
"""Tokens over those best for the size: MT-NLG 530B, the least trained of the large published ones,
had that with 270B tokens (Smith et al. 2022, arXiv:2201.11990)."""
TYPICAL_WEIGHTS = 10e9
"""Active weights of a shape that shows how sparse others are."""
MAX_ROUNDS = 6


class Solver:
    """A budget beside what its accelerators achieve."""

    def __init__(
        self, budget: "Budget", speed: "Speed | float", goodput: Range, prices: Prices
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
            f"{self._limits()} of {self._cluster()} is too little: {self._needs(useful)}",
            hint=remedy,
        )

    def _cluster(self) -> str:
        """The accelerators; those that do not train are named, since the user counts them, too."""
        given = self.budget
        spare = f" ({given.num_spares:,} more stand by)" if given.num_spares else ""
        return f"{given.num_gpus:,} {given.accelerator.name}{spare}"

    def _needs(self, days: float) -> str:
        usd = days / days_for(1.0, self.budget.num_paid, self.prices).middle
        return f"the smallest useful plan needs {spoken_days(days)}, about {usd:,.0f} USD"

    def _limits(self) -> str:
        given = self.budget
        limits = [] if given.days is None else [spoken_days(given.days)]
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
            tokens = self.best_tokens(active_weights(shape), sparsity_of(shape))
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
            return sparsity_of(self.budget.shape)
        if self.budget.sparsity is None:
            return 1.0
        return sparsity_of(self._shape(TYPICAL_WEIGHTS))

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
            f"{count_words(tokens)} tokens in {self._limits()} leave compute for a model of "
            f"{count_words(weights)} weights: with so many tokens {needs}",
            hint="lower --tokens, or raise --days, --budget or --gpus",
        )

    def _check_time(self, shape: LlamaConfig, tokens: float) -> None:
        """Refuse a run that the limits do not hold, or no one's patience."""
        days, given = self.days_of(shape, tokens), self.budget
        run = f"{count_words(num_weights(shape))} weights on {count_words(tokens)} tokens take "
        run += f"{self._cluster()} "
        run += spoken_days(days.middle)
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
        share = overtraining(weights, tokens, sparsity=sparsity_of(shape)).middle
        if share >= LEAST_TRAINED:
            return
        least = tokens * LEAST_TRAINED / share
        raise ConfigError(
            f"{count_words(num_weights(shape))} weights would see {count_words(tokens)} tokens "
            f"in {self._limits()}, {share:.2%} of what is best for them: for this shape "
            f"{self._needs(self.days_of(shape, least).middle)}",
            hint="raise --days, --budget or --gpus, or leave the shape to the planner",
        )


def sparsity_of(shape: LlamaConfig) -> float:
    """All weights over active ones; 1 for a dense model, whose embedding is neither."""
    return max(1.0, num_weights(shape) / active_weights(shape)) if shape.num_experts else 1.0


def _constant(flop_per_s: float) -> "Speed":
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


def spoken_days(days: float) -> str:
    """A time as people say it."""
    if days < 2 / 24:
        return f"{days * 1440:.0f} minutes"
    if days < 2:
        return f"{days * 24:.0f} hours"
    return f"{days:,.0f} days" if days < 1000 else f"{days / 365.25:,.1f} years"
