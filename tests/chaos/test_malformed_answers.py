"""Malformed requests: a 4xx in the caller's dialect, at once, and the server stays healthy."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.support.chaos.callers import DIALECTS, ask
from tests.support.chaos.raw import CHUNKED, error_of, exchange, head
from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, HELLO, LOCAL, THERE
from tests.support.waiting import settled
from web import serve
from web.protocol import MOST_HEAD_BYTES

pytestmark = pytest.mark.asyncio(loop_scope="module")
Json = dict[str, Any]

SAID: list[Json] = [{"role": "user", "content": "Hi"}]
ROUTES: dict[str, Json] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": SAID, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": SAID},
    "/classify": {"prompt": "Hi"},
    "/feedback": {"request_id": "chatcmpl-unknown", "feedback": "good"},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
}
"""A valid body for each route."""
PAUSE_S = 0.2
MOST_BYTES = 20_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def roomy() -> AsyncIterator[RunningServer]:
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well) as h:
        yield h


@pytest_asyncio.fixture(loop_scope="module")
async def h(roomy: RunningServer) -> AsyncIterator[RunningServer]:
    yield roomy
    await answers(roomy)


@pytest_asyncio.fixture(loop_scope="module")
async def hasty() -> AsyncIterator[RunningServer]:
    """A server that takes small bodies only and waits for none."""
    settings: Json = {"max_body_mb": MOST_BYTES / 2**20, "caller_pause_s": PAUSE_S}
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well, **settings) as strict:
        yield strict
        await answers(strict)


async def answers(server: RunningServer) -> None:
    """Check that good requests are answered and nothing is left of the others."""
    for dialect in DIALECTS:
        heard = await ask(server.http, stream=True, dialect=dialect)
        assert heard.text == HELLO + THERE
    await settled(lambda: not server.at_work, "a slot was not given back")


# --- bodies that are not JSON ---------------------------------------------------------------------

NO_JSON = {
    "nothing": b"",
    "a part": b'{"messages": [',
    "two": b"{}{}",
    "a list": b"[]",
    "null": b"null",
    "a form": b"prompt=Hi",
    "NaN": b'{"temperature": NaN}',
    "infinity": b'{"temperature": -Infinity}',
    "too large a number": b'{"temperature": 1e999}',
    "a number of 5,000 digits": b'{"seed": %b}' % (b"9" * 5000),
    "invalid UTF-8": b'{"prompt": "\xff"}',
    "UTF-8 of a surrogate": b'{"prompt": "\xed\xa0\x80"}',
    "UTF-16": '{"prompt": "Hi"}'.encode("utf-16"),
    "a lone high surrogate": rb'{"prompt": "\ud83d"}',
    "a lone low surrogate": rb'{"prompt": "\ude00"}',
    "null bytes": b"\0" * 100,
    "a null byte in a text": b'{"prompt": "a\0b"}',
    "a null byte at the end": b"{}\0",
    "250 levels": b'{"a": %b}' % (b"[" * 250 + b"]" * 250),
    "100,000 lists": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_body_that_is_no_json_object_is_a_400(h: RunningServer, path: str) -> None:
    for name, body in NO_JSON.items():
        answer = await h.http.post(path, content=body)
        assert answer.status_code == 400, name
        assert error_of(path, answer.content)["type"] == "invalid_request_error", name
        assert answer.headers["x-should-retry"] == "false"


ODD = {
    "duplicate keys": b'"stream": false, "stream": false, "x": 1, "x": {}',
    "escaped null bytes": rb'"user": "\u0000", "x\u0000": "\u0000"',
    "a number beyond 64 bits": b'"seed": 99999999999999999999999999',
    "an emoji in two escapes": rb'"user": "\ud83d\ude00"',
    "a name that is a path": b'"__proto__": {"a": 1}, "../../etc/passwd": 1, "": ""',
    "a model of control characters": rb'"model": "a\u0000\r\nX-Injected: 1\u001b[2J"',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_unusual_json_is_accepted(h: RunningServer, odd: bytes) -> None:
    for path, body in ROUTES.items():
        raw = orjson.dumps(body)[:-1] + b", " + odd + b"}"
        answer = await h.http.post(path, content=raw)
        assert answer.status_code == (404 if path == "/feedback" else 200), answer.text
        assert "x-injected" not in answer.headers


# --- wrong fields ---------------------------------------------------------------------------------

CALL = {"role": "assistant", "tool_calls": 5}
ROLES: list[Any] = [None, 5, "king", []]
CONTENTS: list[Any] = [5, {}, True]
Rows = list[tuple[str, list[Any]]]
"""Fields, and wrong values for them or for the object that holds them."""
OF_MESSAGES: Rows = [
    ("messages", [None, 5, {}, []]),
    ("messages[0]", [["Hi"]]),
    ("messages[0].role", [[{"role": "king", "content": "Hi"}]]),
    ("messages[0].content", [[{"role": "user", "content": value}] for value in (None, 5)]),
    *((name, ["x"]) for name in ("max_tokens", "stream", "tools", "thinking", "metadata")),
    *((name, ["x"]) for name in ("stop_sequences", "temperature", "output_config")),
    *((name, [5]) for name in ("model", "system", "tool_choice")),
]
WRONG: dict[str, Rows] = {
    "/v1/chat/completions": [
        ("messages", [None, 5, "Hi", {}, []]),
        ("messages[0]", [[None], ["Hi"], [[]]]),
        *(("messages[0].role", [[SAID[0] | {"role": role}]]) for role in ROLES),
        *(("messages[0].content", [[SAID[0] | {"content": value}]]) for value in CONTENTS),
        ("messages[0].content[0]", [[SAID[0] | {"content": ["Hi"]}]]),
        ("messages[1].tool_calls", [[SAID[0], CALL]]),
        ("model", [5, [], {}]),
        ("stream", [1, "true", []]),
        ("stream_options", ["usage"]),
        ("max_tokens", ["9", 0, 1.5, True]),
        ("max_completion_tokens", [-5]),
        ("tools", [{}]),
        ("tools[0]", [["f"]]),
        ("tools[0].function.name", [[{"type": "function", "function": {"name": 5}}]]),
    ],
    "/v1/responses": [
        ("input", [None, 5, {}, [], ""]),
        ("input[0]", [[5]]),
        ("input[0].role", [[{"role": "king", "content": "Hi"}]]),
        *((name, [5]) for name in ("model", "instructions", "previous_response_id", "user")),
        *((name, ["x"]) for name in ("stream", "tools", "text", "reasoning", "metadata")),
        *((name, ["x"]) for name in ("temperature", "top_p", "max_output_tokens", "store")),
    ],
    "/v1/messages": [*OF_MESSAGES, ("max_tokens", [None])],
    "/v1/messages/count_tokens": OF_MESSAGES,
    "/classify": [
        ("prompt", [None, 5, []]),
        ("messages", [[]]),
        ("messages[0].role", [[{"role": "king"}]]),
    ],
    "/feedback": [("request_id", [None, 5, "", {}]), ("feedback", [None, 5, "great", []])],
}


@pytest.mark.parametrize("path", WRONG)
async def test_a_wrong_field_is_named(h: RunningServer, path: str) -> None:
    for name, values in WRONG[path]:
        outer = name.partition("[")[0]
        for value in values:
            answer = await h.http.post(path, json=ROUTES[path] | {outer: value})
            assert answer.status_code == 400, (name, value, answer.text)
            error = error_of(path, answer.content)
            assert f"`{name}`" in error["message"], (name, value, error)
            assert error.get("param", name) == name


# --- malformed and oversized HTTP -----------------------------------------------------------------


NO_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "prose": b"Hello, is anybody there?\r\n\r\n",
    "a method of our own": head("BREW /classify"),
    "a proxy's method": head("CONNECT example.com:443"),
    "a path that is not ASCII": head("GET /\xff\xfe"),
    "a null byte in a header": head("GET /health", "X-A: a\0b"),
    "a header without a name": head("GET /health", ": a"),
    "a space before the colon": head("GET /health", "X-A : a"),
    "a length that is no number": head("POST /classify", "Content-Length: x"),
    "a length below 0": head("POST /classify", "Content-Length: -1"),
    "a length beyond 64 bits": head("POST /classify", "Content-Length: 99999999999999999999999"),
    "two lengths": head("POST /classify", "Content-Length: 2", "Content-Length: 3"),
    "a length and chunks": head("POST /classify", "Content-Length: 2", CHUNKED),
    "a chunk without a length": head("POST /classify", CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP)
async def test_malformed_http_is_a_400_in_json(h: RunningServer, raw: bytes) -> None:
    status, body, closed = await exchange(h, raw)
    assert (status, closed) == (400, True)
    assert error_of("", body)["code"] == "invalid_http"


@pytest.mark.parametrize("path", ROUTES)
async def test_a_broken_chunk_is_a_400_in_each_dialect(h: RunningServer, path: str) -> None:
    status, body, closed = await exchange(h, head(f"POST {path}", CHUNKED), b"zz\r\n")
    assert (status, closed) == (400, True)
    assert error_of(path, body)["message"]


LONG = "a" * (MOST_HEAD_BYTES + 1)
HUGE_HEADS = {
    "a header": (head("GET /health", f"X-A: {LONG}"),),
    "a header without an end": (head("GET /health")[:-2] + b"X-A: ", *([b"a" * 2**20] * 20)),
    "many headers": (head("GET /health", *(f"X-{i}: a" for i in range(20_000))),),
    "a path": (head(f"GET /{LONG}"),),
    "a path without an end": (b"GET /", *([b"a" * 2**20] * 20)),
    "a query": (head(f"GET /stats?days={LONG}"),),
}


@pytest.mark.parametrize("pieces", HUGE_HEADS.values(), ids=HUGE_HEADS)
async def test_a_huge_head_is_refused_and_the_caller_can_read_why(
    h: RunningServer, pieces: tuple[bytes, ...]
) -> None:
    status, body, closed = await exchange(h, *pieces)
    assert (status, closed) == (431, True)
    assert error_of("", body)["code"] == "headers_too_large"


async def test_a_head_below_the_limit_is_accepted(h: RunningServer) -> None:
    status, _, closed = await exchange(h, head("GET /health", f"X-A: {LONG[200:]}"))
    assert (status, closed) == (200, False)


@pytest.mark.parametrize("path", ROUTES)
async def test_a_wrong_method_is_a_405_that_names_the_right_one(
    h: RunningServer, path: str
) -> None:
    for method in ("GET", "PUT", "PATCH", "DELETE", "TRACE"):
        answer = await h.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert method in error_of(path, answer.content)["message"]


@pytest.mark.parametrize("header", ["\xff\xfe", "king", "a" * 5000, "local\x0b"])
async def test_an_unknown_side_is_refused(h: RunningServer, header: str) -> None:
    raw = orjson.dumps(ROUTES["/v1/chat/completions"])
    lines = (f"X-Force-Route: {header}", f"Content-Length: {len(raw)}")
    status, body, _ = await exchange(h, head("POST /v1/chat/completions", *lines), raw)
    assert status == 400
    assert error_of("", body)["message"]


# --- too large, too slow, disconnected ------------------------------------------------------------


@pytest.mark.parametrize("path", ROUTES)
async def test_a_body_that_is_too_large_is_refused_while_it_is_read(
    hasty: RunningServer, path: str
) -> None:
    body = b"{" + b" " * MOST_BYTES
    chunk = b"%x\r\n%b\r\n" % (len(body), body)
    announced, chunks = (
        head(f"POST {path}", "Content-Length: 999999999"),
        head(f"POST {path}", CHUNKED),
    )
    for pieces in ((announced,), (announced, body), (chunks, chunk), (chunks, *[chunk] * 200)):
        status, said, closed = await exchange(hasty, *pieces)
        assert (status, closed) == (413, True)
        assert "MAX_BODY_MB" in error_of(path, said)["message"]
    # Clients that read only after they have sent everything get the answer too.
    assert (await hasty.http.post(path, content=body * 200)).status_code == 413


@pytest.mark.parametrize("path", ROUTES)
async def test_a_wrong_content_length_starts_no_second_request(
    hasty: RunningServer, path: str
) -> None:
    short = (head(f"POST {path}", "Content-Length: 1"), b'{"prompt": "Hi"}')
    assert (await exchange(hasty, *short))[0] == 400
    long = (head(f"POST {path}", "Content-Length: 100"), b'{"prompt": "Hi"}')
    status, said, closed = await exchange(hasty, *long)
    assert (status, closed) == (408, True)
    assert "No more of the body" in error_of(path, said)["message"]


SLOW = {
    "says nothing": b"",
    "half a line": b"POST /classi",
    "half a head": head()[:-2],
    "no end of blank lines": b"\r\n" * 10,
}


@pytest.mark.parametrize("raw", SLOW.values(), ids=SLOW)
async def test_a_slow_head_is_a_408(hasty: RunningServer, raw: bytes) -> None:
    status, said, closed = await exchange(hasty, raw)
    assert (status, closed) == (408, True)
    assert error_of("", said)["message"]


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "KEEP_ALIVE_S", 0.2)
    async with running_server(LOCAL, LOCAL.well, CLAUDE.well) as here:
        reader, writer = await asyncio.open_connection(*here.host)
        writer.write(head("GET /nowhere"))
        async with asyncio.timeout(8):
            said = await reader.read()
        writer.close()
        assert said.count(b"HTTP/1.1") == 1


async def test_a_slow_second_head_is_a_408_too(hasty: RunningServer) -> None:
    reader, writer = await asyncio.open_connection(*hasty.host)
    writer.write(head("GET /nowhere") + b"GET /near")
    async with asyncio.timeout(8):
        said = await reader.read()
    writer.close()
    assert said.count(b"HTTP/1.1 404") == said.count(b"HTTP/1.1 408") == 1


@pytest.mark.parametrize("path", ROUTES)
async def test_a_caller_that_hangs_up_while_sending_reaches_no_backend(
    h: RunningServer, path: str
) -> None:
    asked = len(h.local.requests)
    whole = head(f"POST {path}", "Content-Length: 20") + b'{"prompt": "Hi"'
    for sent in (b"", whole[:9], whole[:-16], whole):
        await exchange(h, sent, leave=True)
    assert len(h.local.requests) == asked
