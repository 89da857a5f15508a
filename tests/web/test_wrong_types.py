"""Fields of any type in requests and answers: refused with a clear error, or harmless."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
import pytest

from router.classifier import score
from router.errors import BackendError, RouterError
from router.events import Finish, Usage, each_of
from router.local.native import as_it_came
from router.local.quirks import adapted, check_fit
from router.request import ChatRequest, has_images, size_tokens
from router.scoring.background import background_kind
from router.sides.conversations import in_tool_loop, prefixes_of
from router.telemetry.journal_file import JournalFile
from router.telemetry.metrics import Metrics
from router.telemetry.prices import Prices
from router.telemetry.record import Record
from router.wire import sse
from router.wire.anthropic import claude, messages, messages_relay
from router.wire.anthropic.messages_encoder import shows_thoughts
from router.wire.chat import completions, relay
from router.wire.gemini import generate_content
from router.wire.responses import responses

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": ["string", "null"], "enum": ["x", None]},
        "b": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/c"}]},
    },
    "required": ["a", "b"],
    "additionalProperties": False,
    "$defs": {"c": {"type": "array", "items": {"type": "integer"}, "minItems": 1}},
}
PICTURE = "data:image/png;base64,iVBORw0KGgo="
CHAT = {
    "model": "auto",
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "max_tokens": 5,
    "stop": ["a"],
    "user": "u",
    "reasoning_effort": "low",
    "parallel_tool_calls": False,
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "a", "strict": True, "schema": SCHEMA},
    },
    "tools": [
        {"type": "function", "function": {"name": "f", "strict": True, "parameters": SCHEMA}}
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {
            "mode": "required",
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
    },
    "messages": [
        {"role": "system", "content": "s"},
        {
            "role": "user",
            "name": "n",
            "content": [
                {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
                {"type": "file", "file": {"filename": "a", "file_data": "data:text/plain,hi"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "refusal", "refusal": "no"}],
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
    ],
}
MESSAGES = {
    "model": "auto",
    "max_tokens": 10,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "enabled", "budget_tokens": 1000},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["a"],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                },
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": ""},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "text", "text": "c"}],
                },
            ],
        },
    ],
}
RESPONSES = {
    "model": "auto",
    "stream": True,
    "instructions": "i",
    "max_output_tokens": 5,
    "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "tools": [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True},
        {
            "type": "custom",
            "name": "c",
            "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
        },
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "f"}],
    },
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": PICTURE, "detail": "low"},
            ],
        },
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"type": "additional_tools", "tools": [{"type": "function", "name": "h"}]},
    ],
}
ANYTHING: list[Any] = [None, True, 1.5, "", "x", [], [1], [[{}]], {}, {"type": "text", "text": [1]}]


def spoilt(value: Any, others: list[Any] = ANYTHING) -> Iterator[Any]:
    """Yield the value with each part left out or replaced, one at a time."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        for other in others:
            copy = value.copy()
            copy[key] = other
            yield copy
        copy = value.copy()
        del copy[key]
        yield copy
        if isinstance(value[key], dict | list):
            for inner in spoilt(value[key], others):
                copy = value.copy()
                copy[key] = inner
                yield copy


def route(request: ChatRequest) -> None:
    """Run everything that reads a request on its way to a side."""
    score(request)
    size_tokens(request)
    has_images(request)
    background_kind(request)
    prefixes_of(request)
    in_tool_loop(request)
    shows_thoughts(request)


def send(request: ChatRequest, side: str) -> None:
    """Return what the side would be sent, as JSON."""
    sent: Any
    match side:
        case "claude":
            sent = claude.encode(request, "m", max_tokens=10).params
        case "gemini":
            generate_content.picture_urls(request)
            sent = generate_content.encode(request, "gemini-2.0-flash").body
        case "llama.cpp":
            sent = as_it_came(request, "m", side)
        case _:
            check_fit(request, "local", side)
            sent = adapted(request, "m", side)
    orjson.dumps(sent)


@pytest.mark.parametrize(
    ("dialect", "body"), [(completions, CHAT), (messages, MESSAGES), (responses, RESPONSES)]
)
def test_no_value_in_a_request_causes_an_internal_error(dialect: Any, body: dict[str, Any]) -> None:
    answered = refused = 0
    for wrong in spoilt(body):
        try:
            request = dialect.parse(orjson.dumps(wrong), {})
        except RouterError:
            refused += 1
            continue
        route(request)
        for side in ("lmstudio", "llama.cpp", "claude", "gemini"):
            try:
                send(request, side)
            except RouterError:
                refused += 1
            else:
                answered += 1
    assert answered > 100
    assert refused > 100


CHAT_ANSWER = [
    {"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x"}}]},
    {
        "choices": [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
                    ]
                },
            }
        ]
    },
    {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 1},
        },
    },
]
CLAUDES_ANSWER = [
    {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": "x"},
    },
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {
            "output_tokens": 2,
            "cache_read_input_tokens": 1,
            "output_tokens_details": {"thinking_tokens": 1},
        },
    },
    {"type": "message_stop"},
]
GEMINIS_ANSWER = [
    {"candidates": [{"content": {"role": "model", "parts": [{"text": "x"}]}}]},
    {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]},
                "finishReason": "STOP",
                "finishMessage": "m",
            }
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2},
    },
]
NUMBERS = [-1, 2**40, 1e300]
PRICES = Prices(cloud_model="claude-sonnet-4-6")
METRICS = Metrics()
FILE = JournalFile(None)


async def sent(events: list[Any]) -> AsyncIterator[bytes]:
    for event in events:
        yield sse.event(event)


async def read(kind: str, events: list[Any]) -> Usage | None:
    """Read an answer in every supported way; return its usage."""
    blocks = [sse.event(event) for event in events]
    usage: Usage | None = None
    tallies: list[Any]
    match kind:
        case "chat":
            decoded = completions.decode(sent(events))
            tallies = [relay.ChatTally(hold_usage=True)]
        case "claude":
            decoded = claude.decode(sent(events))
            tallies = [claude.ClaudeTally(), messages_relay.MessagesTally(bytes)]
        case _:
            decoded = generate_content.decode(sent(events))
            tallies = []
    for tally in tallies:
        for block in blocks:
            tally.passed(block)
        account(tally.usage)
    async for event in each_of(decoded):
        if isinstance(event, Finish):
            usage = event.usage
    return usage


def account(usage: Usage | None) -> None:
    """Price, count and journal a usage."""
    for side in ("local", "cloud"):
        record = Record("id", 1.0, target=side, model="claude-sonnet-4-6", usage=usage)
        record.conversation, record.first_byte_ms, record.total_ms = "c", 1, 100
        PRICES.price(record)
        METRICS.observe(record)
        FILE.write([record])


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("chat", CHAT_ANSWER), ("claude", CLAUDES_ANSWER), ("gemini", GEMINIS_ANSWER)],
)
async def test_no_value_in_an_answer_causes_an_internal_error(kind: str, answer: list[Any]) -> None:
    read_whole = broken = 0
    for wrong in spoilt(answer, [*ANYTHING, *NUMBERS]):
        try:
            account(await read(kind, wrong))
        except BackendError:
            broken += 1
        else:
            read_whole += 1
    assert read_whole > 20
    assert broken > 20
