"""Hours, money and energy, beside what published runs took."""

import pytest

from mynah.errors import ConfigError
from mynah.plan.costs import (
    Power,
    Prices,
    co2_tonnes,
    costs_of,
    days_for,
    own_price,
    passed,
    power_of,
    rental_prices,
)
from mynah.plan.hardware import accelerators, find_accelerator
from mynah.plan.ranges import Range
from mynah.plan.scaling import training_flop

H100 = find_accelerator("H100")


def test_hours_of_llama_3_1_405b():
    # FLOP of the report at the 380 to 430 TFLOP/s of its table 4 and the 90% of effective time of
    # its section 3.3.4, against the 30.84M hours of the model card: those hold the stages of long
    # context and annealing, too, which the FLOP do not.
    flop = training_flop(405e9, 15.6e12)
    seconds = [flop / rate / 0.9 for rate in (430e12, 400e12, 380e12)]
    low, middle, high = (some / 16_384 / 86_400 for some in seconds)
    days = Range(low=low, middle=middle, high=high)
    hours = costs_of(days, 16_384, H100, prices=rental_prices(H100), power=power_of(H100)).gpu_hours
    assert hours.low < 30.84e6 < 1.01 * hours.high
    assert hours.middle == pytest.approx(30.84e6, rel=0.06)


def test_money_of_deepseek_v3():
    # 2.788M hours of H800 at 2 USD: 5.576M USD, table 1 of arXiv:2412.19437.
    h800 = find_accelerator("H800")
    days = Range.exactly(2.788e6 / 2048 / 24)
    costs = costs_of(days, 2048, h800, prices=own_price(2.0, covers_all=True), power=power_of(h800))
    assert costs.gpu_hours.middle == pytest.approx(2.788e6)
    assert costs.usd == costs.gpu_usd
    assert costs.usd.middle == pytest.approx(5.576e6)


def test_energy_of_bloom():
    # 1,082,990 hours of A100: 433 MWh of accelerators and 257 of nodes and network around them,
    # without the building (Luccioni et al. 2023, section 4, arXiv:2211.02001).
    a100 = find_accelerator("A100")
    machines = Power(node_factor=power_of(a100).node_factor, pue=Range.exactly(1.0))
    days = Range.exactly(1_082_990 / 384 / 24)
    energy = costs_of(days, 384, a100, prices=rental_prices(a100), power=machines).energy_mwh
    assert energy.low < 433.2 + 256.6 < energy.high
    assert energy.middle == pytest.approx(433.2 + 256.6, rel=0.15)


def test_power_of_an_h100_node():
    # 8.4 kW at most, 7.75 kW in training (arXiv:2412.08602, arXiv:2506.14551); the rating is 10.2.
    machines = Power(node_factor=Range.exactly(10.2e3 / 8 / 700), pue=Range.exactly(1.0))
    node = costs_of(
        Range.exactly(1.0), 8, H100, prices=rental_prices(H100), power=machines
    ).power_mw.through(lambda some: some * 1e3)
    assert node.middle == pytest.approx(7.75, rel=0.01)
    assert node.high == pytest.approx(8.4, rel=0.01)


def test_a_rack_of_72_draws_about_120_kilowatts_at_most():
    gb200 = find_accelerator("GB200")
    rated = power_of(gb200).node_factor.through(lambda factor: factor * 72 * 1.2)
    assert (rated.low, rated.middle, rated.high) == pytest.approx((115, 120, 132), rel=0.01)


@pytest.mark.parametrize("name", accelerators())
def test_figures_are_in_order_and_grow_with_time_and_number(name: str):
    known = find_accelerator(name)
    prices, power = rental_prices(known), power_of(known)
    one = costs_of(Range(low=1, middle=2, high=3), 8, known, prices=prices, power=power)
    for figure in (one.days, one.gpu_hours, one.usd, one.gpu_usd, one.energy_mwh, one.power_mw):
        assert 0 < figure.low <= figure.middle <= figure.high
    twice = costs_of(Range(low=2, middle=4, high=6), 8, known, prices=prices, power=power)
    assert twice.usd.middle == pytest.approx(2 * one.usd.middle)
    assert twice.power_mw == one.power_mw
    more = costs_of(Range(low=1, middle=2, high=3), 80, known, prices=prices, power=power)
    assert more.energy_mwh.middle == pytest.approx(10 * one.energy_mwh.middle)


def test_storage_and_network_come_on_top():
    costs = costs_of(Range.exactly(1.0), 1, H100, prices=own_price(2.0), power=power_of(H100))
    assert costs.gpu_usd == Range.exactly(48.0)
    assert 1.3 < costs.usd.low / 48 < costs.usd.high / 48 < 1.7


def test_what_is_reserved_is_cheaper():
    def bill(*, is_reserved: bool) -> Range:
        prices = rental_prices(H100, is_reserved=is_reserved)
        return costs_of(Range.exactly(1.0), 8, H100, prices=prices, power=power_of(H100)).usd

    assert bill(is_reserved=True).middle == pytest.approx(0.6 * bill(is_reserved=False).middle)


@pytest.mark.parametrize("prices", [own_price(2.5, covers_all=True), rental_prices(H100)])
def test_money_becomes_the_days_that_cost_it(prices: Prices):
    days = days_for(1e6, 512, prices)
    assert days.low <= days.middle <= days.high
    middle = Range.exactly(days.middle)
    assert costs_of(
        middle, 512, H100, prices=prices, power=power_of(H100)
    ).usd.middle == pytest.approx(1e6)


@pytest.mark.parametrize("usd", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_price_is_refused(usd: float):
    with pytest.raises(ConfigError, match="price of an hour"):
        own_price(usd)


def test_carbon_needs_the_grid():
    # The card of Llama 3.1 405B: 8,930 t for 30.84M hours at 700 W and its PUE of about 1.08.
    energy = Range.exactly(30.84e6 * 0.7 * 1.08 / 1e3)
    assert co2_tonnes(energy, kg_per_kwh=0.383).middle == pytest.approx(8930, rel=0.01)
    assert co2_tonnes(energy, kg_per_kwh=0.0) == Range.exactly(0.0)
    with pytest.raises(ConfigError, match="383 kg of CO2 a kWh"):
        co2_tonnes(energy, kg_per_kwh=383)


def test_thresholds_are_passed_for_certain_or_perhaps():
    found = passed(Range(low=2e24, middle=9e24, high=1.2e25))
    assert [(one.threshold.amount, one.is_certain) for one in found] == [
        (10**23, True),
        (10**25, False),
    ]
    assert passed(Range.exactly(1e23)) == ()  # past it is more than it
    assert len(passed(Range.exactly(2e26))) == 4
