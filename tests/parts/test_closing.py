"""Closing: a part that fails to close leaves no other open."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from config import load_settings
from router.build import assemble
from router.parts.assembly import Assembly
from tests.support.journals import record
from web.app import create_app


@pytest.fixture
def parts(tmp_path: Path) -> Assembly:
    settings = load_settings(
        local_servers="one=http://127.0.0.1:9/v1,two=http://127.0.0.1:10/v1",
        anthropic_api_key="sk-ant-unused",
        embedded_model="off",
        journal_path=str(tmp_path / "journal.db"),
    )
    return assemble(settings)


def failing(close: Callable[[], Awaitable[None]], name: str, closed: list[str]) -> Any:
    async def aclose() -> None:
        await close()
        closed.append(name)
        raise OSError(f"{name} does not close")

    return aclose


async def test_all_parts_are_closed_though_each_fails(
    parts: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    for name, seat in parts.router.seats.items():
        monkeypatch.setattr(seat.watch, "aclose", failing(seat.watch.aclose, "watch", closed))
        monkeypatch.setattr(seat.backend, "aclose", failing(seat.backend.aclose, name, closed))
    journal = parts.ledger.journal
    journal.add(record("last"))
    with pytest.raises(OSError, match="does not close"):
        await parts.aclose()
    assert sorted(closed) == ["claude", "one", "two", *["watch"] * 3]
    assert [one.id for one in journal.store.recent(9)] == ["last"]
    assert journal._thread is None


async def test_the_current_settings_are_closed_though_earlier_ones_fail(
    parts: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    app = create_app(parts.settings, assemble(parts.settings))
    now = app.parts.router.locals[0].backend
    monkeypatch.setattr(now, "aclose", failing(now.aclose, "now", closed))
    earlier = create_app(parts.settings, parts)
    app.earlier.append(earlier._now)
    old = parts.router.locals[0].backend
    monkeypatch.setattr(old, "aclose", failing(old.aclose, "earlier", closed))
    with pytest.raises(OSError, match="now does not close"):
        await app.aclose()
    assert closed == ["earlier", "now"]
