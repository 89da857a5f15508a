from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.running_app import RunningApp, running_app

PROMPT = "Explain why ice floats on water and why that matters for fish."


@pytest.fixture
async def h() -> AsyncIterator[RunningApp]:
    async with running_app() as h:
        yield h


async def classified(h: RunningApp, **body: Any) -> dict[str, Any]:
    answer = await h.http.post("/classify", json={"prompt": PROMPT, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_supposed_model_is_decided_for_without_asking_a_server(h: RunningApp) -> None:
    small = await classified(h, local_model="qwen2.5-1.5b-instruct")
    large = await classified(h, local_model="llama-3.3-70b-instruct")
    assert (small["target"], large["target"]) == ("cloud", "local")
    assert small["score"] > large["score"]
    assert small["reach"] == {
        "model": "qwen2.5-1.5b-instruct",
        "family": "qwen2.5",
        "parameters_b": 1.5,
        "active_b": 1.5,
        "source": "name",
        "points": small["signals"]["local_model"],
    }
    assert all(seat.watch.last is None for seat in h.assembly.router.seats.values())


async def test_a_supposed_cloud_counts_too(h: RunningApp) -> None:
    local = "qwen2.5-7b-instruct"
    strong = await classified(h, local_model=local, cloud_model="claude-sonnet-4-6")
    weak = await classified(h, local_model=local, cloud_model="claude-instant-1.2")
    assert weak["score"] < strong["score"]
    assert weak["candidates"][-1]["target"] in ("local", "cloud")


async def test_an_unknown_model_is_neutral_and_said_to_be_unknown(h: RunningApp) -> None:
    found = await classified(h, local_model="my-own-bot")
    assert (found["reach"], found["signals"]["local_model"]) == (None, 0)


async def test_the_total_is_the_sum_of_the_rows(h: RunningApp) -> None:
    for local in ("smollm2-360m", "qwen2.5-7b", "gpt-oss-120b", "my-own-bot"):
        found = await classified(h, local_model=local)
        total = min(100, max(0, sum(found["signals"].values())))
        assert found["score"] == pytest.approx(total, abs=0.5)


@pytest.mark.parametrize("name", [7, ["qwen"], {}])
async def test_a_supposed_model_is_a_name(h: RunningApp, name: object) -> None:
    answer = await h.http.post("/classify", json={"prompt": PROMPT, "local_model": name})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "local_model"


async def test_without_a_supposed_model_the_servers_own_counts() -> None:
    async with running_app(local_reach=25) as h:
        found = await classified(h)
        assert found["signals"]["local_model"] == 25
    async with running_app(local_reach="0") as h:
        assert (await classified(h))["signals"]["local_model"] == 0
