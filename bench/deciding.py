"""Measures the cost of a decision, and of each stage of a request by itself."""

import statistics
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from config import Settings, load_settings
from router.backend import Relayed
from router.build import assemble, build_router
from router.classifier import score
from router.privacy.scanner import PrivacyScanner
from router.router import Router
from router.telemetry.flow import AnswerFlow
from router.telemetry.ledger import Entry
from router.wire.chat import completions

SOURCE: Final = Path(__file__).parents[1] / "router" / "router.py"
RUNS: Final = 400
STAGES: Final = ("parse", "scan", "score", "decide", "open", "relay", "ledger")


def median_ms(run: Callable[[], object], runs: int = RUNS) -> float:
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def chat_turn() -> bytes:
    """Return the second turn of a chat, as a request body."""
    said = [
        ("system", "You are a helpful assistant."),
        ("user", "Why is the sky blue?"),
        ("assistant", "Air scatters blue light more than red: Rayleigh scattering."),
        ("user", "Write a Python function for its cross-section at @ nm; explain each line."),
    ]
    return _body([{"role": role, "content": text} for role, text in said])


def agent_turn() -> bytes:
    """Return a coding agent's request of about 10,000 tokens: rules, tools and files."""
    code = SOURCE.read_text()
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a coding agent.\n" + code[:6000]},
        {"role": "user", "content": "Slot @ is not given back when a caller leaves. Fix it."},
    ]
    for i in range(8):
        function = {"name": "read_file", "arguments": '{"path": "router/router.py"}'}
        call = {"id": f"call_{i}", "type": "function", "function": function}
        piece = code[i * 1000 : i * 1000 + 3000]
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": piece})
    path = {"type": "object", "properties": {"path": {"type": "string"}}}
    tools = [
        {"type": "function", "function": {"name": f"tool_{i}", "parameters": path}}
        for i in range(12)
    ]
    return _body(messages, tools=tools)


def _body(messages: list[dict[str, Any]], **fields: Any) -> bytes:
    return orjson.dumps({"model": "auto", "messages": messages, **fields})


async def costs(mock_port: int) -> dict[str, float]:
    """Return milliseconds: `chat` and `agent` without the privacy scan, `scan` of 200 KB alone."""
    router = build_router(_settings(mock_port, privacy="off"))
    await router.sides()  # probes the local server, which is not part of a decision
    text = (SOURCE.read_text() * 40)[:200_000]
    body = _body([{"role": "user", "content": text}])
    scanner = PrivacyScanner()
    found = {
        "chat": median_ms(_deciding(router, chat_turn())),
        "agent": median_ms(_deciding(router, agent_turn())),
        "scan": median_ms(lambda: scanner.scan(body), 50),
    }
    await router.aclose()
    return found


async def stages(mock_port: int) -> dict[str, float]:
    """Return the microseconds of each stage of a chat turn that is answered locally, not streamed.

    Medians of the processor's time. `open` and `relay` include the client's half of the connection
    to the mock; `decide` has neither the score nor the scan in it.
    """
    parts = assemble(_settings(mock_port, complexity_threshold=100, journal_path="off"))
    router, turns = parts.router, count()
    took: dict[str, list[int]] = {name: [] for name in STAGES}

    def timed(stage: str, began: int) -> int:
        now = time.process_time_ns()
        took[stage].append(now - began)
        return time.process_time_ns()

    await router.sides()
    for _ in range(RUNS):
        raw = chat_turn().replace(b"@", b"%d" % next(turns))
        at = time.process_time_ns()
        request = completions.parse(raw)
        at = timed("parse", at)
        if router.privacy is not None:
            router.privacy.check(request)
        at = timed("scan", at)
        score(request)
        at = timed("score", at)
        flow = AnswerFlow(router, parts.ledger, Entry("req_bench"))
        call = await flow.decide(request, None)
        at = timed("decide", at)
        async with call:
            reply = await flow.open()
            at = timed("open", at)
            assert isinstance(reply, Relayed)
            b"".join([chunk async for chunk in reply.chunks])
            at = timed("relay", at)
        flow.entry.done()
        at = time.process_time_ns()
        flow.end()
        timed("ledger", at)
    await parts.aclose()
    return {name: statistics.median(times) / 1000 for name, times in took.items()}


def _settings(mock_port: int, **more: Any) -> Settings:
    return load_settings(
        env=None,
        local_base_url=f"http://127.0.0.1:{mock_port}/v1",
        local_model="mock",
        embedded_model="off",
        status_ttl_s=3600,
        **more,
    )


def _deciding(router: Router, raw: bytes) -> Callable[[], object]:
    turns = count()

    def decide() -> object:
        # A new turn each time, because the scorer caches turns.
        asked = raw.replace(b"@", b"%d" % next(turns))
        return _result(router.decide(completions.parse(asked)))

    return decide


def _result(deciding: Any) -> object:
    """Return the result of a coroutine that never waits, without the cost of an event loop."""
    try:
        deciding.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits for something")
