"""The auction: bids in, a winner and its price out. Pure, in whole numbers, so it can be replayed.

Generalised second price, per click: candidates are ordered by what an impression is expected to
bring, bid times predicted click rate; the winner pays, per click, the least that would still have
won. Edelman, Ostrovsky, Schwarz 2007, "Internet Advertising and the Generalized Second-Price
Auction".
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "CTR_UNIT",
    "AuctionConfig",
    "AuctionOutcome",
    "Bid",
    "predict_ctr_ppm",
    "run_auction",
]

CTR_UNIT = 1_000_000
"""Click rates are whole parts per million: scores are exact on every machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionConfig:
    """What the network sets."""

    reserve_micros: int = 10_000
    """Lowest price of a click."""
    prior_clicks: int = 1
    """Clicks that a new campaign is taken to have had, before it had any."""
    prior_impressions: int = 50
    """Impressions that go with them; 1 in 50 is a usual rate of text ads beside results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """One candidate: the most it pays for a click, and how likely a click is."""

    campaign_id: int
    bid_micros: int
    ctr_ppm: int

    @property
    def score(self) -> int:
        """Expected value of an impression, in micros per million impressions."""
        return self.bid_micros * self.ctr_ppm


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionOutcome:
    """Who won, at what price per click, and in which order all stood."""

    winner_id: int
    price_micros: int
    ranking: tuple[tuple[int, int], ...]
    """(campaign id, score), the winner first."""


def predict_ctr_ppm(num_clicks: int, num_impressions: int, config: AuctionConfig) -> int:
    """Click rate of a campaign, drawn to the prior while it has few impressions; at least 1."""
    clicks = num_clicks + config.prior_clicks
    # More clicks than impressions cannot be, but a rate above 1 would break prices: cap it.
    impressions = max(num_impressions + config.prior_impressions, clicks, 1)
    return max(1, clicks * CTR_UNIT // impressions)


def run_auction(bids: Sequence[Bid], *, reserve_micros: int) -> AuctionOutcome | None:
    """Pick the winner and its price; ``None`` when no bid reaches the reserve.

    Equal scores go to the older campaign, the lower id. The price is at least the reserve, at most
    the winner's bid, and does not depend on that bid as long as it wins.
    """
    standing = sorted(
        (bid for bid in bids if bid.bid_micros >= reserve_micros),
        key=lambda bid: (-bid.score, bid.campaign_id),
    )
    if not standing:
        return None
    winner, *others = standing
    price = reserve_micros
    if others:
        # Rounded up: at one micro less the winner would have lost, or tied.
        price = max(price, -(-others[0].score // winner.ctr_ppm))
    return AuctionOutcome(
        winner_id=winner.campaign_id,
        price_micros=price,
        ranking=tuple((bid.campaign_id, bid.score) for bid in standing),
    )
