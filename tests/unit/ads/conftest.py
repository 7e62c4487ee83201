"""A store, a server and campaigns that the tests of ads share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mynah.ads import AdServer, AdStore, Campaign, CampaignDraft


def draft(**changes: Any) -> CampaignDraft:
    """A valid campaign, but for ``changes``."""
    values: dict[str, Any] = {
        "title": "Jobs board",
        "text": "Find work near you",
        "link": "https://example.org/jobs",
        "keywords": ("jobs", "middle class"),
        "bid_micros": 200_000,
        "budget_micros": 1_000_000,
    }
    return CampaignDraft(**{**values, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AdStore]:
    store = AdStore(tmp_path / "state.db")
    yield store
    store.close()


@pytest.fixture
def server(store: AdStore) -> AdServer:
    return AdServer(store)


@pytest.fixture
def add(store: AdStore) -> Callable[..., Campaign]:
    """A function that adds a valid campaign, but for what it is given."""
    return lambda **changes: store.add_campaign(draft(**changes))
