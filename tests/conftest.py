"""Fixtures and hooks of all tests."""

import gc

import pytest
from hypothesis import HealthCheck, settings

from router.sides import nearby
from tests.support.journals import opened
from tests.support.postgres import database, postgres

__all__ = ["database", "opened", "postgres"]

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def no_servers_nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests from asking what runs at the usual ports of this machine."""
    monkeypatch.setattr(nearby, "USUAL_PORTS", {})


def pytest_collection_finish() -> None:
    """Exempt the imported modules from garbage collection, which takes a second on a busy machine:
    longer than the time limits of some tests."""
    gc.collect()
    gc.freeze()
