"""A campaign as it is typed: text in each field, a draft when all is well, else what is wrong.

Every field is checked on its own, so that a person sees all that is wrong at once, and in the
words that ``mynah ads add`` uses. Reads and writes nothing.
"""

from dataclasses import dataclass, field
from typing import Any

from mynah.ads import MIN_BID_MICROS, CampaignDraft, parse_money
from mynah.errors import RequestError

__all__ = ["FIELDS", "CampaignForm"]

FIELDS = ("title", "text", "link", "keywords", "bid", "budget")
"""In the order of the form."""

_SOUND: dict[str, Any] = {
    "title": "title",
    "text": "text",
    "link": "https://example.org/",
    "keywords": ("word",),
    "bid_micros": MIN_BID_MICROS,
    "budget_micros": MIN_BID_MICROS,
}
"""A draft that is valid: one field at a time is put to the test in it."""


@dataclass(slots=True)
class CampaignForm:
    """What was typed, by field."""

    values: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FIELDS, ""))

    @property
    def keywords(self) -> tuple[str, ...]:
        """Keywords as typed, between commas."""
        return tuple(word.strip() for word in self.values["keywords"].split(",") if word.strip())

    def errors(self) -> dict[str, RequestError]:
        """What is wrong, by field; empty when ``draft`` will work."""
        wrong: dict[str, RequestError] = {}
        for name in FIELDS:
            try:
                self._check(name, wrong)
            except RequestError as error:
                wrong[name] = error
        return wrong

    def _check(self, name: str, wrong: dict[str, RequestError]) -> None:
        if name == "budget":
            # A budget is measured against the bid; a wrong bid is reported at its own field.
            bid = MIN_BID_MICROS if "bid" in wrong else self._amount("bid")
            changed: dict[str, Any] = {"bid_micros": bid, "budget_micros": self._amount("budget")}
        elif name == "bid":
            amount = self._amount("bid")
            changed = {"bid_micros": amount, "budget_micros": max(amount, MIN_BID_MICROS)}
        else:
            changed = {name: self.keywords if name == "keywords" else self.values[name]}
        CampaignDraft(**{**_SOUND, **changed})

    def _amount(self, name: str) -> int:
        return parse_money(self.values[name], name=f"the {name}")

    def draft(self) -> CampaignDraft:
        """Make the campaign.

        Raises:
            RequestError: A field is wrong; ``errors`` says which.
        """
        return CampaignDraft(
            title=self.values["title"],
            text=self.values["text"],
            link=self.values["link"],
            keywords=self.keywords,
            bid_micros=self._amount("bid"),
            budget_micros=self._amount("budget"),
        )
