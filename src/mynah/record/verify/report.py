"""What a verifier found: claims that are proved, not proved or contradicted.

Pure. A report says what can't be shown as plainly as what can; it is a contradiction, never a
missing line, when something that was published does not hold.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

__all__ = ["CONTRADICTED", "NOT_PROVED", "PROVED", "Claim", "Report", "Verdict"]

Verdict = Literal["proved", "not proved", "contradicted"]
PROVED: Verdict = "proved"
NOT_PROVED: Verdict = "not proved"
CONTRADICTED: Verdict = "contradicted"

MAX_CLAIMS = 10_000
"""Of one verdict; a hostile log cannot fill the memory. What is left out is counted."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that the log says, or that is said of it."""

    what: str
    verdict: Verdict
    detail: str = ""
    index: int | None = None
    """The leaf it is about."""


@dataclass(slots=True)
class Report:
    """Every claim about one log, in the order of checking."""

    source: str
    origin: str = ""
    size: int = 0
    root: str = ""
    """Hex; empty when no tree head could be read."""
    claims: list[Claim] = field(default_factory=lambda: [])
    num_left_out: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: {PROVED: 0, NOT_PROVED: 0, CONTRADICTED: 0}
    )

    def add(self, claim: Claim) -> None:
        """List a claim, or count it when there are too many of its verdict."""
        self.counts[claim.verdict] += 1
        if self.counts[claim.verdict] <= MAX_CLAIMS:
            self.claims.append(claim)
        else:
            self.num_left_out += 1

    def extend(self, claims: Iterable[Claim]) -> None:
        """List several."""
        for claim in claims:
            self.add(claim)

    def proved(self, what: str, detail: str = "", index: int | None = None) -> None:
        """List what was checked and holds."""
        self.add(Claim(what, PROVED, detail, index))

    def not_proved(self, what: str, detail: str = "", index: int | None = None) -> None:
        """List what is said, and nothing here can show."""
        self.add(Claim(what, NOT_PROVED, detail, index))

    def contradicted(self, what: str, detail: str = "", index: int | None = None) -> None:
        """List what is false."""
        self.add(Claim(what, CONTRADICTED, detail, index))

    @property
    def is_contradicted(self) -> bool:
        """Whether anything that was published is false."""
        return self.counts[CONTRADICTED] > 0

    def of(self, verdict: Verdict) -> list[Claim]:
        """The listed claims of one verdict."""
        return [claim for claim in self.claims if claim.verdict == verdict]

    def to_json(self) -> str:
        """Everything, for machines; the format is in docs/spec/record.md."""
        found: dict[str, Any] = {
            "format": "mynah.record-report/1",
            "source": self.source,
            "origin": self.origin,
            "size": self.size,
            "root": self.root,
            "is_contradicted": self.is_contradicted,
            "counts": {verdict.replace(" ", "_"): n for verdict, n in self.counts.items()},
            "num_left_out": self.num_left_out,
            "claims": [asdict(claim) for claim in self.claims],
        }
        return orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()
