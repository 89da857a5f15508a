"""The gates of a decision end to end: LM Studio's models, privacy, background work, queues."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import pytest

from config import load_settings
from router.build import assemble
from router.parts.assembly import Assembly
from router.wire import sse
from tests.support.keys import CANARIES
from tests.support.scripted import Connection, Request, ScriptedServer, scripted
from tests.support.two_sides import EASY, HARD, cloud_side
from web.app import create_app

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
TITLE = "### Task:\nGenerate a concise title summarizing the chat history.\n<chat_history>Hi"
SECRET = CANARIES["GitHub"]


@dataclass
class Studio:
    """A stand-in for LM Studio: its models and its answers."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Models by name: context (0: not loaded), vision, tools."""
    loads: int = 0
    loading_s: float = 0
    fails_to_load: bool = False
    said: dict[str, Any] = field(default_factory=lambda: {"content": "local says hello"})
    started: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def probe(self, connection: Connection, request: Request) -> None:
        if request.path != "/api/v1/models":
            await connection.answer(b'{"error": "Unexpected endpoint"}')
            return
        listed = [
            {
                "type": "llm",
                "key": name,
                "loaded_instances": [
                    {"id": name, "config": {"context_length": model["context"]}}
                    for _ in range(model["context"] > 0)
                ],
                "max_context_length": 32768,
                "capabilities": {"vision": model["vision"], "trained_for_tool_use": model["tools"]},
            }
            for name, model in self.models.items()
        ]
        await connection.answer(orjson.dumps({"models": listed}))

    async def script(self, connection: Connection, request: Request) -> None:
        name = request.json["model"]
        self.started.append(name)
        model = self.models.get(name)
        if model is not None and not model["context"]:
            self.loads += 1
            await asyncio.sleep(self.loading_s)
            if self.fails_to_load:
                await connection.answer(b'{"error": "Failed to load model"}', 500)
                return
            model["context"] = 8192
        if self.hold is not None:
            await self.hold.wait()
        said = {"role": "assistant", **self.said}
        end = "tool_calls" if "tool_calls" in said else "stop"
        body = {"id": "c", "object": "chat.completion", "created": 1, "model": name}
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        if request.json.get("stream"):
            delta = {"index": 0, "delta": said, "finish_reason": None}
            last = {"index": 0, "delta": {}, "finish_reason": end}
            events = [{**body, "usage": None, "choices": [choice]} for choice in (delta, last)]
            events.append(body | {"choices": []})
            await connection.stream(*map(sse.event, events), sse.DONE)
        else:
            choice = {"index": 0, "message": said, "finish_reason": end}
            await connection.answer(orjson.dumps(body | {"choices": [choice]}))


def loaded(context: int = 8192, *, vision: bool = False, tools: bool = True) -> dict[str, Any]:
    return {"context": context, "vision": vision, "tools": tools}


@dataclass
class Gateway:
    """The app under test and its scripted backends."""

    studio: Studio
    local: ScriptedServer
    cloud: ScriptedServer
    http: httpx2.AsyncClient
    assembly: Assembly

    async def post(
        self, path: str, body: dict[str, Any], force: str | None = None
    ) -> httpx2.Response:
        headers = {"X-Force-Route": force} if force else {}
        return await self.http.post(path, json=body, headers=headers)

    async def ask(self, said: Any, force: str | None = None, **fields: Any) -> httpx2.Response:
        """Ask one question, or send a whole conversation, as a chat completion."""
        messages = said if isinstance(said, list) else [{"role": "user", "content": said}]
        return await self.post("/v1/chat/completions", {"messages": messages, **fields}, force)

    async def why(self, said: Any, **fields: Any) -> tuple[str | None, str | None]:
        return why(await self.ask(said, **fields))


def why(answer: httpx2.Response) -> tuple[str | None, str | None]:
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-router-target"), answer.headers.get("x-router-reason")


@asynccontextmanager
async def gateway(studio: Studio, **overrides: Any) -> AsyncIterator[Gateway]:
    async with scripted(studio.script, studio.probe) as local, scripted(cloud_side) as cloud:
        given = {
            "local_base_url": f"{local.url}/v1",
            "local_model": "qwen",
            "anthropic_api_key": "sk-ant-not-a-real-key",
            "anthropic_base_url": cloud.url,
            "anthropic_model": "claude-model",
            "embedded_model": "off",
            "journal_path": "off",
            "status_ttl_s": 0.05,
            **overrides,
        }
        unset = {name: value for name, value in given.items() if value is not None}
        settings = load_settings(None, **unset)
        assembly = assemble(settings)
        transport = httpx2.ASGITransport(create_app(settings, assembly))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            try:
                yield Gateway(studio, local, cloud, http, assembly)
            finally:
                await assembly.aclose()


def lines(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [text for record in caplog.records if words in (text := record.getMessage())]


# --- abilities of the loaded model ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "said", "fields", "reason", "fix"),
    [
        (loaded(), [{"type": "text", "text": EASY}, PICTURE], {}, "vision", "LOCAL_MODEL=gemma"),
        (loaded(tools=False), EASY, {"tools": [TOOL]}, "tools", "LOCAL_MODEL=gemma"),
        (
            loaded(4096),
            "word " * 3000,
            {},
            "context",
            "lms unload qwen && lms load qwen --context-length 8192",
        ),
    ],
)
async def test_a_prompt_beyond_the_loaded_context_goes_to_the_cloud_with_a_fix(
    model: dict[str, Any], said: Any, fields: dict[str, Any], reason: str, fix: str
) -> None:
    studio = Studio({"qwen": model, "gemma": loaded(0, vision=True)})
    async with gateway(studio, max_local_tokens=50_000) as h:
        messages = [{"role": "user", "content": said}]
        assert await h.why(messages, **fields) == ("cloud", reason)
        classified = (await h.post("/classify", {"messages": messages, **fields})).json()
        assert (classified["reason"], classified["fix"]) == (reason, fix)
        (decided,) = (await h.http.get("/decisions")).json()["decisions"]
        assert (decided["reason"], decided["fix"]) == (reason, fix)
        assert studio.started == []


async def test_a_reloaded_model_is_noticed() -> None:
    studio = Studio({"qwen": loaded(4096)})
    system = {"role": "system", "content": "Be kind. " * 1500}
    async with gateway(studio) as h:
        assert await h.why([system, {"role": "user", "content": EASY}]) == ("cloud", "context")
        studio.models["qwen"] = loaded(16384)
        said = [system, {"role": "user", "content": "What is the capital of Italy?"}]
        async with asyncio.timeout(10):
            while (await h.post("/classify", {"messages": said})).json()["target"] == "cloud":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await h.why(said) == ("local", "simple")


async def test_the_only_loaded_model_answers_for_a_missing_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "router")
    async with gateway(Studio({"gemma": loaded()})) as h:
        await h.assembly.start()
        for name in ("auto", "qwen", "local"):
            answer = await h.ask(EASY, model=name)
            assert answer.headers["x-router-model"] == "gemma"
        health = (await h.http.get("/health")).json()["local"]
        assert (health["up"], health["detail"].partition(";")[0]) == (
            True,
            "LOCAL_MODEL=qwen is not on the server",
        )
    said = "local: gemma, ready, context 8192. LOCAL_MODEL=qwen is not on the server; its gemma"
    assert [line.startswith(said) for line in lines(caplog, "LOCAL_MODEL")] == [True]


async def test_without_a_setting_the_only_loaded_model_needs_no_advice() -> None:
    async with gateway(Studio({"gemma": loaded()}), local_model=None) as h:
        assert (await h.ask(EASY)).headers["x-router-model"] == "gemma"
        assert (await h.http.get("/health")).json()["local"]["detail"] == ""


async def test_with_several_loaded_models_the_error_lists_them() -> None:
    async with gateway(Studio({"gemma": loaded(), "phi": loaded()})) as h:
        assert await h.why(EASY) == ("cloud", "local_down")
        refused = await h.ask(EASY, force="local")
        assert refused.status_code == 503
        assert "set it to one of: gemma, phi" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("wanted", "said", "model"),
    [
        (None, "Thanks!", "qwen2.5-1.5b"),
        (None, "Explain why ice floats on water.", "qwen2.5-14b"),
        (None, TITLE, "qwen2.5-1.5b"),
        ("qwen2.5-14b", "Thanks!", "qwen2.5-14b"),
        ("qwen2.5-14b", TITLE, "qwen2.5-14b"),
    ],
)
async def test_of_several_loaded_models_the_smallest_that_suffices_answers_unless_one_is_set(
    wanted: str | None, said: str, model: str
) -> None:
    studio = Studio({"qwen2.5-14b": loaded(), "qwen2.5-1.5b": loaded(), "qwen2.5-72b": loaded(0)})
    async with gateway(studio, local_model=wanted) as h:
        answer = await h.ask(said)
        assert (answer.headers["x-router-target"], answer.headers["x-router-model"]) == (
            "local",
            model,
        )


async def test_a_conversation_stays_with_the_model_that_has_it_in_its_cache() -> None:
    studio = Studio({"qwen2.5-14b": loaded(), "qwen2.5-1.5b": loaded()})
    async with gateway(studio, local_model=None) as h:
        said = [{"role": "user", "content": "Explain why ice floats on water."}]
        first = await h.post("/v1/chat/completions", {"messages": said})
        said += [{"role": "assistant", "content": "It is lighter."}]
        said += [{"role": "user", "content": "Thanks!"}]
        second = await h.post("/v1/chat/completions", {"messages": said})
        answered = [one.headers["x-router-model"] for one in (first, second)]
        assert answered == ["qwen2.5-14b"] * 2


# --- forced --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["local", "Local", " LOCAL "])
async def test_a_side_is_named_in_any_case(name: str) -> None:
    async with gateway(Studio({"qwen": loaded()})) as h:
        assert why(await h.ask(HARD, model=name)) == ("local", "forced")


async def test_a_named_model_belongs_to_its_side_while_that_is_down() -> None:
    studio = Studio({"qwen": loaded(), "gemma": loaded(0)})
    async with gateway(studio) as h:
        assert await h.why(HARD, model="gemma") == ("local", "forced")
        await h.local.stop()
        assert await h.why(EASY) == ("cloud", "local_down")
        for name in ("qwen", "gemma", "local"):
            refused = await h.ask(EASY, model=name)
            assert refused.status_code == 503
        assert len(h.cloud.requests) == 1
        await h.local.start()


# --- a cold model --------------------------------------------------------------------------------


async def test_the_cloud_answers_while_a_cold_model_is_loaded_once() -> None:
    studio = Studio({"qwen": loaded(0)}, loading_s=0.3)
    async with gateway(studio) as h:
        answers = await asyncio.gather(*(h.why(f"{EASY} {n}") for n in range(5)))
        assert answers == [("cloud", "local_cold")] * 5
        await asyncio.sleep(0.5)
        assert await h.why(EASY) == ("local", "simple")
        assert studio.loads == 1


async def test_requests_that_wait_for_a_cold_model_share_one_load() -> None:
    studio = Studio({"qwen": loaded(0)}, loading_s=0.3)
    async with gateway(studio, cold_local="wait") as h:
        answers = await asyncio.gather(*(h.why(f"{EASY} {n}") for n in range(5)))
        assert answers == [("local", "simple")] * 5
        assert studio.loads == 1
        assert not h.cloud.requests


async def test_a_caller_that_waits_for_a_cold_model_gets_comments() -> None:
    studio = Studio({"qwen": loaded(0)}, loading_s=0.5)
    async with gateway(studio, cold_local="wait", keepalive_after_s=0.1) as h:
        answer = await h.ask(EASY, stream=True)
        first, _, rest = answer.text.partition("\n\n")
        assert first.startswith(":")
        assert "local says hello" in rest


async def test_a_model_that_cannot_be_loaded_is_not_tried_for_every_request() -> None:
    studio = Studio({"qwen": loaded(0)}, fails_to_load=True)
    async with gateway(studio) as h:
        for n in range(3):
            assert await h.why(f"{EASY} {n}") == ("cloud", "local_cold")
            await asyncio.sleep(0.1)
        assert studio.loads == 1


# --- background ----------------------------------------------------------------------------------


async def test_a_title_is_never_paid_for_while_a_local_server_runs() -> None:
    studio = Studio({"qwen": loaded()}, hold=asyncio.Event())
    async with gateway(studio, local_concurrency=1, local_queue=1) as h:
        people = asyncio.ensure_future(h.ask(EASY))
        await h.local.asked.wait()
        waiting = asyncio.ensure_future(h.ask(TITLE))
        await asyncio.sleep(0.1)
        full = await h.ask(TITLE)
        assert full.status_code == 429
        assert studio.hold is not None
        studio.hold.set()
        assert why(await people) == ("local", "simple")
        assert why(await waiting) == ("local", "background")
        studio.said = {"content": ""}
        assert await h.why(TITLE) == ("local", "background")
        assert not h.cloud.requests


@pytest.mark.parametrize(("key", "model"), [(None, "auto"), ("sk-ant-not-a-real-key", "local")])
async def test_without_another_side_a_request_waits_behind_a_full_queue(
    key: str | None, model: str
) -> None:
    studio = Studio({"qwen": loaded()}, hold=asyncio.Event())
    async with gateway(studio, local_concurrency=1, local_queue=1, anthropic_api_key=key) as h:
        asked = [asyncio.ensure_future(h.ask(EASY, model=model)) for _ in range(5)]
        await h.local.asked.wait()
        await asyncio.sleep(0.1)
        assert studio.hold is not None
        studio.hold.set()
        assert [why(await answer)[0] for answer in asked] == ["local"] * 5


async def test_a_prompt_goes_before_a_title_in_the_queue() -> None:
    studio = Studio({"qwen": loaded()}, hold=asyncio.Event())
    async with gateway(studio, local_concurrency=1, local_queue=4) as h:
        order: list[str] = []

        async def ask(name: str, said: str) -> None:
            await h.ask(said)
            order.append(name)

        first = asyncio.ensure_future(ask("first", EASY))
        await h.local.asked.wait()
        title = asyncio.ensure_future(ask("title", TITLE))
        await asyncio.sleep(0.05)
        person = asyncio.ensure_future(ask("person", f"{EASY} Really?"))
        await asyncio.sleep(0.05)
        assert studio.hold is not None
        studio.hold.set()
        await asyncio.gather(first, title, person)
        assert order == ["first", "person", "title"]


async def test_a_title_comes_from_the_cloud_when_there_is_no_local_side() -> None:
    async with gateway(Studio({"qwen": loaded()})) as h:
        await h.local.stop()
        assert await h.why(TITLE) == ("cloud", "local_down")
        await h.local.start()


# --- private -------------------------------------------------------------------------------------

PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": SECRET}]}),
    "a tool's result": (
        "/v1/chat/completions",
        {
            "messages": [
                {"role": "user", "content": HARD},
                {"role": "tool", "tool_call_id": "1", "content": f"TOKEN={SECRET}\n"},
            ]
        },
    ),
    "a field nobody reads": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": HARD}], "metadata": {"x": SECRET}},
    ),
    "a tool's description": (
        "/v1/chat/completions",
        {
            "messages": [{"role": "user", "content": HARD}],
            "tools": [{"type": "function", "function": {"name": "x", "description": SECRET}}],
        },
    ),
    "responses": ("/v1/responses", {"input": f"{HARD} {SECRET}"}),
    "responses, instructions": ("/v1/responses", {"input": HARD, "instructions": SECRET}),
    "messages, a tool's result": (
        "/v1/messages",
        {
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": HARD},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "x", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": SECRET}],
                },
            ],
        },
    ),
    "messages, thoughts": (
        "/v1/messages",
        {
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": HARD},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": SECRET, "signature": "s"},
                        {"type": "text", "text": "Well."},
                    ],
                },
                {"role": "user", "content": HARD},
            ],
        },
    ),
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_private_request_stays_local_wherever_the_secret_is(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    path, body = PLACES[place]
    async with gateway(Studio({"qwen": loaded()})) as h:
        assert why(await h.post(path, body)) == ("local", "private")
        assert lines(caplog, "GitHub token")
        refused = await h.post(path, body, "cloud")
        assert refused.status_code == 409
        message = refused.json()["error"]["message"]
        assert "GitHub token" in message
        assert "PRIVACY=off" in message
        named = re.search(r"finding (\w+)\)", message)
        assert named is not None
        assert f'POST /privacy/allow {{"id": "{named[1]}"}}' in message
        await h.local.stop()
        for _ in range(2):  # before the router knows it, and after
            gone = await h.post(path, body)
            assert (gone.status_code, "PRIVACY=off" in gone.text) == (503, True)
            await asyncio.sleep(0.1)
        assert not h.cloud.requests
        await h.local.start()
    assert SECRET not in caplog.text
    assert SECRET not in message


async def test_a_private_conversation_stays_local_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "router")
    turns = [{"role": "user", "content": HARD}]
    async with gateway(Studio({"qwen": loaded()})) as h:
        # System text does not identify a conversation; here the client drops the secret.
        with_secret = [{"role": "system", "content": f"The key is {SECRET}"}, *turns]
        assert await h.why(with_secret) == ("local", "private")
        for _ in range(3):
            turns += [
                {"role": "assistant", "content": "local says hello"},
                {"role": "user", "content": HARD},
            ]
            assert await h.why(turns) == ("local", "private")
        assert (await h.ask(turns, force="cloud")).status_code == 409
        assert await h.why(f"{HARD} Afresh.") == ("cloud", "complex")
    assert len(lines(caplog, "private: GitHub token")) == 1


async def test_a_private_response_is_followed_up_locally() -> None:
    async with gateway(Studio({"qwen": loaded()})) as h:
        first = await h.post("/v1/responses", {"input": f"{EASY} {SECRET}"})
        assert why(first) == ("local", "private")
        follow_up = {"input": HARD, "previous_response_id": first.json()["id"]}
        assert why(await h.post("/v1/responses", follow_up)) == ("local", "private")
        assert (await h.post("/v1/responses", follow_up, "cloud")).status_code == 409
        assert not h.cloud.requests


# --- a conversation ------------------------------------------------------------------------------


async def test_a_turn_that_the_cloud_began_stays_there_until_it_ends() -> None:
    studio = Studio({"qwen": loaded(0)}, loading_s=0.1)
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    turns: list[dict[str, Any]] = [{"role": "user", "content": EASY}]
    async with gateway(studio) as h:
        assert await h.why(turns, tools=[TOOL]) == ("cloud", "local_cold")
        await asyncio.sleep(0.4)
        turns += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "Paris"},
        ]
        assert await h.why(turns, tools=[TOOL]) == ("cloud", "inherited")
        turns += [
            {"role": "assistant", "content": "Paris."},
            {"role": "user", "content": "What is the capital of Italy?"},
        ]
        assert (await h.why(turns, tools=[TOOL]))[0] == "local"


# --- verification before the first byte -----------------------------------------------------------

DIALECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": EASY}]}),
    "responses": ("/v1/responses", {"input": EASY}),
    "messages": (
        "/v1/messages",
        {"max_tokens": 99, "messages": [{"role": "user", "content": EASY}]},
    ),
}
ARGUMENTS = '{"path": "hel'
BROKEN_CALL = {
    "content": None,
    "tool_calls": [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "look", "arguments": ARGUMENTS},
        }
    ],
}
NO_ANSWERS: list[dict[str, Any]] = [
    {"content": ""},
    {"content": "\n"},
    {"content": None, "reasoning_content": "Hm"},
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_unusable_answer_starts_over_on_the_cloud(dialect: str, stream: bool) -> None:
    studio = Studio({"qwen": loaded()})
    path, body = DIALECTS[dialect]
    async with gateway(studio) as h:
        for said in NO_ANSWERS:
            studio.said = said
            answer = await h.post(path, body | {"stream": stream})
            assert why(answer)[0] == "cloud"
            assert "cloud says hello" in answer.text
            assert "Hm" not in answer.text
        (first, *_) = reversed(h.assembly.ledger.journal.recent(10))
        assert (first.reason, first.target, first.fallback) == ("escalated", "cloud", True)
        assert first.usage is not None
        assert (first.usage.prompt_tokens, first.usage.completion_tokens) == (5, 3)
        assert [attempt.error for attempt in first.attempts] == ["NoUsableAnswer"]
        # The next turn skips the local model; another conversation still uses it.
        assert len(studio.started) == 1
        studio.said = {"content": "local says hello"}
        assert await h.why("What is the capital of Italy?") == ("local", "simple")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_broken_call_starts_over_on_the_cloud(stream: bool) -> None:
    studio = Studio({"qwen": loaded()}, said=BROKEN_CALL)
    async with gateway(studio) as h:
        answer = await h.ask(EASY, tools=[TOOL], stream=stream)
        assert why(answer) == ("cloud", "escalated")
        assert ARGUMENTS[1:] not in answer.text
        turns = [
            {"role": "user", "content": EASY},
            {"role": "assistant", "content": "cloud says hello"},
            {"role": "user", "content": "What is the capital of Italy?"},
        ]
        assert await h.why(turns, tools=[TOOL]) == ("cloud", "inherited")
        assert len(studio.started) == 1


def looked_again(times: int) -> list[dict[str, Any]]:
    """A tool loop in which the model has made the same call this often, with the same result."""
    function = {"name": "look", "arguments": '{"path": "a.py"}'}
    turns: list[dict[str, Any]] = [{"role": "user", "content": EASY}]
    for number in range(times):
        call = {"id": f"call_{number}", "type": "function", "function": function}
        turns += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "The file is empty."},
        ]
    return turns


async def test_the_cloud_takes_over_from_an_agent_that_goes_in_circles() -> None:
    async with gateway(Studio({"qwen": loaded()})) as h:
        assert await h.why(looked_again(1), tools=[TOOL]) == ("local", "simple")
        assert await h.why(looked_again(2), tools=[TOOL]) == ("local", "simple")
        assert await h.why(looked_again(3), tools=[TOOL]) == ("cloud", "stalled")
        said = {"role": "assistant", "content": "It is empty."}
        later = [*looked_again(3), said, {"role": "user", "content": "What is the time?"}]
        assert await h.why(later, tools=[TOOL]) == ("cloud", "inherited")


async def test_an_agent_that_goes_in_circles_is_recognised_after_a_restart() -> None:
    said = {"role": "assistant", "content": "It is empty."}
    later = [*looked_again(3), said, {"role": "user", "content": "What is the time?"}]
    async with gateway(Studio({"qwen": loaded()})) as h:
        assert await h.why(later, tools=[TOOL]) == ("cloud", "stalled")


@pytest.mark.parametrize("said", [*NO_ANSWERS, BROKEN_CALL])
async def test_without_a_cloud_an_unusable_answer_is_passed_on(
    said: dict[str, Any],
) -> None:
    studio = Studio({"qwen": loaded()}, said=said)
    async with gateway(studio, anthropic_api_key=None) as h:
        answer = await h.ask(EASY, tools=[TOOL])
        assert why(answer) == ("local", "simple")
        assert answer.json()["choices"][0]["message"].items() >= said.items()


async def test_a_load_that_fails_starts_over_on_the_cloud() -> None:
    studio = Studio({"qwen": loaded(0)}, fails_to_load=True)
    async with gateway(studio, cold_local="wait") as h:
        assert await h.why(EASY) == ("cloud", "escalated")


# --- the embedded model ---------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "sk-ant-not-a-real-key"])
async def test_a_missing_embedded_model_is_logged_once(
    key: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    missing = {"embedded_model": "/no/such.gguf", "anthropic_api_key": key}
    async with gateway(Studio(), **missing) as h:
        await h.local.stop()
        await h.assembly.start()
        assert len(lines(caplog, "There is no file /no/such.gguf")) == 1
        answer = await h.ask(EASY)
        if key:
            assert why(answer) == ("cloud", "local_down")
        else:
            assert answer.status_code == 503
            assert "There is no file /no/such.gguf" in answer.json()["error"]["message"]
        await h.local.start()
