"""Picks the creative for a context, and counts what is shown and clicked. Writes ``state.db``."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mynah.ads.auction import AuctionConfig, AuctionOutcome, Bid, predict_ctr_ppm, run_auction
from mynah.ads.auction_log import AuctionLog
from mynah.ads.campaigns import Impression, Placement
from mynah.ads.candidates import Fit, apply_rules, match_keywords, read_context
from mynah.ads.store import AdStore, as_campaign, no_impression
from mynah.ads.tables import AuctionRow, CampaignRow, ClickRow, ImpressionRow, KeywordRow

__all__ = ["AdServer"]

logger = logging.getLogger(__name__)

_PLACES = {"search": "search", "chat": "question"}


class AdServer:
    """Serves creatives. Methods are thread-safe; several processes may serve one store."""

    def __init__(self, store: AdStore, *, config: AuctionConfig | None = None) -> None:
        """Serve the campaigns of ``store``."""
        self._database = store.database
        self._config = config or AuctionConfig()

    def select(self, context: str, *, placement: Placement) -> Impression | None:
        """Pick the creative to show beside a search or after an answer, and record it as shown.

        Args:
            context: The query as typed, or the question; it is matched and not kept.
            placement: Where the creative will stand.

        Returns:
            What to show, or ``None`` when no campaign fits or may be shown.
        """
        terms = read_context(context, placement)
        if not terms:
            return None
        with self._database.reading() as session:
            # Most contexts fit no campaign; those never take the write lock.
            keywords = _find_keywords(session, terms)
        if not keywords:
            return None
        with self._database.writing() as session:
            return self._hold_auction(session, _read_fits(session, keywords), placement)

    def click(self, impression_id: str) -> str:
        """Record a click and charge for it, once however often it is called.

        The charge is the auction's price, or what is left of the budget if that is less. Charge,
        count and click are one transaction, and the database refuses a sum above the budget.

        Returns:
            The link to go to.

        Raises:
            RequestError: There is no such impression.
        """
        with self._database.writing() as session:
            impression = session.get(ImpressionRow, impression_id)
            if impression is None:
                raise no_impression()
            campaign = session.get_one(CampaignRow, impression.campaign_id)
            if session.get(ClickRow, impression_id) is None:
                left_micros = campaign.budget_micros - campaign.spent_micros
                charged_micros = min(impression.price_micros, left_micros)
                session.add(
                    ClickRow(
                        impression_id=impression_id,
                        charged_micros=charged_micros,
                        created_at=datetime.now(UTC),
                    )
                )
                session.execute(
                    update(CampaignRow)
                    .where(CampaignRow.id == campaign.id)
                    .values(
                        spent_micros=CampaignRow.spent_micros + charged_micros,
                        num_clicks=CampaignRow.num_clicks + 1,
                    )
                )
            return campaign.link

    def _hold_auction(
        self, session: Session, fits: Sequence[Fit], placement: Placement
    ) -> Impression | None:
        reserve_micros = self._config.reserve_micros
        allowed, refusals = apply_rules(fits, reserve_micros=reserve_micros)
        bids = tuple(self._as_bid(fit) for fit in allowed)
        outcome = run_auction(bids, reserve_micros=reserve_micros)
        if outcome is None:
            return None
        log = AuctionLog(
            reserve_micros=reserve_micros, bids=bids, refusals=refusals, outcome=outcome
        )
        winner = next(fit for fit in allowed if fit.campaign.id == outcome.winner_id)
        impression = _make_impression(winner, outcome, placement)
        _record(session, impression, log)
        logger.debug("impression %s of campaign %d", impression.id, impression.campaign_id)
        return impression

    def _as_bid(self, fit: Fit) -> Bid:
        campaign = fit.campaign
        return Bid(
            campaign_id=campaign.id,
            # Nobody can bid money that is spent.
            bid_micros=min(campaign.bid_micros, campaign.remaining_micros),
            ctr_ppm=predict_ctr_ppm(campaign.num_clicks, campaign.num_impressions, self._config),
        )


def _find_keywords(session: Session, terms: Sequence[str]) -> dict[int, str]:
    rows = session.execute(
        select(KeywordRow.campaign_id, KeywordRow.keyword)
        .where(KeywordRow.first_term.in_(set(terms)))
        .order_by(KeywordRow.campaign_id, KeywordRow.place)
    )
    return match_keywords(((row[0], row[1]) for row in rows), terms)


def _read_fits(session: Session, keywords: Mapping[int, str]) -> list[Fit]:
    """Read the campaigns as they stand inside the transaction, budgets above all."""
    rows = session.scalars(
        select(CampaignRow).where(CampaignRow.id.in_(keywords)).order_by(CampaignRow.id)
    )
    return [Fit(campaign=as_campaign(row), keyword=keywords[row.id]) for row in rows]


def _make_impression(fit: Fit, outcome: AuctionOutcome, placement: Placement) -> Impression:
    return Impression(
        id=secrets.token_urlsafe(16),
        campaign_id=fit.campaign.id,
        title=fit.campaign.title,
        text=fit.campaign.text,
        link=fit.campaign.link,
        reason=f"matches '{fit.keyword}' in your {_PLACES[placement]}",
        placement=placement,
        price_micros=outcome.price_micros,
        created_at=datetime.now(UTC),
    )


def _record(session: Session, impression: Impression, log: AuctionLog) -> None:
    session.add(
        ImpressionRow(
            id=impression.id,
            campaign_id=impression.campaign_id,
            placement=impression.placement,
            reason=impression.reason,
            price_micros=impression.price_micros,
            created_at=impression.created_at,
        )
    )
    session.flush()
    session.add(AuctionRow(impression_id=impression.id, log=log.as_json()))
    session.execute(
        update(CampaignRow)
        .where(CampaignRow.id == impression.campaign_id)
        .values(num_impressions=CampaignRow.num_impressions + 1)
    )
