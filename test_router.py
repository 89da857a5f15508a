"""Tests of what the README promises. It is also a script:

    python test_router.py          measure the classifier on the labelled prompts of bench/
    python test_router.py --live   also send real requests to every configured side

Exit status 1 if the classifier is below the bar, or a configured side does not answer as it should.
"""

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from router.classifier import score_messages
from tests.support.live import live
from tests.support.two_sides import EASY, HARD, TwoSides, refusing, running

PROMPTS: Final = Path(__file__).with_name("bench") / "prompts.jsonl"
BAR: Final = 0.80
"""Share of the labelled prompts that must go where a person would send them."""
THRESHOLD: Final = 50


@pytest.fixture
async def sides() -> AsyncIterator[TwoSides]:
    async with running() as both:
        yield both


# --- promises ------------------------------------------------------------------------------------


async def test_an_easy_prompt_is_answered_by_the_local_model(sides: TwoSides) -> None:
    answer = await sides.ask(EASY)
    assert answer.json()["choices"][0]["message"]["content"] == "local says hello"
    assert answer.headers["x-router-target"] == "local"
    assert answer.headers["x-router-model"] == "local-model"
    assert not sides.cloud.requests


async def test_a_hard_prompt_is_answered_by_the_cloud(sides: TwoSides) -> None:
    answer = await sides.ask(HARD)
    assert answer.json()["choices"][0]["message"]["content"] == "cloud says hello"
    assert answer.headers["x-router-target"] == "cloud"
    assert answer.headers["x-router-reason"] == "complex"
    assert float(answer.headers["x-router-score"]) >= THRESHOLD
    assert not sides.local.requests


async def test_every_answer_says_where_it_came_from_and_why(sides: TwoSides) -> None:
    for prompt in (EASY, HARD):
        answer = await sides.ask(prompt)
        for name in ("target", "model", "score", "reason"):
            assert answer.headers[f"x-router-{name}"]
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("side", ["local", "cloud"])
async def test_the_caller_may_force_a_side_by_header_or_by_model(
    sides: TwoSides, side: str
) -> None:
    prompt = HARD if side == "local" else EASY
    for answer in (await sides.ask(prompt, force=side), await sides.ask(prompt, model=side)):
        assert answer.headers["x-router-target"] == side
        assert answer.headers["x-router-reason"] == "forced"


async def test_the_header_wins_over_the_models_name(sides: TwoSides) -> None:
    answer = await sides.ask(EASY, model="local", force="cloud")
    assert answer.headers["x-router-target"] == "cloud"


@pytest.mark.parametrize(("model", "target"), [("local-model", "local"), ("claude-model", "cloud")])
async def test_a_models_own_name_asks_for_its_side(
    sides: TwoSides, model: str, target: str
) -> None:
    answer = await sides.ask(HARD if target == "local" else EASY, model=model)
    assert (answer.headers["x-router-target"], answer.headers["x-router-model"]) == (target, model)


async def test_an_unknown_model_name_means_decide_by_score(sides: TwoSides) -> None:
    assert (await sides.ask(EASY, model="gpt-9")).headers["x-router-target"] == "local"
    assert (await sides.ask(HARD, model="gpt-9")).headers["x-router-target"] == "cloud"


async def test_a_wrong_force_header_is_refused(sides: TwoSides) -> None:
    answer = await sides.ask(EASY, force="moon")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "X-Force-Route"


async def test_the_cloud_answers_when_the_local_server_is_down(sides: TwoSides) -> None:
    await sides.local.stop()
    answer = await sides.ask(EASY)
    assert answer.json()["choices"][0]["message"]["content"] == "cloud says hello"
    assert answer.headers["x-router-reason"] == "local_down"
    await sides.local.start()


async def test_the_local_model_answers_when_the_cloud_fails(sides: TwoSides) -> None:
    sides.cloud.script = refusing
    answer = await sides.ask(HARD)
    assert answer.json()["choices"][0]["message"]["content"] == "local says hello"
    assert answer.headers["x-router-reason"] == "cloud_down"


async def test_without_a_cloud_key_everything_stays_local() -> None:
    async with running(anthropic_api_key=None) as sides:
        answer = await sides.ask(HARD)
        assert answer.headers["x-router-target"] == "local"
        assert answer.headers["x-router-reason"] == "cloud_unconfigured"


async def test_a_forced_side_never_changes_and_gives_its_own_error(sides: TwoSides) -> None:
    sides.local.script = refusing
    answer = await sides.ask(EASY, force="local")
    assert answer.status_code == 502
    assert "out of order" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert not sides.cloud.requests


async def test_when_no_side_can_answer_the_error_says_what_to_do() -> None:
    async with running(anthropic_api_key=None) as sides:
        await sides.local.stop()
        answer = await sides.ask(EASY)
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert "ANTHROPIC_API_KEY" in message
        assert sides.local.url in message
        await sides.local.start()


async def test_a_request_with_a_key_in_it_never_leaves_the_machine(sides: TwoSides) -> None:
    secret = "AKIA" + "QWERTYUIOPASDFGH"
    kept = await sides.ask(f"{HARD} My key is {secret}.")
    assert (kept.headers["x-router-target"], kept.headers["x-router-reason"]) == (
        "local",
        "private",
    )
    refused = await sides.ask(f"My key is {secret}.", force="cloud")
    assert refused.status_code == 409
    assert secret not in refused.text
    assert not sides.cloud.requests


async def test_classify_shows_the_decision_without_calling_a_model(sides: TwoSides) -> None:
    answer = await sides.http.post("/classify", json={"prompt": HARD})
    body = answer.json()
    assert body["target"] == "cloud"
    assert body["reason"] == "complex"
    assert body["threshold"] == THRESHOLD
    assert set(body["signals"]) == {
        "token_count",
        "complex_keywords",
        "simple_keywords",
        "structure",
        "reasoning_cues",
        "conversation",
        "local_model",
    }
    assert body["score"] == pytest.approx(min(100, max(0, sum(body["signals"].values()))), abs=0.5)
    words = {word for reason in body["evidence"] for word in reason["words"]}
    assert {"design", "prove", "distributed", "first"} <= words
    assert not sides.local.requests
    assert not sides.cloud.requests


async def test_classify_scores_even_if_no_side_can_answer() -> None:
    async with running(anthropic_api_key=None) as sides:
        await sides.local.stop()
        answer = await sides.http.post("/classify", json={"prompt": HARD})
        body = answer.json()
        assert (answer.status_code, body["target"]) == (200, None)
        assert body["score"] >= THRESHOLD
        assert "ANTHROPIC_API_KEY" in body["error"]
        await sides.local.start()


async def test_models_lists_what_can_be_asked_for(sides: TwoSides) -> None:
    listed = [model.id async for model in sides.client.models.list()]
    assert listed == ["auto", "local", "cloud", "local-model", "claude-model"]
    assert (await sides.client.models.retrieve("local-model")).owned_by == "local"
    with pytest.raises(openai.NotFoundError):
        await sides.client.models.retrieve("no-such-model")


async def test_health_says_what_each_side_can_do(sides: TwoSides) -> None:
    health = (await sides.http.get("/health")).json()
    assert health["status"] == "ok"
    assert health["local"]["up"]
    assert health["local"]["model"] == "local-model"
    assert health["cloud"]["model"] == "claude-model"


async def test_paths_without_v1_work_too(sides: TwoSides) -> None:
    body = {"messages": [{"role": "user", "content": EASY}]}
    assert (await sides.http.post("/chat/completions", json=body)).status_code == 200
    assert (await sides.http.get("/models")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "unknown_url"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
    ],
)
async def test_errors_have_openais_shape(
    sides: TwoSides, method: str, path: str, status: int, code: str
) -> None:
    answer = await sides.http.request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code


async def test_a_bad_body_is_refused_with_the_field_that_is_wrong(sides: TwoSides) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sides.client.chat.completions.create(model="auto", messages=[])
    assert caught.value.param == "messages"


async def test_the_key_is_asked_for_when_it_is_set() -> None:
    async with running(router_api_key="a-long-random-text") as sides:
        assert (await sides.ask(EASY)).status_code == 401
        headers = {"Authorization": "Bearer a-long-random-text"}
        body = {"messages": [{"role": "user", "content": EASY}]}
        good = await sides.http.post("/v1/chat/completions", json=body, headers=headers)
        assert good.status_code == 200


async def test_the_users_threshold_counts(sides: TwoSides) -> None:
    async with running(complexity_threshold=100) as patient:
        assert (await patient.ask(HARD)).headers["x-router-target"] == "local"
    async with running(complexity_threshold=0) as eager:
        assert (await eager.ask(EASY)).headers["x-router-target"] == "cloud"


def test_the_classifier_sends_our_labelled_prompts_where_a_person_would() -> None:
    results = labelled()
    assert len(results) >= 80
    assert accuracy(results) >= BAR


# --- the script ----------------------------------------------------------------------------------

Labelled = tuple[dict[str, Any], float, bool]
"""A labelled prompt, its score, and whether it goes where a person would send it."""


def labelled() -> list[Labelled]:
    results = []
    for line in PROMPTS.read_text("utf-8").splitlines():
        row = json.loads(line)
        messages = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
        score = score_messages(messages)
        target = "cloud" if score.total >= THRESHOLD else "local"
        results.append((row, score.total, target == row["expect"]))
    return results


def accuracy(results: list[Labelled]) -> float:
    return sum(right for _, _, right in results) / len(results)


def report(results: list[Labelled]) -> None:
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row, score, right in results:
        kinds[row["kind"]].append(right)
        if not right:
            text = " ".join(str(row.get("prompt") or row["messages"][-1]["content"]).split())
            print(f"missed  {score:3.0f}, expected {row['expect']:5}  {text[:90]}")
    for kind, rights in sorted(kinds.items()):
        print(f"{kind:20} {sum(rights):3} of {len(rights)}")
    print(f"accuracy {accuracy(results):.1%} of {len(results)} prompts (bar {BAR:.0%})")


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the classifier, and the sides.")
    parser.add_argument("--live", action="store_true", help="also call every configured side")
    options = parser.parse_args()
    results = labelled()
    report(results)
    good = accuracy(results) >= BAR
    if options.live:
        good &= asyncio.run(live())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
