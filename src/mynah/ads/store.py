"""Campaigns and what came of them. Reads and writes ``state.db``."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mynah.ads.auction import AuctionOutcome
from mynah.ads.auction_log import AuctionLog
from mynah.ads.campaigns import Campaign, CampaignDraft, CampaignReport
from mynah.ads.database import Database, first_term
from mynah.ads.tables import AuctionRow, CampaignRow, KeywordRow
from mynah.errors import DataError, RequestError

__all__ = ["AdStore", "as_campaign"]


class AdStore:
    """The campaigns of a workspace. Methods are thread-safe."""

    def __init__(self, database: Path) -> None:
        """Open the workspace's ``state.db``; raises as ``Database`` does."""
        self.database = Database(database)

    def add_campaign(self, draft: CampaignDraft) -> Campaign:
        """Record a campaign; unless paused, it runs from the next search on."""
        with self.database.writing() as session:
            row = CampaignRow(
                title=draft.title,
                text=draft.text,
                link=draft.link,
                bid_micros=draft.bid_micros,
                budget_micros=draft.budget_micros,
                is_paused=draft.is_paused,
                created_at=datetime.now(UTC),
                keywords=[
                    KeywordRow(place=place, keyword=keyword, first_term=first_term(keyword))
                    for place, keyword in enumerate(draft.keywords)
                ],
            )
            session.add(row)
            session.flush()
            return as_campaign(row)

    def campaigns(self) -> list[Campaign]:
        """Return all campaigns, oldest first."""
        with self.database.reading() as session:
            rows = session.scalars(select(CampaignRow).order_by(CampaignRow.id))
            return [as_campaign(row) for row in rows]

    def set_paused(self, campaign_id: int, is_paused: bool) -> Campaign:
        """Stop or resume a campaign; what was shown before can still be clicked and is charged.

        Raises:
            RequestError: There is no such campaign.
        """
        with self.database.writing() as session:
            row = _find_campaign(session, campaign_id)
            row.is_paused = is_paused
            return as_campaign(row)

    def report(self, campaign_id: int) -> CampaignReport:
        """Return a campaign's sums.

        Raises:
            RequestError: There is no such campaign.
        """
        with self.database.reading() as session:
            campaign = as_campaign(_find_campaign(session, campaign_id))
        return CampaignReport(
            campaign=campaign,
            num_impressions=campaign.num_impressions,
            num_clicks=campaign.num_clicks,
            spent_micros=campaign.spent_micros,
            remaining_micros=campaign.remaining_micros,
        )

    def auction(self, impression_id: str) -> AuctionLog:
        """Return the auction that an impression came from, as it was logged.

        Raises:
            RequestError: There is no such impression.
        """
        with self.database.reading() as session:
            row = session.get(AuctionRow, impression_id)
            if row is None:
                raise no_impression()
            return AuctionLog.from_json(row.log)

    def replay(self, impression_id: str) -> AuctionOutcome:
        """Run an impression's auction again from its logged bids.

        Raises:
            RequestError: There is no such impression.
            DataError: The log is not of an auction that anybody won.
        """
        outcome = self.auction(impression_id).replay()
        if outcome is None:
            raise DataError(
                f"the auction of impression {impression_id} has no winner when it is run again",
                hint="its log was changed; restore state.db from a copy",
            )
        return outcome

    def close(self) -> None:
        """Give back the database's connections."""
        self.database.close()


def as_campaign(row: CampaignRow) -> Campaign:
    """Take a campaign out of its session."""
    return Campaign(
        id=row.id,
        title=row.title,
        text=row.text,
        link=row.link,
        keywords=tuple(keyword.keyword for keyword in row.keywords),
        bid_micros=row.bid_micros,
        budget_micros=row.budget_micros,
        spent_micros=row.spent_micros,
        is_paused=row.is_paused,
        num_impressions=row.num_impressions,
        num_clicks=row.num_clicks,
        created_at=row.created_at,
    )


def no_impression() -> RequestError:
    """The answer to an id that no impression has."""
    return RequestError(
        "there is no such impression",
        hint="follow the link of a creative that a page shows now",
        status=404,
        code="not_found",
    )


def _find_campaign(session: Session, campaign_id: int) -> CampaignRow:
    row = session.get(CampaignRow, campaign_id)
    if row is None:
        raise RequestError(
            f"there is no campaign {campaign_id}",
            hint="mynah ads show lists them all",
            status=404,
            code="not_found",
        )
    return row
