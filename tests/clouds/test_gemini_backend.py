"""GeminiBackend through the real SDK, against a stand-in for Gemini on loopback."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from router.backend import Status, TimeLimits, Translated
from router.clouds.calls import connection_errors
from router.clouds.gemini_client import GeminiBackend
from router.clouds.pictures import Pictures
from router.clouds.thought_signatures import Vault
from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Event, Finish, TextDelta, ToolCallStart, each_of
from router.wire.gemini.generate_content import (
    NO_SIGNATURE,
    SIGNATURE,
    Malformed,
    encode,
)
from tests.support import paths
from tests.support.gemini_words import (
    NEW,
    RECORDINGS,
    assistant,
    function,
    request_of,
    result,
    user,
)

KEY = "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw"
QUICK = TimeLimits(connect_s=1, first_byte_s=5, idle_s=5)
CLOSED_WITHIN_S = 3
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gemini:
    """A stand-in for Gemini: answers in the given order, the last one repeatedly."""

    def __init__(self, *answers: Answer, models: Answer | None = None) -> None:
        self.answers = list(answers)
        self.models = models or refusal(404, "NOT_FOUND")
        self.heads: list[web.BaseRequest] = []
        self.bodies: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.heads.append(request)
        if request.method == "GET":
            return await self.models(request)
        self.bodies.append(orjson.loads(await request.read()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def backend_of(
    url: str,
    api_key: str | None = KEY,
    model: str = NEW,
    limits: TimeLimits = QUICK,
    **fields: Any,
) -> AsyncIterator[GeminiBackend]:
    backend = GeminiBackend(api_key, model, limits=limits, base_url=url, **fields)
    try:
        yield backend
    finally:
        await backend.aclose()


@contextlib.asynccontextmanager
async def playing(gemini: Gemini, **fields: Any) -> AsyncIterator[GeminiBackend]:
    async with gemini.running(), backend_of(gemini.url, **fields) as backend:
        yield backend


def sse(data: bytes) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=data, content_type="text/event-stream")

    return answer


def recording(name: str) -> Answer:
    return sse((RECORDINGS / f"{name}.sse").read_bytes())


def refusal(status: int, name: str, message: str = "No.", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        error = {"code": status, "message": message, "status": name}
        return web.json_response({"error": error}, status=status, headers=headers)

    return answer


async def heard(reply: Translated) -> list[Event]:
    try:
        return [event async for event in each_of(reply.events)]
    finally:
        await reply.aclose()


async def ask(backend: GeminiBackend, model: str = NEW, **fields: Any) -> list[Event]:
    return await heard(await backend.open(request_of(**fields), model))


# --- a request and its answer ---------------------------------------------------------------------


async def test_the_encoded_request_arrives_and_the_answer_is_decoded() -> None:
    gemini = Gemini(recording("thoughts"))
    request = request_of(
        user("What is 6 x 7?"),
        tools=[function("f", parameters={"type": "object", "properties": {"a_b": {}}})],
        temperature=0.5,
        user="u",
    )
    async with playing(gemini) as backend:
        reply = await backend.open(request, NEW)
        assert (reply.model, reply.dropped) == (NEW, ("user",))
        events = await heard(reply)
    assert events[1:3] == [TextDelta("42"), TextDelta(".")]
    assert isinstance(events[-1], Finish)
    assert gemini.bodies == [encode(request, NEW).body]
    head = gemini.heads[0]
    assert head.path_qs == f"/v1/models/{NEW}:streamGenerateContent?alt=sse"
    assert head.headers["x-goog-api-key"] == KEY
    assert head.headers["accept-encoding"] == "identity"
    assert KEY not in head.path_qs


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/v1/models/gemini-2.5-flash:"),
        ("models/gemini-2.5-flash", "/v1/models/gemini-2.5-flash:"),
        ("gemini-3.1-pro-preview", "/v1beta/models/gemini-3.1-pro-preview:"),
        ("gemini-flash-latest", "/v1beta/models/gemini-flash-latest:"),
    ],
)
async def test_previews_and_aliases_are_asked_of_the_beta(model: str, path: str) -> None:
    gemini = Gemini(recording("text"))
    async with playing(gemini) as backend:
        await ask(backend, model)
    assert gemini.heads[0].path.startswith(path)


@pytest.mark.parametrize(
    "lacks",
    [
        (404, "NOT_FOUND", "models/gemini-9 is not found for API version v1."),
        (400, "INVALID_ARGUMENT", 'Unknown name "systemInstruction": Cannot find field.'),
    ],
)
async def test_a_model_that_only_the_beta_has_is_asked_for_there_from_then_on(
    lacks: tuple[int, str, str],
) -> None:
    gemini = Gemini(refusal(*lacks), recording("text"))
    async with playing(gemini) as backend:
        for _ in range(2):
            assert len(await ask(backend, "gemini-9-flash")) == 3
    assert [head.path.split("/")[1] for head in gemini.heads] == ["v1", "v1beta", "v1beta"]
    assert gemini.bodies[0] == gemini.bodies[1]


async def test_an_answer_is_never_asked_to_be_longer_than_the_model_can_give() -> None:
    def sent() -> list[int]:
        return [body["generationConfig"]["maxOutputTokens"] for body in gemini.bodies]

    too_long = refusal(400, "INVALID_ARGUMENT", "max_output_tokens must be from 1 to 65536.")
    gemini = Gemini(too_long, recording("text"), models=models)
    async with playing(gemini) as backend:  # which has not looked at the model yet
        for _ in range(2):
            await ask(backend, max_tokens=100_000)
    assert sent() == [100_000, 65_536, 65_536]
    gemini = Gemini(recording("text"), models=models)
    async with playing(gemini) as backend:
        await probed(backend)
        await ask(backend, max_tokens=100_000)
    assert sent() == [65_536]


async def test_an_address_on_this_machine_is_not_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gemini, proxy = Gemini(recording("text")), Gemini(recording("text"))
    async with proxy.running():
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with playing(gemini) as backend:
            await ask(backend)
    assert (len(gemini.bodies), proxy.heads) == (1, [])


async def test_connections_are_kept() -> None:
    gemini = Gemini(recording("text"))
    async with playing(gemini) as backend:
        for _ in range(3):
            await ask(backend)
    assert len({head.transport for head in gemini.heads}) == 1


async def test_a_connection_that_went_stale_is_replaced() -> None:
    def resetting_the_second(request: web.Request) -> Awaitable[web.StreamResponse]:
        if len(gemini.heads) == 2:
            assert request.transport is not None
            request.transport.abort()
        return recording("text")(request)

    gemini = Gemini(resetting_the_second)
    async with playing(gemini) as backend:
        for _ in range(2):
            assert len(await ask(backend)) == 3
    assert len(gemini.heads) == 3


async def test_a_connection_that_is_reset_again_is_given_up() -> None:
    def resetting(request: web.Request) -> Awaitable[web.StreamResponse]:
        assert request.transport is not None
        request.transport.abort()
        return recording("text")(request)

    gemini = Gemini(recording("text"), resetting, resetting)
    async with playing(gemini) as backend:
        await ask(backend)
        with pytest.raises(BackendUnreachable):
            await ask(backend)
    assert len(gemini.heads) == 3


async def test_answers_at_the_same_time_do_not_mix() -> None:
    def echo(request: web.Request) -> Awaitable[web.StreamResponse]:
        said = gemini.bodies[-1]["contents"][0]["parts"][0]["text"]
        payload = {"candidates": [{"content": {"parts": [{"text": said}]}, "finishReason": "STOP"}]}
        return sse(b"data: " + orjson.dumps(payload) + b"\n\n")(request)

    gemini = Gemini(echo)
    async with playing(gemini) as backend:
        answers = await asyncio.gather(*(say(backend, str(i)) for i in range(30)))
    assert [events[0] for events in answers] == [TextDelta(str(i)) for i in range(30)]


async def say(backend: GeminiBackend, text: str) -> list[Event]:
    return await heard(await backend.open(request_of(user(text)), NEW))


async def test_events_come_as_they_are_made() -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        first, rest = (RECORDINGS / "text.sse").read_bytes().split(b"\r\n\r\n", 1)
        await response.write(first + b"\r\n\r\n")
        await go_on.wait()
        await response.write(rest)
        return response

    async with playing(Gemini(slow)) as backend:
        reply = await backend.open(request_of(), NEW)
        assert await anext(reply.events) == [TextDelta("Grüße, ")]
        go_on.set()
        assert len(await heard(reply)) == 2


async def test_a_signature_comes_back_to_the_model_that_made_it_and_to_no_other() -> None:
    vault = Vault()
    gemini = Gemini(recording("tool_calls"))
    async with playing(gemini, vault=vault) as backend:
        starts = [
            e for e in await ask(backend, tools=[function("now")]) if isinstance(e, ToolCallStart)
        ]
        again = [
            user("Hi"),
            assistant("I look.", *((start.id, start.name, "{}") for start in starts)),
            *(result(start.id, "ok") for start in starts),
        ]
        for model in (NEW, "gemini-3.1-pro-preview"):
            await heard(await backend.open(request_of(*again), model))
    sent = [
        [p.get("thoughtSignature") for p in b["contents"][1]["parts"]] for b in gemini.bodies[1:]
    ]
    assert sent == [[None, "QUJD+/8=", None, None], [None, NO_SIGNATURE, None, None]]
    assert vault.get("fc_1", NEW) == {SIGNATURE: "QUJD+/8="}


async def test_googles_environment_variables_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "another")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v9")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:9")
    gemini = Gemini(recording("text"))
    async with playing(gemini) as backend:
        await ask(backend)
    assert gemini.heads[0].headers["x-goog-api-key"] == KEY
    assert gemini.heads[0].path.startswith("/v1/models/")


def test_importing_the_backend_does_not_import_the_sdk() -> None:
    code = "import sys, router.cloud_client; sys.exit('google.genai' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.ROOT)


# --- pictures -------------------------------------------------------------------------------------


async def test_pictures_on_the_web_are_fetched_and_sent_along() -> None:
    async def png(request: web.Request) -> web.Response:
        return web.Response(body=b"\x89PNG", content_type="image/png")

    gemini = Gemini(recording("text"), models=png)
    pictures = Pictures(allowed=lambda address: True)
    async with playing(gemini, pictures=pictures) as backend:
        url = f"{gemini.url}/cat.png"
        message = user([{"type": "image_url", "image_url": {"url": url}}])
        await heard(await backend.open(request_of(message), NEW))
    assert gemini.bodies[0]["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
    ]


async def test_a_picture_that_cannot_be_had_makes_gemini_unfit() -> None:
    gemini = Gemini(recording("text"))
    message = user([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/cat.png"}}])
    async with playing(gemini) as backend:
        with pytest.raises(BackendUnfit, match="public internet") as caught:
            await backend.open(request_of(user("a"), message), NEW)
    assert caught.value.param == "messages[1].content[0]"
    assert gemini.bodies == []


# --- second attempts ------------------------------------------------------------------------------

STRICT_TOOLS = [
    function("f", parameters={"properties": {"a": {"const": 1}}, "not": {}}, strict=True)
]


async def test_a_refused_body_is_sent_once_more_in_its_simplest_form() -> None:
    gemini = Gemini(refusal(400, "INVALID_ARGUMENT"), recording("text"))
    async with playing(gemini) as backend:
        request = request_of(tools=STRICT_TOOLS, presence_penalty=1)
        reply = await backend.open(request, NEW)
        assert reply.dropped == ("tools.strict", "tools.not", "presence_penalty")
        await heard(reply)
    first, second = (encode(request, NEW, strict=strict).body for strict in (False, True))
    assert gemini.bodies == [first, second]


async def test_after_two_refusals_the_first_one_is_raised() -> None:
    refusals = (refusal(400, "INVALID_ARGUMENT", say) for say in ("First.", "Second."))
    gemini = Gemini(*refusals)
    async with playing(gemini) as backend:
        with pytest.raises(BackendRejected, match=r"First\."):
            await ask(backend, tools=STRICT_TOOLS)
    assert len(gemini.bodies) == 2


async def test_a_request_without_a_simpler_form_is_sent_once() -> None:
    gemini = Gemini(refusal(400, "INVALID_ARGUMENT"))
    async with playing(gemini) as backend:
        with pytest.raises(BackendRejected):
            await ask(backend, "gemini-2.0-flash")
    assert len(gemini.bodies) == 1


TOO_LONG = "The input token count (9) exceeds the maximum number of tokens allowed (8)."


async def test_a_context_that_is_too_long_is_asked_once() -> None:
    gemini = Gemini(refusal(400, "INVALID_ARGUMENT", TOO_LONG))
    async with playing(gemini) as backend:
        with pytest.raises(BackendRejected) as caught:
            await ask(backend, tools=STRICT_TOOLS)
    assert caught.value.code == "context_length_exceeded"
    assert len(gemini.bodies) == 1


async def test_a_model_that_failed_gets_a_second_chance() -> None:
    gemini = Gemini(recording("malformed_call"), recording("text"))
    async with playing(gemini) as backend:
        assert (await ask(backend))[0] == TextDelta("Grüße, ")
    assert gemini.bodies[0] == gemini.bodies[1]


async def test_a_model_that_fails_twice_raises() -> None:
    gemini = Gemini(recording("malformed_call"))
    async with playing(gemini) as backend:
        with pytest.raises(Malformed, match="MALFORMED_FUNCTION_CALL"):
            await ask(backend)
    assert len(gemini.bodies) == 2


async def test_nothing_is_asked_again_once_something_was_heard() -> None:
    text = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
    gemini = Gemini(sse(text + (RECORDINGS / "malformed_call.sse").read_bytes()))
    async with playing(gemini) as backend:
        reply = await backend.open(request_of(), NEW)
        with pytest.raises(Malformed):
            await heard(reply)
    assert len(gemini.bodies) == 1


# --- failures -------------------------------------------------------------------------------------

ERRORS: list[tuple[Answer, type[BackendError], int, float | None]] = [
    (refusal(400, "INVALID_ARGUMENT", TOO_LONG), BackendRejected, 400, None),
    (refusal(400, "INVALID_ARGUMENT", "API key not valid."), BackendMisconfigured, 502, None),
    (refusal(400, "FAILED_PRECONDITION"), BackendMisconfigured, 502, None),
    (refusal(403, "PERMISSION_DENIED"), BackendMisconfigured, 502, None),
    (refusal(413, ""), BackendRejected, 413, None),
    (refusal(429, "RESOURCE_EXHAUSTED", **{"Retry-After": "7"}), BackendBusy, 429, 7),
    (refusal(500, "INTERNAL"), BackendError, 502, None),
    (refusal(503, "UNAVAILABLE"), BackendBusy, 503, None),
    (refusal(504, "DEADLINE_EXCEEDED"), BackendTimeout, 504, None),
]


@pytest.mark.parametrize(("answer", "kind", "status", "wait_s"), ERRORS)
async def test_errors_keep_their_class_and_nothing_is_tried_twice(
    answer: Answer, kind: type[BackendError], status: int, wait_s: float | None
) -> None:
    gemini = Gemini(answer)
    async with playing(gemini) as backend:
        with pytest.raises(kind) as caught:
            await ask(backend)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.retry_after_s) == (status, wait_s)
    assert len(gemini.bodies) == 1


def raw(status: int, body: bytes, content_type: str = "text/html", **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=content_type, headers=headers)

    return answer


ODD_ERRORS = [
    raw(502, b"<html>Bad gateway"),
    raw(500, b""),
    raw(500, b"\xff\xfe\x00"),
    raw(500, b'"text"', "application/json"),
    raw(500, b"[]", "application/json"),
    raw(500, b"[1, 2]", "application/json"),
    raw(500, b"null", "application/json"),
    raw(302, b"", Location="http://127.0.0.1:1/"),
    raw(204, b""),
    raw(418, b"teapot"),
]


@pytest.mark.parametrize("answer", ODD_ERRORS)
async def test_errors_in_any_form_become_backend_errors(answer: Answer) -> None:
    async with playing(Gemini(answer)) as backend:
        with pytest.raises(BackendError) as caught:
            await ask(backend)
    assert caught.value.message


async def test_keys_in_a_message_are_not_repeated() -> None:
    other = "sk-" + "abcdefghijklmnop0123456789qrstuvwx"
    said = f"Bad: {KEY} at https://x/v1?key={KEY}&alt=sse, or {other}."
    async with playing(Gemini(refusal(500, "INTERNAL", said))) as backend:
        with pytest.raises(BackendError) as caught:
            await ask(backend)
    assert KEY not in str(caught.value.message)
    assert other not in caught.value.message


async def models(request: web.Request) -> web.Response:
    listed = [
        {"name": "models/gemini-3.8-flash", "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/embedder", "supportedGenerationMethods": ["embedContent"]},
        {"name": "models/gemini-2.5-pro", "supportedGenerationMethods": ["generateContent"]},
    ]
    if request.path.endswith("/models"):
        return web.json_response({"models": listed})
    if request.path.endswith(NEW):
        limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
        return web.json_response({"name": f"models/{NEW}"} | limits)
    error = {"code": 404, "message": f"{request.path} is not found.", "status": "NOT_FOUND"}
    return web.json_response({"error": error}, status=404)


async def test_an_unknown_model_is_answered_with_those_there_are() -> None:
    gemini = Gemini(refusal(404, "NOT_FOUND", "models/gemini-9 is not found."), models=models)
    async with playing(gemini) as backend:
        with pytest.raises(BackendMisconfigured) as caught:
            await ask(backend, "gemini-9")
    assert "GEMINI_MODEL" in caught.value.message
    assert caught.value.message.endswith("This key can use: gemini-2.5-pro, gemini-3.8-flash.")


async def test_without_a_list_of_models_the_error_is_the_same() -> None:
    gemini = Gemini(refusal(404, "NOT_FOUND"), models=refusal(500, "INTERNAL"))
    async with playing(gemini) as backend:
        with pytest.raises(BackendMisconfigured, match="GEMINI_MODEL"):
            await ask(backend)


@pytest.mark.parametrize("model", ["", "a?b", "..", "a&b"])
async def test_an_impossible_model_name_is_a_wrong_setting(model: str) -> None:
    async with playing(Gemini(recording("text"))) as backend:
        with pytest.raises(BackendMisconfigured, match="GEMINI_MODEL"):
            await ask(backend, model)


@pytest.mark.parametrize("key", ["späße", "a\nb", "auth_tokens/x"])
async def test_an_impossible_key_is_a_wrong_setting(key: str) -> None:
    async with playing(Gemini(recording("text")), api_key=key) as backend:
        with pytest.raises(BackendMisconfigured, match="GEMINI_API_KEY") as caught:
            await ask(backend)
    assert key not in caught.value.message


async def test_nothing_is_sent_without_a_key() -> None:
    gemini = Gemini(recording("text"))
    async with playing(gemini, api_key=None) as backend:
        await backend.warm()
        with pytest.raises(BackendUnreachable, match="GEMINI_API_KEY"):
            await ask(backend)
    assert gemini.heads == []


async def test_a_body_that_is_nested_too_deeply_to_send_is_refused() -> None:
    arguments: Any = {}
    for _ in range(100_000):
        arguments = {"a": arguments}
    gemini = Gemini(recording("text"))
    async with playing(gemini) as backend:
        with pytest.raises(BackendUnfit, match="nested"):
            await backend.open(request_of(user("a"), assistant(None, ("c", "f", arguments))), NEW)
    assert gemini.bodies == []


# --- broken connections ---------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


class Wire:
    """A bare TCP server that writes the given bytes, then waits for the other side to leave."""

    def __init__(self, data: bytes = b"", *, hang_up: bool = False) -> None:
        self.data = data
        self.hang_up = hang_up
        self.met = asyncio.Event()
        self.left = asyncio.Event()
        self.serving: set[asyncio.Future[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.serving.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.data)
            self.met.set()
            while not self.hang_up and await reader.read(65536):
                pass
        self.left.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            await asyncio.gather(*self.serving)


BROKEN: dict[str, tuple[bytes, type[BackendError]]] = {
    "hung up before a word": (b"", BackendUnreachable),
    "half a status line": (b"HTTP/1.1 2", BackendUnreachable),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", BackendBroken),
    "no body": (HEAD, BackendBroken),
    "an empty body": (HEAD + b"0\r\n\r\n", BackendBroken),
    "half an event": (HEAD + b"%x\r\n%s" % (len(EVENT), EVENT[:20]), BackendBroken),
    "half an answer": (HEAD + CHUNK, BackendBroken),
    "no end": (HEAD + CHUNK + b"0\r\n\r\n", BackendBroken),
    "a chunk of no size": (HEAD + CHUNK + b"xyz\r\n", BackendBroken),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_connection_is_a_router_error(name: str) -> None:
    data, kind = BROKEN[name]
    async with Wire(data, hang_up=True).running() as url, backend_of(url) as backend:
        with pytest.raises(BackendError) as caught:
            await ask(backend)
    assert isinstance(caught.value, kind)


async def test_a_port_without_a_server_is_unreachable() -> None:
    async with Wire().running() as url:
        pass
    async with backend_of(url) as backend:
        with pytest.raises(BackendUnreachable):
            await ask(backend)


async def test_an_impossible_address_is_a_wrong_setting() -> None:
    async with backend_of("http://[::1") as backend:
        with pytest.raises(BackendError, match=r"GEMINI_BASE_URL|not a URL"):
            await ask(backend)


def test_no_error_of_the_http_library_is_unmapped() -> None:
    public = (getattr(aiohttp, name) for name in dir(aiohttp))
    raised = {each for each in public if isinstance(each, type) and issubclass(each, Exception)}
    unmapped = {each for each in raised if not issubclass(each, (*connection_errors(), Warning))}
    websockets_only = {aiohttp.WebSocketError, aiohttp.WSMessageTypeError}
    assert unmapped == {aiohttp.EofStream} | websockets_only


async def test_a_server_that_does_not_begin_is_given_up() -> None:
    wire = Wire()
    limits = TimeLimits(connect_s=1, first_byte_s=0.3, idle_s=5)
    async with wire.running() as url, backend_of(url, limits=limits) as backend:
        await backend.warm()
        with pytest.raises(BackendTimeout, match=r"begin to answer within 0\.3 s"):
            await ask(backend)
        await asyncio.wait_for(wire.left.wait(), CLOSED_WITHIN_S)


async def test_the_first_byte_is_one_of_the_answer_not_of_its_head() -> None:
    wire = Wire(HEAD)
    limits = TimeLimits(connect_s=1, first_byte_s=0.3, idle_s=5)
    async with wire.running() as url, backend_of(url, limits=limits) as backend:
        await backend.warm()
        with pytest.raises(BackendTimeout):
            await ask(backend)
        await asyncio.wait_for(wire.left.wait(), CLOSED_WITHIN_S)


async def test_an_answer_without_end_is_given_up() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(EVENT)
            await asyncio.sleep(0.01)

    limits = TimeLimits(connect_s=1, first_byte_s=5, idle_s=5, total_s=0.1)
    async with playing(Gemini(endless), limits=limits) as backend:
        reply = await backend.open(request_of(), NEW)
        with pytest.raises(BackendTimeout, match=r"within 0\.1 s"):
            await heard(reply)


async def test_a_server_that_falls_silent_is_given_up() -> None:
    wire = Wire(HEAD + CHUNK)
    limits = TimeLimits(connect_s=1, first_byte_s=5, idle_s=0.05)
    async with wire.running() as url, backend_of(url, limits=limits) as backend:
        reply = await backend.open(request_of(), NEW)
        with pytest.raises(BackendTimeout, match=r"for 0\.05 s"):
            await heard(reply)
        await asyncio.wait_for(wire.left.wait(), CLOSED_WITHIN_S)


# --- callers that leave ---------------------------------------------------------------------------


async def test_leaving_while_it_thinks_closes_the_connection() -> None:
    wire = Wire()
    async with wire.running() as url, backend_of(url) as backend:
        waiting = asyncio.create_task(backend.open(request_of(), NEW))
        await asyncio.wait_for(wire.met.wait(), 5)
        await assert_gone_when(waiting, wire)


async def test_leaving_after_the_head_closes_the_connection() -> None:
    wire = Wire(HEAD)
    async with wire.running() as url, backend_of(url) as backend:
        waiting = asyncio.create_task(backend.open(request_of(), NEW))
        await asyncio.wait_for(wire.met.wait(), 5)
        await assert_gone_when(waiting, wire)


async def test_leaving_in_mid_answer_closes_the_connection() -> None:
    wire = Wire(HEAD + CHUNK)
    async with wire.running() as url, backend_of(url) as backend:
        reply = await backend.open(request_of(), NEW)
        waiting = asyncio.create_task(heard(reply))
        await asyncio.sleep(0)
        await assert_gone_when(waiting, wire)


async def test_closing_the_reply_closes_the_connection() -> None:
    wire = Wire(HEAD + CHUNK)
    async with wire.running() as url, backend_of(url) as backend:
        reply = await backend.open(request_of(), NEW)
        assert await anext(reply.events) == [TextDelta("a")]
        await reply.aclose()
        await asyncio.wait_for(wire.left.wait(), CLOSED_WITHIN_S)


async def test_closing_an_unread_reply_closes_the_connection() -> None:
    wire = Wire(HEAD + CHUNK)
    async with wire.running() as url, backend_of(url) as backend:
        reply = await backend.open(request_of(), NEW)
        await reply.aclose()
        await asyncio.wait_for(wire.left.wait(), CLOSED_WITHIN_S)


async def assert_gone_when(waiting: "asyncio.Task[Any]", wire: Wire) -> None:
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(wire.left.wait(), CLOSED_WITHIN_S)


# --- probes ---------------------------------------------------------------------------------------


async def test_without_a_key_nothing_is_looked_at() -> None:
    async with playing(Gemini(recording("text")), api_key=None) as backend:
        status = await probed(backend)
    assert status.state == "unconfigured"
    assert "GEMINI_API_KEY" in status.detail


async def test_a_model_that_is_there_is_ready_and_not_asked_for_again() -> None:
    now = 0.0
    gemini = Gemini(recording("text"), models=models)
    async with playing(gemini, clock=lambda: now) as backend:
        status = await probed(backend)
        now = 3599
        assert await probed(backend) is status
        assert len(gemini.heads) == 1
        now = 3601
        await probed(backend)
    assert len(gemini.heads) == 2
    assert (status.state, status.server, status.detail) == ("ready", "gemini", "")
    assert status.model is not None
    assert (status.model.id, status.model.context_tokens) == (NEW, 1_048_576)
    assert gemini.bodies == []


async def test_a_model_that_is_not_there_is_named_with_those_that_are() -> None:
    gemini = Gemini(recording("text"), models=models)
    async with playing(gemini, model="gemini-9") as backend:
        status = await probed(backend)
    assert status.state == "down"
    assert "GEMINI_MODEL" in status.detail
    assert "gemini-2.5-pro, gemini-3.8-flash" in status.detail


async def test_a_proxy_without_the_models_api_is_ready() -> None:
    gemini = Gemini(recording("text"), models=raw(404, b'{"error": {"message": "not found"}}'))
    async with playing(gemini) as backend:
        status = await probed(backend)
    assert (status.state, status.detail) == ("ready", "")
    assert status.model is not None
    assert (status.model.id, status.model.context_tokens) == (NEW, None)


LOOKS: list[tuple[Answer, str, str]] = [
    (refusal(400, "INVALID_ARGUMENT", "API key not valid."), "locked", "GEMINI_API_KEY"),
    (refusal(403, "PERMISSION_DENIED"), "locked", "GEMINI_API_KEY"),
    (refusal(500, "INTERNAL", "Oops."), "down", "Oops."),
    (raw(200, b"<html>"), "down", "cannot be read"),
]


@pytest.mark.parametrize(("answer", "state", "detail"), LOOKS)
async def test_a_probe_says_what_is_wrong_and_is_soon_repeated(
    answer: Answer, state: str, detail: str
) -> None:
    now = 0.0
    gemini = Gemini(recording("text"), models=answer)
    async with playing(gemini, clock=lambda: now) as backend:
        status = await probed(backend)
        now = 5
        await probed(backend)
        assert len(gemini.heads) == 1
        now = 11
        await probed(backend)
        assert len(gemini.heads) == 2
    assert (status.state, detail in status.detail) == (state, True)


async def test_a_probe_without_a_server_is_down() -> None:
    async with Wire().running() as url:
        pass
    async with backend_of(url) as backend:
        assert (await probed(backend)).state == "down"


async def probed(backend: GeminiBackend) -> Status:
    """Probe with the SDK in place; without it a key counts as valid."""
    await backend.warm()
    return await backend.probe()
