"""LOCAL_CONFIDENCE=on: unsure local answers start over on the cloud, and others do not."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from router.answers.calibration import Calibration, Calibrations, Curve
from router.answers.confidence import Signal
from router.answers.self_check import QUESTION
from router.classifier import score_messages
from router.wire import sse
from tests.support.backend_answers import models
from tests.support.running_app import RunningApp, running_app
from tests.support.scripted import Connection, Request, Script

MESSAGES = [{"role": "user", "content": "Name the capital of Australia."}]
THRESHOLD = score_messages(MESSAGES).total + 5
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def rated(word: str, p: float, **others: float) -> dict[str, Any]:
    listed = [{"token": t, "logprob": math.log(q)} for t, q in ({word: p} | others).items()]
    return listed[0] | {"top_logprobs": listed}


def model(p: float = 0.5, words: int = 3, p_yes: float | None = None, rates: bool = True) -> Script:
    """A local model that is as sure of each word as this, and of its answer when asked."""

    async def answer(connection: Connection, request: Request) -> None:
        body = request.json
        if body["messages"][-1]["content"] == QUESTION:
            logprobs = p_yes and {"content": [rated("Y", p_yes, N=1 - p_yes)]}
            message = {"role": "assistant", "content": "Y"}
            choice = {"message": message, "logprobs": logprobs, "finish_reason": "stop"}
            await connection.answer(orjson.dumps({"choices": [choice]}))
            return
        rate = rates and body.get("logprobs") is True
        said = [f"w{number} " for number in range(words)]
        if body.get("stream"):
            events = [
                {"index": 0, "delta": {"content": word}}
                | ({"logprobs": {"content": [rated(word, p)]}} if rate else {})
                for word in said
            ]
            chunks = [sse.event({"choices": [event]}) for event in events]
            end = sse.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            await connection.stream(*chunks, end, sse.DONE)
            return
        message = {"role": "assistant", "content": "".join(said)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        if rate:
            choice["logprobs"] = {"content": [rated(word, p) for word in said]}
        await connection.answer(orjson.dumps({"choices": [choice], "model": "local-model"}))

    return answer


@asynccontextmanager
async def judging(
    tmp_path: Path, local: Script, *signals: Signal, **settings: Any
) -> AsyncIterator[RunningApp]:
    """The server with calibrations by which a probability of one half is the least."""
    for signal in signals:
        calibration = Calibration("local-model", signal, Curve(-2.0, 1.0, 60), least=0.5)
        path = tmp_path / "calibrations.json"
        Calibrations.load(path).keep(path, calibration)
    defaults: dict[str, Any] = {
        "local_confidence": "on",
        "complexity_threshold": THRESHOLD,
        "journal_path": str(tmp_path / "journal.db"),
    }
    probe = partial(models, owner="llamacpp")
    async with running_app(local, local_models=probe, **defaults | settings) as app:
        yield app


async def ask(app: RunningApp, **fields: Any) -> httpx2.Response:
    body = {"messages": MESSAGES, **fields}
    return await app.http.post("/v1/chat/completions", json=body)


def side(answer: httpx2.Response) -> str:
    return answer.headers["x-router-target"]


def route(answer: httpx2.Response) -> tuple[str, str]:
    return answer.headers["x-router-target"], answer.headers["x-router-reason"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_unsure_answer_starts_over_on_the_cloud(tmp_path: Path, stream: bool) -> None:
    async with judging(tmp_path, model(p=0.5), "words") as app:
        answer = await ask(app, stream=stream)
        assert route(answer) == ("cloud", "escalated")
        assert "w0" not in answer.text
        assert app.last.answer["probability"] < 0.5
        assert [attempt.error for attempt in app.last.attempts] == ["UnsureAnswer"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_sure_answer_stays(tmp_path: Path, stream: bool) -> None:
    async with judging(tmp_path, model(p=0.99), "words") as app:
        answer = await ask(app, stream=stream)
        assert side(answer) == "local"
        assert "w2" in answer.text
        assert "logprob" not in answer.text
        assert app.last.answer["probability"] > 0.5


async def test_the_conversation_goes_on_locally_after_an_unsure_answer(tmp_path: Path) -> None:
    answers = iter((model(p=0.5), model(p=0.99)))

    async def sure_the_second_time(connection: Connection, request: Request) -> None:
        await next(answers)(connection, request)

    async with judging(tmp_path, sure_the_second_time, "words") as app:
        assert side(await ask(app)) == "cloud"
        said = {"role": "assistant", "content": "Canberra."}
        after = [*MESSAGES, said, {"role": "user", "content": "Thanks!"}]
        answer = await ask(app, messages=after)
        assert side(answer) == "local"


@pytest.mark.parametrize(
    ("signals", "settings", "headers"),
    [
        (("words",), {"local_confidence": "shadow"}, {}),
        (("words",), {"local_confidence": "off"}, {}),
        (("words",), {"complexity_threshold": 100}, {}),
        ((), {}, {}),
        (("words",), {}, {"X-Force-Route": "local"}),
        (("words",), {"private_patterns": ("Australia",)}, {}),
        (("words",), {"anthropic_api_key": None}, {}),
    ],
    ids=["shadow", "off", "easy", "not calibrated", "forced", "private", "no cloud"],
)
async def test_an_unsure_answer_is_sent_if_it_may_not_be_judged(
    tmp_path: Path,
    signals: tuple[Signal, ...],
    settings: dict[str, Any],
    headers: dict[str, str],
) -> None:
    async with judging(tmp_path, model(p=0.5), *signals, **settings) as app:
        body = {"messages": MESSAGES}
        answer = await app.http.post("/v1/chat/completions", json=body, headers=headers)
        assert side(answer) == "local"


async def test_a_long_stream_is_sent_unjudged_and_a_long_whole_answer_checked(
    tmp_path: Path,
) -> None:
    async with judging(tmp_path, model(p=0.5, words=50, p_yes=0.2), "words", "check") as app:
        assert side(await ask(app, stream=True)) == "local"
        assert side(await ask(app)) == "cloud"
        assert app.last.answer["check_ms"] > 0
    async with judging(tmp_path, model(p=0.5, words=50, p_yes=0.99)) as app:
        assert side(await ask(app)) == "local"


async def test_a_model_without_probabilities_is_asked_about_its_answer(tmp_path: Path) -> None:
    async with judging(tmp_path, model(rates=False, p_yes=0.2), "check") as app:
        assert route(await ask(app)) == ("cloud", "escalated")


async def test_a_server_that_never_says_how_sure_it_is_is_not_asked_for_ever(
    tmp_path: Path,
) -> None:
    asked: list[str] = []
    answering = model(rates=False, p_yes=None)

    async def local(connection: Connection, request: Request) -> None:
        asked.append(request.json["messages"][-1]["content"])
        await answering(connection, request)

    async with judging(tmp_path, local, "check") as app:
        for _ in range(6):
            assert side(await ask(app)) == "local"
    assert asked.count(QUESTION) == 3
