"""Servers at the usual ports that stand in for the one at the default address."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from config import load_settings
from router.backend import LocalServer, Model, Status
from router.build import build_router
from router.local_client import LocalBackend
from router.sides import nearby
from router.sides.nearby import LOOK_AGAIN_S, UsualServers
from tests.support.clock import Clock
from tests.support.local_backend import QUICK
from tests.support.running_app import local_side
from tests.support.scripted import Connection, Request, scripted

NOWHERE = "http://127.0.0.1:9/v1"


class Played(LocalBackend):
    """A server whose status the test sets. A model named "locked": it wants a key."""

    def __init__(self, port: int, *models: str, up: bool = True) -> None:
        super().__init__(f"http://127.0.0.1:{port}/v1", "", limits=QUICK)
        self.models = models
        self.up = up
        self.looks = 0

    async def probe(self) -> Status:
        self.looks += 1
        if not self.up:
            return Status("down", detail=f"Nothing answers at {self.base_url}.")
        if self.models == ("locked",):
            return Status("locked", detail="It wants a key.")
        known = tuple(Model(name, loaded=True) for name in self.models)
        return Status("ready", known[0] if known else None, known, "ollama")


def usual(default: LocalServer, *others: LocalServer, clock: Clock | None = None) -> UsualServers:
    return UsualServers(default, others, clock or Clock())


@pytest.mark.parametrize(
    ("default_up", "others", "used"),
    [
        (True, [("a", True), ("b", True)], 1),
        (False, [("a", True), ("b", True)], 2),
        (False, [("a", False), ("b", True)], 3),
        (False, [("", True), ("b", True)], 3),
        (False, [("", True), ("b", False)], 2),
        (False, [("auto local cloud", True), ("b", True)], 3),
        (False, [("locked", True), ("b", True)], 3),
        (False, [("locked", True), ("b", False)], 1),
        (False, [("a", False), ("b", False)], 1),
    ],
    ids=[
        "default",
        "first",
        "second",
        "one with a model",
        "one without",
        "no router",
        "none with a key",
        "only one with a key",
        "none",
    ],
)
async def test_the_first_that_answers_is_used(
    default_up: bool, others: Sequence[tuple[str, bool]], used: int
) -> None:
    rest = [Played(2 + i, *names.split(), up=up) for i, (names, up) in enumerate(others)]
    server = usual(Played(1, "m", up=default_up), *rest)
    status = await server.probe()
    assert server.base_url == f"http://127.0.0.1:{used}/v1"
    is_said = "so Ollama at http://127.0.0.1" in status.detail
    assert is_said is (used > 1)


async def test_a_found_server_is_used_until_it_is_down_then_the_default_comes_first() -> None:
    default, other = Played(1, "m", up=False), Played(2, "n")
    server = usual(default, other)
    seen = []
    for default.up, other.up in ((False, True), (True, True), (True, False), (True, True)):
        await server.probe()
        seen.append(server.base_url[-4])
    assert seen == ["2", "2", "1", "1"]


async def test_programs_at_those_ports_are_not_asked_again_and_again() -> None:
    clock = Clock()
    other = Played(2, up=False)
    server = usual(Played(1, up=False), other, clock=clock)
    looks = []
    for clock.now in (0, 3, LOOK_AGAIN_S - 1, LOOK_AGAIN_S, LOOK_AGAIN_S + 3):
        await server.probe()
        looks.append(other.looks)
    assert looks == [1, 1, 1, 2, 2]


async def test_requests_go_to_the_server_that_was_found() -> None:
    async def any_route(connection: Connection, request: Request) -> None:
        if request.path == "/v1/embeddings":
            await connection.answer(orjson.dumps({"data": []}))
        else:
            await local_side(connection, request)

    async with scripted(any_route) as found:
        server = usual(
            LocalBackend(NOWHERE, "", limits=QUICK),
            LocalBackend(f"{found.url}/v1", "", limits=QUICK),
        )
        status = await server.probe()
        assert status.model is not None
        content_type, chunks = await server.relay("/embeddings", {"input": "x", "model": "m"})
        body = b"".join([chunk async for chunk in chunks])
        await server.aclose()
    assert (content_type, body) == ("application/json", b'{"data":[]}')
    assert found.requests[-1].headers.get("authorization") is None


@pytest.mark.parametrize(
    ("settings", "others"),
    [
        ({}, ["11434", "8000"]),
        ({"server_port": 9000}, ["11434", "8080", "8000"]),
        ({"local_base_url": "http://localhost:1234/v1"}, None),
        ({"local_servers": "one=http://localhost:1234/v1"}, None),
    ],
    ids=["default port", "another port", "address set", "several servers"],
)
async def test_only_without_an_address_of_the_users_own_others_are_looked_for(
    settings: dict[str, Any], others: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCAL_BASE_URL", raising=False)
    ports = {"LM Studio": 1234, "Ollama": 11434, "llama.cpp": 8080, "vLLM": 8000}
    monkeypatch.setattr(nearby, "USUAL_PORTS", ports)
    router = build_router(load_settings(None, journal_path="off", **settings))
    server = router.local.server
    found = [one.base_url for one in server._others] if isinstance(server, UsualServers) else None
    await router.aclose()
    assert found == (others and [f"http://127.0.0.1:{port}/v1" for port in others])
