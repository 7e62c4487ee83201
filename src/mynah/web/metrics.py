"""Numbers for a monitoring system, in Prometheus' text format. Writes nothing to disk.

Counts of impressions and clicks are read from the ad store at each scrape, so that those of the
pages are in them and a restart loses none.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from mynah.web.house import House

__all__ = ["Metrics"]

REQUEST_S = (0.005, 0.02, 0.1, 0.3, 1, 3, 10, 30, 100)
SEARCH_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1)


class Metrics:
    """The counters of one API; each has its own registry."""

    def __init__(self, house: House) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.requests = Counter(
            "mynah_requests",
            "Requests answered, by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.request_s = Histogram(
            "mynah_request_seconds",
            "Time to an answer, or to the start of a stream.",
            ["route"],
            buckets=REQUEST_S,
            registry=registry,
        )
        self.first_sentence_s = Histogram(
            "mynah_first_sentence_seconds",
            "Time from a question to the first sentence of its answer.",
            buckets=REQUEST_S,
            registry=registry,
        )
        self.search_s = Histogram(
            "mynah_search_seconds", "Time of one search.", buckets=SEARCH_S, registry=registry
        )
        self.prompt_tokens = Counter(
            "mynah_prompt_tokens", "Tokens read by models.", registry=registry
        )
        self.completion_tokens = Counter(
            "mynah_completion_tokens", "Tokens written.", registry=registry
        )
        self._registry.register(_RoomCollector(house))

    def exposition(self) -> bytes:
        """Everything, as ``/metrics`` shows it."""
        return generate_latest(self._registry)


class _RoomCollector(Collector):
    """Reads sums that the rooms keep themselves."""

    def __init__(self, house: House) -> None:
        self._house = house

    def collect(self) -> Iterator[Metric]:
        """Yield the sums of this moment."""
        campaigns = self._house.ad_store.campaigns()
        sums = (
            ("mynah_engine_swaps", "Models replaced while running.", self._house.pool.num_swaps),
            ("mynah_impressions", "Creatives shown.", sum(c.num_impressions for c in campaigns)),
            ("mynah_clicks", "Creatives clicked.", sum(c.num_clicks for c in campaigns)),
        )
        for name, text, value in sums:
            yield CounterMetricFamily(name, text, value=value)
