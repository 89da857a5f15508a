"""Spans as a real collector gets them, and the trace that goes on to the backends."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.support.backend_answers import claude_answer, models
from tests.support.keys import CANARIES
from tests.support.running_app import (
    RunningApp,
    cloud_side,
    local_side,
    refusing,
    running_app,
)
from tests.support.scripted import Connection, Request, Script, scripted
from tests.support.traces import CALLERS, PARENT, TRACE, keeping, sent, trace_of
from tests.support.waiting import settled

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")
from tests.support.collector import Collector, Seen, collecting

FOX = "Why does the quick brown fox jump over the lazy dog?"


@asynccontextmanager
async def traced(*sides: Script, **settings: Any) -> AsyncIterator[tuple[RunningApp, Collector]]:
    """Run the app with a collector; close the app to have all spans there."""
    async with collecting() as collector:
        defaults = {"otel_exporter_otlp_endpoint": collector.url}
        async with running_app(*sides, **defaults | settings) as h:
            await asyncio.to_thread(h.assembly.start_tracing)
            yield h, collector


async def spans_of(h: RunningApp, collector: Collector) -> list[Seen]:
    """Return the spans, once all have been sent."""
    await h.assembly.aclose()
    return collector.spans


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_local_answer_is_a_span_of_the_conventions(stream: bool) -> None:
    async with traced() as (h, collector):
        body = {"stream": stream, "temperature": 0.5, "max_tokens": 99, "stop": ["dog"]}
        answer = await h.ask(FOX, body=body)
        (seen,) = await spans_of(h, collector)
        record = h.last
    assert collector.paths == {"/v1/traces"}
    assert seen.span.name == "chat local-model"
    assert seen.span.kind == seen.span.SPAN_KIND_CLIENT
    assert seen.resource["service.name"] == "llm-router"
    port = int(h.assembly.settings.local_base_url.rpartition(":")[2].removesuffix("/v1"))
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "local",
        "gen_ai.request.model": "local-model",
        "gen_ai.response.model": "m",  # as the server calls it
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 99,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "server.address": "127.0.0.1",
        "server.port": port,
        "llm_router.request_id": answer.headers["x-request-id"],
        "llm_router.target": "local",
        "llm_router.reason": "simple",
        "llm_router.outcome": "done",
    }
    assert {name: seen.attributes.get(name) for name in expected} == expected
    assert ("gen_ai.request.stream" in seen.attributes) is stream
    assert ("gen_ai.response.time_to_first_chunk" in seen.attributes) is stream
    took_s = (seen.span.end_time_unix_nano - seen.span.start_time_unix_nano) / 1e9
    assert record.total_ms is not None
    assert took_s == pytest.approx(record.total_ms / 1000, abs=0.001)


async def test_a_cloud_answer_names_its_provider_and_what_it_cost() -> None:
    async with traced() as (h, collector):
        await h.ask("hi", headers={"x-force-route": "cloud"})
        (seen,) = await spans_of(h, collector)
    assert seen.attributes["gen_ai.provider.name"] == "anthropic"
    assert seen.attributes["llm_router.reason"] == "forced"
    assert seen.attributes["llm_router.cost_usd"] > 0


@pytest.mark.parametrize(
    ("side", "dialect", "stream", "tools", "reasons"),
    [
        ("local", "chat/completions", False, False, ["stop"]),
        ("local", "chat/completions", True, False, None),
        ("local", "messages", True, False, ["stop"]),
        ("cloud", "chat/completions", True, False, ["stop"]),
        ("cloud", "chat/completions", False, True, ["tool_calls"]),
        ("cloud", "messages", False, True, None),
        ("cloud", "responses", True, True, ["tool_calls"]),
    ],
)
async def test_a_span_says_why_the_answer_ended_where_the_router_has_read_it(
    side: str, dialect: str, stream: bool, tools: bool, reasons: list[str] | None
) -> None:
    """Without a reason: its bytes are relayed unread."""

    async def cloud(connection: Connection, request: Request) -> None:
        body, kind = claude_answer(request, calls=tools)
        await (connection.stream(body) if kind == "sse" else connection.answer(body))

    async with traced(local_side, cloud) as (h, collector):
        said = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
        body = {"input": "hi"} if dialect == "responses" else said
        headers = {"x-force-route": side}
        await h.http.post(f"/v1/{dialect}", json=body | {"stream": stream}, headers=headers)
        (seen,) = await spans_of(h, collector)
    assert seen.attributes["llm_router.outcome"] == "done"
    assert seen.attributes.get("gen_ai.response.finish_reasons") == reasons


@pytest.mark.parametrize("said", [["length", "stop"], ["eos", 5]])
async def test_reasons_that_the_conventions_do_not_know_are_left_out(said: list[Any]) -> None:
    async def two(connection: Connection, request: Request) -> None:
        message = {"role": "assistant", "content": "Hi."}
        choices = [
            {"index": i, "message": message, "finish_reason": reason}
            for i, reason in enumerate(said)
        ]
        await connection.answer(orjson.dumps({"object": "chat.completion", "choices": choices}))

    async with traced(two) as (h, collector):
        assert (
            await h.ask("hi", body={"n": 2}, headers={"x-force-route": "local"})
        ).status_code == 200
        (seen,) = await spans_of(h, collector)
    known = said if said[0] == "length" else None
    assert seen.attributes.get("gen_ai.response.finish_reasons") == known


async def test_no_span_holds_a_prompt_an_answer_or_an_answers_id() -> None:
    async with traced(journal_prompts=True) as (h, collector):
        said = [
            await h.ask(FOX, body={"stop": ["jump"], "user": "fox-owner"}),
            await h.ask(f"Why is {CANARIES['GitHub']} refused?"),
            await h.ask(
                "hi", headers={"traceparent": CALLERS, "tracestate": f"v={CANARIES['GitHub']}"}
            ),
            await h.http.post("/v1/responses", json={"model": "auto", "input": FOX}),
            await h.ask("?", body={"messages": [{"role": "fox", "content": FOX}]}),
        ]
        spans = await spans_of(h, collector)
    assert len(spans) == len(said)
    answer_id = said[3].json()["id"]
    assert answer_id.startswith("resp_")
    for text in ("fox", "jump", CANARIES["GitHub"], answer_id):
        assert text.encode() not in collector.raw, text


async def test_the_trace_goes_on_from_the_caller_to_the_backend() -> None:
    heard: list[Request] = []
    sides = keeping(local_side, heard), keeping(cloud_side, heard)
    async with traced(*sides) as (h, collector):
        for side in ("local", "cloud"):
            headers = {"traceparent": CALLERS, "tracestate": "rojo=1,congo=t61"}
            await h.ask("hi", headers=headers | {"x-force-route": side})
        spans = await spans_of(h, collector)
    assert [seen.span.trace_id.hex() for seen in spans] == [TRACE, TRACE]
    assert [seen.parent for seen in spans] == [PARENT, PARENT]
    assert [trace_of(request) for request in heard] == [seen.traceparent for seen in spans]
    states = [seen.span.trace_state for seen in spans]
    assert (
        states == [request.headers["tracestate"] for request in heard] == ["rojo=1,congo=t61"] * 2
    )


async def test_without_a_callers_trace_a_new_one_begins() -> None:
    heard: list[Request] = []
    async with traced(keeping(local_side, heard)) as (h, collector):
        await h.ask("hi")
        await h.ask("hi", headers={"traceparent": "not one"})
        first, second = await spans_of(h, collector)
    assert first.parent == second.parent == ""
    assert first.span.trace_id != second.span.trace_id
    assert trace_of(heard[0]) == first.traceparent


async def test_a_caller_that_does_not_sample_gets_no_span_and_the_trace_goes_on() -> None:
    heard: list[Request] = []
    async with traced(keeping(local_side, heard)) as (h, collector):
        await h.ask("hi", headers={"traceparent": CALLERS[:-1] + "0"})
        assert await spans_of(h, collector) == []
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-00", sent(heard[0]) or "")


async def test_a_failed_candidate_is_an_event_and_a_failed_request_an_error() -> None:
    async with traced(refusing(500, f"cannot read {FOX}"), cloud_side) as (h, collector):
        await h.ask(FOX)
        await h.ask(FOX, headers={"x-force-route": "local"})
        good, bad = await spans_of(h, collector)
    ((name, attempt),) = good.events
    assert name == "llm_router.failed_attempt"
    assert (attempt["backend"], attempt["error.type"]) == ("local", "BackendBroken")
    assert good.span.status.code == good.span.status.STATUS_CODE_UNSET
    assert good.attributes["llm_router.fallback"] is True
    assert bad.span.status.code == bad.span.status.STATUS_CODE_ERROR
    assert bad.attributes["error.type"] == "BackendBroken"
    assert b"fox" not in collector.raw


async def test_embeddings_are_traced_too() -> None:
    heard: list[Request] = []
    async with traced(keeping(refusing(500, "no"), heard)) as (h, collector):
        await h.http.post("/v1/embeddings", json={"model": "e", "input": "hi"})
        (seen,) = await spans_of(h, collector)
    assert seen.span.name == "embeddings e"
    assert trace_of(heard[0]) == seen.traceparent


async def test_offline_sends_spans_to_this_machine_only(caplog: pytest.LogCaptureFixture) -> None:
    away = "https://collector.example"
    async with running_app(otel_exporter_otlp_endpoint=away, offline=True) as h:
        h.assembly.start_tracing()
        assert h.assembly.ledger.tracing is None
        assert "no spans are sent" in caplog.text
    async with traced(offline=True) as (h, collector):
        await h.ask("hi")
        assert len(await spans_of(h, collector)) == 1


async def test_spans_for_this_machine_go_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with traced() as (h, collector):
        await h.ask("hi")
        assert len(await spans_of(h, collector)) == 1


async def test_a_collector_that_is_gone_costs_no_request_and_little_time() -> None:
    async with running_app(otel_exporter_otlp_endpoint="http://127.0.0.1:9") as h:
        await asyncio.to_thread(h.assembly.start_tracing)
        assert (await h.ask("hi")).status_code == 200
        async with asyncio.timeout(10):
            await h.assembly.aclose()


async def reload(h: RunningApp, **changes: Any) -> None:
    h.source.overrides = {**h.source.overrides, **changes}
    assert (await h.http.post("/settings/reload")).status_code == 200


async def test_offline_that_is_switched_on_while_it_runs_ends_the_spans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with traced() as (h, collector):
        before = h.assembly
        await h.ask("hi")
        monkeypatch.setattr("config.is_this_machine", lambda url: url != collector.url)
        await reload(h, offline=True)
        await h.ask("hi")
        assert h.assembly.ledger.tracing is None
        await settled(lambda: not h.app.earlier, "the earlier settings are not closed")
        assert len(collector.spans) == 1
        await reload(h, offline=False)
        await h.ask("hi")
        assert len(await spans_of(h, collector)) == 2
    assert before.ledger.tracing is not h.assembly.ledger.tracing


async def test_spans_name_the_address_of_a_server_that_has_moved() -> None:
    async with traced() as (h, collector), scripted(local_side, models) as other:
        await reload(h, local_base_url=f"{other.url}/v1")
        await h.ask("hi")
        (seen,) = await spans_of(h, collector)
    assert seen.attributes["server.port"] == other.port


@pytest.mark.parametrize("number", [2**63, 10**30, -(2**70)])
async def test_a_number_that_no_attribute_can_hold_is_left_out(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with traced() as (h, collector):
        assert (await h.ask("hi", body={"seed": number})).status_code == 200
        (seen,) = await spans_of(h, collector)
    assert "gen_ai.request.seed" not in seen.attributes
    assert "Failed to encode" not in caplog.text
