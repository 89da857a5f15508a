"""Several local servers behind the router, over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import pytest

from tests.support.backend_answers import models
from tests.support.keys import CANARIES
from tests.support.running_app import RunningApp, cloud_side, local_side, refusing, running_app
from tests.support.scripted import Connection, Request, Script, ScriptedServer, scripted

SECRET = f"My key is {CANARIES['AWS id']}, what is it for?"
LONG = "Translate this into French, please: " + "The weather is nice today. " * 200


@dataclass
class Fleet:
    """An app with servers of these names."""

    app: RunningApp
    servers: dict[str, ScriptedServer]

    async def ask(self, words: str, **options: Any) -> httpx2.Response:
        return await self.app.ask(words, **options)

    @property
    def asked(self) -> dict[str, int]:
        return {name: len(server.requests) for name, server in self.servers.items()}


async def cut(connection: Connection, request: Request) -> None:
    connection.reset()


def has(*names: str) -> Script:
    """Return a probe of a server with these models."""

    async def probe(connection: Connection, request: Request) -> None:
        if request.path == "/v1/models":
            await connection.answer(orjson.dumps({"data": [{"id": name} for name in names]}))
        else:
            await connection.answer(b"{}", 404)

    return probe


@asynccontextmanager
async def fleet(
    *,
    options: str = ";private=yes",
    cloud: Script = cloud_side,
    probes: dict[str, Script] | None = None,
    settings: dict[str, Any] | None = None,
    **scripts: Script,
) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(
                scripted(script, (probes or {}).get(name, models))
            )
            for name, script in scripts.items()
        }
        listed = ",".join(f"{n}={server.url}/v1{options}" for n, server in servers.items())
        given = {"local_servers": listed} | (settings or {})
        yield Fleet(await stack.enter_async_context(running_app(cloud=cloud, **given)), servers)


async def test_the_name_of_the_server_is_in_header_journal_metrics_and_health() -> None:
    async with fleet(studio=local_side, gpu=local_side) as f:
        answer = await f.ask("Is a tomato a fruit?")
        name = answer.headers["x-router-backend"]
        assert (answer.status_code, f.asked[name]) == (200, 1)
        assert answer.headers["x-router-target"] == "local"
        assert f.app.last.backend == name
        metrics = (await f.app.http.get("/metrics")).text
        assert {f'llm_router_side_up{{side="{one}"}} 1.0' for one in ("studio", "gpu")} <= set(
            metrics.splitlines()
        )
        health = (await f.app.http.get("/health")).json()
        assert set(health["servers"]) == {"studio", "gpu"}
        assert all(server["up"] for server in health["servers"].values())


async def test_classify_lists_the_spare_before_the_cloud() -> None:
    async with fleet(studio=local_side, gpu=local_side) as f:
        told = (await f.app.http.post("/classify", json={"prompt": "Is a tomato a fruit?"})).json()
        backends = [candidate["backend"] for candidate in told["candidates"]]
        assert set(backends[:2]) == {"studio", "gpu"}
        assert backends[2:] == ["claude"]


@pytest.mark.parametrize("fault", [cut, refusing(500, "out of memory"), refusing(503, "busy")])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_local_server_answers_for_one_that_fails(
    fault: Script, stream: bool
) -> None:
    async with fleet(studio=fault, gpu=local_side) as f:
        answer = await f.ask("Is a tomato a fruit?", body={"stream": stream})
        assert answer.status_code == 200
        assert answer.headers["x-router-backend"] == "gpu"
        assert f.app.last.reason == "simple"
        assert not f.app.last.fallback


async def test_the_cloud_answers_when_all_local_servers_fail() -> None:
    async with fleet(studio=cut, gpu=cut) as f:
        answer = await f.ask("Is a tomato a fruit?")
        assert answer.headers["x-router-backend"] == "claude"
        assert answer.headers["x-router-reason"] == "local_down"
        assert {attempt.backend for attempt in f.app.last.attempts} == {"studio", "gpu"}


async def test_an_answer_that_the_model_got_wrong_is_not_asked_for_again_locally() -> None:
    async def nothing(connection: Connection, request: Request) -> None:
        body = {"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "stop"}]}
        await connection.answer(orjson.dumps(body))

    async with fleet(studio=nothing, gpu=nothing) as f:
        answer = await f.ask("Is a tomato a fruit?")
        assert answer.headers["x-router-backend"] == "claude"
        assert sum(f.asked.values()) == 1


async def test_a_private_request_goes_to_the_private_server_only() -> None:
    options = {"studio": ";private=no", "gpu": ";private=yes"}
    async with scripted(local_side, models) as studio, scripted(local_side, models) as gpu:
        urls = {"studio": studio.url, "gpu": gpu.url}
        listed = ",".join(f"{name}={url}/v1{options[name]}" for name, url in urls.items())
        async with running_app(local_servers=listed) as app:
            for _ in range(4):
                answer = await app.ask(SECRET)
                assert answer.headers["x-router-backend"] == "gpu"
            gpu.script = cut
            failed = await app.ask(SECRET + " Again.")
            assert failed.status_code == 503
            assert studio.requests == []


async def test_without_a_private_server_a_private_request_is_refused() -> None:
    async with fleet(options=";private=no", studio=local_side) as f:
        answer = await f.ask(SECRET)
        assert answer.status_code == 503
        assert "set private=yes" in answer.json()["error"]["message"]
        assert CANARIES["AWS id"] not in answer.text
        assert f.asked == {"studio": 0}


async def test_embeddings_go_to_a_private_server_that_has_the_model() -> None:
    async def embeddings(connection: Connection, request: Request) -> None:
        await connection.answer(b'{"data": []}')

    probes = {"studio": has("chat"), "gpu": has("chat", "nomic-embed-text")}
    async with fleet(studio=embeddings, gpu=embeddings, probes=probes) as f:
        body = {"model": "nomic-embed-text", "input": SECRET}
        assert (await f.app.http.post("/v1/embeddings", json=body)).status_code == 200
        assert f.asked == {"studio": 0, "gpu": 1}
    async with fleet(options=";private=no", studio=embeddings) as f:
        refused = await f.app.http.post("/v1/embeddings", json=body)
        assert refused.status_code == 503
        assert f.asked == {"studio": 0}


async def test_a_conversation_stays_at_its_server_and_others_go_elsewhere() -> None:
    async with fleet(studio=local_side, gpu=local_side) as f:
        homes = {}
        for topic in ("rivers", "stars"):
            messages = [{"role": "user", "content": f"About {topic}. {LONG}"}]
            first = await f.app.ask("", body={"messages": messages})
            homes[topic] = first.headers["x-router-backend"]
            for turn in range(3):
                messages += [
                    {"role": "assistant", "content": "D'accord."},
                    {"role": "user", "content": f"Say that in {turn + 2} words."},
                ]
                answer = await f.app.ask("", body={"messages": messages})
                assert answer.headers["x-router-backend"] == homes[topic]


async def test_the_server_with_the_named_model_is_asked() -> None:
    probes = {"studio": has("large"), "gpu": has("small")}
    async with fleet(studio=local_side, gpu=local_side, probes=probes) as f:
        listed = (await f.app.http.get("/v1/models")).json()["data"]
        assert {"large", "small"} <= {row["id"] for row in listed}
        for model, name in (("large", "studio"), ("small", "gpu"), ("large", "studio")):
            answer = await f.ask("Is a tomato a fruit?", body={"model": model})
            assert answer.headers["x-router-backend"] == name


async def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came true")


async def test_a_server_that_comes_up_later_is_noticed() -> None:
    async with fleet(studio=local_side, gpu=local_side, settings={"status_ttl_s": 0.05}) as f:
        gpu = f.servers["gpu"]
        await gpu.stop()
        router = f.app.assembly.router
        await f.ask("Is a tomato a fruit?")
        seat = router.seats["gpu"]
        await eventually(lambda: seat.watch.last is not None and not seat.watch.last.up)
        await gpu.start()
        await eventually(lambda: seat.watch.last is not None and seat.watch.last.up)
        assert (await f.app.http.get("/health")).json()["servers"]["gpu"]["up"]
