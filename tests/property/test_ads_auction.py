"""The auction keeps its promises for all bids."""

import json
from dataclasses import replace

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mynah.ads import (
    AuctionConfig,
    AuctionLog,
    Bid,
    format_money,
    parse_money,
    predict_ctr_ppm,
    run_auction,
)

RESERVE_MICROS = 10_000
BIDS = st.lists(
    st.builds(
        Bid,
        campaign_id=st.integers(1, 50),
        bid_micros=st.integers(1, 60_000) | st.sampled_from([9_999, 10_000, 20_000]),
        ctr_ppm=st.integers(1, 1_000_000) | st.sampled_from([1, 20_000, 1_000_000]),
    ),
    unique_by=lambda bid: bid.campaign_id,
    max_size=8,
)


def winner_of(bids: list[Bid], winner_id: int) -> Bid:
    return next(bid for bid in bids if bid.campaign_id == winner_id)


@settings(deadline=None)
@given(BIDS)
def test_the_highest_score_wins_at_a_fair_price(bids: list[Bid]) -> None:
    outcome = run_auction(bids, reserve_micros=RESERVE_MICROS)
    standing = [bid for bid in bids if bid.bid_micros >= RESERVE_MICROS]
    if outcome is None:
        assert standing == []
        return
    winner = winner_of(standing, outcome.winner_id)
    assert winner.score == max(bid.score for bid in standing)
    assert RESERVE_MICROS <= outcome.price_micros <= winner.bid_micros
    assert sorted(score for _, score in outcome.ranking) == sorted(b.score for b in standing)


@settings(deadline=None)
@given(BIDS)
def test_order_of_arrival_does_not_matter_and_ties_go_to_the_older(bids: list[Bid]) -> None:
    outcome = run_auction(bids, reserve_micros=RESERVE_MICROS)
    assert outcome == run_auction(bids[::-1], reserve_micros=RESERVE_MICROS)
    if outcome is not None:
        best = winner_of(bids, outcome.winner_id).score
        tied = [b for b in bids if b.score == best and b.bid_micros >= RESERVE_MICROS]
        assert outcome.winner_id == min(bid.campaign_id for bid in tied)


@settings(deadline=None)
@given(BIDS, st.integers(0, 10**9))
def test_a_winner_that_bids_more_pays_the_same(bids: list[Bid], more: int) -> None:
    outcome = run_auction(bids, reserve_micros=RESERVE_MICROS)
    assume(outcome is not None)
    assert outcome is not None
    raised = [
        replace(bid, bid_micros=bid.bid_micros + more * (bid.campaign_id == outcome.winner_id))
        for bid in bids
    ]
    again = run_auction(raised, reserve_micros=RESERVE_MICROS)
    assert again is not None
    assert (again.winner_id, again.price_micros) == (outcome.winner_id, outcome.price_micros)


@settings(deadline=None)
@given(BIDS)
def test_the_price_is_the_least_that_wins(bids: list[Bid]) -> None:
    outcome = run_auction(bids, reserve_micros=RESERVE_MICROS)
    assume(outcome is not None)
    assert outcome is not None
    winner = winner_of(bids, outcome.winner_id)
    others = [bid for bid in bids if bid.campaign_id != outcome.winner_id]
    second = max((b.score for b in others if b.bid_micros >= RESERVE_MICROS), default=0)
    assert outcome.price_micros * winner.ctr_ppm >= second
    if outcome.price_micros > RESERVE_MICROS:
        assert (outcome.price_micros - 1) * winner.ctr_ppm < second


@settings(deadline=None)
@given(BIDS)
def test_a_log_survives_json(bids: list[Bid]) -> None:
    outcome = run_auction(bids, reserve_micros=RESERVE_MICROS)
    assume(outcome is not None)
    assert outcome is not None
    log = AuctionLog(reserve_micros=RESERVE_MICROS, bids=tuple(bids), refusals=(), outcome=outcome)
    again = AuctionLog.from_json(json.loads(json.dumps(log.as_json())))
    assert again == log
    assert again.replay() == outcome


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_click_rate_is_a_rate(num_clicks: int, num_impressions: int) -> None:
    config = AuctionConfig()
    rate = predict_ctr_ppm(num_clicks, num_impressions, config)
    assert 1 <= rate <= 1_000_000
    assert predict_ctr_ppm(num_clicks + 1, num_impressions, config) >= rate
    assert predict_ctr_ppm(num_clicks, num_impressions + 1, config) <= rate


@settings(deadline=None)
@given(st.integers(0, 10**15))
def test_money_survives_being_written(micros: int) -> None:
    assert parse_money(format_money(micros).replace(",", ""), name="amount") == micros
