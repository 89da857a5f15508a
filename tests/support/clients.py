"""Clients: the official ones, talking to bytes of ours; requests that real ones have sent."""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from typing import Any

import anthropic
import httpx2
import openai
import orjson

from router.events import Batch, Event
from router.wire.anthropic import messages
from router.wire.chat import completions
from router.wire.responses import responses
from tests.support import paths

Answer = Callable[[httpx2.Request], httpx2.Response]


def openai_client(answer: Answer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="unused", base_url="http://router/v1", max_retries=0, http_client=_http(answer)
    )


def anthropic_client(answer: Answer) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        api_key="unused", base_url="http://router", max_retries=0, http_client=_http(answer)
    )


def _http(answer: Answer) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.MockTransport(answer))


def sse_answer(data: bytes) -> Answer:
    headers = {"Content-Type": "text/event-stream"}
    return lambda request: httpx2.Response(200, headers=headers, content=data)


def json_answer(body: dict[str, Any], status: int = 200) -> Answer:
    headers = {"Content-Type": "application/json"}
    return lambda request: httpx2.Response(status, headers=headers, content=orjson.dumps(body))


async def said(events: Iterable[Event]) -> AsyncGenerator[Batch, None]:
    """A backend that says this, one event at a time."""
    for event in events:
        yield [event]


async def joined(stream: AsyncIterable[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


RECORDINGS = paths.RECORDINGS / "clients"
PARSERS = {
    "/v1/chat/completions": completions.parse,
    "/v1/messages": messages.parse,
    "/v1/responses": responses.parse,
}
"""The parser of each path that takes a conversation."""


def recorded(name: str) -> dict[str, Any]:
    """Return a client's recorded request: `path`, `headers`, `body` and the `human` words in it."""
    recording: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_bytes())
    return recording


def recorded_for(path: str) -> list[str]:
    """Return the names of the recorded requests to a path."""
    names = sorted(file.stem for file in RECORDINGS.glob("*.json"))
    return [name for name in names if recorded(name)["path"].split("?")[0] == path]
