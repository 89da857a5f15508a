"""Metrics: what Prometheus' own parser reads from the exposition."""

import time
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from router.events import Usage
from router.telemetry.metrics import Metrics, SideState
from router.telemetry.record import Attempt, Record


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and label values (in the order of the labels' names) to value."""
    families = text_string_to_metric_families(metrics.text()[0].decode())
    return {
        (
            sample.name.removeprefix("llm_router_"),
            *(sample.labels[k] for k in sorted(sample.labels)),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def record(**values: Any) -> Record:
    defaults: dict[str, Any] = {"id": "r", "time": 0.0, "target": "local", "reason": "simple"}
    return Record(**defaults | values)


def test_requests_are_counted_by_outcome_reason_and_target() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.observe(record())
    metrics.observe(record(target=None, reason="cloud_down", outcome="failed"))
    found = samples(metrics)
    assert found["requests_total", "done", "simple", "local"] == 2
    assert found["requests_total", "failed", "cloud_down", "none"] == 1


def test_times_are_histograms_in_seconds() -> None:
    metrics = Metrics()
    metrics.observe(record(first_byte_ms=300, total_ms=3_000))
    metrics.observe(record(first_byte_ms=None, total_ms=7_000, outcome="failed"))
    found = samples(metrics)
    assert found["first_byte_seconds_bucket", "0.25", "local"] == 0
    assert found["first_byte_seconds_bucket", "0.5", "local"] == 1
    assert found["first_byte_seconds_count", "local"] == 1
    assert found["request_seconds_sum", "local"] == 10
    assert found["request_seconds_bucket", "5.0", "local"] == 1


def test_tokens_money_and_unpriced_answers_are_counted() -> None:
    metrics = Metrics()
    metrics.observe(record(usage=Usage(100, 20, 60, 0, 5), cost_usd=0.0, saved_usd=0.25))
    metrics.observe(record(target="cloud", usage=Usage(10, 2), cost_usd=0.5))
    metrics.observe(record(target="cloud", usage=Usage(10, 2), cost_usd=None, first_byte_ms=9.0))
    metrics.observe(record(target="cloud", outcome="failed"))
    found = samples(metrics)
    assert found["tokens_total", "prompt", "local"] == 100
    assert found["tokens_total", "cached", "local"] == 60
    assert found["tokens_total", "completion", "cloud"] == 4
    assert found["tokens_total", "reasoning", "local"] == 5
    assert found["cost_usd_total",] == 0.5
    assert found["saved_usd_total",] == 0.25
    assert found["unpriced_total",] == 1


def test_fallbacks_and_failed_attempts_are_counted() -> None:
    metrics = Metrics()
    failed = Attempt("local", "qwen", "BackendTimeout")
    metrics.observe(record(target="cloud", fallback=True, attempts=(failed,), cost_usd=0.1))
    found = samples(metrics)
    assert found["fallbacks_total", "cloud"] == 1
    assert found["failed_attempts_total", "local", "BackendTimeout"] == 1


def test_sides_are_read_at_each_scrape() -> None:
    side = SideState("local", up=True, running=2, waiting=3)
    metrics = Metrics(lambda: [side])
    found = samples(metrics)
    assert found["side_up", "local"] == 1
    assert found["queue", "local", "running"] == 2
    assert found["queue", "local", "waiting"] == 3
    side = SideState("local", up=False, breaker_open=True)
    found = samples(metrics)
    assert found["side_up", "local"] == 0
    assert found["breaker_open", "local"] == 1
    assert found["queue", "local", "waiting"] == 0


def test_two_routers_in_one_process_do_not_share_figures() -> None:
    one, other = Metrics(), Metrics()
    one.observe(record())
    assert ("requests_total", "done", "simple", "local") not in samples(other)


def test_the_content_type_is_that_of_prometheus() -> None:
    assert Metrics().text()[1].startswith("text/plain")


def test_counting_a_request_costs_little() -> None:
    metrics = Metrics()
    one = record(first_byte_ms=30_000, total_ms=90_000, usage=Usage(9, 9, 3, 0, 1), saved_usd=0.1)
    metrics.observe(one)

    def run() -> float:
        began = time.process_time()
        for _ in range(1_000):
            metrics.observe(one)
        return time.process_time() - began

    assert min(run() for _ in range(5)) / 1_000 < 40e-6, "seconds of CPU"
