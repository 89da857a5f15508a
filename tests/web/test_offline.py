"""OFFLINE=true: nothing leaves this machine, whatever else is set."""

from typing import Any

import orjson
import pytest

from tests.support.running_app import cloud_side, local_side, refusing, running_app
from tests.support.scripted import Connection, Request

HARD = "Prove that every planar graph is four-colourable, then design a distributed consensus."
KEYS: list[dict[str, Any]] = [
    {"anthropic_api_key": "sk-ant-unused"},
    {"gemini_api_key": "AIza-unused", "cloud_provider": "gemini"},
    {"openai_api_key": "sk-unused", "openai_model": "gpt-5.5", "cloud_provider": "openai"},
]


@pytest.mark.parametrize("keys", KEYS, ids=["claude", "gemini", "openai"])
async def test_no_cloud_is_built_whatever_key_is_set(keys: dict[str, Any]) -> None:
    async with running_app(offline=True, complexity_threshold=0, **keys) as app:
        assert app.assembly.router.cloud is None
        answer = await app.ask(HARD)
        assert answer.headers["x-router-target"] == "local"
        forced = await app.ask(HARD, headers={"X-Force-Route": "cloud"})
    assert forced.status_code == 503
    assert "OFFLINE=true" in forced.json()["error"]["message"]


async def test_a_failing_local_server_is_not_replaced_by_a_cloud() -> None:
    async def never(connection: Connection, request: Request) -> None:
        raise AssertionError("the cloud was asked")

    async with running_app(refusing(500, "broken"), never, offline=True) as app:
        assert (await app.ask("hi")).status_code >= 500


PICTURE = "https://example.com/cat.png"
DATA = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ({"type": "image_url", "image_url": {"url": PICTURE}}, 400),
        ({"type": "image_url", "image_url": PICTURE}, 400),
        ({"type": "image_url", "image_url": {"url": " HTTP://example.com/cat.png"}}, 400),
        ({"type": "video_url", "video_url": {"url": "//example.com/film.mp4"}}, 400),
        ({"type": "image_url", "image_url": {"url": DATA}}, 200),
        ({"type": "text", "text": f"{PICTURE} shows a cat"}, 200),
    ],
)
async def test_a_picture_that_would_be_fetched_is_refused(
    part: dict[str, Any], status: int
) -> None:
    body = {"messages": [{"role": "user", "content": [part]}]}
    async with running_app(offline=True) as app:
        answer = await app.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == status
    if status == 400:
        assert "data: URL" in answer.json()["error"]["message"]


async def test_a_picture_may_be_linked_without_offline() -> None:
    part = {"type": "image_url", "image_url": {"url": PICTURE}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    async with running_app() as app:
        assert (await app.http.post("/v1/chat/completions", json=body)).status_code == 200


async def test_models_that_the_local_server_passes_on_are_left_out() -> None:
    async def models(connection: Connection, request: Request) -> None:
        listed = [{"id": "gpt-oss:120b-cloud", "object": "model"}]
        await connection.answer(orjson.dumps({"object": "list", "data": listed}))

    own: dict[str, Any] = {"local_model": "gpt-oss:120b-cloud", "local_models": models}
    async with running_app(local_side, cloud_side, offline=True, **own) as app:
        chat = await app.ask("hi")
        vectors = await app.http.post("/v1/embeddings", json={"input": "hi"})
        named = await app.http.post("/v1/embeddings", json={"model": "x:cloud", "input": "hi"})
        listed = (await app.http.get("/v1/models")).json()["data"]
    assert chat.status_code == 503
    assert "runs in a cloud" in chat.json()["error"]["message"]
    assert vectors.status_code == named.status_code == 400
    assert "gpt-oss:120b-cloud" not in [model["id"] for model in listed]


async def test_health_and_info_say_that_the_server_is_offline() -> None:
    async with running_app(offline=True) as app:
        health = (await app.http.get("/health")).json()
        info = (await app.http.get("/info")).json()
    assert health["headline"] == {
        "level": "ok",
        "text": "OFFLINE=true: nothing leaves this machine.",
    }
    assert "OFFLINE=true" in health["cloud"]["detail"]
    assert info["offline"] is True
