"""What happened, as Prometheus counts it: fed with the journal's records, read by a scrape.

Each `Metrics` has a registry of its own. Names and labels:

    llm_router_requests_total{target,reason,outcome}     target "none": nobody was asked
    llm_router_first_byte_seconds{target}                histogram
    llm_router_request_seconds{target}                   histogram
    llm_router_tokens_total{target,kind}                 prompt, cached, completion, reasoning
    llm_router_cost_usd_total, llm_router_saved_usd_total (an estimate)
    llm_router_unpriced_total                            cloud answers whose cost is not known
    llm_router_fallbacks_total{target}                   answered by the other side than decided
    llm_router_failed_attempts_total{backend,error}
    llm_router_side_up{side}, llm_router_breaker_open{side}, llm_router_queue{side,state}
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from router.books.record import Record

__all__ = ["CONTENT_TYPE_LATEST", "Metrics", "SideState"]

FIRST_BYTE_S: Final = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
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


class Metrics:
    """Counts records; `sides` is asked at each scrape for what is not in a record."""

    def __init__(self, sides: Callable[[], Iterable[SideState]] = tuple) -> None:
        # Each would have a second series. Of the whole process, so not done at import.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._sides = sides
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"llm_router_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"llm_router_{name}", text, labels, registry=registry)

        requests = counter("requests", "Requests that ended.", "target", "reason", "outcome")
        tokens = counter("tokens", "Tokens of answers.", "target", "kind")
        fallbacks = counter("fallbacks", "Answered by the other side than decided.", "target")
        attempts = counter("failed_attempts", "Candidates that failed.", "backend", "error")
        first_byte = Histogram(
            "llm_router_first_byte_seconds",
            "Time until an answer began.",
            ("target",),
            buckets=FIRST_BYTE_S,
            registry=registry,
        )
        whole = Histogram(
            "llm_router_request_seconds",
            "Time until a request ended.",
            ("target",),
            buckets=REQUEST_S,
            registry=registry,
        )
        self._cost = counter("cost_usd", "What cloud answers cost.")
        self._saved = counter("saved_usd", "Estimate of what local answers would have cost.")
        self._unpriced = counter("unpriced", "Cloud answers whose cost is not known.")
        self._up = gauge("side_up", "1: it answers.", "side")
        self._breaker = gauge("breaker_open", "1: left alone after failures.", "side")
        self._queue = gauge("queue", "Requests at a side, running or waiting.", "side", "state")

        # Looking up a set of labels costs more than counting. Labels are our own words, never a
        # caller's, so there are few sets.
        self._requests = cache(requests.labels)
        self._tokens = cache(tokens.labels)
        self._fallbacks = cache(fallbacks.labels)
        self._attempts = cache(attempts.labels)
        self._first_byte = cache(first_byte.labels)
        self._whole = cache(whole.labels)

    def observe(self, record: Record) -> None:
        """Count a request, once, when it has ended."""
        target = record.target or "none"
        self._requests(target, record.reason, record.outcome).inc()
        if record.first_byte_ms is not None:
            self._first_byte(target).observe(record.first_byte_ms / 1000)
        if record.total_ms is not None:
            self._whole(target).observe(record.total_ms / 1000)
        if usage := record.usage:
            self._tokens(target, "prompt").inc(usage.prompt_tokens)
            self._tokens(target, "completion").inc(usage.completion_tokens)
            if usage.cached_tokens:
                self._tokens(target, "cached").inc(usage.cached_tokens)
            if usage.reasoning_tokens:
                self._tokens(target, "reasoning").inc(usage.reasoning_tokens)
        if record.cost_usd:
            self._cost.inc(record.cost_usd)
        if record.unpriced:
            self._unpriced.inc()
        if record.saved_usd:
            self._saved.inc(record.saved_usd)
        if record.fallback:
            self._fallbacks(target).inc()
        for attempt in record.attempts:
            self._attempts(attempt.backend, attempt.error).inc()

    def text(self) -> bytes:
        """The exposition, in Prometheus' text format (CONTENT_TYPE_LATEST)."""
        for state in self._sides():
            self._up.labels(state.side).set(state.up)
            self._breaker.labels(state.side).set(state.breaker_open)
            self._queue.labels(state.side, "running").set(state.running)
            self._queue.labels(state.side, "waiting").set(state.waiting)
        return generate_latest(self._registry)
