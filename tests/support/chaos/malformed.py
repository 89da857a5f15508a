"""Malformed bodies: valid ones with random faults, the same for the same seed."""

import copy
import random
from typing import Any

Json = dict[str, Any]
PNG = "data:image/png;base64,iVBORw0KGgo="
SCHEMA: Json = {
    "type": "object",
    "properties": {"path": {"type": "string", "enum": ["a", "b"]}, "n": {"$ref": "#/$defs/n"}},
    "required": ["path"],
    "$defs": {"n": {"type": ["integer", "null"]}},
    "additionalProperties": False,
}
CALL: Json = {"id": "call_12345678", "type": "function"}
CHAT: Json = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be polite."}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "Hm.",
            "tool_calls": [CALL | {"function": {"name": "look", "arguments": '{"path": "a"}'}}],
        },
        {"role": "tool", "tool_call_id": CALL["id"], "content": "a cat"},
        {"role": "user", "content": "And now?"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "look",
                "description": "Look.",
                "parameters": SCHEMA,
                "strict": True,
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "strict": True, "schema": SCHEMA},
    },
    "stream": False,
    "stream_options": {"include_usage": True},
    "max_tokens": 20,
    "max_completion_tokens": 20,
    "temperature": 0.5,
    "top_p": 0.9,
    "n": 1,
    "stop": ["END"],
    "seed": 1,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 2,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "user": "someone",
    "metadata": {"a": "b"},
}
RESPONSES: Json = {
    "model": "auto",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "look",
            "arguments": '{"path": "a"}',
            "status": "completed",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "a cat"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "A cat.", "annotations": []}],
        },
        {"type": "message", "role": "user", "content": "And now?"},
    ],
    "tools": [
        {"type": "function", "name": "look", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "patch", "format": {"type": "text"}},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "function", "name": "look"},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 20,
    "previous_response_id": None,
    "parallel_tool_calls": False,
    "include": ["reasoning.encrypted_content"],
    "stream": False,
    "store": False,
    "temperature": 0.5,
    "metadata": {"a": "b"},
}
MESSAGES: Json = {
    "model": "auto",
    "max_tokens": 20,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {
                    "type": "image",
                    "source": {
                        "type": "base64",
                        "media_type": "image/png",
                        "data": PNG.partition(",")[2],
                    },
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "abc"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"path": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "a cat"}],
                    "is_error": False,
                },
                {"type": "text", "text": "And now?"},
            ],
        },
    ],
    "tools": [{"name": "look", "description": "Look.", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low"},
    "stop_sequences": ["END"],
    "metadata": {"user_id": "u"},
    "stream": False,
    "temperature": 0.5,
    "top_k": 5,
}
BODIES: dict[str, Json] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/classify": CHAT | {"prompt": "Hi"},
    "/feedback": {"request_id": "chatcmpl-1", "feedback": "good"},
    "/v1/embeddings": {"model": "auto", "input": ["Hi", "there"], "dimensions": 5},
    "/v1/completions": {"model": "auto", "prompt": "Once", "max_tokens": 5, "stream": False},
}
"""A body with most of the known fields, for each route that takes one."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, 10**18, -(10**18), 1e308, 5e-324),
    *("", " ", "\x00", "\ud83d\ude00"[:0] + "\U0001f600", "x" * 10_000, "auto", "user", "text"),
    *("\u202e\u0000\uffff", "../../etc/passwd", "http://127.0.0.1:1/", "data:,", "{}", "[1"),
    *([], [None], [[]], [[[[[]]]]], [{}], ["x"], [1, "a", None], {}, {"": None}, {"type": None}),
    *({"type": "text"}, {"type": "x" * 100}, {"role": "user"}, {"type": "image_url"}),
    *([{"type": "text", "text": 5}], {"type": "function", "function": {}}),
)


def malformed(valid: Json, seed: int) -> Json:
    """Return the body with one to three faults: a value replaced, left out, doubled or wrapped."""
    dice = random.Random(seed)
    body = copy.deepcopy(valid)
    for _ in range(dice.randint(1, 3)):
        holder, key = dice.choice(list(_spots(body)))
        match dice.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]]
            case 2:
                holder[key] = {"type": "text", "x": holder[key]}
            case 3 if isinstance(holder, list):
                holder.insert(0, copy.deepcopy(holder[key]))
            case _:
                holder[key] = copy.deepcopy(dice.choice(ODD))
        if not body:
            break
    return body


def _spots(value: Any) -> Any:
    """Return every place in a JSON value: its container and key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _spots(inner)
