"""Size, layout, failures and money, each of which hangs on the others, brought to rest.

Pure. The size of a model decides how fast it trains, speed decides how much compute there is, that
the size; a checkpoint weighs what the model weighs, failures and saves take their share of the
time. So a plan goes round until nothing moves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mynah.errors import ConfigError
from mynah.model import LlamaConfig, active_weights, num_weights
from mynah.plan.budget import Budget, Outline, outline
from mynah.plan.checkpointing import CheckpointCost
from mynah.plan.costs import days_for, own_price, power_of, rental_prices
from mynah.plan.failures import mean_time_to_interrupt_h
from mynah.plan.goodput import Goodput
from mynah.plan.hardware import find_accelerator
from mynah.plan.layouts import Cluster
from mynah.plan.plan_config import PlanConfig, recipe_values, shape_of
from mynah.plan.plan_failures import QUICK_TRIALS, Machines, clipped_days
from mynah.plan.ranges import Range
from mynah.plan.scaling import dense_equivalent, expected_loss, largest_batch
from mynah.plan.search import Search, Wanted, search_worlds
from mynah.plan.shapes import flop_per_token, shape_near_active

__all__ = ["Progress", "Settled", "settle"]

Progress = Callable[[str, float], None]
"""Told what is being worked out, and the share that is done, from 0 to 1."""

SECONDS_PER_DAY = 86_400.0
FIRST_GOODPUT = Range(low=0.85, middle=0.93, high=0.96)
"""Where the rounds begin: that of published runs on thousands of accelerators."""
FIRST_DAYS = 30.0
"""Length of a run of which nothing is known yet, for its spare nodes."""
FIRST_SHARE = 0.4
"""Of the best product, as large runs have it; likewise."""
TOKENS_PER_WEIGHT = 20.0
"""About the best (Hoffmann et al. 2022, arXiv:2203.15556); likewise."""
MAX_ROUNDS = 5
CLOSE = 0.003
"""Change of goodput at which the rounds end."""
SAME_BATCH = 0.01
"""Change of a step's tokens that is none."""
FEWEST_SHARE = 0.96
"""Of the nodes that could train: so many at least do, since a number with more divisors has better
layouts."""
NUM_WORLDS = 6
SMALLEST = 0.1e9
"""Active weights of the smallest model that is looked at where a larger one has no room."""
BISECTIONS = 7
OTHER_DAYS = 1.5
"""Spare nodes are chosen anew where the run is longer or shorter than assumed by this factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the rounds came to."""

    cluster: Cluster
    wanted: Wanted
    outline: Outline
    search: Search
    goodput: Goodput
    mtti_h: Range
    checkpoint: CheckpointCost
    interval_s: float
    num_spare_nodes: int
    num_idle: int
    notes: tuple[str, ...]


class _NoLayoutError(Exception):
    """A shape has none; never leaves this module."""

    def __init__(self, shape: LlamaConfig, error: ConfigError) -> None:
        super().__init__(error.message)
        self.shape = shape
        self.error = error


def settle(config: PlanConfig, *, on_progress: Progress) -> Settled:
    """Go round until nothing moves.

    Args:
        config: Checked.
        on_progress: Told how far it is.

    Raises:
        ConfigError: What is given contradicts itself, or allows no useful run.
    """
    return _Rounds(config, on_progress).settle()


class _Rounds:
    """A plan on its way."""

    def __init__(self, config: PlanConfig, on_progress: Progress) -> None:
        self.config, self.on_progress = config, on_progress
        path = Path(config.hardware) if config.hardware else None
        self.kind = find_accelerator(config.gpu, path)
        self.power = power_of(self.kind)
        own = config.usd_per_gpu_hour
        self.prices = (
            rental_prices(self.kind, is_reserved=config.is_reserved)
            if own is None
            else own_price(own)
        )
        per_node = min(config.accelerators_per_node, config.gpus)
        self.machines = Machines(
            config=config, num_nodes=config.gpus // per_node, per_node=per_node
        )
        self.shape = shape_of(config)
        self.batch = _given_batch(config)
        self.has_own_batch = self.batch is not None
        self.notes: list[str] = []
        self.world: int | None = None
        """Accelerators that train; chosen with the first shape that is searched."""
        self.searches: dict[tuple[LlamaConfig, int, int | None], Search] = {}
        self.spares = 0

    # The rounds

    def settle(self) -> Settled:
        """Go round until nothing moves, then play the run through in full."""
        days = self._first_days()
        self.on_progress("spare nodes", 0.02)
        self.spares = self.machines.choose_spares(days)
        found, goodput = self._round(FIRST_GOODPUT)
        for number in range(MAX_ROUNDS):
            self.on_progress("layouts", 0.1 + 0.1 * number)
            moved = self._adopt(found, days)
            days = found.costs.days.middle
            played = self._play(found).goodput
            if not moved and abs(played.middle - goodput.middle) < CLOSE:
                break
            found, goodput = self._round(played)
        return self._settled(found)

    def _round(self, goodput: Range) -> tuple[Outline, Range]:
        """An outline with that goodput; the largest shape that fits where the best does not."""
        lowest = max(goodput.low, 1e-3)
        goodput = replace(goodput, low=lowest, middle=max(goodput.middle, lowest))
        try:
            return self._outline(goodput), goodput
        except _NoLayoutError as problem:
            if self.shape is not None:
                raise problem.error from problem
            self.shape = self._largest(problem)
        try:
            return self._outline(goodput), goodput
        except _NoLayoutError as problem:
            raise problem.error from problem

    def _outline(self, goodput: Range) -> Outline:
        config = self.config
        trained = self._num_trained
        budget = Budget(
            num_gpus=trained,
            num_spares=config.gpus - trained,
            accelerator=self.kind,
            days=config.days,
            usd=config.usd,
            tokens=config.tokens,
            shape=self.shape,
            served_tokens=config.served_tokens,
            sparsity=config.sparsity,
            vocab_size=config.vocab_size,
            row_tokens=config.row_tokens,
        )
        return outline(budget, self._speed, goodput=goodput, prices=self.prices, power=self.power)

    def _adopt(self, found: Outline, days: float) -> bool:
        """Take over the step and the spare nodes that follow; say whether they moved."""
        moved, wanted = False, found.batch_tokens.middle
        if not self.has_own_batch and abs(wanted / (self.batch or 1.0) - 1) > SAME_BATCH:
            self.batch, moved = wanted, True
        ratio = found.costs.days.middle / days
        if max(ratio, 1 / ratio) > OTHER_DAYS:
            spares = self.machines.choose_spares(found.costs.days.middle)
            if spares != self.spares:
                self.spares, self.world, moved = spares, None, True
        return moved

    # Layouts

    @property
    def _num_trained(self) -> int:
        """Accelerators that could train."""
        return (self.machines.num_nodes - self.spares) * self.machines.per_node

    def _cluster(self, world: int) -> Cluster:
        config = self.config
        return Cluster(
            accelerator=self.kind,
            num_accelerators=world,
            accelerators_per_node=self.machines.per_node,
            network_gb_per_s=config.network_gb_per_s,
            pod_size=config.pod_size,
            oversubscription=config.oversubscription,
        )

    def _wanted(self, shape: LlamaConfig) -> Wanted:
        config = self.config
        batch = self.batch if self.batch is not None else self._likely_batch(shape)
        return Wanted(
            row_tokens=config.row_tokens,
            batch_tokens=max(int(batch), config.row_tokens),
            precisions=config.precisions,
            num_shown=config.num_shown,
            is_parted=config.replicas == "torchft",
        )

    def _search(self, shape: LlamaConfig) -> Search:
        wanted = self._wanted(shape)
        key = (shape, wanted.batch_tokens, self.world)
        if key in self.searches:
            return self.searches[key]
        try:
            found = search_worlds(
                shape, self._cluster(self._num_trained), wanted, worlds=self._worlds()
            )
        except ConfigError as error:
            if self.world is None:
                raise _NoLayoutError(shape, error) from error
            self.world = None  # another number of nodes may do
            return self._search(shape)
        if self.world is None:
            self.world = found.ranked[0].num_accelerators
            return self._search(shape)
        self.searches[key] = self._with_groups(found, shape)
        return self.searches[key]

    def _worlds(self) -> list[int]:
        """Numbers of accelerators to try."""
        if self.world is not None:
            return [self.world]
        per_node = self.machines.per_node
        return [nodes * per_node for nodes in _node_counts(self._num_trained // per_node)]

    def _with_groups(self, found: Search, shape: LlamaConfig) -> Search:
        """With replica groups, ranked by what failures leave of their speed."""
        if self.config.replicas != "torchft":
            return found
        weights = num_weights(shape)
        ranked = sorted(found.ranked, key=lambda one: -self.machines.progress(one, weights))
        return replace(found, ranked=tuple(ranked))

    def _speed(self, shape: LlamaConfig) -> Range:
        """FLOP/s of each accelerator that could train, those that stay idle included."""
        best = self._search(shape).ranked[0]
        each = flop_per_token(shape, row_tokens=self.config.row_tokens)
        busy = best.num_accelerators / self._num_trained
        return best.tokens_per_s.through(lambda speed: speed * each * busy)

    def _largest(self, problem: _NoLayoutError) -> LlamaConfig:
        """The largest shape below one that has no layout which has one."""
        config, fits = self.config, None
        low, high = math.log(SMALLEST), math.log(active_weights(problem.shape))
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            shape = shape_near_active(
                math.exp(middle),
                vocab_size=config.vocab_size,
                max_context_tokens=config.row_tokens,
                sparsity=config.sparsity,
            )
            try:
                self._search(shape)
            except _NoLayoutError:
                high = middle
            else:
                low, fits = middle, shape
        if fits is None:
            raise problem.error from problem
        self.notes.append(
            f"the best size for so much compute, {active_weights(problem.shape):.3g} weights, has "
            f"no layout here; the largest that has one is taken"
        )
        return fits

    def _likely_batch(self, shape: LlamaConfig) -> float:
        """The step of the first round: the law's, for the compute that there seems to be."""
        config, weights = self.config, active_weights(shape)
        each = flop_per_token(shape, row_tokens=config.row_tokens)
        tokens = config.tokens
        if tokens is None and (config.days is not None or config.usd is not None):
            rate = FIRST_SHARE * self.kind.measured_tflops[self.kind.half] * 1e12
            tokens = rate * self.config.gpus * self._first_days() * SECONDS_PER_DAY / each
        tokens = tokens or TOKENS_PER_WEIGHT * weights
        loss = expected_loss(dense_equivalent(weights, num_weights(shape)), tokens).middle
        return largest_batch(6.0 * weights * tokens, loss).middle

    def _first_days(self) -> float:
        """Length of the run, as far as it is known before anything else is."""
        config = self.config
        limits = [FIRST_DAYS] if config.days is None else [config.days]
        if config.usd is not None:
            limits.append(days_for(config.usd, config.gpus, self.prices).middle)
        return clipped_days(min(limits))

    # The end

    def _play(
        self,
        found: Outline,
        *,
        interval_s: float | None = None,
        num_trials: int = QUICK_TRIALS,
    ) -> Goodput:
        """Play the run through; at Daly's interval where none is known yet."""
        best, machines = self._search(found.shape).ranked[0], self.machines
        cost = machines.cost(best, found.all_weights)
        if interval_s is None:
            interval_s = machines.planned_s(cost, best.num_accelerators)
        days = found.costs.days.middle
        return machines.play(best, cost, days, interval_s=interval_s, num_trials=num_trials)

    def _settled(self, found: Outline) -> Settled:
        config, best = self.config, self._search(found.shape).ranked[0]
        cost = self.machines.cost(best, found.all_weights)
        self.on_progress("checkpoints", 0.6)
        interval_s = self.machines.best_s(best, cost, found.costs.days.middle)
        self.on_progress("failures", 0.8)
        goodput = self._play(found, interval_s=interval_s, num_trials=config.num_trials)
        last, _ = self._round(goodput.goodput)
        if last.shape != found.shape:
            goodput = self._play(last, interval_s=interval_s, num_trials=config.num_trials)
        search = self._search(last.shape)
        best = search.ranked[0]
        return Settled(
            cluster=self._cluster(best.num_accelerators),
            wanted=self._wanted(last.shape),
            outline=last,
            search=search,
            goodput=goodput,
            mtti_h=mean_time_to_interrupt_h(config.failures, best.num_accelerators),
            checkpoint=self.machines.cost(best, last.all_weights),
            interval_s=interval_s,
            num_spare_nodes=self.machines.spare_nodes(best.num_accelerators),
            num_idle=self._num_idle,
            notes=(*last.notes, *self.notes, *self._own_notes(search, last)),
        )

    @property
    def _num_idle(self) -> int:
        return self.config.gpus % self.machines.per_node

    def _own_notes(self, search: Search, found: Outline) -> list[str]:
        config, best, notes = self.config, search.ranked[0], list[str]()
        spares = self.machines.spare_nodes(best.num_accelerators)
        if spares:
            notes.append(
                f"{best.num_accelerators:,} of {config.gpus:,} accelerators train; {spares:,} "
                "nodes stand by for those that break"
            )
        if self._num_idle:
            notes.append(f"{self._num_idle:,} accelerators make no whole node and are not used")
        if best.batch_tokens > found.batch_tokens.middle * (1 + SAME_BATCH):
            notes.append(
                f"a step of {best.batch_tokens:,} tokens is larger than what helps most, about "
                f"{found.batch_tokens.middle:,.0f}"
            )
        if best.needed.high > best.capacity_bytes:
            notes.append(
                f"memory is tight: up to {best.needed.high / 1e9:.1f} GB of "
                f"{best.capacity_bytes / 1e9:.1f} where the allocator loses much; look at a layout "
                "of the table that needs less"
            )
        if config.row_tokens > found.shape.max_position_embeddings:
            notes.append(
                f"rows have {config.row_tokens:,} tokens, the model's positions were made for "
                f"{found.shape.max_position_embeddings:,}"
            )
        return notes


def _node_counts(most: int) -> list[int]:
    """Numbers of nodes to try: all, and those a little below with the most divisors."""
    least = max(1, math.ceil(FEWEST_SHARE * most))
    below = sorted(range(least, most), key=lambda nodes: (-_num_divisors(nodes), -nodes))
    return [most, *below[: NUM_WORLDS - 1]]


def _num_divisors(number: int) -> int:
    return sum(
        (number % one == 0) * (2 if one * one < number else 1)
        for one in range(1, math.isqrt(number) + 1)
    )


def _given_batch(config: PlanConfig) -> float | None:
    """Tokens of a step that somebody has chosen."""
    if config.batch_tokens is not None or not config.recipe:
        return config.batch_tokens
    data = recipe_values(Path(config.recipe)).get("data")
    found = data.get("tokens_per_step") if isinstance(data, dict) else None
    return float(found) if isinstance(found, int) and found >= config.row_tokens else None
