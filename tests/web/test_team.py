"""A team behind the router: keys, sides, budgets and who used how much."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from router.backend import Target
from router.state import team
from tests.support.running_app import RunningApp, cloud_side, running_app
from tests.support.scripted import Connection, Request, Script

EASY = "Is a tomato a fruit?"
ADMIN = "the-admin-s-key"


@dataclass
class Office:
    """A running app, and keys by name."""

    app: RunningApp
    file: Path
    keys: dict[str, str]

    async def ask(self, name: str, target: str = "", **body: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.keys.get(name, name)}"}
        if target:
            headers["x-force-route"] = target
        return await self.app.ask(EASY, headers=headers, body=body)

    async def get(self, name: str, path: str) -> httpx2.Response:
        key = self.keys.get(name, name)
        return await self.app.http.get(path, headers={"authorization": f"Bearer {key}"})


@asynccontextmanager
async def office(
    tmp_path: Path,
    budgets: dict[str, float] | None = None,
    cloud_script: Script = cloud_side,
    **sides: tuple[Target, ...],
) -> AsyncIterator[Office]:
    file = tmp_path / "keys.json"
    keys = {
        name: team.add(file, name, budget_usd_per_day=(budgets or {}).get(name), sides=allowed)
        for name, allowed in sides.items()
    }
    prices = {"claude-sonnet-4-6": {"input": 1e5, "output": 1e5}}
    options: dict[str, Any] = {
        "router_keys_file": str(file),
        "router_api_key": ADMIN,
        "prices": prices,
    }
    async with running_app(cloud=cloud_script, **options) as app:
        yield Office(app, file, keys)


async def test_a_named_key_opens_the_models_and_its_name_is_journalled(tmp_path: Path) -> None:
    async with office(tmp_path, ana=team.SIDES) as o:
        assert (await o.ask("ana")).status_code == 200
        assert o.app.last.caller == "ana"
        assert (await o.ask(ADMIN)).status_code == 200
        assert o.app.last.caller == ""
        for wrong in ("", "lr-unknown"):
            refused = await o.ask(wrong)
            assert refused.status_code == 401
        assert "revoked" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "path",
    ["/stats", "/decisions", "/decisions/{last}", "/confidence", "/metrics", "/info"],
)
async def test_figures_are_for_the_router_api_key_only(tmp_path: Path, path: str) -> None:
    async with office(tmp_path, ana=team.SIDES) as o:
        await o.ask("ana")
        path = path.format(last=o.app.last.id)
        assert (await o.get("ana", path)).status_code == 403
        assert (await o.get(ADMIN, path)).status_code == 200
        assert (await o.get("ana", "/events")).status_code == 403
        assert (await o.get("ana", "/v1/models")).status_code == 200
        assert (await o.get("ana", "/openapi.json")).status_code == 200


async def test_a_revoked_key_is_refused_without_a_restart(tmp_path: Path) -> None:
    async with office(tmp_path, ana=team.SIDES, ben=team.SIDES) as o:
        assert (await o.ask("ana")).status_code == 200
        team.revoke(o.file, "ana")
        found = o.app.assembly.team
        assert found is not None
        found._looked_at -= team.RELOAD_S
        assert (await o.ask("ana")).status_code == 401
        assert (await o.ask("ben")).status_code == 200


async def test_a_key_for_one_side_never_reaches_the_other(tmp_path: Path) -> None:
    async with office(tmp_path, here=("local",), far=("cloud",)) as o:
        for name, own, other in (("here", "local", "cloud"), ("far", "cloud", "local")):
            answer = await o.ask(name)
            assert answer.headers["x-router-target"] == own
            assert (await o.ask(name, own)).status_code == 200
            refused = await o.ask(name, other)
            assert refused.status_code == 403
            assert f"not for the {other} side" in refused.json()["error"]["message"]
        headers = {"authorization": f"Bearer {o.keys['far']}"}
        body = {"model": "m", "input": "x"}
        relayed = await o.app.http.post("/v1/embeddings", json=body, headers=headers)
        assert relayed.status_code == 403


async def test_a_spent_budget_is_a_429_while_local_answers_go_on(
    tmp_path: Path,
) -> None:
    async with office(tmp_path, {"ana": 0.5}, ana=team.SIDES, ben=team.SIDES) as o:
        assert (await o.ask("ana", "cloud")).status_code == 200
        refused = await o.ask("ana", "cloud")
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "budget_spent")
        assert "budget of ana (0.5 USD) is spent" in error["message"]
        assert refused.headers["x-should-retry"] == "false"
        answer = await o.ask("ana")
        assert (answer.status_code, answer.headers["x-router-target"]) == (200, "local")
        assert (await o.ask("ben", "cloud")).status_code == 200


async def test_usage_is_listed_by_name(tmp_path: Path) -> None:
    async with office(tmp_path, ana=team.SIDES, ben=team.SIDES) as o:
        for name, target in (("ana", "local"), ("ana", "cloud"), ("ben", "local")):
            await o.ask(name, target)
        await o.ask(ADMIN)
        callers = (await o.get(ADMIN, "/stats")).json()["callers"]
        assert set(callers) == {"ana", "ben"}
        assert (callers["ana"]["local"], callers["ana"]["cloud"]) == (1, 1)
        assert callers["ana"]["cost_usd"] == callers["ana"]["spent_today_usd"] > 0
        assert callers["ben"]["cost_usd"] == 0
        lines = (await o.get(ADMIN, "/metrics")).text.splitlines()
        assert 'llm_router_caller_requests_total{caller="ana",target="cloud"} 1.0' in lines
        assert 'llm_router_caller_requests_total{caller="ben",target="local"} 1.0' in lines


@pytest.mark.parametrize(
    ("name", "counts"), [("ann", 1), ("local-only", 0), ("spent", 0)], ids=lambda value: str(value)
)
async def test_claude_counts_tokens_only_for_members_who_may_use_it(
    name: str, counts: int, tmp_path: Path
) -> None:
    both: tuple[Target, ...] = ("local", "cloud")
    sides: dict[str, tuple[Target, ...]] = {"ann": both, "local-only": ("local",), "spent": both}
    body = {"model": "cloud", "messages": [{"role": "user", "content": EASY}]}
    asked: list[str] = []

    async def counting(connection: Connection, request: Request) -> None:
        asked.append(request.path)
        await connection.answer(b'{"input_tokens": 4711}')

    async with office(tmp_path, {"spent": 0}, cloud_script=counting, **sides) as there:
        headers = {"authorization": f"Bearer {there.keys[name]}"}
        path = "/v1/messages/count_tokens"
        answer = await there.app.http.post(path, headers=headers, json=body)
    assert answer.status_code == 200
    assert asked == [path] * counts
