"""Which campaigns fit a context, and which of those may be shown. Rules only; no scores here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mynah.ads.auction_log import Refusal
from mynah.ads.campaigns import Campaign, Placement
from mynah.errors import RequestError
from mynah.search import analyse, parse_query

__all__ = ["Fit", "apply_rules", "match_keywords", "read_context"]

_MAX_CONTEXT_TERMS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A campaign and the first of its keywords that stands in the context."""

    campaign: Campaign
    keyword: str


def read_context(context: str, placement: Placement) -> tuple[str, ...]:
    """Analyse what a person searched or asked; a word they excluded is no interest of theirs."""
    if placement == "search":
        try:
            context = parse_query(context).wanted_text
        except RequestError:
            # Search itself has told them what is wrong; for matching it is words.
            context = parse_query(context, match="any").wanted_text
    return tuple(analyse(context)[:_MAX_CONTEXT_TERMS])


def match_keywords(keywords: Iterable[tuple[int, str]], terms: Sequence[str]) -> dict[int, str]:
    """Return each campaign's first keyword that stands in ``terms``, word beside word.

    Args:
        keywords: (campaign id, keyword), each campaign's in its own order.
        terms: The context, analysed.
    """
    known = frozenset(terms)
    found: dict[int, str] = {}
    for campaign_id, keyword in keywords:
        if campaign_id not in found and _stands_in(keyword, terms, known):
            found[campaign_id] = keyword
    return found


def apply_rules(
    fits: Iterable[Fit], *, reserve_micros: int
) -> tuple[list[Fit], tuple[Refusal, ...]]:
    """Keep the campaigns that may be shown; say for each other one which rule forbids it."""
    allowed: list[Fit] = []
    refused: list[Refusal] = []
    for fit in fits:
        rule = _forbidding_rule(fit.campaign, reserve_micros)
        if rule is None:
            allowed.append(fit)
        else:
            refused.append(Refusal(campaign_id=fit.campaign.id, rule=rule))
    return allowed, tuple(refused)


def _forbidding_rule(campaign: Campaign, reserve_micros: int) -> str | None:
    if campaign.is_paused:
        return "paused"
    if campaign.remaining_micros < reserve_micros:
        return "out of budget"
    if campaign.bid_micros < reserve_micros:
        return "bid below the reserve price"
    return None


def _stands_in(keyword: str, terms: Sequence[str], known: frozenset[str]) -> bool:
    wanted = _keyword_terms(keyword)
    if not known.issuperset(wanted):
        return False
    length = len(wanted)
    return any(
        tuple(terms[start : start + length]) == wanted for start in range(len(terms) - length + 1)
    )


@lru_cache(maxsize=10_000)
def _keyword_terms(keyword: str) -> tuple[str, ...]:
    return tuple(analyse(keyword))
