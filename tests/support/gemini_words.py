"""Chat and Gemini messages in short, and what judges them: Google's document and its SDK."""

import base64
import functools
from collections.abc import Callable
from typing import Any

import httpx2
import orjson
from google import genai
from google.genai import types
from hypothesis import strategies as st

from router.request import ChatRequest, checked
from router.wire.gemini.generate_content import encode
from tests.support import paths
from tests.support.google_published import validator

NEW = "gemini-3.8-flash"
RECORDINGS = paths.RECORDINGS / "gemini"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
PDF = base64.b64encode(b"%PDF-1.7\xff").decode()


def body_of(*messages: dict[str, Any], model: str = NEW, **fields: Any) -> dict[str, Any]:
    return encode(request_of(*messages, **fields), model).body


def request_of(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    return ChatRequest(
        checked({"messages": list(messages) or [user("Hi")], **fields}),
    )


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = None, *calls: tuple[str, str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for id, name, arguments in calls
        ]
    return message


def result(id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": content}


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def turn(role: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def text(said: str) -> dict[str, Any]:
    return {"text": said}


def call(id: str, name: str, args: Any, signature: str | None = None) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"id": id, "name": name, "args": args}}
    return part | ({"thoughtSignature": signature} if signature else {})


def answer(id: str, name: str, **response: Any) -> dict[str, Any]:
    return {"functionResponse": {"id": id, "name": name, "response": response}}


_FIELDS: dict[str, type[types.Content | types.Tool | types.ToolConfig]] = {
    "contents": types.Content,
    "systemInstruction": types.Content,
    "tools": types.Tool,
    "toolConfig": types.ToolConfig,
}


def assert_valid(body: dict[str, Any]) -> None:
    """The body is as Google published it, and as its SDK sends it when asked in its own types."""
    validator("GenerateContentRequest").validate(body)
    typed = {name: _typed(name, value) for name, value in body.items()}
    config = {"system_instruction": typed.get("systemInstruction")}
    config |= {"tools": typed.get("tools"), "tool_config": typed.get("toolConfig")}
    config |= {"service_tier": body.get("serviceTier")}
    config |= orjson.loads(orjson.dumps(body.get("generationConfig", {})))
    sent = orjson.loads(sent_by_sdk(typed["contents"], config))
    for name in body.keys() - {"generationConfig"}:
        if name == "systemInstruction":  # the SDK gives it a role, which the API ignores
            sent[name].pop("role", None)
        assert _typed(name, sent[name]) == typed[name]
    ours = types.GenerationConfig.model_validate(body.get("generationConfig", {}))
    assert types.GenerationConfig.model_validate(sent.get("generationConfig", {})) == ours


def _typed(name: str, value: Any) -> Any:
    if name not in _FIELDS:
        return value
    if isinstance(value, list):
        return [_FIELDS[name].model_validate_json(orjson.dumps(each)) for each in value]
    return _FIELDS[name].model_validate_json(orjson.dumps(value))


def sent_by_sdk(contents: Any, config: Any) -> bytes:
    client, bodies = _listening_sdk()
    client.models.generate_content(model=NEW, contents=contents, config=config)
    return bodies.pop()


@functools.cache
def _listening_sdk() -> tuple[genai.Client, list[bytes]]:
    bodies: list[bytes] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        bodies.append(request.content)
        return httpx2.Response(200, json={})

    return sdk(take), bodies


def sdk(answering: Callable[[httpx2.Request], httpx2.Response]) -> genai.Client:
    http = httpx2.Client(transport=httpx2.MockTransport(answering))
    return genai.Client(
        enterprise=False, api_key="unused", http_options=types.HttpOptions(httpx_client=http)
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
schemas: st.SearchStrategy[Any] = st.recursive(
    json_values,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["object", "string", "array", ["string", "null"], ["string", "integer"]]
            ),
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
            "required": st.just(["a", "zzz"]) | json_values,
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "oneOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "$ref": st.sampled_from(["#/$defs/d", "#/definitions/d", "#/nowhere"]),
            "$defs": st.dictionaries(st.just("d"), inner, max_size=1),
            "definitions": st.dictionaries(st.just("d"), inner, max_size=1),
            "const": json_values,
            "enum": json_values,
            "additionalProperties": inner,
            "$schema": st.just("x"),
            "not": inner,
        },
    ),
    max_leaves=6,
)
