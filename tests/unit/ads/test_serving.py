"""Which creative is shown, why, and what showing and clicking it leave behind."""

from collections.abc import Callable
from dataclasses import asdict

import pytest
from sqlalchemy import func, select

from mynah.ads import AdServer, AdStore, Campaign, Refusal, run_auction
from mynah.ads.tables import AuctionRow, ClickRow, ImpressionRow
from mynah.errors import RequestError

Add = Callable[..., Campaign]


@pytest.mark.parametrize(
    ("context", "keyword"),
    [
        ("any job going?", "jobs"),
        ("#Jobs", "jobs"),
        ("the Middle-Class", "middle class"),
        ("jobs for the middle class", "jobs"),
    ],
)
def test_a_keyword_in_the_context_brings_the_creative(
    server: AdServer, add: Add, context: str, keyword: str
) -> None:
    campaign = add()
    shown = server.select(context, placement="search")
    assert shown is not None
    assert (shown.campaign_id, shown.title, shown.link) == (
        campaign.id,
        campaign.title,
        campaign.link,
    )
    assert shown.label == "Ad"
    assert shown.reason == f"matches '{keyword}' in your search"


def test_the_reason_in_chat_speaks_of_the_question(server: AdServer, add: Add) -> None:
    add()
    shown = server.select("What do people say about jobs?", placement="chat")
    assert shown is not None
    assert shown.reason == "matches 'jobs' in your question"


@pytest.mark.parametrize(
    "context", ["", "   ", "?!", "weather", "class of the middle", "-jobs weather", "from:jobs"]
)
def test_what_does_not_fit_shows_nothing(
    server: AdServer, store: AdStore, add: Add, context: str
) -> None:
    campaign = add()
    assert server.select(context, placement="search") is None
    assert store.report(campaign.id).num_impressions == 0


def test_a_search_that_is_no_query_is_words(server: AdServer, add: Add) -> None:
    add()
    assert server.select("jobs since:soon", placement="search") is not None


def test_rules_keep_campaigns_out_of_the_auction(
    server: AdServer, store: AdStore, add: Add
) -> None:
    paused = add(bid_micros=900_000, is_paused=True)
    spent = add(bid_micros=500_000, budget_micros=500_000)
    for _ in range(50):  # at the reserve price, 50 clicks spend it
        shown = server.select("jobs", placement="search")
        assert shown is not None
        assert shown.campaign_id == spent.id
        server.click(shown.id)
    assert server.select("jobs", placement="search") is None
    running = add(bid_micros=20_000)
    shown = server.select("jobs", placement="search")
    assert shown is not None
    assert shown.campaign_id == running.id
    assert store.auction(shown.id).refusals == (
        Refusal(campaign_id=paused.id, rule="paused"),
        Refusal(campaign_id=spent.id, rule="out of budget"),
    )
    store.set_paused(paused.id, False)
    assert [c.is_paused for c in store.campaigns()] == [False, False, False]
    shown = server.select("jobs", placement="search")
    assert shown is not None
    assert shown.campaign_id == paused.id


def test_the_second_price_is_paid(server: AdServer, store: AdStore, add: Add) -> None:
    add(bid_micros=100_000)
    winner = add(bid_micros=300_000)
    shown = server.select("jobs", placement="chat")
    assert shown is not None
    assert (shown.campaign_id, shown.price_micros) == (winner.id, 100_000)
    assert server.click(shown.id) == winner.link
    report = store.report(winner.id)
    assert (report.num_impressions, report.num_clicks, report.ctr) == (1, 1, 1.0)
    assert (report.spent_micros, report.remaining_micros) == (100_000, 900_000)


def test_a_click_counts_once(server: AdServer, store: AdStore, add: Add) -> None:
    campaign = add()
    shown = server.select("jobs", placement="search")
    assert shown is not None
    links = {server.click(shown.id) for _ in range(5)}
    assert links == {campaign.link}
    assert store.report(campaign.id).num_clicks == 1
    assert store.report(campaign.id).spent_micros == shown.price_micros


def test_the_last_click_costs_what_is_left(server: AdServer, store: AdStore, add: Add) -> None:
    add(bid_micros=150_000, budget_micros=150_000)
    campaign = add(bid_micros=200_000, budget_micros=200_000)
    shown = [server.select("jobs", placement="search") for _ in range(3)]
    prices = [s.price_micros for s in shown if s and s.campaign_id == campaign.id]
    assert len(prices) == 3
    assert prices[0] == 150_000
    for impression in shown:
        assert impression is not None
        assert server.click(impression.id) == campaign.link
    report = store.report(campaign.id)
    assert (report.spent_micros, report.remaining_micros, report.num_clicks) == (200_000, 0, 3)


def test_a_paused_campaign_still_pays_for_what_was_shown(
    server: AdServer, store: AdStore, add: Add
) -> None:
    campaign = add()
    shown = server.select("jobs", placement="search")
    assert shown is not None
    store.set_paused(campaign.id, True)
    server.click(shown.id)
    assert store.report(campaign.id).num_clicks == 1


def test_every_auction_can_be_replayed(server: AdServer, store: AdStore, add: Add) -> None:
    for bid in (50_000, 120_000, 120_000, 300_000):
        add(bid_micros=bid)
    for turn in range(30):
        shown = server.select("jobs", placement="search")
        assert shown is not None
        if turn % 3 == 0:
            server.click(shown.id)
        log = store.auction(shown.id)
        assert store.replay(shown.id) == log.outcome
        assert log.outcome.price_micros == shown.price_micros
        assert log.outcome == run_auction(log.bids, reserve_micros=log.reserve_micros)
        assert len(log.bids) == 4


def test_sums_equal_what_is_listed(server: AdServer, store: AdStore, add: Add) -> None:
    campaign = add(budget_micros=100_000_000)
    shown = [server.select("jobs", placement="search") for _ in range(12)]
    for impression in shown[:5]:
        assert impression is not None
        server.click(impression.id)
    with store.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(ImpressionRow)) == 12
        assert session.scalar(select(func.count()).select_from(AuctionRow)) == 12
        assert session.scalar(select(func.sum(ClickRow.charged_micros))) == 50_000
    report = store.report(campaign.id)
    assert (report.num_impressions, report.num_clicks, report.spent_micros) == (12, 5, 50_000)


def test_what_was_searched_is_not_kept(server: AdServer, store: AdStore, add: Add) -> None:
    add()
    shown = server.select("jobs for my embarrassing cousin", placement="search")
    assert shown is not None
    assert "embarrassing" not in str(asdict(store.auction(shown.id)))
    store.close()
    content = b"".join(p.read_bytes() for p in store.database.path.parent.glob("state.db*"))
    assert b"embarrassing" not in content
    assert b"middle class" in content


@pytest.mark.parametrize("call", ["click", "auction", "replay"])
def test_an_unknown_impression_is_not_found(server: AdServer, store: AdStore, call: str) -> None:
    with pytest.raises(RequestError) as caught:
        getattr(server if call == "click" else store, call)("nothing")
    assert caught.value.status == 404


def test_an_unknown_campaign_is_not_found(store: AdStore) -> None:
    for call in (lambda: store.report(7), lambda: store.set_paused(7, True)):
        with pytest.raises(RequestError, match="no campaign 7") as caught:
            call()
        assert caught.value.status == 404
