"""Ads: campaigns with budgets, an auction a context, creatives that say what they are and why.

Reads the words of a search or question; writes ``state.db``: campaigns, impressions, clicks,
auctions. Uses the analyser of ``search`` and no index.
"""

from mynah.ads.auction import (
    AuctionConfig,
    AuctionOutcome,
    Bid,
    predict_ctr_ppm,
    run_auction,
)
from mynah.ads.auction_log import AuctionLog, Refusal
from mynah.ads.campaigns import (
    MIN_BID_MICROS,
    Campaign,
    CampaignDraft,
    CampaignReport,
    Impression,
    Placement,
)
from mynah.ads.money import MICROS, format_money, parse_money
from mynah.ads.serving import AdServer
from mynah.ads.store import AdStore

__all__ = [
    "MICROS",
    "MIN_BID_MICROS",
    "AdServer",
    "AdStore",
    "AuctionConfig",
    "AuctionLog",
    "AuctionOutcome",
    "Bid",
    "Campaign",
    "CampaignDraft",
    "CampaignReport",
    "Impression",
    "Placement",
    "Refusal",
    "format_money",
    "parse_money",
    "predict_ctr_ppm",
    "run_auction",
]
