"""The Grafana dashboard asks for metrics and labels that /metrics has."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.events import Usage
from router.telemetry.metrics import PREFIX, Metrics, SideState
from router.telemetry.record import Attempt, Record
from tests.support.paths import ROOT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "llm-router.json").read_text("utf-8"))
GIVEN_BY_PROMETHEUS = {"instance"}
SELECTION = re.compile(r"(llm_router_\w+)(?:\{(.*?)\})?")
BY = re.compile(r"\bby \(([^)]*)\)")


def exposed() -> dict[str, set[str]]:
    """Return the names of the samples of /metrics, with their labels."""
    metrics = Metrics(lambda: [SideState("local", up=True)])
    values: dict[str, Any] = {
        "target": "cloud", "reason": "complex", "fallback": True, "caller": "ann",
        "first_byte_ms": 9.0, "total_ms": 9.0, "usage": Usage(9, 9, 9, 9, 9),
        "cost_usd": 1.0, "saved_usd": 1.0,
        "attempts": (Attempt("local", "m", "BackendBroken"),),
    }  # fmt: skip
    metrics.observe(Record("r", 0.0, **values))
    families = text_string_to_metric_families(metrics.text()[0].decode())
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str, str]]:
    """Yield the title, expression and legend of each query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"], ""


QUERIES = list(expressions())


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES)
def test_a_query_names_metrics_and_labels_that_exist(title: str, query: str, legend: str) -> None:
    known = exposed()
    selections = SELECTION.findall(query)
    assert selections, title
    for name, conditions in selections:
        assert name in known, f"{title}: {name} is not in /metrics"
        labels = known[name] | GIVEN_BY_PROMETHEUS
        asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", conditions))
        grouped = {label.strip() for group in BY.findall(query) for label in group.split(",")}
        assert asked | grouped <= labels, title
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= grouped, title


def test_counters_are_read_as_rates_and_histograms_as_quantiles() -> None:
    for title, query, _ in QUERIES:
        for name, _ in SELECTION.findall(query):
            if name.endswith(("_total", "_bucket")) and "label_values" not in query:
                assert re.search(rf"(?:rate|increase)\({name}", query), title


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for _, query, _ in QUERIES for name, _ in SELECTION.findall(query)}
    parts = ("_created", "_count", "_sum")
    missing = {name for name in exposed() if not name.endswith(parts)} - shown
    assert missing == set()
    assert all(name.startswith(PREFIX) for name in shown)


def test_panels_lie_side_by_side_and_can_be_imported_anywhere() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & cells, panel["title"]
        cells |= mine
        assert panel["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
