"""What a run costs: days, money, energy, carbon; and the thresholds of compute that it passes.

Pure. What a price or a machine's draw may be stands in ``Prices`` and ``Power`` with its source;
prices change by the month, so give your own.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mynah.errors import ConfigError
from mynah.plan.hardware import Accelerator
from mynah.plan.ranges import Range
from mynah.record.thresholds import THRESHOLDS, Threshold, crossed

__all__ = [
    "Costs",
    "Passed",
    "Power",
    "Prices",
    "co2_tonnes",
    "costs_of",
    "days_for",
    "own_price",
    "passed",
    "power_of",
    "rental_prices",
]

HOURS_PER_DAY = 24.0
MAX_USD_PER_HOUR = 1e6
RACK = 32
"""Accelerators of a scale-up domain from which on it fills a rack, whose hosts serve more."""


GPU_SHARE = Range(low=0.60, middle=0.65, high=0.70)
"""Of a bill, for accelerators in their machines; the rest is storage, network between sites and
people to hand. A market survey of rented clusters, Mercatus AI, May 2026."""
RESERVED_DISCOUNT = Range(low=0.3, middle=0.4, high=0.5)
"""Of a year's reservation against on demand; the same survey."""
NO_DISCOUNT = Range.exactly(0.0)
LOAD_SHARE = Range(low=0.60, middle=0.76, high=0.82)
"""Draw of a node over its rating, on average over a run. Middle: H100 nodes in training (Newkirk et
al. 2025, arXiv:2506.14551). High: the most that was seen there (Latif et al. 2024,
arXiv:2412.08602). Low: nodes that wait idle, at a fifth of their rating, for 3 hours of 10."""
PUE = Range(low=1.08, middle=1.20, high=1.40)
"""Power of a building over that of its machines. Low: Meta's, sustainability report of 2023.
Middle: Jean Zay, where BLOOM was trained (Luccioni et al. 2023, arXiv:2211.02001). High: below
1.56, the mean of all sites old and new in the survey of the Uptime Institute, 2024."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an hour of one accelerator costs, with all that is billed beside it."""

    usd_per_gpu_hour: Range
    """Of the accelerator in its machine."""
    gpu_share: Range = GPU_SHARE
    """Of the whole bill; 1 where the price covers all."""
    discount: Range = NO_DISCOUNT
    """For what is reserved ahead, as a share of the price."""


def rental_prices(accelerator: Accelerator, *, is_reserved: bool = False) -> Prices:
    """Rental, from the cheapest price to the dearest; between them lies their geometric mean.

    Args:
        accelerator: What is rented.
        is_reserved: For a year, rather than on demand.
    """
    low, high = accelerator.rental_usd_per_h
    between = Range(low=low, middle=math.sqrt(low * high), high=high)
    if not is_reserved:
        return Prices(usd_per_gpu_hour=between)
    return Prices(usd_per_gpu_hour=between, discount=RESERVED_DISCOUNT)


def own_price(usd_per_gpu_hour: float, *, covers_all: bool = False) -> Prices:
    """A price that is known.

    Args:
        usd_per_gpu_hour: Of one accelerator.
        covers_all: Whether storage, network and people are in it.

    Raises:
        ConfigError: It is no price.
    """
    if not 0 < usd_per_gpu_hour < MAX_USD_PER_HOUR:
        raise ConfigError(
            f"the price of an hour is {usd_per_gpu_hour:g} USD",
            hint="give what one accelerator costs for one hour, such as --usd-per-gpu-hour 2.5",
        )
    price = Range.exactly(usd_per_gpu_hour)
    if covers_all:
        return Prices(usd_per_gpu_hour=price, gpu_share=Range.exactly(1.0))
    return Prices(usd_per_gpu_hour=price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a machine draws while it trains, from the maker's rating of one accelerator."""

    node_factor: Range
    """Rating of a node, shared out over its accelerators, over that of one accelerator."""
    load_share: Range = LOAD_SHARE
    """Of a node's rating, on average over the run."""
    pue: Range = PUE
    """Power of the building over that of its machines."""

    @property
    def per_rating(self) -> Range:
        """Watts at the meter for each watt of an accelerator's rating."""
        return self.node_factor.times(self.load_share).times(self.pue)


def power_of(accelerator: Accelerator) -> Power:
    """How much machines of that kind draw.

    Ratings are the makers': 10.2 kW for the 8 of a DGX H100 (1.82 times that of the accelerators),
    14.3 kW for those of a DGX B200 (1.79), 6.5 kW for those of a DGX A100 (2.03), 3.5 kW for those
    of a DGX-1 of V100 (1.46); 115 to 132 kW for the 72 of a GB200 NVL72 (1.33 to 1.53).
    """
    if accelerator.scale_up_size >= RACK:
        return Power(node_factor=Range(low=1.33, middle=1.39, high=1.53))
    return Power(node_factor=Range(low=1.46, middle=1.82, high=2.03))


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a run takes, beside FLOP."""

    days: Range
    """Of wall-clock time, failures included."""
    gpu_hours: Range
    """Hours of accelerators, spare ones included."""
    usd: Range
    """The whole bill."""
    gpu_usd: Range
    """What of it is paid for accelerators."""
    energy_mwh: Range
    """Megawatt-hours at the meter of the building."""
    power_mw: Range
    """Megawatts at that meter, on average."""


def costs_of(
    days: Range,
    num_gpus: int,
    accelerator: Accelerator,
    *,
    prices: Prices,
    power: Power,
) -> Costs:
    """Return what ``num_gpus`` accelerators cost over ``days``.

    Args:
        days: Of wall-clock time, failures included.
        num_gpus: Accelerators that are paid for, spare ones included.
        accelerator: Which.
        prices: Of an hour.
        power: How much machines draw.
    """
    hours = days.through(lambda some: some * HOURS_PER_DAY * num_gpus)
    gpu_usd = hours.times(_paid_per_hour(prices))
    kilowatts = power.per_rating.through(lambda watts: watts * accelerator.power_w / 1e3)
    return Costs(
        days=days,
        gpu_hours=hours,
        usd=gpu_usd.times(prices.gpu_share.through(lambda share: 1 / share)),
        gpu_usd=gpu_usd,
        energy_mwh=hours.times(kilowatts).through(lambda kwh: kwh / 1e3),
        power_mw=kilowatts.through(lambda some: some * num_gpus / 1e3),
    )


def _paid_per_hour(prices: Prices) -> Range:
    """USD an hour after the discount: the cheapest hour with the greatest one."""
    return prices.usd_per_gpu_hour.times(prices.discount.through(lambda share: 1 - share))


def days_for(usd: float, num_gpus: int, prices: Prices) -> Range:
    """Days that ``usd`` pays for: the more, the cheaper an hour may be."""
    whole = _paid_per_hour(prices).times(prices.gpu_share.through(lambda share: 1 / share))
    return whole.through(lambda an_hour: usd / (an_hour * num_gpus * HOURS_PER_DAY))


def co2_tonnes(energy_mwh: Range, *, kg_per_kwh: float) -> Range:
    """Tonnes of CO2 equivalent of that energy.

    Args:
        energy_mwh: At the meter.
        kg_per_kwh: Of the grid: your supplier's, since it goes from 0.03 to 0.8 between countries.

    Raises:
        ConfigError: It is no such figure.
    """
    if not 0 <= kg_per_kwh <= 2:
        raise ConfigError(
            f"the grid is said to emit {kg_per_kwh:g} kg of CO2 a kWh",
            hint="give kilograms a kilowatt-hour, from 0 to about 1; is yours in grams?",
        )
    return energy_mwh.through(lambda mwh: mwh * kg_per_kwh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A threshold of compute that a run passes."""

    threshold: Threshold
    is_certain: bool
    """Whether the least compute that the run may take is past it, and not only the most."""


def passed(flop: Range, thresholds: Iterable[Threshold] = THRESHOLDS) -> tuple[Passed, ...]:
    """Thresholds that a run of so much compute passes or may pass, the lowest first.

    Args:
        flop: Of the run and of all that its base took: thresholds count the whole lineage.
        thresholds: Those of ``mynah.toml``, where there is one.
    """
    known = sorted(thresholds, key=lambda one: (one.amount, one.name))
    certain = crossed(int(flop.low), known)
    return tuple(
        Passed(threshold=one, is_certain=one in certain) for one in crossed(int(flop.high), known)
    )
