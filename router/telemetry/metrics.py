"""Prometheus metrics: counts the journal's records, and is read by a scrape.

A request adds to plain numbers; prometheus-client formats them at a scrape. Names and labels:

    llm_router_requests_total{target,reason,outcome}     target "none": no backend was asked
    llm_router_first_byte_seconds{target}                histogram
    llm_router_request_seconds{target}                   histogram
    llm_router_tokens_total{target,kind}                 prompt, cached, completion, reasoning
    llm_router_cost_usd_total, llm_router_saved_usd_total (an estimate)
    llm_router_unpriced_total                            cloud answers of unknown cost
    llm_router_fallbacks_total{target}                   answered by the other side than decided
    llm_router_failed_attempts_total{backend,error}
    llm_router_caller_requests_total{caller,target}      caller: the name of a team's key
    llm_router_caller_tokens_total{caller,kind}, llm_router_caller_cost_usd_total{caller}
    llm_router_side_up{side}, llm_router_breaker_open{side}, llm_router_queue{side,state}
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from router.telemetry.record import Record

if TYPE_CHECKING:  # imported at the first scrape: many routers are never scraped
    from prometheus_client import Metric

PREFIX: Final = "llm_router_"
FIRST_BYTE_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
MOST_CALLERS: Final = 100
"""Names of keys that are counted by themselves; more would be too many series."""
REQUEST_S: Final = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 80, 160, 320)


@dataclass(frozen=True, slots=True)
class SideState:
    """One side at the moment of a scrape."""

    side: str
    up: bool
    breaker_open: bool = False
    running: int = 0
    waiting: int = 0
    """Requests in the queue in front of it."""


class _Counter:
    """A number for each set of labels. No label holds a caller's words, so there are few sets."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._name, self._text, self._labels = name, text, labels
        self._values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        if not labels:
            self.add(0)

    def add(self, amount: float, *labels: str) -> None:
        self._values[labels] += amount

    def family(self) -> "Metric":
        from prometheus_client.metrics_core import CounterMetricFamily

        family = CounterMetricFamily(PREFIX + self._name, self._text, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        return family


class _Histogram:
    """Counts of durations for each target."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: defaultdict[str, float] = defaultdict(float)

    def add(self, seconds: float, target: str) -> None:
        counts = self._counts.get(target)
        if counts is None:
            counts = self._counts[target] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[target] += seconds

    def family(self) -> "Metric":
        from prometheus_client.metrics_core import HistogramMetricFamily

        family = HistogramMetricFamily(PREFIX + self._name, self._text, labels=("target",))
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for target, counts in self._counts.items():
            buckets = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric((target,), buckets, self._sums[target])
        return family


class Metrics:
    """Counts records."""

    def __init__(
        self,
        sides: Callable[[], Iterable[SideState]] = tuple,
        rows_dropped: Callable[[], int] = int,
    ) -> None:
        """Start all counters at zero.

        `sides` and `rows_dropped` give, at each scrape, what is not in a record.
        """
        self.sides = sides
        self.rows_dropped = rows_dropped
        self._requests = _Counter("requests", "Requests that ended.", "target", "reason", "outcome")
        self._first_byte = _Histogram(
            "first_byte_seconds", "Time until an answer began.", FIRST_BYTE_S
        )
        self._whole = _Histogram("request_seconds", "Time until a request ended.", REQUEST_S)
        self._tokens = _Counter("tokens", "Tokens of answers.", "target", "kind")
        self._cost = _Counter("cost_usd", "What cloud answers cost.")
        self._saved = _Counter("saved_usd", "Estimate of what local answers would have cost.")
        self._unpriced = _Counter("unpriced", "Cloud answers whose cost is not known.")
        self._fallbacks = _Counter(
            "fallbacks", "Answered by the other side than decided.", "target"
        )
        self._attempts = _Counter("failed_attempts", "Candidates that failed.", "backend", "error")

        self._caller_requests = _Counter(
            "caller_requests", "Requests that ended, by the name of the key.", "caller", "target"
        )
        self._caller_tokens = _Counter(
            "caller_tokens", "Tokens of answers, by the name of the key.", "caller", "kind"
        )
        self._caller_cost = _Counter(
            "caller_cost_usd", "What cloud answers cost, by the name of the key.", "caller"
        )
        self._callers: set[str] = set()

    def observe(self, record: Record) -> None:
        """Count a request, once, when it has ended."""
        target = record.target or "none"
        self._requests.add(1, target, record.reason, record.outcome)
        if record.first_byte_ms is not None:
            self._first_byte.add(record.first_byte_ms / 1000, target)
        if record.total_ms is not None:
            self._whole.add(record.total_ms / 1000, target)
        if usage := record.usage:
            self._tokens.add(usage.prompt_tokens, target, "prompt")
            self._tokens.add(usage.completion_tokens, target, "completion")
            if usage.cached_tokens:
                self._tokens.add(usage.cached_tokens, target, "cached")
            if usage.reasoning_tokens:
                self._tokens.add(usage.reasoning_tokens, target, "reasoning")
        if record.cost_usd:
            self._cost.add(record.cost_usd)
        if record.unpriced:
            self._unpriced.add(1)
        if record.saved_usd:
            self._saved.add(record.saved_usd)
        if record.fallback:
            self._fallbacks.add(1, target)
        for attempt in record.attempts:
            self._attempts.add(1, attempt.backend, attempt.error)
        if record.caller:
            self._observe_caller(record, target)

    def _observe_caller(self, record: Record, target: str) -> None:
        """Count a request for the name of its key; names beyond MOST_CALLERS count as "other"."""
        caller = record.caller
        if caller not in self._callers:
            if len(self._callers) < MOST_CALLERS:
                self._callers.add(caller)
            else:
                caller = "other"
        self._caller_requests.add(1, caller, target)
        if usage := record.usage:
            self._caller_tokens.add(usage.prompt_tokens, caller, "prompt")
            self._caller_tokens.add(usage.completion_tokens, caller, "completion")
        if record.cost_usd:
            self._caller_cost.add(record.cost_usd, caller)

    def text(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus' text format, and the content type."""
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator["Metric"]:
        """Yield the metrics to the registry."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        kept: tuple[_Counter | _Histogram, ...] = (
            *(self._requests, self._tokens, self._fallbacks, self._attempts),
            *(self._first_byte, self._whole, self._cost, self._saved, self._unpriced),
            *(self._caller_requests, self._caller_tokens, self._caller_cost),
        )
        for one in kept:
            yield one.family()
        dropped = _Counter("journal_rows_dropped", "Rows lost while the journal failed.")
        dropped.add(self.rows_dropped())
        yield dropped.family()

        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(PREFIX + name, text, labels=labels)

        up = gauge("side_up", "1: it answers.", "side")
        breaker = gauge("breaker_open", "1: not asked for a while, after failures.", "side")
        queue = gauge("queue", "Requests at a side, running or waiting.", "side", "state")
        for state in self.sides():
            up.add_metric((state.side,), state.up)
            breaker.add_metric((state.side,), state.breaker_open)
            queue.add_metric((state.side, "running"), state.running)
            queue.add_metric((state.side, "waiting"), state.waiting)
        yield from (up, breaker, queue)
