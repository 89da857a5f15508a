"""A real llama.cpp server's log-probabilities: seen by the router, and by no caller."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from config import load_settings
from router.answers.calibration import Calibration, Calibrations, Curve
from router.answers.self_check import self_check
from router.answers.trust import p_yes_of
from router.backend import TimeLimits
from router.build import assemble
from router.local_client import LocalBackend
from router.parts.assembly import Assembly
from router.request import ChatRequest
from web.app import create_app

MODEL = "SmolLM2-135M-Instruct.Q4_1"
USER = {"role": "user", "content": "What is the capital of France?"}
SAME = {"temperature": 0, "seed": 1}
FUNCTION = {"name": "look", "description": "Look.", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
FLAT_TOOL = {"type": "function", **FUNCTION}
CHAT: dict[str, Any] = {"messages": [USER], "max_tokens": 12, **SAME}
CALLS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "chat": ("/v1/chat/completions", CHAT, True),
    "chat, two answers": ("/v1/chat/completions", CHAT | {"n": 2}, False),
    "chat, tools": ("/v1/chat/completions", CHAT | {"tools": [TOOL]}, True),
    "chat, asked for by the caller": (
        "/v1/chat/completions",
        CHAT | {"logprobs": True, "top_logprobs": 2},
        True,
    ),
    "responses": (
        "/v1/responses",
        {"input": USER["content"], "max_output_tokens": 16, "temperature": 0},
        True,
    ),
    "responses, tools": (
        "/v1/responses",
        {"input": USER["content"], "max_output_tokens": 16, "temperature": 0, "tools": [FLAT_TOOL]},
        True,
    ),
    "messages": (
        "/v1/messages",
        {"messages": [USER], "max_tokens": 12, "temperature": 0},
        False,
    ),
}
# What differs between two answers to the same request: ids, times and speeds.
VARIES = re.compile(
    rb'"(?:id|item_id|created|created_at|completed_at|system_fingerprint)":(?:"[^"]*"|[\d.]+)'
    rb'|"timings":\{[^}]*\}|"(?:input|prompt|output|cached|cache_read_input|cache_n|total)_?tokens"'
    rb":\d+|(?:chatcmpl-|resp_|msg_|fc_|rs_)\w+"
)


@asynccontextmanager
async def running(
    url: str, mode: str, journal: Path | str = "off"
) -> AsyncIterator[tuple[httpx2.AsyncClient, Assembly]]:
    settings = load_settings(
        env=None,
        local_base_url=f"{url}/v1",
        local_model=MODEL,
        local_confidence=mode,
        embedded_model="off",
        journal_path=str(journal),
        complexity_threshold=100,
    )
    assembly = assemble(settings)
    transport = httpx2.ASGITransport(create_app(settings, assembly))
    try:
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=60
        ) as http:
            yield http, assembly
    finally:
        await assembly.aclose()


async def answers(
    url: str, mode: str, path: str, body: dict[str, Any]
) -> tuple[bytes, dict[str, float]]:
    async with running(url, mode) as (http, assembly):
        answer = await http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.content, assembly.ledger.journal.recent(1)[0].answer


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
async def test_the_caller_gets_the_same_bytes_and_the_journal_the_figures(
    model_url: str, name: str, is_stream: bool
) -> None:
    path, fields, seen = CALLS[name]
    body = fields | {"stream": is_stream}
    if is_stream and "tools" in fields:
        seen = False
    if is_stream and "logprobs" in fields:
        fields = fields | {"stream": True}
    without, nothing = await answers(model_url, "off", path, body)
    shadowed, figures = await answers(model_url, "shadow", path, body)
    assert VARIES.sub(b"", shadowed) == VARIES.sub(b"", without)
    assert (b'"logprob"' in shadowed) == ("logprobs" in fields)
    assert nothing == {}
    if seen:
        assert figures["tokens"] > 1
        assert figures["worst"] <= figures["mean"] <= 0
        assert figures["sum"] == pytest.approx(figures["mean"] * figures["tokens"], abs=0.01)
    else:
        assert figures == {}


async def test_the_model_checks_itself_with_a_probability(model_url: str) -> None:
    limits = TimeLimits(first_byte_s=60)
    backend = LocalBackend(f"{model_url}/v1", MODEL, limits=limits)
    await backend.probe()
    check = self_check(ChatRequest({"messages": [USER]}), "Paris.")
    p_yes = await p_yes_of(check, lambda request: backend.open(request, MODEL))
    await backend.aclose()
    assert p_yes is not None
    assert 0 < p_yes < 1


async def test_the_probability_of_a_calibrated_model_is_journalled(
    model_url: str, tmp_path: Path
) -> None:
    calibration = Calibration(MODEL, "words", Curve(0.0, 1.0, 60), least=0.5)
    Calibrations().keep(tmp_path / "calibrations.json", calibration)
    async with running(model_url, "shadow", tmp_path / "journal.db") as (http, assembly):
        await http.post("/v1/chat/completions", content=orjson.dumps(CHAT))
        figures = assembly.ledger.journal.recent(1)[0].answer
        assert 0 < figures["probability"] < 1
