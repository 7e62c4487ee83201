"""How large a model and how many tokens an amount of compute is best spent on, by published laws.

Pure. No law is right: each was fitted on one laboratory's data, at a thousandth of the compute that
it is asked about here. So every answer is a ``Range`` over all of them, and its middle is their
median. The laws, and what is taken from each:

- Hoffmann et al. 2022 (Chinchilla, arXiv:2203.15556): the exponents of table 2 for approaches 1
  and 2, through what each says of Gopher's budget, 5.76e23 FLOP (figures 2 and 3); approach 3 by
  its fit of the loss, with exponents of four digits, as Besiroglu et al. read them in its source.
- Besiroglu et al. 2024 (arXiv:2404.10102): the same fit, done again on the same points.
- Grattafiori et al. 2024 (Llama 3, arXiv:2407.21783), section 3.2.1: the exponent 0.53 through
  16.55T tokens at 3.8e25 FLOP. The factor printed beside it, 0.29, has lost too many digits: with
  it the law would give 10.5T there.
- Bi et al. 2024 (DeepSeek LLM, arXiv:2401.02954), section 3.2: FLOP a token and tokens.

Weights are what a token is multiplied by; a run takes 6 FLOP for each and token (Kaplan et al.
2020, arXiv:2001.08361, section 2.1), attention's scores not counted. Losses are nats a token on the
text and the tokenizer of Hoffmann et al.: good for comparing plans, not for what a run will log.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import median

from mynah.plan.ranges import Range

__all__ = [
    "BESIROGLU",
    "CHINCHILLA",
    "LAWS",
    "SPARSE_EXPONENT",
    "LossLaw",
    "OptimumLaw",
    "Size",
    "best_size",
    "dense_equivalent",
    "expected_loss",
    "largest_batch",
    "optimum_flop",
    "overtraining",
    "size_at_equal_loss",
    "training_flop",
]

FLOP_PER_WEIGHT = 6.0
"""Of a training token: two forward, four backward."""
SERVING_FLOP_PER_WEIGHT = 2.0
"""Of a token read or written in service; Sardana & Frankle 2024 (arXiv:2401.00448)."""

SPARSE_EXPONENT = Range(low=0.0, middle=0.52, high=0.65)
"""How much of its idle weights a mixture of experts makes use of.

Assumption: with ``a`` active weights of ``t`` it learns like a dense model of ``a (t / a) ** e``.
Low: no better than a dense one of its active weights, which is what Clark et al. 2022
(arXiv:2202.01169) extrapolate to for very large models. Middle: 2.8B of 16.4B equal 6.9B dense, on
the same tokens (Dai et al. 2024, table 3, arXiv:2401.06066). High: 0.85B of 17.5B equal 6.1B dense
(Tian et al. 2025, arXiv:2507.17702). That the laws of dense models keep their form: Wang et al.
2024 (arXiv:2410.05661).
"""

NEAR_BEST_BATCH = 2.0
"""DeepSeek-V3 trains at 63M tokens a step (arXiv:2412.19437), about twice what the law gives it."""


def training_flop(active_weights: float, tokens: float) -> float:
    """FLOP of a training run, attention's scores left out."""
    return FLOP_PER_WEIGHT * active_weights * tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model and its run, as far as compute decides."""

    weights: float
    """Weights that a token is multiplied by."""
    tokens: float
    """Tokens of the run."""

    @property
    def flop(self) -> float:
        """FLOP of the run."""
        return training_flop(self.weights, self.tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimumLaw:
    """A law of the best size alone: a power of the compute, through one point."""

    name: str
    source: str
    flop: float
    """Compute at the point."""
    weights: float
    """Best weights there."""
    exponent: float
    """Weights grow as the compute to this power, tokens as the rest."""

    def optimum(self, flop: float) -> Size:
        """Best size for ``flop``."""
        weights = self.weights * (flop / self.flop) ** self.exponent
        return Size(weights=weights, tokens=flop / training_flop(weights, 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLaw:
    """A law of the loss: ``floor + a / weights ** alpha + b / tokens ** beta``."""

    name: str
    source: str
    floor: float
    """Nats a token that no model gets below."""
    a: float
    alpha: float
    b: float
    beta: float

    @property
    def exponent(self) -> float:
        """Best weights grow as the compute to this power."""
        return self.beta / (self.alpha + self.beta)

    def optimum(self, flop: float) -> Size:
        """Best size for ``flop``."""
        ratio = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        weights = ratio * (flop / FLOP_PER_WEIGHT) ** self.exponent
        return Size(weights=weights, tokens=flop / training_flop(weights, 1.0))

    def loss(self, weights: float, tokens: float) -> float:
        """Nats a token after such a run."""
        return self.floor + self.a * weights**-self.alpha + self.b * tokens**-self.beta

    def sparse(self, sparsity: float, exponent: float) -> "LossLaw":
        """The law for active weights, where all weights are ``sparsity`` times as many.

        With ``exponent`` of ``SPARSE_EXPONENT`` a model learns like a dense one of ``sparsity **
        exponent`` times its active weights.
        """
        return replace(self, a=self.a * sparsity ** (-exponent * self.alpha))

    def serving(self, loss: float, *, served_tokens: float) -> Size:
        """The size that reaches ``loss`` with the least FLOP of training and service together.

        Sardana & Frankle 2024 (arXiv:2401.00448), section 2. Of the loss that can be trained away
        a share ``u`` is the weights' and the rest the tokens'; the sum is least where
        ``6 tokens (alpha u / (beta (1 - u)) - 1) = 2 served``, and the left side rises with ``u``.

        Args:
            loss: Nats a token, above ``floor``.
            served_tokens: Tokens read and written over the model's life.
        """
        gap = loss - self.floor

        def size(share: float) -> Size:
            return Size(
                weights=(self.a / (gap * share)) ** (1 / self.alpha),
                tokens=(self.b / (gap * (1 - share))) ** (1 / self.beta),
            )

        def excess(share: float) -> float:
            steeper = self.alpha * share / (self.beta * (1 - share)) - 1
            return FLOP_PER_WEIGHT * size(share).tokens * steeper - served

        served = SERVING_FLOP_PER_WEIGHT * served_tokens
        # Without service the share is the exponent of the best size; service only raises it.
        return size(_root(excess, self.exponent, 1 - 1e-12))


def _root(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises crosses zero, by halving."""
    for _ in range(45):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return low


GOPHER_FLOP = 5.76e23
"""Budget at which Hoffmann et al. compare their approaches."""
CHINCHILLA = LossLaw(
    name="Chinchilla, approach 3",
    source="Hoffmann et al. 2022, equation 10 (arXiv:2203.15556)",
    floor=1.6934,
    a=406.4,
    alpha=0.3392,
    b=410.7,
    beta=0.2849,
)
"""Its optimizer had not converged, as Besiroglu et al. show; Sardana & Frankle build on it."""
BESIROGLU = LossLaw(
    name="Chinchilla, fitted again",
    source="Besiroglu et al. 2024 (arXiv:2404.10102)",
    floor=1.8172,
    a=482.01,
    alpha=0.3478,
    b=2085.43,
    beta=0.3658,
)
"""The law that losses are taken from."""
LAWS: tuple[OptimumLaw | LossLaw, ...] = (
    OptimumLaw(
        name="Chinchilla, approach 1",
        source="Hoffmann et al. 2022, table 2 and figure 2 (arXiv:2203.15556)",
        flop=GOPHER_FLOP,
        weights=67e9,
        exponent=0.50,
    ),
    OptimumLaw(
        name="Chinchilla, approach 2",
        source="Hoffmann et al. 2022, table 2 and figure 3 (arXiv:2203.15556)",
        flop=GOPHER_FLOP,
        weights=63e9,
        exponent=0.49,
    ),
    CHINCHILLA,
    BESIROGLU,
    OptimumLaw(
        name="Llama 3",
        source="Grattafiori et al. 2024, section 3.2.1 (arXiv:2407.21783)",
        flop=3.8e25,
        weights=3.8e25 / training_flop(1.0, 16.55e12),
        exponent=1 - 0.53,
    ),
    OptimumLaw(
        name="DeepSeek LLM",
        source="Bi et al. 2024, section 3.2 (arXiv:2401.02954)",
        flop=1.0,
        weights=0.1715 / FLOP_PER_WEIGHT,
        exponent=0.5243,
    ),
)
"""All of them, in the order of the module docstring."""
LOSS_LAWS = (CHINCHILLA, BESIROGLU)
LOSS_ERROR = 0.04
"""Nats: 80% of a normal error about the floor of ``BESIROGLU``, whose standard error is 0.03."""


def _span(values: Iterable[float]) -> Range:
    """Least, median and greatest; the median of powers of ten, for an even number of them."""
    logs = sorted(math.log(value) for value in values)
    return Range(low=math.exp(logs[0]), middle=math.exp(median(logs)), high=math.exp(logs[-1]))


def best_size(flop: float, *, sparsity: float = 1.0, served_tokens: float = 0.0) -> Range:
    """Active weights that training with ``flop`` is best spent on; the rest follows by division.

    With a mixture of experts a token finds more weights for the same FLOP, so fewer active ones
    and more tokens are best: ``a`` in the law of the loss shrinks, see ``SPARSE_EXPONENT``. With
    service to come, a smaller model on more tokens is: the size on which training takes ``flop``
    and no other of its loss would take less FLOP in all.

    Args:
        flop: Of the training run, above 0.
        sparsity: All weights over active ones; 1 for a dense model.
        served_tokens: Tokens read and written over the model's life.

    Returns:
        Weights that a token is multiplied by: least, median and greatest of ``LAWS``.
    """
    best = _span(law.optimum(flop).weights for law in LAWS)
    exponents = (SPARSE_EXPONENT.low, SPARSE_EXPONENT.middle, SPARSE_EXPONENT.high)
    shrunk = _span(
        _served(law.sparse(sparsity, exponent), flop, served_tokens).weights
        / law.optimum(flop).weights
        for law in LOSS_LAWS
        for exponent in (exponents if sparsity > 1 else exponents[:1])
    )
    return best.times(shrunk)


def _served(law: LossLaw, flop: float, served_tokens: float) -> Size:
    """The size on which training takes ``flop``, and no other of its loss less FLOP in all."""
    best = law.optimum(flop)
    if served_tokens <= 0:
        return best
    gap = law.loss(best.weights, best.tokens) - law.floor

    def excess(share: float) -> float:
        # Reaching the best model's loss on fewer weights takes more than `flop`, so that only a
        # share of what it has trained away can be.
        return law.serving(law.floor + gap / share, served_tokens=served_tokens).flop - flop

    share = _root(excess, 1e-6, 1.0)
    return law.serving(law.floor + gap / share, served_tokens=served_tokens)


def size_at_equal_loss(
    flop: float, *, served_tokens: float, law: LossLaw = BESIROGLU
) -> tuple[Size, Size]:
    """The best size for training alone, and the one of the same loss that is cheapest in all.

    Args:
        flop: Of the first one's training run.
        served_tokens: Tokens read and written over the model's life.
        law: What says that losses are equal.

    Returns:
        First the best for training alone; the second is no larger, and takes more training.

    Source: Sardana & Frankle 2024 (arXiv:2401.00448).
    """
    alone = law.optimum(flop)
    loss = law.loss(alone.weights, alone.tokens)
    return alone, law.serving(loss, served_tokens=served_tokens)


def dense_equivalent(active_weights: float, all_weights: float) -> Range:
    """Weights of a dense model that learns as much from as many tokens; ``SPARSE_EXPONENT``."""
    ratio = max(1.0, all_weights / active_weights)
    return SPARSE_EXPONENT.through(lambda exponent: active_weights * ratio**exponent)


def expected_loss(weights: Range, tokens: float) -> Range:
    """Nats a token that such a run should reach, over both laws of the loss.

    Args:
        weights: Of a dense model, or of the one that ``dense_equivalent`` gives.
        tokens: Of the run.
    """
    found = [law.loss(size, tokens) for law in LOSS_LAWS for size in (weights.low, weights.high)]
    middle = BESIROGLU.loss(weights.middle, tokens)
    return Range(
        low=min(*found, middle - LOSS_ERROR), middle=middle, high=max(*found, middle + LOSS_ERROR)
    )


def optimum_flop(law: OptimumLaw | LossLaw, weights: float) -> float:
    """Compute for which ``weights`` are the best size, by ``law``."""
    return (weights / law.optimum(1.0).weights) ** (1 / law.exponent)


def overtraining(weights: float, tokens: float, *, sparsity: float = 1.0) -> Range:
    """Tokens of a run over those for which its size would be best: above 1 it is cheap to serve.

    Args:
        weights: Active ones.
        tokens: Of the run.
        sparsity: All weights over active ones.
    """
    # A dense model that is best for the same compute is as much larger at any compute.
    dense = weights * best_size(1e24).middle / best_size(1e24, sparsity=sparsity).middle
    best = _span(optimum_flop(law, dense) / training_flop(weights, 1.0) for law in LAWS)
    return best.through(lambda most: tokens / most)


def largest_batch(flop: float, loss: float) -> Range:
    """Tokens of a step beyond which more of them hardly help: the limit of data parallelism.

    Middle: the best batch of Bi et al. 2024, section 3.1 (arXiv:2401.02954); up to twice that
    has been used. The other law is the critical batch of McCandlish et al. 2018 (arXiv:1812.06162),
    at which a run takes twice the fewest steps and twice the fewest tokens, as Kaplan et al. 2020
    fit it (arXiv:2001.08361, equation 1.4). Where the two disagree, both bound the range.

    Args:
        flop: Of the whole run.
        loss: Nats a token at its end.
    """
    best = 0.2920 * flop**0.3271
    critical = 2e8 / loss ** (1 / 0.21)
    return Range(low=min(best, critical), middle=best, high=max(NEAR_BEST_BATCH * best, critical))
