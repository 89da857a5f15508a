"""The proof that a server and a chat belong to the same user."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from config import load_settings
from router.state.same_user import KEY_BYTES, Proof, key_path, prove, read_key
from tests.support.running_app import running_app

NONCE = "0123456789abcdef" * 2
BASE: dict[str, Any] = {
    "key": bytes(KEY_BYTES), "settings": {}, "host": "127.0.0.1", "port": 8080, "nonce": NONCE,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


def proof(**change: Any) -> Proof:
    given = BASE | change
    settings = load_settings(env=None, **given["settings"])
    return prove(given["key"], settings, given["host"], given["port"], given["nonce"])


@pytest.mark.parametrize(
    "change",
    [{"key": b"x" * KEY_BYTES}, {"host": "::1"}, {"port": 8081}, {"nonce": NONCE[::-1]}],
    ids=str,
)
def test_another_key_address_or_nonce_gives_another_proof(change: dict[str, Any]) -> None:
    other = proof(**change)
    assert other.user != proof().user
    assert other.settings != proof().settings


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"chat_history": "off"}, True),
        ({"server_port": 9000}, True),
        ({"complexity_threshold": 51}, False),
        ({"anthropic_api_key": "sk-ant-x"}, False),
        ({"private_patterns": "falcon"}, False),
        ({"local_model": "qwen2.5-32b-instruct"}, False),  # meant, and no default
        ({"local_base_url": "http://me:word@localhost:1234/v1"}, False),
    ],
    ids=str,
)
def test_settings_that_change_answers_change_the_second_digest(
    settings: dict[str, Any], same: bool
) -> None:
    other = proof(settings=settings)
    assert other.user == proof().user
    assert (other.settings == proof().settings) == same


def test_two_keys_differ_in_the_second_digest() -> None:
    first, second = ({"anthropic_api_key": f"sk-ant-{n}"} for n in "12")
    assert proof(settings=first).settings != proof(settings=second).settings


def test_the_key_is_made_once_and_only_its_owner_can_read_it() -> None:
    assert read_key() is None
    key = read_key(make=True)
    assert key is not None
    assert len(key) == KEY_BYTES
    assert read_key(make=True) == read_key() == key
    assert key_path().stat().st_mode & 0o077 == 0


async def test_a_server_proves_itself_without_its_api_key_and_on_loopback_only() -> None:
    async with running_app(router_api_key="a-key") as running:
        path = f"http://localhost:8080/identity?nonce={NONCE}"
        assert (await running.http.get(path)).status_code == 403  # there is no key yet
        key = read_key(make=True)
        assert key is not None
        answer = await running.http.get(path)
        expected = prove(key, running.assembly.settings, "localhost", 8080, NONCE)
        assert answer.json() == {"user": expected.user, "settings": expected.settings}
        assert (await running.http.get("/identity?nonce=x")).status_code == 400
        far = httpx2.ASGITransport(running.app, client=("192.168.1.9", 1))
        async with httpx2.AsyncClient(transport=far, base_url="http://localhost") as http:
            assert (await http.get(path)).status_code == 403
