"""Fixtures and hooks of all tests."""

import gc
import sys
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from router.sides import nearby
from tests.support.browser import browser, tab
from tests.support.journals import opened
from tests.support.postgres import database, postgres

__all__ = ["browser", "database", "opened", "postgres", "tab"]

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

UNCOVERED = (
    *("tests/chaos/test_after_the_first_byte.py", "tests/chaos/test_before_the_first_byte.py"),
    *("tests/chaos/test_bodies.py", "tests/chaos/test_circuit.py"),
    *("tests/chaos/test_malformed_answers.py", "tests/chaos/test_slow_starts.py"),
    *("tests/bench/", "tests/e2e/", "tests/llm_router/test_command.py", "tests/test_docs.py"),
    *("tests/clouds/test_whole_answers.py", "tests/clouds/test_wire_clouds.py"),
    *("tests/privacy/test_hidden.py", "tests/privacy/test_nothing_leaves.py"),
    *("tests/privacy/test_redact.py", "tests/web/test_page.py", "tests/web/test_page_decisions.py"),
    *(
        "tests/chat/test_chat.py",
        "tests/chat/test_commands.py",
        "tests/chat/test_running_server.py",
    ),
    *("tests/wire/test_linear_time.py", "tests/wire/gemini/test_gemini_any.py"),
)
"""Tests that run without coverage, which doubles their time: they start programs, which it does not
see, measure time, or go again and again over lines that other tests cover."""


@pytest.fixture(autouse=True)
def no_servers_nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests from asking what runs at the usual ports of this machine."""
    monkeypatch.setattr(nearby, "USUAL_PORTS", {})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs without coverage."""
    for item in items:
        if item.nodeid.startswith(UNCOVERED):
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Stop tracing while a test marked `no_cover` runs. In parallel workers the mark alone has no
    effect: pytest-cov 7.1 measures twice there, and pauses one of the two."""
    if not item.get_closest_marker("no_cover"):
        return (yield)
    trace = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(trace)


def pytest_collection_finish() -> None:
    """Exempt the imported modules from garbage collection, which takes a second on a busy machine:
    longer than the time limits of some tests."""
    gc.collect()
    gc.freeze()
