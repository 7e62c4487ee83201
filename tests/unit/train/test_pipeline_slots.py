"""A schedule's order laid out in time."""

import pytest

from mynah.train.pipeline_slots import lay_slots, order_1f1b


def test_the_bubble_of_1f1b_is_that_of_the_literature() -> None:
    # Narayanan et al. 2021, section 2.2.1: (p - 1) / m of the ideal time.
    slots = lay_slots(order_1f1b(4, 8), name="1f1b", num_stages=4)
    assert slots.idle_share == pytest.approx(3 / (8 + 3))


def test_a_rank_waits_for_what_it_is_sent() -> None:
    slots = lay_slots(order_1f1b(2, 2), name="1f1b", num_stages=2)
    assert slots.ranks[0] == ("0F0", "0F1", "", "", "0B0", "0B0", "", "0B1", "0B1")
    assert slots.ranks[1] == ("", "1F0", "1B0", "1B0", "1F1", "1B1", "1B1", "", "")


def test_halves_of_a_backward_take_a_slot_each_and_the_rest_is_left_out() -> None:
    order = {0: ["0F0", None, "0I0", "0W0", "0REDUCE_GRAD"], 1: ["1F0", "1I0", "1W0"]}
    slots = lay_slots(order, name="zero_bubble", num_stages=2)
    assert slots.ranks == (("0F0", "", "", "0I0", "0W0"), ("", "1F0", "1I0", "1W0", ""))
