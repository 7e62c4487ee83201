"""A plan's outline in a twentieth of a second, before any layout is looked at.

Pure. Speed is a share of the best matrix product that large published runs had; what failures cost
is Daly's law. For a page that answers while a slider moves; ``make_plan`` replaces it.
"""

from mynah.model import LlamaConfig
from mynah.plan.budget import Budget, Outline, outline
from mynah.plan.checkpointing import (
    checkpoint_bytes,
    checkpoint_cost,
    expected_goodput,
    planned_interval_s,
)
from mynah.plan.costs import own_price, power_of, rental_prices
from mynah.plan.failures import mean_time_to_interrupt_h
from mynah.plan.hardware import find_accelerator
from mynah.plan.plan_config import PlanConfig, checked
from mynah.plan.ranges import Range

__all__ = ["sketch"]

SHARE = Range(low=0.35, middle=0.5, high=0.65)
"""Of the best measured product. Llama 3 405B had 38 to 43% of the peak, half of what a product
reaches (arXiv:2407.21783, table 4); MegaScale 55% of the A100's, 0.63 (arXiv:2402.15627)."""
TYPICAL_WEIGHTS = 1e9
"""Of a checkpoint where no size is known yet; most of a small share."""


def sketch(config: PlanConfig) -> Outline:
    """Say roughly what the budget allows.

    Args:
        config: What is asked; of it, no recipe, no published model and no file of hardware.

    Raises:
        ConfigError: As ``budget.outline``.
    """
    config = checked(config)
    kind = find_accelerator(config.gpu)
    rate = kind.measured_tflops[kind.half] * 1e12
    speed = SHARE.through(lambda share: share * rate)
    own = config.usd_per_gpu_hour
    prices = rental_prices(kind, is_reserved=config.is_reserved) if own is None else own_price(own)
    budget = Budget(
        num_gpus=config.gpus,
        accelerator=kind,
        days=config.days,
        usd=config.usd,
        tokens=config.tokens,
        shape=config.shape,
        served_tokens=config.served_tokens,
        sparsity=config.sparsity,
        vocab_size=config.vocab_size,
        row_tokens=config.row_tokens,
    )

    def constant(shape: LlamaConfig) -> Range:
        return speed

    return outline(budget, constant, goodput=_goodput(config), prices=prices, power=power_of(kind))


def _goodput(config: PlanConfig) -> Range:
    """Share of the time that failures leave, by Daly's law, at the ends of the rate's range."""
    failures = config.failures
    count = max(config.gpus, 1)
    cost = checkpoint_cost(
        checkpoint_bytes(round(TYPICAL_WEIGHTS)), config.storage, num_accelerators=count
    )
    recovery_s = failures.detection_s.middle + failures.restart_s.middle

    def share(mtti_h: float) -> float:
        mtti_s = min(mtti_h * 3600.0, 1e12)
        kept = expected_goodput(
            planned_interval_s(cost, mtti_s=mtti_s),
            stall_s=cost.stall_s.middle,
            recovery_s=recovery_s,
            mtti_s=mtti_s,
        )
        return min(max(kept, 0.01), 1.0)

    return mean_time_to_interrupt_h(failures, count).through(share)
