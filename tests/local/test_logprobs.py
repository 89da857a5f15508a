"""Log-probabilities: when a local server is asked for them, and how they leave no trace."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from router.backend import ConfidenceMode, Relayed, TimeLimits
from router.local.logprobs import MISSES, SHADOW_EVERY, SHADOW_FIRST, Logprobs, LogprobsWish
from router.local_client import LocalBackend
from router.request import ChatRequest
from router.wire import sse
from tests.support.scripted import Connection, Request, ScriptedServer, scripted

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
AWKWARD = 'say "logprobs":{}} \\ }{ \u00e9 \n,"logprobs":{"content":[]}'
WORDS = ("The", ' {"', AWKWARD, "}}", ' "]')


def rated(word: str, logprob: float = -0.5) -> dict[str, Any]:
    one = {"id": 7, "token": word, "bytes": [*word.encode()], "logprob": logprob}
    return one | {"top_logprobs": [one]}


def chunk(delta: dict[str, Any], logprobs: Any = None, reason: str | None = None) -> bytes:
    """An event as llama.cpp sends it: nothing stands where no log-probabilities are."""
    choice: dict[str, Any] = {"finish_reason": reason, "index": 0, "delta": delta}
    if logprobs is not None:
        choice["logprobs"] = {"content": logprobs}
    return sse.event({"choices": [choice], "created": 1, "id": "chatcmpl-1"})


def stream(*, rate: bool) -> list[bytes]:
    words = [chunk({"content": word}, [rated(word)] if rate else None) for word in WORDS]
    return [chunk({"role": "assistant", "content": None}), *words, chunk({}, reason="stop")]


def whole(*, rate: bool, null: bytes = b"") -> bytes:
    message = orjson.dumps({"role": "assistant", "content": "".join(WORDS)})
    logprobs = orjson.dumps({"content": [rated(word) for word in WORDS]})
    extra = b',"logprobs":' + logprobs if rate else null
    start = b'{"choices":[{"index":0,"message":'
    return start + message + extra + b',"finish_reason":"stop"}],"model":"m","usage":{}}'


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": [USER], **fields}


def asked(mode: ConfidenceMode, server: str, **fields: Any) -> dict[str, Any]:
    """Return what is added to the body of a request."""
    sent: dict[str, Any] = body(**fields)
    LogprobsWish(mode).add_to(sent, ChatRequest(body(**fields)), "m", server)
    return {name: value for name, value in sent.items() if name not in body(**fields)}


@pytest.mark.parametrize(
    ("mode", "server", "fields", "added"),
    [
        ("on", "llama.cpp", {}, {"logprobs": True, "top_logprobs": 1}),
        ("on", "llama.cpp", {"stream": True}, {"logprobs": True, "top_logprobs": 1}),
        ("on", "llama.cpp", {"tools": [TOOL]}, {"logprobs": True, "top_logprobs": 1}),
        ("on", "vllm", {}, {"logprobs": True}),
        ("shadow", "ollama", {}, {"logprobs": True}),
        ("off", "llama.cpp", {}, {}),
        ("on", "llama.cpp", {"stream": True, "tools": [TOOL]}, {}),
        ("on", "vllm", {"stream": True, "tools": [TOOL]}, {}),
        ("on", "llama.cpp", {"n": 2}, {}),
        ("on", "llama.cpp", {"logprobs": False}, {}),
        ("on", "llama.cpp", {"logprobs": True, "top_logprobs": 5}, {}),
        ("on", "lmstudio", {}, {}),
        ("on", "openai", {}, {}),
        ("on", "", {}, {}),
    ],
)
def test_logprobs_are_asked_of_servers_that_send_them_and_hidden_from_the_caller(
    mode: ConfidenceMode, server: str, fields: dict[str, Any], added: dict[str, Any]
) -> None:
    assert asked(mode, server, **fields) == added


def test_a_model_that_gives_none_is_not_asked_again() -> None:
    wish = LogprobsWish("on")
    request = ChatRequest(body())
    for _ in range(MISSES):
        wanted = wish.add_to(body(), request, "m", "llama.cpp")
        assert wanted is not None
        wish.came("m", wanted)
    assert wish.add_to(body(), request, "m", "llama.cpp") is None
    assert wish.add_to(body(), request, "another", "llama.cpp") is not None


def test_shadow_mode_reads_the_first_answers_and_then_one_in_shadow_every() -> None:
    wish = LogprobsWish("shadow")
    request = ChatRequest(body())
    found = [wish.add_to(body(), request, "m", "vllm") is not None for _ in range(3 * SHADOW_EVERY)]
    looked_at = [n for n, looked in enumerate(found) if looked]
    assert looked_at == [*range(SHADOW_FIRST), SHADOW_EVERY, 2 * SHADOW_EVERY]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_stream_has_the_same_bytes_as_without_logprobs(size: int) -> None:
    logprobs = Logprobs(b"")
    events = stream(rate=True)
    blocks = [b"".join(events[at : at + size]) for at in range(0, len(events), size)]
    assert b"".join(map(logprobs.cut, blocks)) == b"".join(stream(rate=False))
    assert logprobs.tokens() == [(word, -0.5) for word in WORDS]
    assert logprobs.first_alternatives() == [-0.5]


def test_events_in_several_spellings_are_cut_each_in_its_own() -> None:
    one = chunk({"content": "a"}, [rated("a")])
    other = one.replace(b',"created":1', b"")
    plain = chunk({"content": "a"})
    logprobs = Logprobs(b"")
    assert logprobs.cut(other + one) == plain.replace(b',"created":1', b"") + plain
    assert logprobs.tokens() == [("a", -0.5)] * 2


@pytest.mark.parametrize("null", [b"", b',"logprobs":null'])
def test_a_whole_answer_has_the_same_bytes_as_without_logprobs(null: bytes) -> None:
    logprobs = Logprobs(null)
    assert logprobs.cut(whole(rate=True)) == whole(rate=False, null=null)
    assert [token for token, _ in logprobs.tokens()] == [*WORDS]
    assert Logprobs(null).cut(whole(rate=False, null=null)) == whole(rate=False, null=null)


def test_blank_lines_around_a_whole_answer_take_nothing_of_it() -> None:
    given = b"\n\n" + orjson.dumps({"logprobs": None, "reasoning_content": "hm", "content": "Yes"})
    assert b'"content":"Yes"' in Logprobs(None).cut(given)


def test_logprobs_that_the_caller_asked_for_stay() -> None:
    logprobs = Logprobs(None)
    assert [*map(logprobs.cut, stream(rate=True))] == stream(rate=True)
    assert len(logprobs.tokens()) == len(WORDS)


@pytest.mark.parametrize("left_behind", [b"", None])
def test_thoughts_that_come_apart_are_not_counted(left_behind: bytes | None) -> None:
    thought = chunk({"reasoning_content": "Hm"}, [rated("Hm", -3)])
    logprobs = Logprobs(left_behind)
    cut = logprobs.cut(thought + chunk({"content": "Yes"}, [rated("Yes")]))
    assert (b"logprob" in cut) == (left_behind is None)
    assert [token for token, _ in logprobs.tokens()] == ["Yes"]


@pytest.mark.parametrize("strange", [b'{"content":7}', b'{"content":[7,{"token":1}]}', b"{}"])
def test_strange_ones_are_none(strange: bytes) -> None:
    logprobs = Logprobs(b"")
    assert logprobs.cut(b'{"index":0,"logprobs":' + strange + b"}") == b'{"index":0}'
    assert logprobs.tokens() == []
    assert logprobs.first_alternatives() == []


def test_braces_without_an_end_take_no_time() -> None:
    began = time.process_time()
    for filler in (b"{" * 200_000, b'{"' * 100_000, b'"a"' * 100_000, b"[" * 200_000):
        Logprobs(b"").cut(b'{"a":1,"logprobs":{' + filler)
    assert time.process_time() - began < 0.5


@asynccontextmanager
async def backend(
    server: ScriptedServer, mode: ConfidenceMode = "on"
) -> AsyncIterator[LocalBackend]:
    local = LocalBackend(f"{server.url}/v1", "m", limits=TimeLimits(), confidence=mode)
    await local.probe()
    yield local
    await local.aclose()


async def llama(connection: Connection, request: Request) -> None:
    if request.path == "/v1/models":
        data = [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 4096}}]
        await connection.answer(orjson.dumps({"object": "list", "data": data}))
    else:
        await connection.answer(b"{}", 404)


async def test_a_server_that_refuses_them_answers_without() -> None:
    async def refuses(connection: Connection, request: Request) -> None:
        if "logprobs" in request.json:
            await connection.answer(b'{"error": {"message": "logprobs is not supported"}}', 400)
        else:
            await connection.answer(whole(rate=False))

    async with scripted(refuses, llama) as server, backend(server) as local:
        for _ in range(2):
            reply = await local.open(ChatRequest(body()), "m")
            assert isinstance(reply, Relayed)
            assert b"".join([piece async for piece in reply.chunks]) == whole(rate=False)
        assert ["logprobs" in request.json for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_reply_tells_the_tokens_and_hides_them_from_the_caller(is_stream: bool) -> None:
    async def gives(connection: Connection, request: Request) -> None:
        rate = request.json.get("logprobs") is True
        if is_stream:
            await connection.stream(*stream(rate=rate), sse.DONE)
        else:
            await connection.answer(whole(rate=rate))

    async with scripted(gives, llama) as server:
        answers = []
        for mode in ("on", "off"):
            async with backend(server, "on" if mode == "on" else "off") as local:
                reply = await local.open(ChatRequest(body(stream=is_stream)), "m")
                assert isinstance(reply, Relayed)
                answers.append(b"".join([piece async for piece in reply.chunks]))
                if mode == "on":
                    assert reply.logprobs is not None
                    assert reply.logprobs.tokens() == [(word, -0.5) for word in WORDS]
        assert answers[0] == answers[1]
