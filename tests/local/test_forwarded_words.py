"""Words of a local stream that go to a sink while a reader waits for the next piece."""

import re
from typing import Any

import orjson
import pytest

from router.backend import Relayed
from router.errors import BackendError
from router.local_client import LocalBackend
from router.request import ChatRequest
from router.wire import sse
from router.wire.anthropic import messages
from tests.support.local_backend import DONE, HELLO, QUICK, ROLE, STOP, USAGE, chunk, request
from tests.support.scripted import Connection, Request, Script, scripted

CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
STREAMS = {
    "words": ROLE + HELLO * 5 + STOP + USAGE + DONE,
    "a comment": ROLE + b": still here\n\n" + HELLO + STOP + DONE,
    "no last word": ROLE + HELLO * 2 + STOP,
    "a call": ROLE + HELLO + chunk({"tool_calls": [CALL]}) + chunk(finish="tool_calls") + DONE,
    "half characters": ROLE
    + b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
    + b'data: {"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}\n\n'
    + HELLO
    + STOP
    + DONE,
    "CRLF": (ROLE + HELLO * 2 + STOP + DONE).replace(b"\n", b"\r\n"),
    "words like fields": ROLE + chunk({"content": '[DONE] "usage": {"error": 1}'}) + STOP + DONE,
    "an error": ROLE + HELLO * 2 + b'data: {"error": {"message": "the slot failed"}}\n\n',
    "cut off": ROLE + HELLO * 2 + b'data: {"choices":[{"index":0,"delta":{"con',
}
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("message_start", {"message": {"model": "real", "usage": {"input_tokens": 4}}}),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    *5 * [("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hé"}})],
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
    ("message_stop", {}),
]
MESSAGES = b"".join(sse.event({"type": kind, **fields}, kind) for kind, fields in EVENTS)


def in_pieces(stream: bytes, size: int | None) -> Script:
    """Send the events one by one, or pieces of a size, each after the one before was read."""
    events = re.findall(rb".+?(?:\n\n|\r\n\r\n|\Z)", stream, re.DOTALL)
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)] if size else events

    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(*pieces, pause_s=0.002)

    return script


async def llama_cpp(connection: Connection, request: Request) -> None:
    """Answer a probe as a server that has /messages of its own."""
    data = [{"id": "m", "owned_by": "llamacpp"}]
    is_list = request.path == "/v1/models"
    await connection.answer(orjson.dumps({"data": data}), 200 if is_list else 404)


def in_claudes_format(**fields: Any) -> ChatRequest:
    said = [{"role": "user", "content": "Hi"}]
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": said, **fields}
    return messages.parse(orjson.dumps(body))


async def relayed(
    script: Script, asked: ChatRequest, taken: list[bytes] | None = None, busy_after: int = 99
) -> tuple[bytes, str]:
    """Return what comes of a stream, in order, and the failure at its end.

    With `taken`, its words are forwarded to a sink that takes no more than `busy_after` pieces.
    """
    got: list[bytes] = []

    async with scripted(script, llama_cpp) as server:
        local = LocalBackend(f"{server.url}/v1", "m", limits=QUICK)
        try:
            await local.probe()
            reply = await local.open(asked, "m")
            assert isinstance(reply, Relayed)
            if taken is not None:
                kept = taken

                class Sink:
                    def is_ready(self) -> bool:
                        return len(kept) < busy_after

                    def send(self, item: bytes) -> None:
                        kept.append(item)
                        got.append(item)

                assert reply.forward_to is not None
                reply.forward_to(Sink())
            failure = ""
            try:
                async for block in reply.chunks:
                    got.append(block)
            except BackendError as error:
                failure = error.message
            return b"".join(got), f"{failure} {reply.usage}"
        finally:
            await local.aclose()


@pytest.mark.parametrize("size", [None, 40])
@pytest.mark.parametrize("shows_usage", [True, False])
@pytest.mark.parametrize("kind", STREAMS)
async def test_a_stream_is_the_same_whether_its_pieces_are_taken_or_read(
    kind: str, shows_usage: bool, size: int | None
) -> None:
    script = in_pieces(STREAMS[kind], size)
    asked = request(stream=True, stream_options={"include_usage": shows_usage})
    taken: list[bytes] = []
    assert await relayed(script, asked, taken) == await relayed(script, asked)
    assert bool(taken) == (size is None)


async def test_a_stream_in_claudes_format_is_the_same_whether_its_pieces_are_taken_or_read() -> (
    None
):
    script, asked = in_pieces(MESSAGES, None), in_claudes_format()
    taken: list[bytes] = []
    assert await relayed(script, asked, taken) == await relayed(script, asked)
    assert len([piece for piece in taken if "Hé".encode() in piece]) >= 4


async def test_what_comes_while_the_sink_is_busy_is_read_in_its_place() -> None:
    script = in_pieces(STREAMS["words"], None)
    asked = request(stream=True)
    taken: list[bytes] = []
    assert await relayed(script, asked, taken, busy_after=2) == await relayed(script, asked)
    assert len(taken) == 2


@pytest.mark.parametrize("kind", ["chat", "messages"])
async def test_a_shortened_name_of_a_tool_is_given_back_between_pieces_that_are_taken(
    kind: str,
) -> None:
    tool = {"name": "files__search", "parameters": {"type": "object"}}
    call = {"index": 0, "id": "c", "function": {"name": "search", "arguments": "{}"}}
    if kind == "chat":
        asked = request(stream=True, tools=[{"type": "function", "function": tool}])
        stream = ROLE + HELLO + chunk({"tool_calls": [call]}) + chunk(finish="tool_calls") + DONE
    else:
        asked = in_claudes_format(tools=[{"name": tool["name"], "input_schema": {}}])
        block = {"type": "tool_use", "id": "c", "name": "search", "input": {}}
        begun = sse.event({"type": "content_block_start", "index": 1, "content_block": block})
        stream = MESSAGES.replace(b"event: message_delta", begun + b"event: message_delta")
    taken: list[bytes] = []
    got, _ = await relayed(in_pieces(stream, None), asked, taken)
    assert taken
    assert b'"files__search"' in got
    assert b'"search"' not in got
