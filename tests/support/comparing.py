"""Two scripted sides to compare, over a real socket; the cloud is the judge too."""

import json
import re
from typing import Any, Self

from aiohttp import web

from router.answers.self_check import QUESTION


class Sides:
    """A local server and a cloud. Answers to prompts with "hard" in them are bad when local.

    `rates`: the local server is one that gives probabilities, and is unsure of its bad answers.
    """

    def __init__(self, *, rates: bool = False) -> None:
        self.rates = rates
        self.local: list[str] = []
        self.cloud: list[str] = []
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = body["messages"][-1]["content"]
        if said == QUESTION:
            return web.json_response({"choices": [self._check(body["messages"])]})
        self.local.append(said)
        text = "poor" if "hard" in said else "fine"
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}}
        if self.rates and body.get("logprobs"):
            logprob = -1.0 if text == "poor" else -0.01
            choice["logprobs"] = {"content": [{"token": text, "logprob": logprob}]}
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        return await self._stream(request, {"choices": [choice]}, {"choices": [end]})

    def _check(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        yes, no = (-1.5, -0.3) if messages[-2]["content"] == "poor" else (-0.1, -2.5)
        listed = [{"token": "Y", "logprob": yes}, {"token": "N", "logprob": no}]
        logprobs = {"content": [{**listed[0], "top_logprobs": listed}]}
        message = {"role": "assistant", "content": "Y"}
        return {"message": message, "logprobs": logprobs, "finish_reason": "stop"}

    async def messages(self, request: web.Request) -> web.StreamResponse:
        content = (await request.json())["messages"][-1]["content"]
        said = content if isinstance(content, str) else content[0]["text"]
        self.cloud.append(said)
        text = "fine"
        if answers := re.search(r"ANSWER A\]\n(.*)\n\[\w+ ANSWER B\]\n(.*)\n", said):
            first, second = answers.groups()
            text = "VERDICT: " + ("TIE" if first == second else "AB"[second == "fine"])
        usage = {"input_tokens": 100, "output_tokens": 10}
        message: dict[str, Any] = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "claude-sonnet-4-6",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        delta = {"type": "text_delta", "text": text}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": message},
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "text", "text": ""},
            },
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": usage,
            },
            {"type": "message_stop"},
        ]
        return await self._stream(request, *events)

    async def models(self, request: web.Request) -> web.Response:
        owner = "llamacpp" if self.rates else "test"
        return web.json_response({"object": "list", "data": [{"id": "qwen", "owned_by": owner}]})

    async def _stream(self, request: web.Request, *events: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            named = f"event: {event['type']}\n" if "type" in event else ""
            await response.write(f"{named}data: {json.dumps(event)}\n\n".encode())
        if "choices" in events[0]:
            await response.write(b"data: [DONE]\n\n")
        return response

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/messages", self.messages)
        app.router.add_get("/v1/models", self.models)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._runner.cleanup()
