"""Statistics: figures that a page and scripts can rely on."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from router.errors import InvalidRequest
from router.events import Usage
from router.telemetry.journal import DAY_S, Attempt, Journal, Record
from router.telemetry.journal_file import JournalFile
from router.telemetry.stats import decisions_json, feedback_json, stats_json
from tests.support.journals import NOON, opener


def record(id: str, **values: Any) -> Record:
    defaults: dict[str, Any] = {"id": id, "time": NOON - 60, "target": "local", "reason": "simple"}
    return Record(**defaults | values)


@pytest.fixture(params=["file", "memory", "database"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(opener(request.param, request, tmp_path)(), days=400, clock=lambda: NOON)
    yield journal
    journal.close()


def filled(journal: Journal, *records: Record) -> Journal:
    for one in records:
        journal.add(one)
    journal.flush()
    return journal


def test_an_empty_journal_has_figures(journal: Journal, tmp_path: Path) -> None:
    stats = stats_json(journal, 1, NOON)
    assert stats["requests"] == 0
    assert stats["local_share"] is None
    assert stats["targets"]["local"]["first_byte_ms"] is None
    assert len(stats["over_time"]) == DAY_S // stats["slot_s"] + 1
    assert json.loads(json.dumps(stats)) == stats


def test_shares_outcomes_and_reasons_are_counted(journal: Journal) -> None:
    filled(
        journal,
        *(record(f"l{i}") for i in range(3)),
        record("c", target="cloud", reason="complex", outcome="left"),
        record("n", target=None, reason="cloud_down", outcome="failed"),
        record("old", time=NOON - 8 * DAY_S),
    )
    stats = stats_json(journal, 7, NOON)
    assert stats["requests"] == 5
    assert stats["local_share"] == 0.75
    assert stats["outcomes"] == {"done": 3, "left": 1, "failed": 1}
    assert stats["reasons"][0] == {"reason": "simple", "target": "local", "requests": 3}
    assert {side: of["requests"] for side, of in stats["targets"].items()} == {
        "local": 3,
        "cloud": 1,
        "none": 1,
    }


def test_failed_requests_are_in_no_sides_share(journal: Journal) -> None:
    filled(
        journal,
        *(record(f"l{i}") for i in range(6)),
        record("c", target="cloud"),
        record("left", target="cloud", outcome="left"),
        record("failed", outcome="failed", status=502),
        *(record(f"n{i}", target=None, outcome="failed") for i in range(3)),
    )
    stats = stats_json(journal, 7, NOON)
    assert (stats["requests"], stats["answered"], stats["local_share"]) == (12, 8, 0.75)
    for name, count in {"local": 6, "cloud": 2, "none": 4}.items():
        assert stats["targets"][name]["requests"] == count
        assert sum(point[name] for point in stats["over_time"]) == count


def test_repeats_are_counted_apart_from_bad_ratings(journal: Journal) -> None:
    filled(
        journal,
        record("a", feedback="bad", feedback_source="repeat"),
        record("b", feedback="bad", feedback_source="repeat"),
        record("c", feedback="bad", feedback_source="caller"),
        record("d", feedback="bad", feedback_source="chat"),
        record("e", feedback="good", feedback_source="chat"),
        record("f"),
    )
    stats = stats_json(journal, 7, NOON)
    assert (stats["totals"]["bad"], stats["totals"]["good"], stats["repeated"]) == (2, 1, 2)


def test_known_costs_are_summed_and_unknown_ones_counted(journal: Journal) -> None:
    filled(
        journal,
        record("a", cost_usd=0.0, saved_usd=0.25, usage=Usage(100, 10, 50)),
        record("b", cost_usd=0.0, saved_usd=None, feedback="bad", feedback_source="chat"),
        record("c", target="cloud", cost_usd=1.5, usage=Usage(7, 3), fallback=True),
        record("d", target="cloud", cost_usd=None, feedback="good", first_byte_ms=9.0),
        record("e", target="cloud", cost_usd=None, outcome="failed"),
    )
    totals = stats_json(journal, 7, NOON)["totals"]
    assert totals == {
        "cost_usd": 1.5,
        "saved_usd": 0.25,
        "unpriced": 1,
        "unsaved": 1,
        "prompt_tokens": 107,
        "cached_tokens": 50,
        "completion_tokens": 13,
        "reasoning_tokens": 0,
        "fallbacks": 1,
        "bad": 1,
        "good": 1,
    }
    assert stats_json(journal, 7, NOON)["spent_today_usd"] == 1.5


def test_latency_and_speed_are_of_answers_that_were_completed(journal: Journal) -> None:
    filled(
        journal,
        *(
            record(f"r{i}", first_byte_ms=100 * i, total_ms=100 * i + 2_000, usage=Usage(5, 80))
            for i in range(1, 22)
        ),
        record("broken", first_byte_ms=9e9, total_ms=9e9, outcome="failed"),
    )
    local = stats_json(journal, 7, NOON)["targets"]["local"]
    assert local["first_byte_ms"] == {"p50": 1_100, "p95": 2_000}
    assert local["total_ms"]["p50"] == 3_100
    assert local["tokens_per_s"] == 40


def test_one_answer_is_its_own_median(journal: Journal) -> None:
    filled(journal, record("r", first_byte_ms=70.0, total_ms=70.0))
    local = stats_json(journal, 7, NOON)["targets"]["local"]
    assert local["first_byte_ms"] == {"p50": 70, "p95": 70}
    assert local["tokens_per_s"] is None


@pytest.mark.parametrize("days", [0.05, 1, 7, 30, 365])
def test_the_curve_has_a_point_for_every_slot_and_every_request(
    journal: Journal, days: float
) -> None:
    times = [NOON - days * DAY_S * part for part in (0.01, 0.3, 0.3, 0.7, 0.99)]
    filled(
        journal,
        *(record(f"{i}", time=at, target="cloud", cost_usd=1.0) for i, at in enumerate(times)),
    )
    stats = stats_json(journal, days, NOON)
    curve = stats["over_time"]
    assert sum(point["cloud"] for point in curve) == 5
    assert sum(point["cost_usd"] for point in curve) == 5
    gaps = {round(b["time"] - a["time"]) for a, b in pairwise(curve)}
    assert gaps <= {stats["slot_s"]}
    assert len(curve) < 70
    assert curve[0]["time"] <= stats["since"]
    assert curve[-1]["time"] <= NOON < curve[-1]["time"] + stats["slot_s"]


def test_an_equal_share_is_a_half(journal: Journal) -> None:
    filled(journal, record("l"), record("c", target="cloud"))
    assert stats_json(journal, 7, NOON)["local_share"] == 0.5


def test_the_latest_answer_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(JournalFile(path), clock=lambda: NOON)
    for n in range(1, 4):
        journal.add(record(f"r{n}"))
        assert stats_json(journal, 7, NOON)["requests"] == n
    assert stats_json(journal, 7, NOON)["journal"] == {
        "path": str(path),
        "trouble": "",
        "dropped": 0,
    }
    journal.close()
    assert stats_json(Journal(None), 7, NOON)["journal"]["path"] is None


@pytest.mark.parametrize("days", [-1, 0, 1e12])
def test_spans_are_cut_to_their_limits(journal: Journal, days: float) -> None:
    filled(journal, record("r"))
    assert stats_json(journal, days, NOON)["requests"] == 1


def test_a_journal_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = filled(Journal(JournalFile(tmp_path / "file" / "journal.db")), record("r"))
    stats = stats_json(journal, 7, NOON)
    assert stats["requests"] == 0
    assert "JOURNAL_PATH" in stats["journal"]["trouble"]
    assert [d["id"] for d in decisions_json(journal)["decisions"]] == ["r"]
    journal.close()


def test_decisions_come_newest_first_with_their_signals(journal: Journal) -> None:
    filled(
        journal,
        record("first"),
        record(
            "second",
            time=NOON,
            signals={"token_count": 2.5},
            gates=("context",),
            attempts=(Attempt("local", "qwen", "BackendTimeout", "silent", 9.5),),
            usage=Usage(10, 40),
            first_byte_ms=100.0,
            total_ms=1_100.0,
            conversation="c",
            question="q",
            prompt="not journalled",
        ),
    )
    second, first = decisions_json(journal)["decisions"]
    assert (first["id"], second["id"]) == ("first", "second")
    assert second["tokens_per_s"] == 40
    assert second["signals"] == {"token_count": 2.5}
    assert second["attempts"][0]["error"] == "BackendTimeout"
    assert second["usage"]["completion_tokens"] == 40
    assert second["prompt"] is None
    assert second.keys() & {"conversation", "question"} == set()
    assert len(decisions_json(journal, 1)["decisions"]) == 1


def test_a_request_that_did_not_fit_comes_with_its_fix(
    journal: Journal,
) -> None:
    fix = "lms load qwen --context-length 16384"
    filled(journal, record("long", target="cloud", reason="context", fix=fix), record("hard"))
    shown = {d["id"]: d["fix"] for d in decisions_json(journal)["decisions"]}
    assert shown == {"long": fix, "hard": ""}


def test_feedback_is_kept_and_shown(journal: Journal) -> None:
    filled(journal, record("r"))
    said = {"request_id": "r", "feedback": "bad"}
    assert feedback_json(journal, said) == said
    journal.flush()
    assert stats_json(journal, 7, NOON)["totals"]["bad"] == 1
    assert decisions_json(journal)["decisions"][0]["feedback_source"] == "caller"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "request_id"),
        ({"request_id": 7, "feedback": "good"}, 400, "request_id"),
        ({"request_id": "r", "feedback": "great"}, 400, "feedback"),
        ({"request_id": "r", "feedback": ["good"]}, 400, "feedback"),
        ({"request_id": "unheard of", "feedback": "good"}, 404, "request_id"),
    ],
)
def test_invalid_feedback_is_refused(
    journal: Journal, body: dict[str, object], status: int, param: str
) -> None:
    filled(journal, record("r"))
    with pytest.raises(InvalidRequest) as caught:
        feedback_json(journal, body)
    assert (caught.value.status, caught.value.param) == (status, param)
