"""What it costs to decide: read the body, score it, decide; and the privacy scan by itself."""

import statistics
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from config import load_settings
from router.build import build_router
from router.privacy.scanner import PrivacyScanner
from router.router import Router
from router.wire.chat import completions

SOURCE: Final = Path(__file__).parents[1] / "router" / "router.py"
RUNS: Final = 400


def median_ms(run: Callable[[], object], runs: int = RUNS) -> float:
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


def chat_turn() -> bytes:
    """The second turn of a chat."""
    said = [
        ("system", "You are a helpful assistant."),
        ("user", "Why is the sky blue?"),
        ("assistant", "Air scatters blue light more than red: Rayleigh scattering."),
        ("user", "Write a Python function for its cross-section at @ nm; explain each line."),
    ]
    return _body([{"role": role, "content": text} for role, text in said])


def agent_turn() -> bytes:
    """A coding agent's request of about 10,000 tokens: rules, tools, files that it has read."""
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
    """Milliseconds: `chat` and `agent` without the privacy scan, `scan` of 200 KB alone."""
    address = f"http://127.0.0.1:{mock_port}/v1"
    router = build_router(
        load_settings(
            env=None,
            local_base_url=address,
            local_model="mock",
            embedded_model="off",
            privacy="off",
            status_ttl_s=3600,
        )
    )
    await router.sides()  # the look at the local server, which is not part of a decision
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


def _deciding(router: Router, raw: bytes) -> Callable[[], object]:
    turns = count()

    def decide() -> object:
        # Never the same turn twice: the scorer remembers what it has read.
        asked = raw.replace(b"@", b"%d" % next(turns))
        return _result(router.decide(completions.parse(asked)))

    return decide


def _result(deciding: Any) -> object:
    """A coroutine's result, where nothing has to be waited for: no event loop in the figure."""
    try:
        deciding.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waits for something")
