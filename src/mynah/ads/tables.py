"""The tables of ads, in ``state.db``. SQLite now; the same models serve PostgreSQL later."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    String,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

__all__ = [
    "AuctionRow",
    "CampaignRow",
    "ClickRow",
    "ImpressionRow",
    "KeywordRow",
    "SchemaRow",
    "Tables",
]


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets the zone, so it is put back on reading."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store as UTC without zone."""
        return value.astimezone(UTC).replace(tzinfo=None) if value else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        return value.replace(tzinfo=UTC) if value else None


class Tables(DeclarativeBase):
    """Registry of the tables below."""


class SchemaRow(Tables):
    """One row: the version of these tables. Other rooms keep theirs in the same database."""

    __tablename__ = "ads_schema"

    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    analysis_version: Mapped[int] = mapped_column(Integer)
    """The rules of analysis by which ``first_term`` of the keywords was found."""


class CampaignRow(Tables):
    """A campaign and its running sums; the database itself refuses to overspend."""

    __tablename__ = "ads_campaigns"
    __table_args__ = (
        CheckConstraint("0 <= spent_micros AND spent_micros <= budget_micros", name="ads_budget"),
        CheckConstraint("0 < bid_micros AND bid_micros <= budget_micros", name="ads_bid"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    text: Mapped[str] = mapped_column(String(280))
    link: Mapped[str] = mapped_column(String(2_000))
    bid_micros: Mapped[int] = mapped_column(BigInteger)
    budget_micros: Mapped[int] = mapped_column(BigInteger)
    spent_micros: Mapped[int] = mapped_column(BigInteger, default=0)
    is_paused: Mapped[bool] = mapped_column(default=False)
    num_impressions: Mapped[int] = mapped_column(default=0)
    num_clicks: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    keywords: Mapped[list["KeywordRow"]] = relationship(
        order_by="KeywordRow.place", cascade="all, delete-orphan", lazy="selectin"
    )


class KeywordRow(Tables):
    """A keyword as typed, found by the first of its terms."""

    __tablename__ = "ads_keywords"

    campaign_id: Mapped[int] = mapped_column(ForeignKey("ads_campaigns.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    keyword: Mapped[str] = mapped_column(String(80))
    first_term: Mapped[str] = mapped_column(String(320), index=True)


class ImpressionRow(Tables):
    """One creative shown once. What the person searched or asked is not kept."""

    __tablename__ = "ads_impressions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    campaign_id: Mapped[int] = mapped_column(ForeignKey("ads_campaigns.id"), index=True)
    placement: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(200))
    price_micros: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ClickRow(Tables):
    """The first click of an impression, and what it cost."""

    __tablename__ = "ads_clicks"
    __table_args__ = (CheckConstraint("0 <= charged_micros", name="ads_charge"),)

    impression_id: Mapped[str] = mapped_column(ForeignKey("ads_impressions.id"), primary_key=True)
    charged_micros: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AuctionRow(Tables):
    """What an auction saw and said, enough to run it again."""

    __tablename__ = "ads_auctions"

    impression_id: Mapped[str] = mapped_column(ForeignKey("ads_impressions.id"), primary_key=True)
    log: Mapped[dict[str, Any]] = mapped_column(JSON)
