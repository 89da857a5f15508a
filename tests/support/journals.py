"""Records, and the stores that a journal can have, for tests that hold for each of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from router.telemetry.journal_file import JournalFile
from router.telemetry.journal_store import JournalStore
from router.telemetry.record import Record

NOON: Final = 1_800_014_400.0


def record(id: str = "r1", **values: Any) -> Record:
    """Return the record of a local request at NOON, changed by `values`."""
    defaults: dict[str, Any] = {"id": id, "time": NOON, "target": "local"}
    return Record(**defaults | values)


@dataclass(frozen=True)
class Opened:
    """Opens a new store over the same rows at each call, as another process would."""

    open: Callable[[], JournalStore]
    settings: dict[str, Any]
    """The settings of a program that uses it."""
    stores: list[JournalStore] = field(default_factory=list)

    def __call__(self) -> JournalStore:
        self.stores.append(self.open())
        return self.stores[-1]


@pytest.fixture(params=["file", "database"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    found = opener(request.param, request, tmp_path)
    yield found
    for store in found.stores:
        store.close()


def opener(engine: str, request: pytest.FixtureRequest, folder: Path) -> Opened:
    """Return the opener of a new journal's store: "file", "memory" or "database"."""
    if engine == "memory":
        return Opened(lambda: JournalFile(None), {"journal_path": "off"})
    if engine == "file":
        path = folder / "data" / "journal.db"
        return Opened(lambda: JournalFile(path), {"journal_path": str(path)})
    url: str = request.getfixturevalue("database")
    from router.telemetry.journal_database import JournalDatabase

    return Opened(lambda: JournalDatabase(url), {"journal_url": url})
