"""ClaudeBackend against real sockets: requests, answers, failures, and callers that leave."""

import asyncio
import contextlib
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from router.backend import Relayed, TimeLimits, Translated
from router.cloud_client import ClaudeBackend
from router.clouds.calls import connection_errors, connection_failure
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
from tests.support.claude_backend import BRISK, KEY, MODEL, backend_of, events_of, probed
from tests.support.claude_recordings import SAID, recorded
from tests.support.claude_rules import assert_acceptable
from tests.support.claude_server import (
    STREAM_HEAD,
    Answer,
    ClaudeServer,
    claude_server,
    closing,
    document,
    failing,
    resetting,
    silence,
    streaming,
)
from tests.support.claude_words import assistant, call, request, result, user
from tests.support.keys import CANARIES

BEGUN = recorded("text").partition(b"event: content_block_stop")[0]


async def failure_of(answer: Answer, limits: TimeLimits = BRISK) -> BackendError:
    """Return the error of opening, or of reading to the end."""
    async with claude_server(answer) as server, backend_of(server, limits) as backend:
        with pytest.raises(BackendError) as raised:
            await events_of(backend, request())
    return raised.value


def test_importing_the_clouds_imports_no_sdk() -> None:
    heavy = "{'anthropic', 'google.genai', 'openai', 'httpx2'}"
    script = f"import sys, router.cloud_client; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Answers


@pytest.mark.parametrize("name", ["text", "tool_calls", "thinking", "refusal", "cached"])
async def test_an_answer_comes_as_events(name: str) -> None:
    async with claude_server(streaming(recorded(name))) as server, backend_of(server) as backend:
        assert await events_of(backend, request()) == SAID[name]


async def test_the_request_that_is_sent() -> None:
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        reply = await backend.open(request(user("Hi"), temperature=0.3), "claude-x")
        assert isinstance(reply, Translated)
        assert reply.dropped == ("temperature",)
        assert reply.model == "claude-x"
        await reply.aclose()
    [sent] = server.received  # no look-up, no retry
    assert (sent.method, sent.path) == ("POST", "/v1/messages")
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["anthropic-version"] == "2026-10-21"
    assert sent.headers["content-type"] == "application/json"
    assert sent.body["model"] == "claude-x"
    assert sent.body["stream"] is True
    assert_acceptable(sent.body)


async def test_an_address_on_this_machine_is_not_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with claude_server(streaming(recorded("text"))) as server, claude_server() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with backend_of(server) as backend:
            assert await events_of(backend, request()) == SAID["text"]
    assert proxy.received == []


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_the_address_may_end_in_v1(path: str) -> None:
    async with claude_server(streaming(recorded("text"))) as server:
        server.url += path
        async with backend_of(server) as backend:
            await events_of(backend, request())
        assert server.received[0].path == "/v1/messages"


async def test_an_environment_of_the_sdks_own_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-other")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "other")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        assert await events_of(backend, request()) == SAID["text"]
        assert server.received[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_connection_is_used_again() -> None:
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        for _ in range(3):
            await events_of(backend, request())
        assert server.connections == 1


async def test_a_connection_that_went_stale_is_replaced() -> None:
    async def answer_and_go(writer: asyncio.StreamWriter) -> None:
        await streaming(recorded("text"))(writer)
        await writer.drain()
        writer.transport.abort()

    async with claude_server(answer_and_go) as server, backend_of(server) as backend:
        for _ in range(5):
            assert await events_of(backend, request()) == SAID["text"]
        assert server.connections == 5


async def test_a_connection_that_is_reset_again_is_given_up() -> None:
    answers = (streaming(recorded("text")), resetting)
    async with claude_server(*answers) as server, backend_of(server) as backend:
        await events_of(backend, request())
        with pytest.raises(BackendUnreachable):
            await backend.open(request(), MODEL)
        assert len(server.asked) == 3


async def test_events_come_as_they_are_made() -> None:
    more = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"%x\r\n%b\r\n" % (len(BEGUN), BEGUN))
        await more.wait()
        rest = recorded("text")[len(BEGUN) :]
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))

    async with claude_server(answer) as server, backend_of(server) as backend:
        reply = await backend.open(request(), MODEL)
        assert isinstance(reply, Translated)
        assert await anext(reply.events) == SAID["text"][:2]
        more.set()
        assert [event async for event in each_of(reply.events)] == SAID["text"][2:]


async def test_a_server_that_keeps_the_stream_open_causes_no_delay() -> None:
    answer = streaming(recorded("text"), end=False)
    async with claude_server(answer) as server, backend_of(server) as backend:
        async with asyncio.timeout(2):
            assert await events_of(backend, request()) == SAID["text"]
            await server.left.wait()


async def test_thoughts_come_back_to_the_model_that_had_them_and_to_no_other() -> None:
    asked = request(
        user("q"),
        assistant("Let me check.\n\nCalling now.", call("toolu_a"), call("toolu_b")),
        result("toolu_a"),
        result("toolu_b"),
    )
    answer = streaming(recorded("thinking"))
    async with claude_server(answer) as server, backend_of(server) as backend:
        await events_of(backend, request())
        await events_of(backend, asked)
        await events_of(backend, asked, "claude-opus-5-5")
    same, other = [sent.body["messages"][1]["content"] for sent in server.asked[1:]]
    assert [block["type"] for block in same] == [
        *("thinking", "redacted_thinking", "text", "thinking", "text", "tool_use", "tool_use")
    ]
    assert same[0]["signature"] == "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
    assert [block["type"] for block in other] == ["text", "tool_use", "tool_use"]


# Failures


@pytest.mark.parametrize(
    ("answer", "wanted", "status", "code"),
    [
        (failing(400, "invalid_request_error"), BackendRejected, 400, None),
        (
            failing(400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
            BackendRejected,
            400,
            "context_length_exceeded",
        ),
        (failing(401, "authentication_error"), BackendMisconfigured, 502, "upstream_auth"),
        (failing(402, "billing_error"), BackendMisconfigured, 502, "upstream_billing"),
        (failing(403, "permission_error"), BackendMisconfigured, 502, "upstream_auth"),
        (failing(404, "not_found_error"), BackendMisconfigured, 502, "upstream_model"),
        (failing(408, "timeout_error"), BackendTimeout, 504, "upstream_timeout"),
        (failing(409, "conflict_error"), BackendError, 502, "upstream_error"),
        (failing(413, "request_too_large"), BackendRejected, 413, "request_too_large"),
        (failing(422, "invalid_request_error"), BackendRejected, 400, None),
        (failing(429, "rate_limit_error"), BackendBusy, 429, "upstream_busy"),
        (failing(500, "api_error"), BackendError, 502, "upstream_error"),
        (failing(503, "api_error"), BackendBusy, 503, "upstream_busy"),
        (failing(504, "timeout_error"), BackendTimeout, 504, "upstream_timeout"),
        (failing(529, "overloaded_error"), BackendBusy, 503, "upstream_busy"),
        (document(b"<html>Bad gateway</html>", 502), BackendError, 502, "upstream_error"),
        (document(b"", 529), BackendBusy, 503, "upstream_busy"),
        (document(b"[1]", 400), BackendRejected, 400, None),
        (document({"error": "no"}, 500), BackendError, 502, "upstream_error"),
        (document(b"{}"), BackendBroken, 502, "upstream_broken"),
        (document(b"<html>Hello</html>"), BackendBroken, 502, "upstream_broken"),
        (streaming(), BackendBroken, 502, "upstream_broken"),
        (streaming(BEGUN), BackendBroken, 502, "upstream_broken"),
        (streaming(recorded("overloaded_at_once")), BackendBusy, 503, "upstream_busy"),
        (streaming(recorded("overloaded")), BackendBusy, 503, "upstream_busy"),
        (closing(), BackendUnreachable, 503, "upstream_unreachable"),
        (closing(b"HTTP/1.1 200 OK\r\n"), BackendUnreachable, 503, "upstream_unreachable"),
        (closing(b"HTTP/9 What\r\n\r\n"), BackendBroken, 502, "upstream_broken"),
        (closing(STREAM_HEAD, b"5\r\nda"), BackendBroken, 502, "upstream_broken"),
        (closing(STREAM_HEAD, b"zz\r\n"), BackendBroken, 502, "upstream_broken"),
        (
            closing(STREAM_HEAD, b"%x\r\n%b\r\n" % (len(BEGUN), BEGUN)),
            BackendBroken,
            502,
            "upstream_broken",
        ),
        (resetting, BackendUnreachable, 503, "upstream_unreachable"),
    ],
)
async def test_a_failure_keeps_its_class(
    answer: Answer, wanted: type[BackendError], status: int, code: str | None
) -> None:
    failure = await failure_of(answer)
    assert type(failure) is wanted
    assert (failure.status, failure.code, failure.backend) == (status, code, "claude")
    assert failure.message.strip()


async def test_a_refused_connection_is_unreachable() -> None:
    async with claude_server() as server:
        pass  # and gone
    async with backend_of(server) as backend:
        with pytest.raises(BackendUnreachable):
            await backend.open(request(), MODEL)


@pytest.mark.parametrize("url", ["http://", "http://no such host", "http://["])
async def test_an_address_that_is_none_is_our_mistake(url: str) -> None:
    async with backend_of(ClaudeServer(url)) as backend:
        with pytest.raises(BackendError, match="claude"):
            await backend.open(request(), MODEL)


async def test_the_message_is_claudes_own_without_keys() -> None:
    other = CANARIES["Anthropic"]
    message = f"invalid key {KEY} or {other}"
    failure = await failure_of(failing(401, "authentication_error", message))
    assert "invalid key" in failure.message
    assert "ANTHROPIC_API_KEY" in failure.message
    for told in (failure.message, str(failure), repr(failure)):
        assert "canary" not in told
        assert "sk-ant" not in told


async def test_keys_in_an_error_inside_the_stream_are_taken_out_too() -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": f"failed for {KEY}"}}
    failure = await failure_of(streaming(b"data: %b\n\n" % orjson.dumps(error)))
    assert "failed for" in failure.message
    assert "canary" not in failure.message + str(failure)


@pytest.mark.parametrize("status", [429, 503, 529])
async def test_how_long_to_wait_is_passed_on(status: int) -> None:
    failure = await failure_of(failing(status, "rate_limit_error", retry_after="17"))
    assert failure.retry_after_s == 17


async def test_how_long_to_wait_may_be_a_date() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    failure = await failure_of(failing(429, "rate_limit_error", retry_after=then))
    assert failure.retry_after_s is not None
    assert 30 < failure.retry_after_s <= 40


async def test_nothing_is_tried_twice_behind_our_back() -> None:
    for status in (408, 409, 429, 500, 529):
        async with claude_server(failing(status, "api_error")) as server:
            async with backend_of(server) as backend:
                with pytest.raises(BackendError):
                    await backend.open(request(), MODEL)
            assert len(server.asked) == 1


async def test_silence_before_the_first_byte_is_a_timeout() -> None:
    failure = await failure_of(silence, TimeLimits(first_byte_s=0.1))
    assert type(failure) is BackendTimeout
    assert "did not begin to answer within 0.1 s" in failure.message


async def test_silence_in_the_middle_is_a_timeout() -> None:
    failure = await failure_of(streaming(BEGUN, end=False), TimeLimits(idle_s=0.1))
    assert type(failure) is BackendTimeout
    assert "nothing for 0.1 s" in failure.message


async def test_an_answer_that_never_ends_is_ended() -> None:
    async def chatter(writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"%x\r\n%b\r\n" % (len(BEGUN), BEGUN))
        while True:
            writer.write(b"8\r\n: ping\n\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    failure = await failure_of(chatter, TimeLimits(idle_s=5, total_s=0.2))
    assert type(failure) is BackendTimeout
    assert "did not end its answer within 0.2 s" in failure.message


async def test_without_a_key_nothing_is_sent() -> None:
    backend = ClaudeBackend(None, MODEL, max_tokens=1, limits=BRISK, base_url="http://127.0.0.1:9")
    await backend.warm()
    with pytest.raises(BackendUnreachable, match="ANTHROPIC_API_KEY"):
        await backend.open(request(), MODEL)


async def test_a_request_that_is_nested_too_deeply_is_unfit() -> None:
    arguments: Any = {}
    for _ in range(300):
        arguments = {"a": arguments}
    tool = {"type": "function", "function": {"name": "x", "parameters": arguments}}
    deep = ChatRequest({"messages": [user("a")], "tools": [tool]})
    async with claude_server() as server, backend_of(server) as backend:
        with pytest.raises(BackendUnfit, match="nested"):
            await backend.open(deep, MODEL)


def kinds_of(error: type[Exception]) -> set[type[Exception]]:
    return {error}.union(*map(kinds_of, error.__subclasses__()))


def test_every_error_of_the_sdk_and_its_libraries_is_translated() -> None:
    """Each public exception class is among those that `ClaudeErrors.translating` catches."""
    caught: tuple[type[Exception], ...] = (anthropic.AnthropicError, *connection_errors())
    public = {
        error
        for module in (anthropic, anthropic._exceptions, httpx2)
        for error in vars(module).values()
        if isinstance(error, type) and issubclass(error, Exception)
    }
    fine: tuple[type[Exception], ...] = (Warning, httpx2.CookieConflict, TypeError)
    assert [e for e in public if not issubclass(e, caught) and not issubclass(e, fine)] == []
    for error in kinds_of(httpx2.HTTPError) | kinds_of(httpx2.StreamError):
        made = error.__new__(error, "x")
        assert isinstance(connection_failure(made, backend="claude"), BackendError)


# Callers that leave


async def gone_in_time(server: ClaudeServer, leave: Callable[[], Any]) -> None:
    began = time.perf_counter()
    await leave()
    async with asyncio.timeout(2):
        await server.left.wait()
    assert time.perf_counter() - began < 0.1


async def test_leaving_while_waiting_for_an_answer_closes_the_connection() -> None:
    async with claude_server(silence) as server, backend_of(server) as backend:
        waiting = asyncio.create_task(backend.open(request(), MODEL))
        await server.answering.wait()

        async def leave() -> None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

        await gone_in_time(server, leave)


async def test_leaving_before_the_first_event_closes_the_connection() -> None:
    start = recorded("text").partition(b"event: content_block_start")[0]
    async with claude_server(streaming(start, end=False)) as server, backend_of(server) as backend:
        waiting = asyncio.create_task(backend.open(request(), MODEL))
        await server.answering.wait()

        async def leave() -> None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

        await gone_in_time(server, leave)


@pytest.mark.parametrize("read", [True, False])
async def test_closing_a_reply_closes_the_connection(read: bool) -> None:
    async with claude_server(streaming(BEGUN, end=False)) as server, backend_of(server) as backend:
        reply = await backend.open(request(), MODEL)
        assert isinstance(reply, Translated)
        if read:
            await anext(reply.events)
        await gone_in_time(server, reply.aclose)


async def test_leaving_while_reading_closes_the_connection() -> None:
    async with claude_server(streaming(BEGUN, end=False)) as server, backend_of(server) as backend:
        reading = asyncio.create_task(events_of(backend, request()))
        await server.answering.wait()

        async def leave() -> None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

        await gone_in_time(server, leave)


# Second attempts


FORCED = {"tools": [{"type": "function", "function": {"name": "x"}}], "tool_choice": "required"}


async def test_a_model_that_refuses_forced_choice_is_asked_without_and_remembered() -> None:
    refusal = "tool_choice: `any` is not supported while thinking"
    async with (
        claude_server(
            failing(400, "invalid_request_error", refusal), streaming(recorded("text"))
        ) as server,
        backend_of(server) as backend,
    ):
        for _ in range(2):
            assert await events_of(backend, request(**FORCED)) == SAID["text"]
    choices = [sent.body.get("tool_choice") for sent in server.asked]
    assert choices == [{"type": "any"}, None, None]
    assert "Call one of your tools now" in orjson.dumps(server.asked[1].body).decode()


async def test_a_refusal_of_thoughts_is_answered_without_them() -> None:
    refusal = "messages.1.content.0: Invalid `signature` in `thinking` block"
    async with (
        claude_server(
            streaming(recorded("thinking")),
            failing(400, "invalid_request_error", refusal),
            streaming(recorded("text")),
        ) as server,
        backend_of(server) as backend,
    ):
        await events_of(backend, request())
        asked = request(user("q"), assistant(None, call("toolu_a")), result("toolu_a"))
        assert await events_of(backend, asked) == SAID["text"]
    kinds = [b["type"] for b in server.asked[2].body["messages"][1]["content"]]
    assert kinds == ["tool_use"]


async def test_a_refusal_before_the_models_limits_are_known_is_answered_with_them() -> None:
    info = {"id": MODEL, "type": "model", "max_tokens": 4096}
    async with (
        claude_server(
            failing(400, "invalid_request_error", "max_tokens: 9999 > 4096"),
            streaming(recorded("text")),
            models={MODEL: (200, info)},
        ) as server,
        backend_of(server) as backend,
    ):
        assert await events_of(backend, request(max_tokens=9999)) == SAID["text"]
    assert [sent.body["max_tokens"] for sent in server.asked] == [9999, 4096]


async def test_a_refusal_of_a_schema_is_answered_with_the_simplest_one() -> None:
    refusal = "tools.0.custom.input_schema: JSON schema is invalid. It must match draft 2020-12"
    parameters = {
        "type": "object",
        "properties": {
            "n": {"type": ["integer", "null"], "exclusiveMinimum": True, "description": "d"},
            "a": {"type": "array", "items": [{"type": "string"}]},
            "b": {"oneOf": [{"enum": ["x"]}, {"$ref": "#/nowhere"}]},
        },
        "required": ["n", "gone", "n"],
    }
    tool = {"type": "function", "function": {"name": "x", "parameters": parameters, "strict": True}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": parameters}}
    async with (
        claude_server(
            failing(400, "invalid_request_error", refusal), streaming(recorded("text"))
        ) as server,
        backend_of(server) as backend,
    ):
        asked = request(tools=[tool], response_format=schema)
        reply = await backend.open(asked, MODEL)
        assert reply.dropped == ("tools.strict", "response_format")
        await reply.aclose()
    first, second = (sent.body for sent in server.asked)
    assert "output_config" not in second
    assert first["tools"] != second["tools"]
    assert second["tools"][0]["input_schema"] == {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "description": "d"},
            "a": {"type": "array"},
            "b": {"anyOf": [{"enum": ["x"]}, {}]},
        },
        "required": ["n"],
    }


async def test_a_plain_refusal_is_final() -> None:
    answer = failing(400, "invalid_request_error")
    async with claude_server(answer) as server, backend_of(server) as backend:
        with pytest.raises(BackendRejected):
            await backend.open(request(), MODEL)
    assert len(server.asked) == 1


# Probes


LISTED = {"data": [{"type": "model", "id": "claude-opus-5-5"}, {"type": "model", "id": "claude-h"}]}


async def test_a_look_without_a_key_opens_nothing() -> None:
    backend = ClaudeBackend(None, MODEL, max_tokens=1, limits=BRISK, base_url="http://127.0.0.1:9")
    status = await probed(backend)
    assert status.state == "unconfigured"
    assert "ANTHROPIC_API_KEY" in status.detail


async def test_a_look_before_the_sdk_is_there_waits_for_nothing() -> None:
    async with claude_server() as server, backend_of(server) as backend:
        status = await backend.probe()
        assert status.state == "ready"
        assert status.model is not None
        assert status.model.id == MODEL
        assert not server.received


async def test_a_probe_returns_the_abilities_of_the_model_and_is_kept() -> None:
    info = {
        "id": MODEL,
        "max_input_tokens": 1_000_000,
        "max_tokens": 64_000,
        "lifecycle": "active",
        "capabilities": {"image_input": {"supported": True}},
    }
    now = 100.0
    async with (
        claude_server(streaming(recorded("text")), models={MODEL: (200, info)}) as server,
        backend_of(server, clock=lambda: now) as backend,
    ):
        for _ in range(3):
            status = await probed(backend)
        assert len(server.received) == 1
        assert not server.asked  # no tokens spent
        assert (status.state, status.detail) == ("ready", "")
        assert status.model is not None
        assert (status.model.id, status.model.vision) == (MODEL, True)
        assert status.model.context_tokens == 1_000_000
        await events_of(backend, request(max_tokens=500_000))
        assert server.asked[0].body["max_tokens"] == 64_000
        now += 3601
        await probed(backend)
        assert len(server.received) == 3


@pytest.mark.parametrize(
    ("models", "state", "said"),
    [
        (
            {MODEL: (401, {"error": {"type": "authentication_error", "message": "x"}})},
            "locked",
            "ANTHROPIC_API_KEY",
        ),
        ({"": (200, LISTED)}, "down", "Set ANTHROPIC_MODEL to one of: claude-opus-5-5, claude-h."),
        ({MODEL: (200, {"lifecycle": "retired"}), "": (200, LISTED)}, "down", "is retired"),
        (
            {MODEL: (200, {"lifecycle": "deprecated", "retires_at": "2026-11-30T00:00:00Z"})},
            "ready",
            "retires on 2026-11-30",
        ),
        ({}, "ready", ""),  # a gateway without a Models API
        ({"": (200, {"object": "list", "data": [{"id": "x", "object": "model"}]})}, "ready", ""),
        ({MODEL: (500, {"error": {"type": "api_error", "message": "oh"}})}, "ready", "oh"),
        ({MODEL: (200, b"<html>")}, "ready", "cannot be read"),
    ],
)
async def test_the_status_that_a_probe_returns(
    models: dict[str, Any], state: str, said: str
) -> None:
    async with claude_server(models=models) as server, backend_of(server) as backend:
        status = await probed(backend)
    assert status.state == state
    assert said in status.detail
    assert KEY not in status.detail


async def test_a_probe_without_a_server_is_down_and_soon_repeated() -> None:
    async with claude_server() as server:
        port = int(server.url.rpartition(":")[2])
    now = 0.0
    async with backend_of(server, clock=lambda: now) as backend:
        assert (await probed(backend)).state == "down"
        async with claude_server(port=port, models={MODEL: (200, {"id": MODEL})}):
            assert (await probed(backend)).state == "down"
            now += 11
            assert (await probed(backend)).state == "ready"


async def test_an_error_for_an_unknown_model_lists_the_models() -> None:
    answer = failing(404, "not_found_error", "model: claude-old")
    models = {"": (200, LISTED)}
    async with claude_server(answer, models=models) as server, backend_of(server) as backend:
        with pytest.raises(BackendMisconfigured) as raised:
            await backend.open(request(), "claude-old")
    assert "model: claude-old" in raised.value.message
    assert "Set ANTHROPIC_MODEL to one of: claude-opus-5-5, claude-h." in raised.value.message


# The same dialect


def messages_request(stream: bool = True, **fields: Any) -> ChatRequest:
    original = {
        "model": "auto",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": stream,
        "temperature": 0.5,
        "brand_new_field": {"x": 1},
        **fields,
    }
    chat = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a-1,b-2"}
    return ChatRequest(chat, "messages", original, headers)


async def test_a_messages_request_passes_unchanged() -> None:
    async with (
        claude_server(streaming(recorded("cached"))) as server,
        backend_of(server) as backend,
    ):
        asked = messages_request()
        reply = await backend.open(asked, MODEL)
        assert isinstance(reply, Relayed)
        assert reply.format == "messages"
        assert b"".join([chunk async for chunk in reply.chunks]) == recorded("cached")
        assert reply.usage == Usage(2307, 40, 2000, 300, 30)
    [sent] = server.asked
    assert asked.original is not None
    assert sent.body == asked.original | {"model": MODEL}
    assert sent.headers["anthropic-version"] == "2023-06-01"
    assert sent.headers["anthropic-beta"] == "a-1,b-2"
    assert sent.headers["x-api-key"] == KEY
    assert "authorization" not in sent.headers


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("name", ["text", "tool_calls", "refusal", "empty", "windows_lines"])
async def test_relayed_bytes_are_the_same_however_they_arrive(name: str, size: int) -> None:
    data = recorded(name)
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    async with claude_server(streaming(*pieces)) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(), MODEL)
        assert isinstance(reply, Relayed)
        chunks = [chunk async for chunk in reply.chunks]
    assert b"".join(chunks) == data
    assert all(chunk.endswith((b"\n\n", b"\r\n\r\n")) for chunk in chunks)
    finish = SAID[name][-1]
    assert isinstance(finish, Finish)
    assert reply.usage == finish.usage


async def test_a_whole_message_passes_unchanged() -> None:
    body = b'{"type": "message",  "usage": {"input_tokens": 3, "output_tokens": 4}, "new": 1}'
    async with claude_server(document(body)) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(stream=False), MODEL)
        assert isinstance(reply, Relayed)
        assert [chunk async for chunk in reply.chunks] == [body]
        assert reply.usage == Usage(3, 4)


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (failing(529, "overloaded_error"), BackendBusy),
        (failing(400, "invalid_request_error"), BackendRejected),
        (streaming(recorded("overloaded_at_once")), BackendBusy),
        (streaming(), BackendBroken),
        (streaming(b"data: <html>\n\n"), BackendBroken),
        (closing(), BackendUnreachable),
    ],
)
async def test_a_relay_that_fails_before_it_begins_can_go_elsewhere(
    answer: Answer, wanted: type[BackendError]
) -> None:
    async with claude_server(answer) as server, backend_of(server) as backend:
        with pytest.raises(wanted):
            await backend.open(messages_request(), MODEL)


async def test_a_relay_that_is_cut_off_says_so() -> None:
    async with claude_server(streaming(BEGUN)) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(), MODEL)
        assert isinstance(reply, Relayed)
        assert await anext(reply.chunks)
        with pytest.raises(BackendBroken):
            await anext(reply.chunks)
        assert reply.usage == Usage(25, 1)


async def test_an_error_inside_a_relayed_stream_is_raised_after_the_bytes_before_it() -> None:
    answer = streaming(recorded("overloaded"))
    async with claude_server(answer) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(), MODEL)
        assert isinstance(reply, Relayed)
        said: list[bytes] = []
        with pytest.raises(BackendBusy):
            await heard(reply.chunks, said)
        before, _, _ = recorded("overloaded").partition(b"event: error")
        assert b"".join(said) == before


async def test_half_an_event_is_not_relayed() -> None:
    answer = streaming(BEGUN, BEGUN[:-12])
    async with claude_server(answer) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(), MODEL)
        assert isinstance(reply, Relayed)
        said: list[bytes] = []
        with pytest.raises(BackendBroken):
            await heard(reply.chunks, said)
        assert b"".join(said).endswith(b"\n\n")


async def heard(chunks: AsyncIterator[bytes], said: list[bytes]) -> None:
    """Read to the end, or up to a failure, and keep what came."""
    async for chunk in chunks:
        said.append(chunk)


async def test_closing_a_relay_closes_the_connection() -> None:
    async with claude_server(streaming(BEGUN, end=False)) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(), MODEL)
        assert isinstance(reply, Relayed)
        await anext(reply.chunks)
        await gone_in_time(server, reply.aclose)


async def test_traces_of_other_models_in_the_history_are_repaired() -> None:
    claudes = {"type": "thinking", "thinking": "a", "signature": "s"}
    foreign = {"type": "thinking", "thinking": "b", "signature": ""}
    said = {"type": "text", "text": "c"}
    history: list[dict[str, Any]] = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [claudes, foreign, said]},
        {"role": "assistant", "content": [foreign]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "functions.x:0", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "functions.x:0"}, said],
        },
    ]
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        reply = await backend.open(messages_request(messages=history), MODEL)
        await reply.aclose()
    sent = [message["content"] for message in server.asked[0].body["messages"]]
    assert sent[1] == [claudes, said]
    assert sent[2] == [{"type": "text", "text": "(thinking)"}]
    assert re.fullmatch("functions_x_0_[0-9a-f]{12}", sent[3][0]["id"])
    assert sent[4][0]["tool_use_id"] == sent[3][0]["id"]
    assert history[1]["content"] == [claudes, foreign, said]


async def test_a_request_without_its_original_is_translated() -> None:
    asked = ChatRequest({"messages": [user("a")]}, "messages")
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        assert await events_of(backend, asked) == SAID["text"]
    assert server.asked[0].body["messages"] == [user([{"type": "text", "text": "a"}])]


async def test_many_at_a_time() -> None:
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        answers = await asyncio.gather(*(events_of(backend, request()) for _ in range(150)))
    assert all(events == SAID["text"] for events in answers)
    assert isinstance(answers[0][0], TextDelta)
