"""One exchange at a door, as an ASGI server drives it."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from config import load_settings
from router.build import Assembly, assemble
from tests.support.backend_answers import local_answer, models
from tests.support.scripted import Connection, Request, scripted
from web.app import create_app
from web.asgi import CONNECTION

HI = [{"role": "user", "content": "Hi"}]
DOORS: dict[str, tuple[dict[str, Any], bytes]] = {
    "/v1/chat/completions": ({"messages": HI}, b"data: [DONE]"),
    "/v1/responses": ({"input": "Hi"}, b"event: response.completed"),
    "/v1/messages": ({"messages": HI, "max_tokens": 9}, b"event: message_stop"),
}


async def answering(connection: Connection, request: Request) -> None:
    await connection.stream(local_answer(request, calls=False)[0])


async def hesitating(connection: Connection, request: Request) -> None:
    said = local_answer(request, calls=False)[0]
    await connection.begin_stream()
    await connection.chunk(said[: said.index(b"Gott")].rpartition(b"\n\n")[0] + b"\n\n")
    await connection.silence()


class Visit:
    """A caller that hangs up as soon as it has been sent some bytes."""

    def __init__(self, path: str, body: dict[str, Any], until: bytes) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"host", b"localhost")],
            "query_string": b"",
            "state": {CONNECTION: self},
        }
        self.on_disconnect: Callable[[], None] | None = None
        self._body = orjson.dumps(body | {"stream": True, "model": "local"})
        self._until = until
        self.sent = b""

    def watch(self, on_disconnect: Callable[[], None]) -> None:
        self.on_disconnect = on_disconnect

    def unwatch(self, on_disconnect: Callable[[], None]) -> None:
        assert self.on_disconnect == on_disconnect
        self.on_disconnect = None

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: Any) -> None:
        self.sent += message.get("body", b"")
        if self._until in self.sent and self.on_disconnect is not None:
            tell = self.on_disconnect
            tell()
            tell()  # it leaves but once
            await asyncio.sleep(0)  # where it is cancelled, if it is


def outcome(assembly: Assembly) -> str:
    """Of the only request."""
    (record,) = assembly.ledger.journal.recent()
    return str(record.outcome)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("early", [False, True], ids=["at the end", "before the end"])
async def test_only_who_hangs_up_before_the_last_event_has_left(
    path: str, early: bool, tmp_path: Any
) -> None:
    body, last = DOORS[path]
    visit = Visit(path, body, b"It prints" if early else last)
    async with scripted(hesitating if early else answering, models) as server:
        settings = load_settings(
            env=None,
            local_base_url=f"{server.url}/v1",
            local_model="local-model",
            embedded_model="off",
            journal_path=str(tmp_path / "journal.db"),
        )
        assembly = assemble(settings)
        try:
            await create_app(settings, assembly)(visit.scope, visit.receive, visit.send)
            assert outcome(assembly) == ("left" if early else "done")
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()
            assert visit.on_disconnect is None
        finally:
            await assembly.aclose()
