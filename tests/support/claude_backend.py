"""A ClaudeBackend in front of the scripted Claude server."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from router.backend import Status, TimeLimits, Translated
from router.cloud_client import ClaudeBackend
from router.events import Event, each_of
from router.request import ChatRequest
from tests.support.claude_server import ClaudeServer

KEY = "sk-ant-api03-canary-0123456789abcdef"
MODEL = "claude-sonnet-5-5"
BRISK = TimeLimits(connect_s=2, first_byte_s=5, idle_s=5)


@contextlib.asynccontextmanager
async def backend_of(
    server: ClaudeServer, limits: TimeLimits = BRISK, **options: Any
) -> AsyncIterator[ClaudeBackend]:
    backend = ClaudeBackend(
        KEY, MODEL, max_tokens=8192, limits=limits, base_url=server.url, **options
    )
    try:
        yield backend
    finally:
        await backend.aclose()


async def events_of(backend: ClaudeBackend, asked: ChatRequest, model: str = MODEL) -> list[Event]:
    reply = await backend.open(asked, model)
    assert isinstance(reply, Translated)
    return [event async for event in each_of(reply.events)]


async def probed(backend: ClaudeBackend) -> Status:
    """A look with the SDK in place; without it a key is taken at its word."""
    await backend.warm()
    return await backend.probe()
