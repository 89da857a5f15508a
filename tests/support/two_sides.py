"""The app with a local server and a cloud. Their answers name the side that gave them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import orjson

from config import load_settings
from router.build import assemble
from router.parts.assembly import Assembly
from tests.support.chaos.sides import claude_delta, claude_event
from tests.support.scripted import Connection, Request, ScriptedServer, scripted
from web.app import create_app

EASY = "What is the capital of France?"
HARD = (
    "Design a distributed rate limiter for a multi-region API. First derive the consistency "
    "requirements, then compare token bucket and sliding window under clock skew, prove that "
    "your choice never admits more than the limit, and implement it in Go with tests."
)


async def local_side(connection: Connection, request: Request) -> None:
    body = {
        "id": "chatcmpl-local",
        "object": "chat.completion",
        "created": 1,
        "model": request.json["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "local says hello"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
    await connection.answer(orjson.dumps(body))


async def cloud_side(connection: Connection, request: Request) -> None:
    if not request.json.get("stream"):
        message = {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "model": "claude-model",
            "content": [{"type": "text", "text": "cloud says hello"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 3},
        }
        await connection.answer(orjson.dumps(message))
        return
    await connection.stream(
        claude_event(
            "message_start",
            message={"id": "msg_1", "model": "claude", "usage": {"input_tokens": 5}},
        ),
        claude_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        claude_delta("cloud says hello"),
        claude_event("content_block_stop", index=0),
        claude_event(
            "message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}
        ),
        claude_event("message_stop"),
    )


async def refusing(connection: Connection, request: Request) -> None:
    await connection.answer(b'{"error": {"message": "out of order"}}', 500)


class TwoSides:
    """The app under test, its official client, and the two servers behind it."""

    def __init__(
        self, local: ScriptedServer, cloud: ScriptedServer, assembly: Assembly, http: Any
    ) -> None:
        self.local, self.cloud, self.assembly, self.http = local, cloud, assembly, http
        self.client = openai.AsyncOpenAI(
            api_key="unused", base_url="http://localhost/v1", http_client=http
        )

    async def ask(self, prompt: str, *, model: str = "auto", force: str | None = None) -> Any:
        """Send a prompt to the chat route; return the raw answer."""
        headers = {"X-Force-Route": force} if force else {}
        body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
        return await self.http.post("/v1/chat/completions", json=body, headers=headers)


@asynccontextmanager
async def running(**overrides: Any) -> AsyncIterator[TwoSides]:
    async with scripted(local_side) as local, scripted(cloud_side) as cloud:
        values: dict[str, Any] = {
            "env": None,
            "local_base_url": f"{local.url}/v1",
            "local_model": "local-model",
            "anthropic_api_key": "sk-ant-not-a-real-key",
            "anthropic_base_url": cloud.url,
            "anthropic_model": "claude-model",
            "embedded_model": "off",
            "journal_path": "off",
            **overrides,
        }
        settings = load_settings(**values)
        assembly = assemble(settings)
        transport = httpx2.ASGITransport(create_app(settings, assembly))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            try:
                yield TwoSides(local, cloud, assembly, http)
            finally:
                await assembly.aclose()
