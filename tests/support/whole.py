"""Recorded streams joined into the whole answers that the clouds would have sent."""

from typing import Any

import orjson

from router.wire import sse

Json = dict[str, Any]


def whole_claude(recording: bytes) -> Json:
    """Return the message, or the error in its place."""
    message: Json = {}
    for event in map(orjson.loads, sse.data_of(recording)):
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                message["content"].append(event["content_block"])
            case "content_block_delta":
                _written(message["content"][-1], event["delta"])
            case "content_block_stop":
                block = message["content"][-1]
                if isinstance(block.get("input"), str):
                    block["input"] = orjson.loads(block["input"])
            case "message_delta":
                message |= event["delta"]
                counts = event["usage"].items()
                message["usage"] |= {name: value for name, value in counts if value is not None}
            case "error":
                return dict(event)
    return message


def _written(block: Json, delta: Json) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        case "input_json_delta":
            before = block.get("input") or ""
            if delta["partial_json"]:
                block["input"] = before + delta["partial_json"]


def whole_gemini(recording: bytes) -> Any:
    """Return the response, or the error in its place."""
    head, _, bare = recording.partition(b"\n[")
    answer: Json = {}
    candidate: Json = {"index": 0, "content": {"role": "model", "parts": []}}
    likely: dict[str, list[Any]] = {}
    for payload in map(orjson.loads, sse.data_of(head)):
        if "error" in payload:
            return payload
        for told in payload.pop("candidates", ()):
            candidate["content"]["parts"] += told.pop("content", {}).get("parts", ())
            for name, tokens in told.pop("logprobsResult", {}).items():
                if isinstance(tokens, list):
                    likely[name] = likely.get(name, []) + tokens
            candidate |= told
            answer["candidates"] = [candidate]
        answer |= payload
    if likely:
        candidate["logprobsResult"] = likely
    return orjson.loads(b"[" + bare) if bare else answer
