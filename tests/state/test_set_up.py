"""STATE_URL at the start and at the end: packages, the doctor's finding, closing."""

import asyncio
import sys
from contextlib import suppress

import pytest

from config import SettingsError, load_settings
from llm_router import doctor
from router.build import assemble
from router.state import shared
from tests.support.store import StoreServer
from tests.support.waiting import settled


async def findings(monkeypatch: pytest.MonkeyPatch, store: StoreServer) -> list[doctor.Finding]:
    values = {"STATE_URL": store.url, "JOURNAL_PATH": "off", "EMBEDDED_MODEL": "off"}
    values["LOCAL_BASE_URL"] = "http://127.0.0.1:9/v1"
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return [one for one in await doctor.examine() if one.name == "store"]


async def test_the_doctor_names_the_store_without_its_password(
    monkeypatch: pytest.MonkeyPatch, store: StoreServer
) -> None:
    (found,) = await findings(monkeypatch, store)
    assert found.level == "ok"
    assert f"valkey://127.0.0.1:{store.port}/0" in found.text
    store.kill()
    (found,) = await findings(monkeypatch, store)
    assert found.level == "WRONG"
    assert "cannot be used" in found.text
    assert "opensesame" not in found.text


async def test_a_wrong_password_is_said_to_be_wrong_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, store: StoreServer
) -> None:
    wrong = store.url.replace("opensesame", "guessed")
    monkeypatch.setattr(StoreServer, "url", wrong)
    (found,) = await findings(monkeypatch, store)
    assert found.level == "WRONG"
    assert "password" in found.text
    assert "guessed" not in found.text


def test_without_the_client_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "valkey.asyncio", None)
    with pytest.raises(SettingsError, match=r"pip install 'valkey\[libvalkey\]'"):
        assemble(load_settings(env=None, journal_path="off", state_url="valkey://localhost"))


def test_an_unknown_option_in_the_address_is_an_error(store: StoreServer) -> None:
    url = f"{store.url}?socket_timeout=soon"
    with pytest.raises(SettingsError, match="STATE_URL"):
        assemble(load_settings(env=None, journal_path="off", state_url=url))


async def test_a_store_closes_though_its_client_swallows_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    monkeypatch.setattr(shared, "LOOK_S", 0)
    closing = shared.SharedStore("valkey://127.0.0.1:9")
    monkeypatch.setattr(closing, "look", look)
    await closing.start()
    await settled(lambda: looks == 2, "the store is not looked at")
    async with asyncio.timeout(10):
        await closing.aclose()
    assert looks == 2
