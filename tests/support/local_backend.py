"""A LocalBackend in front of the scripted server, and pieces of its streams."""

from typing import Any

import orjson

from router.backend import Relayed, TimeLimits
from router.local_client import LocalBackend
from router.request import ChatRequest
from tests.support.scripted import Connection, Request, Script, ScriptedServer, scripted

QUICK = TimeLimits(connect_s=1, first_byte_s=0.3, idle_s=0.3, total_s=5)


def chunk(delta: dict[str, Any] | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": fields.pop("finish", None)}
    body = {"id": "x", "model": "local-model", "choices": [choice], **fields}
    return b"data: " + orjson.dumps(body) + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Hé"})
STOP = chunk(finish="stop")
USAGE = (
    b"data: "
    + orjson.dumps(
        {"id": "x", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}
    )
    + b"\n\n"
)
DONE = b"data: [DONE]\n\n"
ANSWER = orjson.dumps(
    {
        "id": "x",
        "model": "local-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
        "x_new_field": {"kept": True},
    }
)


def request(**fields: Any) -> ChatRequest:
    return ChatRequest({"messages": [{"role": "user", "content": "Hi"}], **fields})


def backend(
    server: ScriptedServer, limits: TimeLimits = QUICK, model: str = "local-model"
) -> LocalBackend:
    return LocalBackend(f"{server.url}/v1", model, limits=limits)


def answering(*chunks: bytes) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(*chunks)

    return script


def whole(body: bytes, status: int = 200, **headers: str) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body, status, **headers)

    return script


async def read(reply: Any) -> bytes:
    assert isinstance(reply, Relayed)
    return b"".join([block async for block in reply.chunks])


async def ask(script: Script, *, limits: TimeLimits = QUICK, **fields: Any) -> bytes:
    """Return the bytes that the caller gets; raise the first failure."""
    async with scripted(script) as server:
        local = backend(server, limits)
        try:
            return await read(await local.open(request(**fields), "local-model"))
        finally:
            await local.aclose()
