"""Models that the local server passes requests on for: never local, never asked private things."""

from typing import Any

import orjson
import pytest

from router.backend import Model, Status, TimeLimits
from router.classifier import Score
from router.deciding.facts import Ask, Policy, Side
from router.decision import decide
from router.errors import InvalidRequest, NoBackend
from router.local.discovery import Discovery
from router.local_client import LocalBackend
from router.parts.assembly import is_elsewhere
from tests.support.keys import CANARIES
from tests.support.running_app import cloud_side, local_side, running_app
from tests.support.scripted import Connection, Request, scripted

CLOUD = {"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:120b"}


def ollama(*models: dict[str, Any], running: tuple[str, ...] = (), **shown: Any) -> Discovery:
    """A look at an Ollama server with these models; `shown` is what /api/show says."""
    answers = {
        "/api/ps": {"models": [{"name": name} for name in running]},
        "/api/tags": {"models": list(models)},
        "/api/show": shown,
    }
    wanted = str(shown.pop("wanted", "qwen3:8b"))

    async def get(url: str) -> tuple[int, bytes]:
        path = url.removeprefix("http://h")
        return (200, orjson.dumps(answers[path])) if path in answers else (404, b"")

    async def post(url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        return await get(url)

    return Discovery("http://h/v1", wanted, get, post)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "big", **CLOUD},
        {"name": "gpt-oss:120b-cloud"},
        {"name": "kimi-k2:cloud"},
    ],
)
async def test_a_model_that_runs_elsewhere_is_not_chosen_by_itself(model: dict[str, Any]) -> None:
    alone = await ollama(model, wanted="other").look()
    assert alone.model is None
    assert alone.models[0].remote
    beside = await ollama(model, {"name": "gemma3:4b"}, wanted="other").look()
    assert beside.model is not None
    assert beside.model.id == "gemma3:4b"
    assert not beside.model.remote


async def test_a_model_that_only_its_details_call_remote_is_remote() -> None:
    status = await ollama({"name": "qwen3:8b"}, remote_host="https://ollama.com").look()
    assert status.model is not None
    assert status.model.remote
    assert "does not run on this machine" in status.detail


async def test_a_model_that_was_named_may_answer_but_nothing_private() -> None:
    status = await ollama({"name": "big", **CLOUD}, wanted="big").look()
    assert (status.state, status.model and status.model.id) == ("ready", "big")
    local = Side("local", "local", status)
    cloud = Side("cloud", "claude", Status("ready", Model("claude")))
    score = Score(total=0, signals={"conversation": 0.0}, confidence=1, tokens=1)
    assert decide(Ask(score), local, cloud, Policy()).first.model == "big"
    with pytest.raises(NoBackend, match=r"does not run on this machine.*LOCAL_MODEL"):
        decide(Ask(score, private="a rule"), local, cloud, Policy())


async def test_a_private_request_reaches_no_model_that_runs_elsewhere() -> None:
    async def probe(connection: Connection, request: Request) -> None:
        paths = {
            "/api/ps": {"models": []},
            "/api/tags": {"models": [{"name": "local-model", **CLOUD}]},
        }
        found = paths.get(request.path)
        await connection.answer(orjson.dumps(found or {}), 200 if found else 404)

    asked: list[str] = []

    async def local(connection: Connection, request: Request) -> None:
        if request.path == "/api/show":
            await connection.answer(b"{}")
            return
        asked.append(request.path)
        await local_side(connection, request)

    async with running_app(local, cloud_side, local_models=probe) as h:
        refused = await h.ask(f"Why is {CANARIES['GitHub']} refused?")
        assert refused.status_code == 503
        assert "does not run on this machine" in refused.json()["error"]["message"]
        assert asked == []
        health = (await h.http.get("/health")).json()["local"]
        assert health["remote_models"] == ["local-model"]
        assert "does not run on this machine" in health["detail"]


@pytest.mark.parametrize("name", ["mine:latest", "mine", "Mine", "library/mine"])
async def test_every_spelling_of_a_model_that_runs_elsewhere_is_refused_without_a_scan(
    name: str,
) -> None:
    asked: list[str] = []

    async def local(connection: Connection, request: Request) -> None:
        models = {"/api/ps": [], "/api/tags": [{"name": "mine:latest", **CLOUD}]}
        if request.path in models:
            await connection.answer(orjson.dumps({"models": models[request.path]}))
        else:
            asked.append(request.path)
            await connection.answer(b"{}", 404)

    async with scripted(local, local) as ollama_server:
        backend = LocalBackend(f"{ollama_server.url}/v1", "qwen3:8b", limits=TimeLimits())
        await backend.probe()
        with pytest.raises(InvalidRequest, match="does not run on this machine"):
            await backend.relay("/embeddings", {"model": name, "input": "x"})
        await backend.aclose()
    assert "/v1/embeddings" not in asked


async def test_requests_without_a_scan_go_only_to_models_on_this_machine() -> None:
    local = LocalBackend("http://localhost:1/v1", "big:cloud", limits=TimeLimits())
    for model in ("auto", "gpt-oss:20b-cloud"):
        with pytest.raises(InvalidRequest, match="does not run on this machine"):
            await local.relay("/embeddings", {"model": model, "input": "x"})
    await local.aclose()


@pytest.mark.parametrize(
    ("url", "elsewhere"),
    [
        ("http://localhost:1234/v1", False),
        ("http://127.0.0.1:1/v1", False),
        ("http://192.168.1.20:11434/v1", False),
        ("http://100.64.1.2:1234/v1", False),
        ("http://8.8.8.8/v1", True),
        ("https://[2606:4700::1111]/v1", True),
        ("http://no-such-name.invalid/v1", False),
    ],
)
def test_a_local_server_on_the_public_internet_is_recognised(url: str, elsewhere: bool) -> None:
    assert is_elsewhere(url) == elsewhere
