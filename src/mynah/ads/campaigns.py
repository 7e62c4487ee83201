"""What an advertiser asks for, what comes of it, and what is shown. Reads and writes nothing."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from mynah.ads.money import MAX_MONEY_MICROS, format_money
from mynah.errors import RequestError
from mynah.search import analyse

__all__ = [
    "MIN_BID_MICROS",
    "Campaign",
    "CampaignDraft",
    "CampaignReport",
    "Impression",
    "Placement",
]

Placement = Literal["search", "chat"]
"""Where a creative stands: beside results, or after an answer."""

MIN_BID_MICROS = 10_000
"""Lowest bid, a hundredth of the currency: also the auction's reserve price."""

_MAX_TITLE_CHARS = 80
_MAX_TEXT_CHARS = 280
_MAX_LINK_CHARS = 2_000
_MAX_KEYWORDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignDraft:
    """A campaign as an advertiser writes it; one that exists is valid.

    Spaces around texts go, and so do keywords that the search analyser takes for one already
    there (``Jobs`` after ``job``).

    Raises:
        RequestError: Names the field, what it holds and what it may hold.
    """

    title: str
    text: str
    link: str
    """Where a click leads; ``http`` or ``https``."""
    keywords: tuple[str, ...]
    """Words or phrases; one that stands in a search or question makes the campaign a candidate."""
    bid_micros: int
    """The most a click may cost."""
    budget_micros: int
    """The most all clicks together may cost."""
    is_paused: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", _read_text("title", self.title, _MAX_TITLE_CHARS))
        object.__setattr__(self, "text", _read_text("text", self.text, _MAX_TEXT_CHARS))
        object.__setattr__(self, "link", _read_link(self.link))
        object.__setattr__(self, "keywords", _read_keywords(self.keywords))
        _check_amount("bid", self.bid_micros, least=MIN_BID_MICROS)
        _check_amount("budget", self.budget_micros, least=self.bid_micros)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as it stands now."""

    id: int
    title: str
    text: str
    link: str
    keywords: tuple[str, ...]
    bid_micros: int
    budget_micros: int
    spent_micros: int
    is_paused: bool
    num_impressions: int
    num_clicks: int
    created_at: datetime

    @property
    def remaining_micros(self) -> int:
        """Budget not spent yet; never below 0."""
        return self.budget_micros - self.spent_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignReport:
    """What a campaign's money brought."""

    campaign: Campaign
    num_impressions: int
    num_clicks: int
    spent_micros: int
    remaining_micros: int

    @property
    def ctr(self) -> float:
        """Clicks per impression; 0 before the first."""
        return self.num_clicks / self.num_impressions if self.num_impressions else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Impression:
    """One creative shown once: what a page needs to show it, and why it is there."""

    id: str
    """Hard to guess, so that nobody clicks what was not shown to them."""
    campaign_id: int
    title: str
    text: str
    link: str
    reason: str
    """As in: matches 'jobs' in your search."""
    placement: Placement
    price_micros: int
    """What a click costs the advertiser."""
    created_at: datetime
    label: str = field(default="Ad", init=False)
    """Stands on every creative; nobody can leave it out."""


def _read_text(name: str, value: str, most: int) -> str:
    text = " ".join(value.split())
    if not 1 <= len(text) <= most:
        raise RequestError(
            f"the {name} has {len(text)} characters, expected 1 to {most}",
            hint=f"write a {name} that says what a click leads to",
        )
    if not text.isprintable():
        raise RequestError(f"the {name} holds a control character", hint="use plain text")
    return text


def _read_link(value: str) -> str:
    link = value.strip()
    try:
        parts = urlsplit(link)
        has_port = parts.port is None or parts.port > 0
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and has_port
    except ValueError:
        is_web, parts = False, None
    is_plain = link.isprintable() and not any(c.isspace() or c in "\\<>\"'`" for c in link)
    if not is_web or not is_plain or len(link) > _MAX_LINK_CHARS:
        raise RequestError(
            f"the link is {link[:80]!r}, expected http:// or https:// and an address",
            hint="write, for one, https://example.org/offer",
        )
    if parts is not None and "@" in parts.netloc:
        raise RequestError(
            "the link holds a user name before its address",
            hint="a link with '@' before the first '/' hides where it leads; take that out",
        )
    return link


def _read_keywords(values: tuple[str, ...]) -> tuple[str, ...]:
    keywords: dict[tuple[str, ...], str] = {}
    for value in values:
        keyword = _read_text("keyword", value, _MAX_TITLE_CHARS)
        terms = tuple(analyse(keyword))
        if not terms:
            raise RequestError(
                f"the keyword {keyword!r} has no word in it", hint="use words people search for"
            )
        keywords.setdefault(terms, keyword)
    if not 1 <= len(keywords) <= _MAX_KEYWORDS:
        raise RequestError(
            f"there are {len(keywords)} keywords, expected 1 to {_MAX_KEYWORDS}",
            hint="name words or phrases that people search for: jobs, open source",
        )
    return tuple(keywords.values())


def _check_amount(name: str, micros: int, *, least: int) -> None:
    if not least <= micros <= MAX_MONEY_MICROS:
        raise RequestError(
            f"the {name} is {format_money(micros)}, expected {format_money(least)} to "
            f"{format_money(MAX_MONEY_MICROS)}",
            hint="a bid is the most a click may cost; a budget pays for at least one",
        )
