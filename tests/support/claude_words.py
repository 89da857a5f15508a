"""Chat requests in short, for the tests of Claude's format."""

import base64
from dataclasses import replace
from typing import Any

import orjson

from router.request import ChatRequest
from router.wire.anthropic import claude
from router.wire.anthropic.claude_model import Abilities
from router.wire.chat import completions
from tests.support.claude_rules import assert_acceptable

MODEL = "claude-sonnet-5-5"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlE"
    "QVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = base64.b64encode(b"%PDF-1.4 nothing").decode()
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
ALL = Abilities(
    max_tokens=64_000,
    images=True,
    pdfs=True,
    structured=True,
    efforts=("low", "medium", "high", "max"),
    adaptive_thinking=True,
    thinking_off=True,
)
ALWAYS_THINKING = Abilities(
    efforts=("low", "medium", "high", "xhigh", "max"),
    adaptive_thinking=True,
    thinking_off=False,
    forced_choice=False,
    structured=True,
)
BETWEEN_TOOLS = replace(ALWAYS_THINKING, between_tools=True)


def request(*messages: Any, **fields: Any) -> ChatRequest:
    body = {"model": "auto", "messages": list(messages) or [user("Hi")], **fields}
    return completions.parse(orjson.dumps(body))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, *calls: Any, **fields: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": content,
        **({"tool_calls": calls} if calls else {}),
        **fields,
    }


def system(content: Any, role: str = "system") -> dict[str, Any]:
    return {"role": role, "content": content}


def call(id: Any, name: str = "weather", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: Any, content: Any = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text} for text in texts]


def encoded(asked: ChatRequest, **options: Any) -> dict[str, Any]:
    before = orjson.dumps(asked.body)
    params = claude.encode(asked, MODEL, **{"max_tokens": 8192, **options}).params
    assert orjson.dumps(asked.body) == before  # the caller's body is never changed
    assert_acceptable(params)
    return params


def turns(*messages: Any, **options: Any) -> list[tuple[str, Any]]:
    params = encoded(request(*messages), **options)
    return [(turn["role"], turn["content"]) for turn in params["messages"]]


def dropped(**fields: Any) -> tuple[str, ...]:
    return claude.encode(request(**fields), MODEL, max_tokens=1).dropped


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    allowed = {"mode": mode, "tools": [named(name) for name in names]}
    return {"type": "allowed_tools", "allowed_tools": allowed}


def json_schema(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
USE = {"type": "tool_use", "id": "a", "name": "weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "ok"}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "s"}
HIDDEN = {"type": "redacted_thinking", "data": "x"}
