"""What all tests share."""

import gc

from hypothesis import HealthCheck, settings

from tests.support.journals import opened
from tests.support.postgres import database, postgres

__all__ = ["database", "opened", "postgres"]

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    """What was imported until here need not be looked through again: on a busy machine that takes
    a second, and the time limits of the tests are shorter."""
    gc.collect()
    gc.freeze()
