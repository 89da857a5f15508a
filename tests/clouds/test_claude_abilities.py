"""Abilities of Claude models before the first request and after a restart."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from router.clouds import claude_models
from router.clouds.ability_cache import AbilityCache
from router.wire.anthropic.claude_model import Abilities, abilities, built_in
from tests.support.claude_backend import KEY, MODEL, backend_of, events_of
from tests.support.claude_recordings import SAID, recorded
from tests.support.claude_server import claude_server, failing, streaming
from tests.support.claude_words import request

NEW = "claude-next-9"
"""A model that the built-in table does not have."""


def info(model: str, *efforts: str, **capabilities: bool) -> dict[str, Any]:
    levels = {level: {"supported": level in efforts} for level in ("low", "medium", "high", "max")}
    supported = {name: {"supported": value} for name, value in capabilities.items()}
    return {"id": model, "type": "model", "capabilities": {"effort": levels, **supported}}


def efforts_sent(server: Any) -> list[str | None]:
    return [sent.body.get("output_config", {}).get("effort") for sent in server.asked]


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("claude-sonnet-5-5", "high", "high"),
        ("claude-sonnet-5-5", "xhigh", "xhigh"),
        ("claude-sonnet-4-6", "xhigh", "high"),
        ("claude-opus-4-5-20251101", "max", "high"),
        ("claude-haiku-4-5", "high", None),
    ],
)
async def test_the_first_request_has_its_effort_by_the_built_in_table(
    model: str, asked: str, sent: str | None
) -> None:
    answer = streaming(recorded("text"))
    async with claude_server(answer) as server, backend_of(server) as backend:
        reply = await backend.open(request(reasoning_effort=asked), model)
        await reply.aclose()
        assert efforts_sent(server) == [sent]
        assert ("reasoning_effort" in reply.dropped) == (sent is None)
        assert len(server.received) == 1, "what the table has is not asked for"


async def test_a_model_that_nothing_is_known_of_is_asked_for_first() -> None:
    models = {NEW: (200, info(NEW, "low", "max"))}
    async with (
        claude_server(streaming(recorded("text")), models=models) as server,
        backend_of(server) as backend,
    ):
        for _ in range(2):
            await events_of(backend, request(reasoning_effort="max"), NEW)
    assert efforts_sent(server) == ["max", "max"]
    assert [sent.method for sent in server.received] == ["GET", "POST", "POST"]


async def test_effort_is_sent_though_the_models_api_does_not_answer() -> None:
    async with claude_server(streaming(recorded("text"))) as server, backend_of(server) as backend:
        for _ in range(2):
            await events_of(backend, request(reasoning_effort="max"), NEW)
    assert efforts_sent(server) == ["high", "high"]
    assert [sent.method for sent in server.received] == ["GET", "POST", "POST"], "asked once"


async def test_effort_that_claude_refuses_is_left_out_and_reported() -> None:
    refusal = failing(400, "invalid_request_error", "This model does not support effort.")
    async with (
        claude_server(refusal, streaming(recorded("text"))) as server,
        backend_of(server) as backend,
    ):
        reply = await backend.open(request(reasoning_effort="high"), NEW)
        assert reply.dropped == ("reasoning_effort",)
        await reply.aclose()
        assert await events_of(backend, request(reasoning_effort="high"), NEW) == SAID["text"]
    assert efforts_sent(server) == ["high", None, None]


async def test_learned_abilities_are_known_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "claude-models.json"
    models = {NEW: (200, info(NEW, "low"))}
    async with claude_server(streaming(recorded("text")), models=models) as server:
        async with backend_of(server, ability_file=file) as backend:
            await events_of(backend, request(reasoning_effort="high"), NEW)
        async with backend_of(server, ability_file=file) as backend:
            await events_of(backend, request(reasoning_effort="high"), NEW)
    assert efforts_sent(server) == ["low", "low"]
    assert [sent.method for sent in server.received] == ["GET", "POST", "POST"]
    stored = file.read_bytes()
    assert KEY.encode() not in stored
    assert orjson.loads(stored) == {"models": {NEW: {"efforts": ["low"]}}}


@pytest.mark.parametrize("stored", [b"", b"[]", b"{", b'{"models": 5}', b'{"models": {"a": 5}}'])
async def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, stored: bytes) -> None:
    file = tmp_path / "claude-models.json"
    file.write_bytes(stored)
    assert AbilityCache(file).load() == {}
    answer = streaming(recorded("text"))
    async with claude_server(answer) as server, backend_of(server, ability_file=file) as backend:
        assert await events_of(backend, request(reasoning_effort="low")) == SAID["text"]
    assert efforts_sent(server) == ["low"]


async def test_a_folder_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "no-folder" / "claude-models.json"
    file.parent.write_text("a file in its place")
    models = {MODEL: (200, info(MODEL, "low", image_input=False))}
    async with (
        claude_server(streaming(recorded("text")), models=models) as server,
        backend_of(server, ability_file=file) as backend,
    ):
        await backend.warm()
        assert (await backend.probe()).state == "ready"


@pytest.mark.parametrize(
    "known",
    [
        Abilities(),
        Abilities(max_tokens=9, efforts=(), images=False, thinking_off=True),
        built_in("claude-fable-5-1"),
        abilities(info(NEW, "low", "max", pdf_input=True)),
    ],
)
def test_abilities_survive_the_file(tmp_path: Path, known: Abilities) -> None:
    cache = AbilityCache(tmp_path / "models.json")
    cache.save({"m": known})
    assert cache.load() == {"m": known}


async def test_a_models_api_that_hangs_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claude_models, "LOOK_UP_S", 0.05)
    asked: list[str] = []

    async def hanging(path: str) -> dict[str, Any]:
        asked.append(path)
        await asyncio.Event().wait()
        raise AssertionError

    models = claude_models.ClaudeModels(NEW, hanging, lambda: 0.0, AbilityCache(None))
    for _ in range(2):
        assert (await models.find_abilities(NEW)).efforts == ("low", "medium", "high")
    assert asked == [f"/v1/models/{NEW}"]
