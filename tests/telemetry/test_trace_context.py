"""The caller's trace on its way to the backends, with and without OpenTelemetry."""

import asyncio
import sys
from typing import Any

import pytest

from router.http.trace_context import NO_TRACE, current_trace, set_trace, valid_trace
from tests.support.backend_answers import gemini_answer
from tests.support.keys import CANARIES
from tests.support.running_app import cloud_side, local_side, on_a_socket, running_app
from tests.support.scripted import Connection, Request, scripted
from tests.support.traces import CALLERS, PARENT, TRACE, keeping, sent

STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
BOTH = {"traceparent": CALLERS, "tracestate": STATE}


def traces(request: Request) -> dict[str, str]:
    """Return the headers of the trace that a backend got."""
    return {name: request.headers[name] for name in BOTH if name in request.headers}


@pytest.mark.parametrize("dialect", ["chat/completions", "messages", "responses"])
@pytest.mark.parametrize("side", ["local", "cloud"])
async def test_without_a_collector_the_callers_trace_is_passed_on(dialect: str, side: str) -> None:
    heard: list[Request] = []
    async with running_app(keeping(local_side, heard), keeping(cloud_side, heard)) as h:
        body = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        if dialect == "responses":
            body = {"model": "auto", "input": "hi"}
        headers = {"x-force-route": side, "traceparent": CALLERS, "tracestate": STATE}
        (await h.http.post(f"/v1/{dialect}", json=body, headers=headers)).raise_for_status()
        assert [traces(request) for request in heard] == [BOTH]


@pytest.mark.parametrize("way", ["direct", "SDK"])
@pytest.mark.parametrize("cloud", ["claude", "gemini"])
async def test_each_cloud_gets_the_trace_also_from_its_sdk(
    cloud: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"router.clouds.{cloud}_client.has_proxy", lambda url: way == "SDK")
    heard: list[Request] = []

    async def gemini(connection: Connection, request: Request) -> None:
        body, kind = gemini_answer(request, calls=False)
        await (connection.stream(body) if kind == "sse" else connection.answer(body))

    async with scripted(keeping(gemini, heard)) as there:
        settings: dict[str, Any] = {}
        if cloud == "gemini":
            settings = {"gemini_api_key": "unused", "gemini_base_url": there.url}
            settings["anthropic_api_key"] = None
        async with running_app(cloud=keeping(cloud_side, heard), **settings) as h:
            headers = {"x-force-route": "cloud", "traceparent": CALLERS, "tracestate": STATE}
            for stream in (True, False):
                answer = await h.ask("hi", body={"stream": stream}, headers=headers)
                assert answer.status_code == 200, answer.text
    assert [traces(request) for request in heard] == [BOTH, BOTH]


async def test_one_requests_trace_is_not_the_next_ones() -> None:
    heard: list[Request] = []
    async with running_app(keeping(local_side, heard)) as h, on_a_socket(h.app) as url:
        body = b'{"messages": [{"role": "user", "content": "hi"}]}'
        request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n%bContent-Length: %d"
        lines = f"traceparent: {CALLERS}\r\n".encode()
        pipelined = b"".join(
            request % (extra, len(body)) + b"\r\n\r\n" + body for extra in (lines, b"")
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url[:-1].split(":")[-1]))
        writer.write(pipelined)
        async with asyncio.timeout(20):
            while len(heard) < 2:
                assert await reader.read(65536)
        writer.close()
        assert [sent(one) for one in heard] == [CALLERS, None]


@pytest.mark.parametrize(
    ("sent", "valid"),
    [
        (CALLERS, True),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (CALLERS.upper(), False),
        (f"{CALLERS}\r\nx-api-key: 1", False),
        (f" {CALLERS}", False),
        ("", False),
    ],
)
def test_a_malformed_traceparent_is_dropped_with_its_state(sent: str, valid: bool) -> None:
    both = {"traceparent": sent, "tracestate": STATE}
    assert valid_trace(sent, STATE) == (both if valid else NO_TRACE)


LONG = "x" * 130
FULL = ",".join(f"k{i:02}=v" for i in range(32))
WIDE = [f"k{i:02}={'v' * 12}" for i in range(32)]


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ("a=1", "a=1"),
        ("a=1 , b=2,,\tc=3,", "a=1,b=2,c=3"),
        ("1a@b-c/d*=~ !", "1a@b-c/d*=~ !"),
        (FULL, FULL),
        (FULL + ",k=v", ""),  # 33 members
        ("a=1,a=2", ""),
        ("a", ""),
        ("a=", ""),
        ("=1", ""),
        ("A=1", ""),
        ("a=b=c", ""),
        ("a=é", ""),
        ("a=1\r\nx-api-key: 1", ""),
        (f"{'k' * 256}={'v' * 255}", f"{'k' * 256}={'v' * 255}"),  # 512 characters
        (f"a={'v' * 256},b={LONG},c={LONG},d=1", "d=1"),  # the long ones are left out first
        (",".join(WIDE), ",".join(WIDE[:30])),  # 509 characters, then the last ones
        (f"{'k' * 257}=v", ""),
        (f"k={'v' * 257}", ""),
    ],
)
def test_a_tracestate_is_bounded_and_dropped_if_it_is_malformed(sent: str, passed_on: str) -> None:
    assert valid_trace(CALLERS, sent).get("tracestate", "") == passed_on


async def test_several_tracestate_headers_are_one_list() -> None:
    heard: list[Request] = []
    async with running_app(keeping(local_side, heard)) as h:
        lines = [("traceparent", CALLERS), ("tracestate", "a=1"), ("tracestate", "b=2,c=3")]
        await h.ask("hi", headers=lines)
    assert heard[0].headers["tracestate"] == "a=1,b=2,c=3"


@pytest.mark.parametrize("side", ["local", "cloud"])
async def test_a_tracestate_with_a_key_in_it_is_not_passed_on(side: str) -> None:
    heard: list[Request] = []
    async with running_app(keeping(local_side, heard), keeping(cloud_side, heard)) as h:
        state = f"a=1,vendor={CANARIES['GitHub']}"
        headers = {"x-force-route": side, "traceparent": CALLERS, "tracestate": state}
        assert (await h.ask("hi", headers=headers)).status_code == 200
    assert sent(heard[0]) == CALLERS
    assert "tracestate" not in heard[0].headers


async def test_a_trace_is_kept_for_its_own_task() -> None:
    async def keeps(value: str) -> bool:
        set_trace({"traceparent": value})
        await asyncio.sleep(0)
        return current_trace() == {"traceparent": value}

    assert all(await asyncio.gather(keeps("a"), keeps("b")))
    assert current_trace() == NO_TRACE


async def test_without_the_sdk_a_warning_says_what_to_install(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "router.telemetry.tracing", raising=False)
    async with running_app(otel_exporter_otlp_endpoint="http://127.0.0.1:4318") as h:
        h.assembly.start_tracing()
        assert "pip install opentelemetry-sdk" in caplog.text
        assert (await h.ask("hi")).status_code == 200
