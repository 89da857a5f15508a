"""The soak, for a short while: whatever fails, a fault explains it, and nothing is left over."""

import sys
from pathlib import Path

import pytest

from bench.faults import Side
from bench.soak import Question, Soak, outcome_of, soak
from tests.support.chaos.callers import CHAT, Heard
from tests.support.chaos.sides import CLAUDE, HELLO, LOCAL

SECONDS = 15
MOST_GROWN_MB = 30
"""Caches that fill and a heap that settles; it does not go on growing."""


@pytest.mark.no_cover
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
async def test_mixed_traffic_with_faults_leaves_nothing_unexplained(tmp_path: Path) -> None:
    run, before, after = await soak(SECONDS, tmp_path)
    assert run.unexplained == []
    assert run.outcomes["answered"] > run.outcomes.total() / 3
    assert run.outcomes["error reported by the status"]
    assert run.outcomes["error reported in the stream"]
    assert run.outcomes["left"]
    assert after.sockets <= before.sockets
    assert after.memory_mb < before.memory_mb + MOST_GROWN_MB


@pytest.mark.parametrize(
    ("heard", "outcome"),
    [
        (Heard(200, "local", f"{HELLO} number 7", "stop"), "answered"),
        (Heard(200, "local", f"{HELLO} number 8", "stop"), "wrong answer"),
        (Heard(200, "local", HELLO), "cut off in silence"),
    ],
)
def test_an_answer_is_whole_and_the_callers_own(heard: Heard, outcome: str) -> None:
    question = Question(7, CHAT, True, "", local="cut", cloud="cut")
    found, trouble = outcome_of(heard, question)
    assert found == outcome
    if trouble:
        assert not Soak(Side(LOCAL), Side(CLAUDE)).explains(question, trouble, 0)


@pytest.mark.parametrize(
    ("force", "local", "explained"),
    [("local", "well", False), ("local", "cut", True), ("cloud", "cut", False), ("", "cut", True)],
)
def test_only_a_fault_of_a_side_that_is_asked_explains(
    force: str, local: str, explained: bool
) -> None:
    run = Soak(Side(LOCAL), Side(CLAUDE))
    question = Question(7, CHAT, True, force, local)
    assert run.explains(question, "error 502 upstream_broken", 0) is explained


def test_a_side_that_was_gone_explains() -> None:
    run = Soak(Side(LOCAL), Side(CLAUDE))
    run.local.back_at = 100
    question = Question(7, CHAT, True, "local")
    assert run.explains(question, "error 503 no_backend", 101)
    assert not run.explains(question, "error 504 upstream_timeout", 101)
    assert not run.explains(question, "error 503 no_backend", 110)
