"""A local model that would take too long to its first word."""

from dataclasses import replace

from router.sides.speed import Past
from tests.support.running_app import RunningApp, running_app

LONG = {"role": "system", "content": "Be kind. " * 4_000}


def teach(h: RunningApp, tokens_per_s: float) -> None:
    speed = h.assembly.router.local.speed
    assert speed is not None
    speed.seed([Past("local-model", n, n / tokens_per_s, 2.0) for n in (500, 2_000, 4_000)])


async def test_the_cloud_answers_if_the_first_word_would_take_too_long() -> None:
    async with running_app() as h:
        teach(h, tokens_per_s=50)
        answer = await h.ask(
            "What is a tomato?", body={"messages": [LONG, user("Hi, what is it?")]}
        )
        assert answer.headers["x-router-reason"] == "slow"
        assert h.last.expected_ms is not None
        assert h.last.expected_ms > 60_000
        answer = await h.ask("What is a tomato?")
        assert answer.headers["x-router-reason"] == "simple"


async def test_the_same_turn_stays_local_while_its_beginning_is_in_the_cache() -> None:
    async with running_app(local_patience_s=0) as h:
        said = [LONG, user("Hi, what is it?")]
        await h.ask("", body={"messages": said})
        said += [{"role": "assistant", "content": "A tomato."}, user("What colour is it?")]
        h.assembly.router.policy = replace(h.assembly.router.policy, patience_s=60)
        teach(h, tokens_per_s=50)
        assert (await h.ask("", body={"messages": said})).headers["x-router-reason"] == "simple"
        said[1] = user("What is this?")
        assert (await h.ask("", body={"messages": said})).headers["x-router-reason"] == "slow"


async def test_no_patience_set_means_any_time() -> None:
    async with running_app(local_patience_s=0) as h:
        teach(h, tokens_per_s=1)
        assert (await h.ask("What is a tomato?")).headers["x-router-reason"] == "simple"


async def test_estimates_are_compared_with_measured_times() -> None:
    async with running_app() as h:
        assert (await h.http.get("/stats")).json()["first_word"] == {
            "answers": 0,
            "median_error": None,
        }
        for _ in range(3):
            await h.ask("What is a tomato?", body={"stream": True})
        found = (await h.http.get("/stats")).json()["first_word"]
        assert found["answers"] == 2, "the first one teaches"
        assert found["median_error"] >= 0


def user(words: str) -> dict[str, str]:
    return {"role": "user", "content": words}
