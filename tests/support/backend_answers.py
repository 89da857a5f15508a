"""Whole answers of each kind of backend: some words, or a call of the tool `look`."""

from typing import Any

import orjson

from tests.support.scripted import Connection, Request

WORDS = ("It prints ", "“Grüß Gott”.")
PATH = {"path": "hello.py"}


def _sse(*events: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def _chat(**choice: Any) -> dict[str, Any]:
    kind = "chat.completion.chunk" if "delta" in choice else "chat.completion"
    head = {"id": "c", "object": kind, "created": 1, "model": "m"}
    return head | {"choices": [{"index": 0, **choice}]}


def local_answer(request: Request, calls: bool) -> tuple[bytes, str]:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    function = {"name": "look", "arguments": orjson.dumps(PATH).decode()}
    call = {"index": 0, "id": "call_local1", "type": "function", "function": function}
    reason = "tool_calls" if calls else "stop"
    if request.json.get("stream"):
        said: list[dict[str, Any]] = [{"role": "assistant"}]
        said += [{"tool_calls": [call]}] if calls else [{"content": words} for words in WORDS]
        chunks = [_chat(delta=delta, finish_reason=None) for delta in said]
        last = _chat(delta={}, finish_reason=reason)
        counted = last | {"choices": [], "usage": usage}
        return _sse(*chunks, last, counted) + b"data: [DONE]\n\n", "sse"
    message = {"content": None, "tool_calls": [call]} if calls else {"content": "".join(WORDS)}
    body = _chat(message={"role": "assistant", **message}, finish_reason=reason)
    return orjson.dumps(body | {"usage": usage}), "json"


def claude_answer(request: Request, calls: bool) -> tuple[bytes, str]:
    usage = {"input_tokens": 7, "output_tokens": 5}
    message = {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "usage": usage,
    }
    ending = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    block = {"type": "tool_use", "id": "toolu_claude1", "name": "look", "input": PATH}
    if not request.json.get("stream"):
        content = [block] if calls else [{"type": "text", "text": "".join(WORDS)}]
        return orjson.dumps(message | ending | {"content": content}), "json"
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": words} for words in WORDS]
    begun: dict[str, Any] = {"type": "text", "text": ""}
    if calls:
        begun = block | {"input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": orjson.dumps(PATH).decode()}]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    return b"".join(b"event: %b\n%b" % (e["type"].encode(), _sse(e)) for e in events), "sse"


def gemini_answer(request: Request, calls: bool) -> tuple[bytes, str]:
    said: list[dict[str, Any]] = [{"text": words} for words in WORDS]
    if calls:
        said = [{"functionCall": {"id": "gem_call1", "name": "look", "args": PATH}}]
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
    if "streamGenerateContent" not in request.path:
        whole = {"content": {"role": "model", "parts": said}, "finishReason": "STOP"}
        return orjson.dumps({"candidates": [whole], "usageMetadata": usage}), "json"
    chunks = [
        {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}}]}
        for part in said
    ]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    return _sse(*chunks[:-1], chunks[-1] | {"usageMetadata": usage}), "sse"


async def models(connection: Connection, request: Request, owner: str = "") -> None:
    """Return a backend's answer about models: a list for a local server, else the one asked for."""
    if request.path == "/v1/models":
        model = {"id": "local-model", "owned_by": owner}
        await connection.answer(orjson.dumps({"data": [model]}))
    else:
        name = request.path.rpartition("/")[2]
        limits = {"inputTokenLimit": 10**6, "outputTokenLimit": 65536}
        claude = {"id": name, "type": "model", "max_input_tokens": 10**6, "max_tokens": 65536}
        await connection.answer(orjson.dumps({"name": f"models/{name}"} | limits | claude))
