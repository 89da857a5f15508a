"""The effect of LOCAL_CONFIDENCE on the answers in the journal."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from router.answers.calibration import SURE_LABELS, Calibration, Calibrations, Curve
from router.answers.trust import BAND, SHORT_TOKENS, Truster
from router.telemetry.confidence_figures import BINS, confidence_json
from router.telemetry.journal import DAY_S, Attempt, Journal, Record

NOON = 1_800_014_400.0
THRESHOLD = 50.0
# The probability of a good answer is one half where the model's own certainty is.
WORDS = Calibration("m", "words", Curve(0.0, 1.0, 60), least=0.5)
CHECK = Calibration("m", "check", Curve(0.0, 1.0, SURE_LABELS), least=0.5)


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal(None, clock=lambda: NOON)
    yield journal
    journal.close()


def local(words: float, **values: Any) -> Record:
    defaults: dict[str, Any] = {
        **{"id": "r", "time": NOON - 60, "target": "local", "model": "m", "score": THRESHOLD - 1},
        **{"reason": "simple", "saved_usd": 0.25, "answer": {"words": words, "tokens": 3.0}},
    }
    return Record(**defaults | values)


def figures(journal: Journal, *records: Record, mode: Any = "shadow", days: float = 7) -> Any:
    for record in records:
        journal.add(record)
    journal.flush()
    truster = Truster(mode, Calibrations((WORDS, CHECK)), THRESHOLD)
    found = confidence_json(journal, truster, days, NOON)
    assert json.loads(json.dumps(found)) == found
    return found


def test_unsure_answers_would_have_started_over_at_the_clouds_price(journal: Journal) -> None:
    found = figures(journal, local(-2), local(-0.1), local(3), local(-1, saved_usd=None))
    words, check = found["calibrations"]
    assert (words["looked_at"], words["unsure"]) == (4, 3)
    assert (words["cost_usd"], words["unpriced"]) == (0.5, 1)
    assert (check["looked_at"], sum(check["seen"])) == (0, 0)
    assert (found["mode"], found["answers"]) == ("shadow", 4)


@pytest.mark.parametrize(
    ("change", "looked_at"),
    [
        ({}, 1),
        ({"score": THRESHOLD - BAND}, 1),
        ({"score": THRESHOLD - BAND - 1}, 0),
        ({"score": THRESHOLD}, 0),
        ({"forced": True}, 0),
        ({"private": True}, 0),
        ({"reason": "background"}, 0),
        ({"stream": True}, 1),
        ({"stream": True, "answer": {"words": -2.0, "tokens": SHORT_TOKENS + 1.0}}, 0),
        ({"answer": {"words": -2.0, "tokens": SHORT_TOKENS + 1.0}}, 1),
    ],
)
def test_only_what_would_be_held_back_is_looked_at(
    change: dict[str, object], looked_at: int, journal: Journal
) -> None:
    words, _ = figures(journal, local(-2, **change))["calibrations"]
    assert words["looked_at"] == words["unsure"] == looked_at
    assert sum(words["seen"]) == 1


def test_an_answer_that_started_over_counts_for_the_local_model(journal: Journal) -> None:
    refused = Attempt("local", "m", "UnsureAnswer")
    cloud = {"target": "cloud", "model": "claude", "reason": "escalated", "cost_usd": 0.75}
    found = figures(
        journal,
        local(-2, attempts=(refused,), **cloud),
        local(-2, attempts=(Attempt("local", "m", "BackendBroken"),), **cloud),
        mode="on",
    )
    words, _ = found["calibrations"]
    assert found["answers"] == 1
    assert (words["unsure"], words["cost_usd"]) == (1, 0.75)


def test_a_self_check_counts_before_the_words(journal: Journal) -> None:
    answer = {"words": 3.0, "check": -3.0, "tokens": 90.0}
    words, check = figures(journal, local(0, answer=answer))["calibrations"]
    assert (words["looked_at"], check["unsure"]) == (0, 1)


def test_answers_are_sorted_by_the_models_own_certainty(journal: Journal) -> None:
    (words, _) = figures(journal, local(-14), local(0.01), local(14))["calibrations"]
    filled = {at: n for at, n in enumerate(words["seen"]) if n}
    assert filled == {0: 1, BINS // 2: 1, BINS - 1: 1}


def test_models_without_a_calibration_are_named(journal: Journal) -> None:
    found = figures(journal, local(1), local(1, model="new"), local(1, model="new"))
    assert found["uncalibrated"] == {"new": 2}


def test_old_answers_and_those_without_probabilities_do_not_count(journal: Journal) -> None:
    found = figures(journal, local(1, time=NOON - 2 * DAY_S), local(1, answer={}), local(1), days=1)
    assert found["answers"] == 1


def test_it_says_whether_there_are_enough_labels(journal: Journal) -> None:
    assert [one["sure"] for one in figures(journal)["calibrations"]] == [False, True]
