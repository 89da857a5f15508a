"""The store that the tests of shared state use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.store import StoreServer, store_server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreServer]:
    with store_server(tmp_path) as server:
        yield server
