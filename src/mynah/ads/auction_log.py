"""What is kept of an auction: enough to run it again and to show it like a receipt.

Reads and writes nothing; the log lies as JSON in the database. It holds campaigns and numbers,
never what the person searched or asked.
"""

from dataclasses import asdict, dataclass
from typing import Any

from mynah.ads.auction import AuctionOutcome, Bid, run_auction

__all__ = ["AuctionLog", "Refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A campaign that fits the context and may not stand in the auction, by which rule."""

    campaign_id: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuctionLog:
    """One auction."""

    reserve_micros: int
    bids: tuple[Bid, ...]
    refusals: tuple[Refusal, ...]
    outcome: AuctionOutcome

    def replay(self) -> AuctionOutcome | None:
        """Run it again from its bids."""
        return run_auction(self.bids, reserve_micros=self.reserve_micros)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, log: dict[str, Any]) -> "AuctionLog":
        """Read what ``as_json`` wrote."""
        outcome: dict[str, Any] = log["outcome"]
        ranking = tuple((entry[0], entry[1]) for entry in outcome["ranking"])
        return cls(
            reserve_micros=log["reserve_micros"],
            bids=tuple(Bid(**bid) for bid in log["bids"]),
            refusals=tuple(Refusal(**refusal) for refusal in log["refusals"]),
            outcome=AuctionOutcome(
                winner_id=outcome["winner_id"],
                price_micros=outcome["price_micros"],
                ranking=ranking,
            ),
        )
