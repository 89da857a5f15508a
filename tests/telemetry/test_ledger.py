"""The ledger: what of a request is written down, and what never is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from router.errors import RouterError
from router.events import Usage
from router.request import ChatRequest
from router.state import team
from router.telemetry.ledger import Entry
from router.telemetry.log_line import request_line
from router.telemetry.record import Record
from tests.support.backend_answers import claude_answer, local_answer
from tests.support.keys import CANARIES
from tests.support.running_app import local_side, refusing, running_app
from tests.support.scripted import Connection, Request, Script
from tests.support.waiting import settled
from web.asgi import CONNECTION

SECRET = CANARIES["AWS id"]
OWN_KEY = "open sesame, mountain"
FOX = "Why does the quick brown fox jump over the lazy dog?"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_is_recorded_with_everything_that_explains_it(stream: bool) -> None:
    async with running_app() as h:
        headers = {"user-agent": "curl/8"}
        await h.ask("What is 2 + 2?", body={"stream": stream, "model": "auto"}, headers=headers)
        record = h.last
    assert (record.target, record.backend, record.model) == ("local", "local", "local-model")
    assert (record.reason, record.outcome, record.status) == ("simple", "done", 200)
    assert record.score == pytest.approx(max(0.0, sum(record.signals.values())), abs=0.1)
    assert len(record.signals) == 7
    assert (record.asked_model, record.user_agent, record.stream) == ("auto", "curl/8", stream)
    assert record.usage is not None
    assert (record.usage.prompt_tokens, record.usage.completion_tokens) == (7, 5)
    assert record.first_byte_ms is not None
    assert record.total_ms is not None
    assert 0 < record.first_byte_ms <= record.total_ms
    assert record.cost_usd == 0
    assert record.saved_usd == pytest.approx((7 * 3 + 5 * 15) / 1e6)
    assert record.prompt is None
    assert (record.fallback, record.forced, record.private) == (False, False, False)


async def test_the_tokens_of_a_stream_are_known_also_when_the_caller_did_not_ask_for_them() -> None:
    async with running_app() as h:
        answer = await h.ask("What is 2 + 2?", body={"stream": True})
        assert b'"usage"' not in answer.content
        assert h.last.usage is not None


async def test_a_failed_candidate_is_recorded_with_its_reason() -> None:
    async with running_app(local=refusing(500, "out of memory")) as h:
        answer = await h.ask("What is 2 + 2?")
        record = h.last
    assert answer.status_code == 200
    assert (record.target, record.reason, record.fallback) == ("cloud", "escalated", True)
    (attempt,) = record.attempts
    assert (attempt.backend, attempt.model, attempt.error) == (
        *("local", "local-model"),
        "BackendBroken",
    )
    assert "out of memory" in attempt.message
    assert attempt.ms > 0


@pytest.mark.parametrize("says", [f"cannot parse {FOX!r}", f"input: …{FOX[12:44]}…"])
@pytest.mark.parametrize("kept", [False, True])
async def test_a_message_that_quotes_the_prompt_is_stored_only_with_journal_prompts(
    says: str, kept: bool
) -> None:
    async with running_app(
        local=refusing(500, says), journal_prompts=kept, unsure_target="local"
    ) as h:
        await h.ask(FOX)
        (attempt,) = h.last.attempts
    assert ("brown fox" in attempt.message) is kept
    assert attempt.error == "BackendBroken"


@pytest.mark.parametrize("kept", [False, True])
async def test_a_message_that_quotes_a_tool_call_is_stored_only_with_journal_prompts(
    kept: bool,
) -> None:
    function = {"name": "note", "arguments": orjson.dumps({"text": FOX}).decode()}
    call = {"id": "call_1", "type": "function", "function": function}
    messages = [
        {"role": "user", "content": "Note it."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    async with running_app(
        local=refusing(500, f"cannot parse {FOX!r}"), journal_prompts=kept, unsure_target="local"
    ) as h:
        await h.ask("", body={"messages": messages})
        (attempt,) = h.last.attempts
    assert ("brown fox" in attempt.message) is kept
    assert attempt.error == "BackendBroken"


async def test_a_message_of_several_attempts_is_searched_for_quotations_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[str] = []

    def searching(message: str, *bodies: Mapping[str, Any]) -> bool:
        searched.append(message)
        return "quick" in message

    monkeypatch.setattr("router.telemetry.ledger.quotes", searching)
    entry = Entry("request")
    entry.asked(ChatRequest({"prompt": FOX}))
    for _ in range(3):
        assert not entry.is_quoted_in("out of memory")
        assert entry.is_quoted_in(f"cannot parse {FOX!r}")
    assert len(searched) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/completions", {"prompt": FOX}), ("/v1/embeddings", {"input": [FOX]})],
)
async def test_a_message_that_quotes_a_relayed_text_is_not_stored(
    path: str, body: dict[str, Any]
) -> None:
    async with running_app(local=refusing(400, f"cannot read {FOX!r}")) as h:
        answer = await h.http.post(path, json=body)
        record = h.last
    assert "brown fox" in answer.text
    assert (record.status, record.message) == (400, "")


async def test_the_stored_prompt_is_the_humans_text() -> None:
    async with running_app(journal_prompts=True) as h:
        await h.ask("<system-reminder>Today is Monday.</system-reminder>\n\nWhat is 2 + 2?")
        assert h.last.prompt == "What is 2 + 2?"


@pytest.mark.parametrize(
    ("headers", "local", "status"),
    [
        ({}, local_side, 200),
        ({}, refusing(500, f"broken by {SECRET}"), 502),
        ({"x-force-route": "cloud"}, local_side, 409),
    ],
    ids=["answered", "failed", "refused"],
)
async def test_nothing_of_a_private_request_is_kept(
    headers: dict[str, str], local: Script, status: int
) -> None:
    async with running_app(local=local, journal_prompts=True) as h:
        body = {"model": "a-name"}
        answer = await h.ask(f"Is {SECRET} a good key?", headers=headers, body=body)
        record = h.last
    assert answer.status_code == status
    assert record.prompt is None
    assert (record.asked_model, record.user_agent) == ("", "")
    assert (record.conversation, record.question) == ("", "")
    assert SECRET not in repr(record)


@pytest.mark.parametrize(
    ("settings", "body", "headers", "status"),
    [
        ({}, {"tools": "all"}, {}, 400),
        ({}, {}, {"x-force-route": "moon"}, 400),
        ({"anthropic_api_key": None}, {}, {"x-force-route": "cloud"}, 503),
        ({"sides": ("local",)}, {}, {"x-force-route": "cloud"}, 403),
    ],
    ids=["wrong field", "wrong header", "no cloud", "side not allowed"],
)
async def test_a_refused_request_is_recorded_with_its_caller_client_and_model(
    settings: dict[str, Any],
    body: dict[str, Any],
    headers: dict[str, str],
    status: int,
    tmp_path: Path,
) -> None:
    settings = dict(settings)
    sides = settings.pop("sides", team.SIDES)
    file = tmp_path / "keys.json"
    key = team.add(file, "ana", budget_usd_per_day=None, sides=sides)
    sent = {"authorization": f"Bearer {key}", "user-agent": "curl/8", **headers}
    settings |= {"router_keys_file": str(file), "router_api_key": OWN_KEY}
    async with running_app(**settings) as h:
        answer = await h.ask(FOX, headers=sent, body={"model": "auto", **body})
        record = h.last
        as_admin = {"authorization": f"Bearer {OWN_KEY}"}
        listed = await h.http.get("/decisions?client=curl", headers=as_admin)
    assert (answer.status_code, record.target) == (status, None)
    assert (record.caller, record.user_agent, record.asked_model) == ("ana", "curl/8", "auto")
    assert (record.conversation, record.question) == ("", "")
    assert [one["id"] for one in listed.json()["decisions"]] == [record.id]


async def test_nothing_is_kept_of_a_private_request_that_is_refused_for_a_linked_picture() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    content = [{"type": "text", "text": f"Is {SECRET} in it?"}, picture]
    async with running_app(offline=True) as h:
        messages = [{"role": "user", "content": content}]
        answer = await h.ask("", body={"model": "a-name", "messages": messages})
        record = h.last
    assert (answer.status_code, record.private) == (400, True)
    assert (record.asked_model, record.user_agent) == ("", "")


async def test_nothing_is_kept_of_a_request_that_failed_before_it_was_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("router.router.Router.decide", broken)
    async with running_app() as h:
        answer = await h.ask(FOX, body={"model": "a-name"})
        record = h.last
    assert answer.status_code == 500
    assert (record.asked_model, record.user_agent) == ("", "")


async def test_a_failure_that_quotes_a_private_prompt_is_kept_without_its_words() -> None:
    local = refusing(500, f"cannot parse {FOX!r}")
    async with running_app(local=local, journal_prompts=True) as h:
        await h.ask(f"{FOX} The key is {SECRET}.")
        (attempt,) = h.last.attempts
    assert (attempt.error, attempt.message) == ("BackendBroken", "")


async def test_a_key_in_a_servers_error_is_not_kept() -> None:
    async with running_app(local=refusing(500, f"bad key {SECRET}")) as h:
        await h.ask(FOX)
        (attempt,) = h.last.attempts
    assert "bad key" in attempt.message
    assert SECRET not in attempt.message


@pytest.mark.parametrize(
    ("message", "kept"),
    [("a" * 500, "a" * 500), ("a" * 501, "a" * 499 + "…")],
    ids=["fits", "too long"],
)
def test_a_message_is_kept_to_500_characters_and_a_cut_one_says_so(message: str, kept: str) -> None:
    entry = Entry("request")
    entry.failed(RouterError(message))
    assert entry.record.message == kept
    assert request_line(entry.record).endswith(kept)


async def test_the_routers_own_key_in_a_servers_error_is_not_kept() -> None:
    local = refusing(500, f"bad key {OWN_KEY}")
    async with running_app(local=local, router_api_key=OWN_KEY) as h:
        await h.ask(FOX, headers={"authorization": f"Bearer {OWN_KEY}"})
        (attempt,) = h.last.attempts
    assert "bad key" in attempt.message
    assert OWN_KEY not in attempt.message


@pytest.mark.parametrize(
    ("said", "quotes"),
    [
        ("out of memory", False),
        (f"cannot read {FOX[:24]!r}", True),
        (f"cannot read {FOX[4:32]!r}", True),
        (f"cannot read {FOX[:12]!r}", False),
        (f"cannot read {FOX.upper()!r}", False),
    ],
)
async def test_a_few_words_of_the_prompt_are_a_quotation(said: str, quotes: bool) -> None:
    async with running_app(local=refusing(500, said)) as h:
        await h.ask(FOX)
        (attempt,) = h.last.attempts
    assert (attempt.message == "") is quotes


async def test_a_short_prompt_is_recognised_as_a_whole() -> None:
    for prompt, said, quotes in (("ping", "no ping today", True), ("hi", "nothing", False)):
        async with running_app(local=refusing(500, said)) as h:
            await h.ask(prompt)
            (attempt,) = h.last.attempts
        assert (attempt.message == "") is quotes, prompt


async def test_one_request_that_cannot_be_recorded_loses_no_other(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_app() as h:
        ledger = h.assembly.ledger
        price = ledger.prices.price

        def fails_once(record: Record) -> None:
            if record.id == "b":
                raise RuntimeError("odd")
            price(record)

        monkeypatch.setattr(type(ledger.prices), "price", lambda _, record: fails_once(record))
        for id in "abc":
            ledger.end_soon(Entry(id), None)
        kept = {record.id for record in ledger.journal.recent()}
    assert kept == {"a", "c"}
    assert "internal error while recording request b" in caplog.text


async def test_records_are_written_by_themselves_a_moment_after_the_end() -> None:
    async with running_app() as h:
        ledger = h.assembly.ledger
        ledger.end_soon(Entry("a"), None)
        assert ledger._journal.recent() == []
        await settled(lambda: bool(ledger._journal.recent()), "nothing was written", 5)


async def test_an_invalid_body_is_recorded_as_a_failure_without_a_side() -> None:
    async with running_app() as h:
        assert (await h.ask("?", body={"messages": []})).status_code == 400
        record = h.last
    assert (record.target, record.reason, record.outcome) == (None, "", "failed")
    assert (record.status, record.error) == (400, "InvalidRequest")


async def test_a_caller_that_leaves_is_recorded_as_left() -> None:
    async def silent(connection: Connection, request: Request) -> None:
        leaves[0]()
        await connection.silence()

    async with running_app(cloud=silent) as h:
        body = orjson.dumps({"model": "cloud", "messages": [{"role": "user", "content": "hi"}]})
        leaves: list[Callable[[], None]] = []

        def watch(on_disconnect: Callable[[], None]) -> bool:
            leaves.append(on_disconnect)
            return True

        caller = SimpleNamespace(watch=watch, unwatch=leaves.remove)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            raise AssertionError("the caller has left")

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "state": {CONNECTION: caller},
        }
        await h.app(scope, receive, send)
        record = h.last
    assert (record.target, record.outcome, record.status) == ("cloud", "left", 499)


@pytest.mark.parametrize("counts", [True, False])
async def test_a_cloud_answer_that_breaks_off_costs_what_was_counted(counts: bool) -> None:
    async def breaking(connection: Connection, request: Request) -> None:
        body, _ = claude_answer(request, calls=False)
        begun = body[: body.index(b"message_delta") - 20]
        await connection.begin_stream()
        await connection.chunk(begun if counts else begun.replace(b'"usage"', b'"other"'))
        connection.reset()

    async with running_app(cloud=breaking) as h:
        await h.ask("hi", headers={"x-force-route": "cloud"}, body={"stream": True})
        record = h.last
        metrics = (await h.http.get("/metrics")).text
        stats = (await h.http.get("/stats")).json()
    assert record.outcome == "failed"
    assert (record.cost_usd is not None) == counts
    assert (stats["totals"]["cost_usd"] > 0) == counts
    assert record.unpriced, "the rest of the answer was not counted"
    assert "llm_router_unpriced_total 1.0" in metrics
    assert stats["totals"]["unpriced"] == 1


async def test_a_cloud_that_was_never_reached_cost_nothing() -> None:
    async with running_app(cloud=refusing(529, "overloaded")) as h:
        await h.ask("hi", headers={"x-force-route": "cloud"})
        record = h.last
    assert record.outcome == "failed"
    assert not record.unpriced


async def test_once_the_budget_is_spent_prompts_stay_local() -> None:
    async with running_app(cloud_budget_usd_per_day=0.00001, complexity_threshold=0) as h:
        first, second = await h.ask("What is 2 + 2?"), await h.ask("What is 2 + 2?")
        forced = await h.ask("What is 2 + 2?", headers={"x-force-route": "cloud"})
        stats = (await h.http.get("/stats")).json()
    said = [(a.headers["x-router-target"], a.headers["x-router-reason"]) for a in (first, second)]
    assert said == [("cloud", "complex"), ("local", "budget")]
    assert forced.headers["x-router-target"] == "cloud"
    assert stats["spent_today_usd"] == pytest.approx(2 * (7 * 3 + 5 * 15) / 1e6)


@pytest.mark.parametrize("says", ["header", "model"])
async def test_asking_the_cloud_again_marks_the_local_answer_as_bad(says: str) -> None:
    again: dict[str, Callable[[], dict[str, Any]]] = {
        "header": lambda: {"headers": {"x-force-route": "cloud"}},
        "model": lambda: {"body": {"model": "cloud"}},
    }
    async with running_app() as h:
        await h.ask("What is 2 + 2?")
        await h.ask("What is 2 + 2?", **again[says]())
        _, first = h.assembly.ledger.journal.recent(2)
        assert (first.feedback, first.feedback_source) == ("bad", "repeat")


async def test_absurd_token_counts_break_nothing() -> None:
    async def absurd(connection: Connection, request: Request) -> None:
        body, _ = local_answer(request, calls=False)
        await connection.answer(body.replace(b'"prompt_tokens":7', b'"prompt_tokens":-7'))

    async with running_app(local=absurd) as h:
        assert (await h.ask("What is 2 + 2?")).status_code == 200
        assert h.last.usage == Usage(0, 5)
        assert 'kind="prompt",target="local"} 0.0' in (await h.http.get("/metrics")).text


@pytest.mark.parametrize(("model", "kept"), [("claude-sonnet-4-6", True), ("made-up-9", False)])
async def test_a_budget_that_cannot_be_kept_is_a_warning_at_the_start(
    model: str, kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_app(cloud_budget_usd_per_day=1, anthropic_model=model) as h:
        await h.assembly.start()
    assert ("CLOUD_BUDGET_USD_PER_DAY cannot be enforced" in caplog.text) is not kept
