"""Bodies of any size take time in proportion to it, in each dialect and to each backend."""

import gc
import time
from collections.abc import Callable
from math import inf
from typing import Any

import orjson
import pytest

from router.events import Event, Finish, ToolCallDelta, ToolCallStart
from router.local.quirks import adapted
from router.request import ChatRequest
from router.wire.anthropic import claude, messages, messages_encoder
from router.wire.chat import completions
from router.wire.gemini import generate_content
from router.wire.responses import encoder, responses
from tests.support.clients import said

FACTOR = 16
"""The larger body is so many times the smaller one."""
MOST_RATIO = 6 * FACTOR
"""Between linear time (16) and quadratic time (256). A large body alone needs fresh memory from the
system, which may take as long as the work."""
TRIES = 12
SIZE = 400
USER = {"role": "user", "content": "Hi"}


def call(id: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def calls_of_one_turn(size: int) -> dict[str, Any]:
    calls = [call(f"c{i}") for i in range(size)]
    results = [
        {"role": "tool", "tool_call_id": f"c{i}", "content": "ok"} for i in reversed(range(size))
    ]
    return {"messages": [USER, {"role": "assistant", "tool_calls": calls}, *results]}


def calls_of_one_id(size: int) -> dict[str, Any]:
    calls = [call("call_0") for _ in range(size)]
    results = [{"role": "tool", "tool_call_id": "call_0", "content": "ok"} for _ in range(size)]
    return {"messages": [USER, {"role": "assistant", "tool_calls": calls}, *results]}


def calls_without_ids(size: int) -> dict[str, Any]:
    calls = [{**call(""), "id": None} for _ in range(size)]
    results = [{"role": "tool", "content": "ok"} for _ in range(size)]
    return {"messages": [USER, {"role": "assistant", "tool_calls": calls}, *results]}


def answers_in_a_row(size: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": "x"}
    called = [{"role": "assistant", "content": "x", "tool_calls": [call(f"c{i}")]}
              for i in range(size)]  # fmt: skip
    return {"messages": [USER, *[message] * size, *called]}


def many_tools(size: int) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": f"ns.f{i}"}} for i in range(size)]
    allowed = [{"type": "function", "function": {"name": f"ns.f{i}"}} for i in range(size)]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}}
    return {"messages": [USER], "tools": tools, "tool_choice": choice}


def wide_schema(size: int) -> dict[str, Any]:
    names = [f"p{i}" for i in range(size)]
    part = [{"properties": {name: {"type": "string"}}, "required": [name]} for name in names]
    properties = {name: {"type": ["string", "null"]} for name in names}
    schema = {"type": "object", "properties": properties, "required": names, "allOf": part}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    return {"messages": [USER], "tools": [tool]}


def nested_types(size: int) -> dict[str, Any]:
    """Lists of types, each of which repeats what is below it."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(40):
        schema = {"type": ["object", "array", "null"], "properties": {"a": schema}}
    wide = {f"p{i}": {"type": "string"} for i in range(size)}
    top = {"type": "object", "properties": {"deep": schema, **wide}, "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "f", "parameters": top, "strict": True}}
    return {"messages": [USER], "tools": [tool]}


BODIES = [calls_of_one_turn, calls_of_one_id, calls_without_ids, answers_in_a_row, many_tools,
          wide_schema, nested_types]  # fmt: skip
ENCODERS: dict[str, Callable[[ChatRequest], object]] = {
    "claude": lambda request: claude.encode(request, "claude-x", max_tokens=9),
    "claude plainly": lambda request: claude.encode(request, "c", max_tokens=9, plain=True),
    "gemini": lambda request: generate_content.encode(request, "gemini-3.1-pro"),
    "gemini strictly": lambda request: generate_content.encode(request, "g", strict=True),
    "lmstudio": lambda request: adapted(request, "m", "lmstudio"),
}


def assert_linear(work: Callable[[int], Callable[[], object]]) -> None:
    """`work` makes the work for a size. Of each size the best of many tries counts, because the
    machine may be busy for a while."""
    small, large = work(SIZE), work(SIZE * FACTOR)
    small()
    ratio, least_small, least_large = inf, inf, inf
    for attempt in range(TRIES):
        time.sleep(0.01 * attempt)
        least_small = min(least_small, seconds(small))
        least_large = min(least_large, seconds(large))
        ratio = least_large / least_small
        if ratio < MOST_RATIO:
            return
    pytest.fail(f"{FACTOR} times the size took {ratio:.0f} times as long")


def seconds(work: Callable[[], object]) -> float:
    gc.disable()
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_requests_are_encoded_in_linear_time(
    encoder: str, body: Callable[[int], dict[str, Any]]
) -> None:
    def work(size: int) -> Callable[[], object]:
        request = ChatRequest(body(size))
        return lambda: ENCODERS[encoder](request)

    assert_linear(work)


def responses_calls(size: int) -> dict[str, Any]:
    made = [{"type": "function_call", "call_id": f"c{i}", "name": "f", "arguments": "{}"}
            for i in range(size)]  # fmt: skip
    outputs = [{"type": "function_call_output", "call_id": f"c{i}", "output": "ok"}
               for i in reversed(range(size))]  # fmt: skip
    return {"input": [USER, *made, *outputs]}


def responses_answers(size: int) -> dict[str, Any]:
    return {"input": [USER, *[{"role": "assistant", "content": "x"}] * size]}


def messages_calls(size: int) -> dict[str, Any]:
    uses = [{"type": "tool_use", "id": f"c{i}", "name": "f", "input": {}} for i in range(size)]
    results = [{"type": "tool_result", "tool_use_id": f"c{i}", "content": "ok"}
               for i in reversed(range(size))]  # fmt: skip
    turns = [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    return {"max_tokens": 9, "messages": [USER, *turns]}


def messages_answers(size: int) -> dict[str, Any]:
    answers = [{"role": "assistant", "content": "x"}] * size
    return {"max_tokens": 9, "messages": [USER, *answers, *[USER] * size]}


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        *((completions.parse, body) for body in BODIES),
        (responses.parse, responses_calls),
        (responses.parse, responses_answers),
        (messages.parse, messages_calls),
        (messages.parse, messages_answers),
    ],
)
def test_requests_are_parsed_in_linear_time(
    parse: Callable[..., object], body: Callable[[int], dict[str, Any]]
) -> None:
    def work(size: int) -> Callable[[], object]:
        raw = orjson.dumps(body(size))
        return lambda: parse(raw, {})

    assert_linear(work)


def interleaved(size: int) -> list[Event]:
    starts: list[Event] = [ToolCallStart(i, f"call_{i}", "f") for i in range(size)]
    deltas: list[Event] = [ToolCallDelta(i, "{}") for i in reversed(range(size))]
    return [*starts, *deltas, Finish("tool_calls")]


def one_after_the_other(size: int) -> list[Event]:
    events: list[Event] = []
    for i in range(size):
        events += [ToolCallStart(i, f"call_{i}", "f"), ToolCallDelta(i, "{}")]
    return [*events, Finish("tool_calls")]


@pytest.mark.parametrize("wire", [completions, encoder, messages_encoder])
@pytest.mark.parametrize("events", [interleaved, one_after_the_other])
def test_answers_are_encoded_in_linear_time(
    wire: Any, events: Callable[[int], list[Event]]
) -> None:
    request = ChatRequest({"messages": [USER], "stream": True})

    def work(size: int) -> Callable[[], object]:
        made = events(size)

        def encode() -> None:
            stream = wire.stream(said(made), request, "m", "resp_1", 17)
            with pytest.raises(StopIteration):
                _drained(stream).send(None)

        return encode

    assert_linear(work)


async def _drained(stream: Any) -> None:
    async for _ in stream:
        pass


def test_calls_of_an_answer_are_decoded_in_linear_time() -> None:
    def work(size: int) -> Callable[[], object]:
        message = {"tool_calls": [call(f"c{i}") for i in range(size)]}
        body = {"choices": [{"message": message, "finish_reason": "tool_calls"}]}
        return lambda: completions.decode_complete(body)

    assert_linear(work)
