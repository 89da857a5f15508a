"""Words of a stream that the server sends without waking the request's task."""

import asyncio
import gc
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.support.chaos.running_server import RunningServer, faulty, running_server
from tests.support.chaos.sides import (
    CLAUDE,
    KINDS,
    LOCAL,
    Kind,
    claude_delta,
    claude_event,
    data,
    gemini_words,
)
from tests.support.local_backend import DONE, ROLE, STOP, chunk
from tests.support.scripted import Connection, Request, Script
from tests.support.waiting import settled
from web.exchange import Exchange
from web.protocol import _Outlet

PATH = "/v1/chat/completions"
ASKED = {"model": "local", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def speaking(*words: str, pause_s: float = 0.002) -> Script:
    """Send each word after the one before was read."""

    async def script(connection: Connection, request: Request) -> None:
        said = [chunk({"content": word}) for word in words]
        await connection.stream(ROLE, *said, STOP + DONE, pause_s=pause_s)

    return script


def stream_of(*words: str) -> bytes:
    return ROLE + b"".join(chunk({"content": word}) for word in words) + STOP + DONE


@pytest.fixture
def readiness(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record each answer of the connection's `is_ready`."""
    found: list[bool] = []
    is_ready = _Outlet.is_ready

    def asking(outlet: _Outlet) -> bool:
        found.append(is_ready(outlet))
        return found[-1]

    monkeypatch.setattr(_Outlet, "is_ready", asking)
    return found


async def raw(h: RunningServer, times: int) -> bytes:
    """Return what comes for requests that are sent at once, up to the end of the connection."""
    reader, writer = await asyncio.open_connection(*h.host)
    body = orjson.dumps(ASKED)
    lines = [f"POST {PATH} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    close = [*lines, "Connection: close"]
    for last in range(1, times + 1):
        head = close if last == times else lines
        writer.write("\r\n".join([*head, "", ""]).encode() + body)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def test_a_stream_arrives_unchanged_and_its_words_are_sent_at_once(
    readiness: list[bool],
) -> None:
    words = [f"word {i}" for i in range(20)]
    async with running_server(LOCAL, speaking(*words), CLAUDE.well) as h:
        answer = await h.http.post(PATH, json=ASKED)
        assert answer.content == stream_of(*words)
        assert readiness.count(True) > 10
        (record,) = h.assembly.ledger.journal.recent()
        assert record.outcome == "done"


async def test_words_that_are_sent_count_against_a_silence(readiness: list[bool]) -> None:
    words = [f"word {i}" for i in range(12)]
    script = speaking(*words, pause_s=0.06)
    async with running_server(LOCAL, script, CLAUDE.well, keepalive_after_s=0.3) as h:
        answer = await h.http.post(PATH, json=ASKED)
        assert answer.content == stream_of(*words), "there is a keep-alive comment in it"
        assert True in readiness


async def test_the_last_event_ends_the_stream_though_the_backend_goes_on(
    readiness: list[bool],
) -> None:
    async def going_on(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        for event in ROLE, chunk({"content": "a"}), STOP, DONE:
            await connection.chunk(event)
            await asyncio.sleep(0.002)
        await connection.silence()

    async with running_server(LOCAL, going_on, CLAUDE.well) as h:
        answer = await h.http.post(PATH, json=ASKED, timeout=1)
        assert answer.content == stream_of("a")
        assert True in readiness


async def test_words_after_the_end_reach_no_other_answer(readiness: list[bool]) -> None:
    async def going_on(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(ROLE)
        await asyncio.sleep(0.01)
        await connection.chunk(chunk({"content": "one"}))
        await asyncio.sleep(0.01)
        # The tally sees no end in this, but the caller does.
        await connection.chunk(STOP + DONE + b": the [DONE] above was the end\n\n")
        for _ in range(3):
            await asyncio.sleep(0.02)
            await connection.chunk(chunk({"content": "SECRET"}))
        await connection.end_stream()

    async with running_server(LOCAL, going_on, CLAUDE.well) as h:
        answers = await raw(h, times=2)
        assert answers.count(b"data: [DONE]") == 2
        assert b"SECRET" not in answers
        assert True in readiness


async def test_a_stop_event_without_data_ends_claudes_stream() -> None:
    async def silent(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(CLAUDE.begin)
        for event in CLAUDE.more, b"event: message_stop\ndata: {}\n\n":
            await asyncio.sleep(0.01)
            await connection.chunk(event)
        await connection.silence()

    async with faulty(CLAUDE, silent) as h:
        body = ROUTES["/v1/messages"] | {"model": "auto", "stream": True}
        answer = await h.http.post("/v1/messages", json=body, timeout=2)
        assert answer.text.endswith("event: message_stop\ndata: {}\n\n")


async def test_a_stream_leaves_no_exchange_for_the_garbage_collector() -> None:
    async with running_server(LOCAL, speaking("a", "b"), CLAUDE.well) as h:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert (await h.http.post(PATH, json=ASKED)).status_code == 200

            def left() -> list[object]:
                return [one for one in gc.get_objects() if isinstance(one, Exchange)]

            await settled(lambda: not left(), "an exchange was left")
        finally:
            gc.enable()


async def test_a_caller_that_reads_slowly_gets_everything(readiness: list[bool]) -> None:
    words = [f"{i} " * 20_000 for i in range(100)]
    async with (
        running_server(LOCAL, speaking(*words), CLAUDE.well) as h,
        h.http.stream("POST", PATH, json=ASKED) as answer,
    ):
        await asyncio.sleep(0.5)
        assert b"".join([piece async for piece in answer.aiter_raw()]) == stream_of(*words)
        assert False in readiness, "the connection was never full, so this shows nothing"


async def test_requests_on_one_connection_get_each_its_own_stream(readiness: list[bool]) -> None:
    async with running_server(LOCAL, speaking("a", "b", "c"), CLAUDE.well) as h:
        first, second = (await raw(h, times=2)).split(b"HTTP/1.1 200 OK\r\n")[1:]
        for answer in (first, second):
            chunks = answer.partition(b"\r\n\r\n")[2].split(b"\r\n")
            assert b"".join(chunks[1::2]) == stream_of("a", "b", "c")
        assert True in readiness


ROUTES: dict[str, dict[str, Any]] = {
    PATH: {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 99},
    "/v1/responses": {"input": "Hi"},
}
THOUGHT_TEXT = {"thinking": "Hm"}
THOUGHT = {"type": "thinking"} | THOUGHT_TEXT
ASIDES = {
    "claude": claude_event("ping")
    + claude_event("content_block_stop", index=0)
    + claude_event(
        "content_block_start", index=1, content_block={"type": "thinking", "thinking": ""}
    )
    + claude_event(
        "content_block_delta", index=1, delta={"type": "thinking_delta", "thinking": "Hm"}
    )
    + claude_event("content_block_stop", index=1)
    + claude_event("content_block_start", index=2, content_block={"type": "text", "text": ""}),
    "gemini": data({"candidates": [{"content": {"parts": [{"text": "Hm", "thought": True}]}}]}),
    "local": chunk({"reasoning_content": "Hm"}),
}
"""What comes between words."""


def local_words(text: str) -> bytes:
    return chunk({"content": text})


SAYINGS: dict[str, Callable[[str], bytes]] = {
    "local": local_words,
    "claude": claude_delta,
    "gemini": gemini_words,
}


def without_ids(stream: bytes) -> bytes:
    """Return the stream without what differs from one request to the next."""
    stream = re.sub(rb'"((?:[a-z]+_)?id|item_id)":"[^"]*"', rb'"\1":""', stream)
    return re.sub(rb'"created(_at)?":[0-9]+', rb'"created":0', stream)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_a_stream_of_any_side_is_the_same_word_by_word_and_all_at_once(
    kind: Kind, path: str, readiness: list[bool]
) -> None:
    say = SAYINGS[kind.name]
    words = [say(text) for text in ("a", "", 'q"uote\\', "line\n\nline", "“é”", "😀", "[DONE]")]
    half = say("half").replace(b"half", rb"\ud83d")  # of a character, which is held back
    pieces = [kind.begin, *words, half, kind.more, ASIDES[kind.name], *words, kind.end]

    async def slowly(connection: Connection, request: Request) -> None:
        await connection.stream(*pieces, pause_s=0.003)

    async def at_once(connection: Connection, request: Request) -> None:
        await connection.stream(b"".join(pieces))

    got = []
    for script in slowly, at_once:
        async with faulty(kind, script) as h:
            answer = await h.http.post(path, json=ROUTES[path] | {"model": "auto", "stream": True})
            assert answer.headers["x-router-target"] == kind.target
            got.append(without_ids(answer.content))
    assert got[0] == got[1]
    # Translated local streams are decoded in the task.
    assert (readiness.count(True) > 6) == (kind.target == "cloud" or path == PATH)
