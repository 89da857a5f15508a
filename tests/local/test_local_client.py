"""The relay to an OpenAI-compatible server, over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from router.backend import Relayed, TimeLimits, Translated
from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Finish, TextDelta, Usage, each_of
from router.request import ChatRequest
from router.wire.chat.relay import ChatTally
from tests.support.local_backend import (
    ANSWER,
    DONE,
    HELLO,
    ROLE,
    STOP,
    USAGE,
    answering,
    ask,
    backend,
    chunk,
    read,
    request,
    whole,
)
from tests.support.scripted import Connection, Request, Script, scripted


async def test_a_whole_answer_comes_back_byte_for_byte() -> None:
    assert await ask(whole(ANSWER)) == ANSWER


async def test_a_stream_comes_back_byte_for_byte() -> None:
    stream = ROLE + HELLO + STOP + USAGE + DONE
    asked: Any = {"stream": True, "stream_options": {"include_usage": True}}
    assert await ask(answering(stream), **asked) == stream


@pytest.mark.parametrize("size", [1, 7, 50])
async def test_a_stream_survives_being_cut_anywhere(size: int) -> None:
    stream = ROLE + HELLO + STOP + USAGE + DONE
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    asked: Any = {"stream": True, "stream_options": {"include_usage": True}}
    assert await ask(answering(*pieces), **asked) == stream


async def test_only_the_model_is_replaced_in_the_body_that_goes_out() -> None:
    async with scripted(whole(ANSWER)) as server:
        local = backend(server)
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi", "x": 1}], "y": [2]}
        await read(await local.open(ChatRequest(body), "local-model"))
        await local.aclose()
    assert server.requests[0].json == {**body, "model": "local-model"}
    assert body["model"] == "auto"


async def test_usage_is_requested_and_held_back_from_a_caller_who_did_not_ask() -> None:
    async with scripted(answering(ROLE, HELLO, STOP + USAGE + DONE)) as server:
        local = backend(server)
        reply = await local.open(request(stream=True), "local-model")
        assert await read(reply) == ROLE + HELLO + STOP + DONE
        assert isinstance(reply, Relayed)
        assert reply.usage == Usage(7, 2)
        await local.aclose()
    assert server.requests[0].json["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
async def test_usage_is_held_back_from_a_burst_and_nothing_else_is(newline: bytes) -> None:
    nulls = chunk({"content": "Hi"}, usage=None)
    told = (ROLE + (HELLO + nulls) * 50 + STOP).replace(b"\n", newline)
    hidden = USAGE.replace(b"\n", newline)
    async with scripted(answering(told + hidden + DONE)) as server:
        local = backend(server)
        reply = await local.open(request(stream=True), "local-model")
        said = await read(reply)
        assert said.replace(newline, b"\n") == told.replace(newline, b"\n") + DONE
        assert isinstance(reply, Relayed)
        assert reply.usage == Usage(7, 2)
        await local.aclose()


async def test_usage_in_the_last_choice_stays_in_place() -> None:
    last = chunk(finish="stop", usage={"prompt_tokens": 1, "completion_tokens": 1})
    assert await ask(answering(ROLE, last, DONE), stream=True) == ROLE + last + DONE


async def test_the_models_words_are_not_taken_for_a_field() -> None:
    tricky = chunk({"content": '{"error": "x", "usage": {"prompt_tokens": 9}} [DONE]'})
    stream = ROLE + tricky + STOP + DONE
    assert await ask(answering(stream), stream=True) == stream


async def test_the_model_that_really_answered_is_reported() -> None:
    async with scripted(answering(chunk({"content": "x"}, model="other"), STOP, DONE)) as server:
        local = backend(server)
        reply = await local.open(request(stream=True), "local-model")
        assert reply.model == "other"
        await reply.aclose()
        await local.aclose()


async def test_a_stream_without_done_that_said_it_finished_gets_one() -> None:
    assert await ask(answering(ROLE, STOP), stream=True) == ROLE + STOP + DONE


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b'{"choices":[{"delta":{"content":"H"}}]}',
         b'{"choices":[{"delta":{"role":"assistant","content":"H"}}]}'),
        (b'{"choices": [{"delta": {"content": "\\"role\\""}}]}',
         b'{"choices": [{"delta": {"role":"assistant","content": "\\"role\\""}}]}'),
        (b'{"choices":[{"delta":{"content":"H","role":"assistant"}}]}',
         b'{"choices":[{"delta":{"content":"H","role":"assistant"}}]}'),
    ],
)  # fmt: skip
async def test_the_first_words_of_a_stream_have_a_role(sent: bytes, passed: bytes) -> None:
    """llama.cpp leaves it out if the first token is half of a character."""
    rest = HELLO + STOP + DONE
    stream = b"data: %b\n\n" % sent + rest
    assert await ask(answering(stream), stream=True) == b"data: %b\n\n" % passed + rest


def test_a_stream_gets_its_role_though_it_begins_without_words() -> None:
    empty = b'data: {"choices":[{"delta":{}}]}\n\n'
    words = b'data: {"choices":[{"delta":{"content":"role"}}]}\n\n'
    with_role = words.replace(b'{"content', b'{"role":"assistant","content')
    tally = ChatTally(hold_usage=True)
    assert [tally.passed(block) for block in (empty, words, words)] == [empty, with_role, words]


async def test_a_document_in_answer_to_a_stream_becomes_events() -> None:
    async with scripted(whole(ANSWER)) as server:
        local = backend(server)
        reply = await local.open(request(stream=True), "local-model")
        assert isinstance(reply, Translated)
        events = [event async for event in each_of(reply.events)]
        assert events[0] == TextDelta("Hi")
        assert isinstance(events[-1], Finish)
        await local.aclose()


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (400, {"error": {"message": "bad stop"}}, BackendRejected, None),
        (400, {"error": "Trying to keep the first 9000 tokens when context the overflows"},
         BackendUnfit, "context_length_exceeded"),
        (400, {"error": {"message": "request (9001 tokens) exceeds the available context size"}},
         BackendUnfit, "context_length_exceeded"),
        (400, {"error": "No models loaded. Please load a model"}, BackendUnreachable,
         "local_not_ready"),
        (404, {"error": {"message": "No models loaded"}}, BackendUnreachable, "local_not_ready"),
        (400, {"error": "Model is unloaded."}, BackendUnreachable, "local_not_ready"),
        (500, {"error": "The model has crashed without additional information"},
         BackendUnreachable, "local_not_ready"),
        (400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}, BackendUnfit,
         "unsupported_by_backend"),
        (500, {"error": {"message": "Jinja Exception: System message must be at the beginning."}},
         BackendUnfit, "unsupported_by_backend"),
        (400, {"error": "Error rendering prompt with jinja template: \"No user query found\""},
         BackendUnfit, "unsupported_by_backend"),
        (401, {"error": {"message": "Invalid API key"}}, BackendMisconfigured, "upstream_auth"),
        (403, {}, BackendMisconfigured, "upstream_auth"),
        (404, {"error": {"message": "model not found"}}, BackendMisconfigured, "upstream_auth"),
        (413, {"error": "too big"}, BackendRejected, None),
        (429, {"error": "slow down"}, BackendBusy, "upstream_busy"),
        (500, {"error": "oops"}, BackendBroken, "upstream_broken"),
        (503, {"error": {"message": "Loading model"}}, BackendUnreachable, "local_not_ready"),
        (503, {}, BackendBusy, "upstream_busy"),
        (529, {}, BackendBusy, "upstream_busy"),
        (200, {"error": "Channel Error"}, BackendUnreachable, "local_not_ready"),
        (200, {"error": {"message": "odd"}}, BackendBroken, "upstream_broken"),
        (200, {"choices": []}, BackendBroken, "upstream_broken"),
        (200, [], BackendBroken, "upstream_broken"),
    ],
)  # fmt: skip
async def test_each_failure_has_its_class(
    status: int, body: Any, error: type[BackendError], code: str | None
) -> None:
    with pytest.raises(error) as caught:
        await ask(whole(orjson.dumps(body), status))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [("17", 17), ("0.5", 0.5), ("inf", None), ("nan", None), ("1e999", None), ("soon", None)],
)
async def test_retry_after_is_kept(header: str, wait_s: float | None) -> None:
    with pytest.raises(BackendBusy) as caught:
        await ask(whole(b"{}", 429, Retry_After=header))
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize("body", [b"<html>502 Bad Gateway</html>", b'{"choices": [', b"", b"\xff"])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_not_one_is_broken(body: bytes, stream: bool) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.answer(body, content_type="text/html")

    with pytest.raises(BackendBroken):
        await ask(script, stream=stream)


async def test_an_error_in_the_middle_of_a_stream_is_raised_there() -> None:
    broken = b'event: error\ndata: {"error": {"message": "Model has crashed"}}\n\n'
    async with scripted(answering(ROLE, HELLO, broken)) as server:
        local = backend(server)
        reply = await local.open(request(stream=True), "local-model")
        assert isinstance(reply, Relayed)
        said: list[bytes] = []

        async def listen(chunks: AsyncIterator[bytes]) -> None:
            async for block in chunks:
                said.append(block)

        with pytest.raises(BackendError, match="crashed"):
            await listen(reply.chunks)
        assert b"".join(said) == ROLE + HELLO
        await local.aclose()


@pytest.mark.parametrize("tail", [b"", HELLO, b'data: {"choices": [{"del'])
@pytest.mark.parametrize("cut", ["closed", "reset", "ended"])
async def test_a_stream_that_is_cut_off_is_never_taken_for_finished(tail: bytes, cut: str) -> None:
    async def script(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(ROLE)
        await asyncio.sleep(0.05)  # the beginning must have been read
        if tail:
            await connection.chunk(tail)
        if cut == "ended":
            await connection.end_stream()
        elif cut == "reset":
            connection.reset()
        else:
            connection.writer.close()

    with pytest.raises((BackendBroken, BackendUnreachable)):
        await ask(script, stream=True)


async def silent(connection: Connection, request: Request) -> None:
    await connection.silence()


async def dribbling(connection: Connection, request: Request) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n":
        await connection.send(bytes([byte]))
        await asyncio.sleep(0.05)


async def headers_only(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.silence()


async def stalling(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.chunk(HELLO)
    await connection.silence()


@pytest.mark.parametrize("script", [silent, dribbling, headers_only, stalling])
async def test_silence_ends_in_a_timeout(script: Script) -> None:
    async with asyncio.timeout(3):
        with pytest.raises(BackendTimeout, match="was silent for too long"):
            await ask(script, stream=True)


async def test_an_answer_that_never_ends_is_cut_at_the_whole_limit() -> None:
    async def endless(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        while True:
            await connection.chunk(HELLO)
            await asyncio.sleep(0.02)

    with pytest.raises(BackendTimeout, match=r"did not end its answer within 0\.5 s"):
        await ask(endless, stream=True, limits=TimeLimits(1, 0.3, 0.3, total_s=0.5))


async def test_a_port_without_a_listener_is_known_at_once() -> None:
    async with scripted(silent) as server:
        gone = backend(server)
    async with asyncio.timeout(1):
        with pytest.raises(BackendUnreachable, match="Is it running"):
            await gone.open(request(), "local-model")
    await gone.aclose()


async def test_a_pooled_connection_that_the_server_closed_costs_nothing() -> None:
    async with scripted(whole(ANSWER)) as server:
        local = backend(server)
        await read(await local.open(request(), "local-model"))
        await server.stop()
        await server.start()
        assert await read(await local.open(request(), "local-model")) == ANSWER
        await local.aclose()


@pytest.mark.parametrize("streams", [1, 4])
async def test_a_server_that_hangs_up_after_each_stream_is_still_there(streams: int) -> None:
    """llama.cpp does so, though it announces to keep the connection."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(ROLE, STOP, DONE)
        connection.writer.close()

    async with scripted(script) as server:
        local = backend(server)
        for _ in range(20):
            replies = [
                await local.open(request(stream=True), "local-model") for _ in range(streams)
            ]
            for reply in replies:
                assert await read(reply) == ROLE + STOP + DONE
        await local.aclose()


@pytest.mark.parametrize("script", [silent, headers_only])
async def test_a_caller_that_leaves_while_we_wait_closes_the_connection(script: Script) -> None:
    async with scripted(script) as server:
        local = backend(server)
        opening = asyncio.create_task(local.open(request(stream=True), "local-model"))
        await server.asked.wait()
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        async with asyncio.timeout(0.1):
            await server.all_closed()
        await local.aclose()


@pytest.mark.parametrize("read", [True, False])
async def test_closing_the_reply_closes_the_connection(read: bool) -> None:
    async with scripted(stalling) as server:
        local = backend(server)
        reply = await local.open(request(stream=True), "local-model")
        assert isinstance(reply, Relayed)
        if read:
            assert await anext(reply.chunks)
        await reply.aclose()
        async with asyncio.timeout(0.1):
            await server.all_closed()
        await local.aclose()


async def test_a_ten_megabyte_event_passes() -> None:
    big = chunk({"content": "x" * 10_000_000})
    assert await ask(answering(ROLE, big, STOP, DONE), stream=True) == ROLE + big + STOP + DONE


async def test_files_make_it_unfit() -> None:
    parts = [{"type": "file", "file": {"file_data": "x"}}]
    with pytest.raises(BackendUnfit) as caught:
        await ask(whole(ANSWER), messages=[{"role": "user", "content": parts}])
    assert caught.value.param == "messages[0].content[0]"


async def test_system_messages_in_front_are_sent_as_one() -> None:
    parts = [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be quick."}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": parts},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "It is late."},
    ]
    async with scripted(whole(ANSWER)) as server:
        local = backend(server)
        await read(await local.open(request(messages=messages), "local-model"))
        await local.aclose()
    assert server.requests[0].json["messages"] == [
        {"role": "system", "content": "Be brief.\n\nBe kind.\nBe quick."},
        *messages[2:],
    ]
    assert messages[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("choice", "sent_choice"),
    [
        ({"type": "function", "function": {"name": "b"}}, "required"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "b"}}],
                },
            },
            "auto",
        ),
    ],
)
async def test_lm_studio_gets_a_form_that_it_accepts(
    choice: dict[str, Any], sent_choice: str
) -> None:
    async def lm_studio(connection: Connection, request: Request) -> None:
        models = [
            {
                "type": "llm",
                "key": "local-model",
                "loaded_instances": [{"id": "local-model", "config": {"context_length": 4096}}],
                "max_context_length": 32768,
            }
        ]
        await connection.answer(orjson.dumps({"models": models}))

    tools = [
        {"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b")
    ]
    async with scripted(whole(ANSWER), lm_studio) as server:
        local = backend(server)
        assert (await local.probe()).server == "lmstudio"
        asked = request(
            tools=tools,
            tool_choice=choice,
            response_format={"type": "json_object"},
            max_completion_tokens=5,
        )
        await read(await local.open(asked, "local-model"))
        await local.aclose()
    sent = server.requests[0].json
    assert sent["tool_choice"] == sent_choice
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["b"]
    assert sent["response_format"]["type"] == "json_schema"
    assert sent["max_tokens"] == 5


@pytest.mark.parametrize(("model", "kept"), [("qwen2.5-coder:7b", False), ("gpt-oss:20b", True)])
async def test_ollama_gets_no_effort_for_models_that_would_refuse_it(
    model: str, kept: bool
) -> None:
    async def ollama(connection: Connection, request: Request) -> None:
        await connection.answer(orjson.dumps({"models": [{"name": model, "model": model}]}))

    async with scripted(whole(ANSWER), ollama) as server:
        local = backend(server, model=model)
        assert (await local.probe()).server == "ollama"
        reply = await local.open(request(reasoning_effort="high"), model)
        await read(reply)
        await local.aclose()
    assert ("reasoning_effort" in server.requests[-1].json) == kept
    assert reply.dropped == (() if kept else ("reasoning_effort",))
