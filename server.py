"""The HTTP door: an OpenAI-compatible server that sends each request to the right side.

`python server.py` starts it. `create_app(settings)` is the ASGI app: the gate (web/gate.py) and,
behind it, the doors of the three dialects (web/door.py) and the FastAPI routes below.
"""

import asyncio
import ctypes
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from config import Settings, SettingsError, bad_settings_exit, settings_or_exit
from router.build import Assembly, assemble
from router.decision import Decision
from router.errors import (
    BackendUnfit,
    InvalidRequest,
    MethodNotAllowed,
    NoBackend,
    Private,
    RouterError,
    UnknownModel,
    UnknownRoute,
)
from router.privacy.redact import RedactingFilter
from router.request import ChatRequest, checked, parse_json
from router.telemetry.stats import (
    MOST_DAYS,
    MOST_DECISIONS,
    decisions_json,
    feedback_json,
    stats_json,
)
from router.wire.anthropic import messages
from router.wire.chat import completions
from web import describe, views
from web.asgi import (
    CALLER_PAUSE_S,
    App,
    CallerLeft,
    Receive,
    Scope,
    Send,
    read_body,
    send_error,
    unless_left,
)
from web.dialect import dialect_of, error_body
from web.endpoint import Door
from web.gate import Gate
from web.page import load_page
from web.protocol import Protocol
from web.responses_store import StoredResponses

log = logging.getLogger("router")

GIVE_BACK_S = 2.0
"""How often freed memory is given back to the system."""
BACKLOG = 2048
"""Callers that may wait to be accepted: a thousand come at once."""


class ByApp(Response):
    """An answer that another ASGI app gives: a door, or what tells of failures."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class ClosingStream(StreamingResponse):
    """A stream whose source is closed however it ends; Starlette alone leaves it open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().__call__(scope, receive, send)


def create_app(
    settings: Settings,
    assembly: Assembly | None = None,
    *,
    caller_pause_s: float = CALLER_PAUSE_S,
) -> App:
    """The server as an ASGI app. `assembly` is given by tests; else built from the settings."""
    parts = assembly or assemble(settings)
    router, ledger = parts.router, parts.ledger
    local_server = router.local.server
    assert local_server is not None
    redact = parts.redact
    html, page_headers = load_page()
    max_body_bytes = int(settings.max_body_mb * 2**20)

    def door(wire: Any, dialect: Literal["chat", "responses", "messages"]) -> Door:
        return Door(
            wire,
            dialect,
            router,
            ledger,
            max_body_bytes=max_body_bytes,
            caller_pause_s=caller_pause_s,
            keepalive_after_s=settings.keepalive_after_s,
            idle_timeout_s=settings.idle_timeout_s,
            redact=redact,
        )

    doors = {
        "/v1/chat/completions": door(completions, "chat"),
        "/v1/responses": door(StoredResponses(), "responses"),
        "/v1/messages": door(messages, "messages"),
    }

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(parts.start()), asyncio.create_task(give_memory_back())]
        yield
        for open_door in doors.values():
            await open_door.drained()
        for task in tasks:
            task.cancel()
        await parts.aclose()

    app = FastAPIOffline(
        title="llm-router",
        description="Sends easy prompts to your local model and hard ones to the cloud.",
        version="0.1.0",
        redoc_url=None,
        lifespan=lifespan,
    )

    # --- the three dialects: the gate hands these to their doors directly -------------------------

    @app.post(**describe.route("/v1/chat/completions"))
    async def chat_completions() -> Response:
        """OpenAI Chat Completions. Answered by the side that the prompt needs."""
        return ByApp(doors["/v1/chat/completions"])

    @app.post(**describe.route("/v1/responses"))
    async def create_response() -> Response:
        """OpenAI Responses."""
        return ByApp(doors["/v1/responses"])

    @app.post(**describe.route("/v1/messages"))
    async def create_message() -> Response:
        """Anthropic Messages."""
        return ByApp(doors["/v1/messages"])

    @app.post(**describe.route("/v1/messages/count_tokens"))
    async def count_tokens(request: Request) -> Response:
        """An estimate of the tokens of a Messages request."""
        body = await json_body(request)
        return JSONResponse({"input_tokens": messages.count_tokens(body)})

    async def json_body(request: Request) -> dict[str, Any]:
        return parse_json(
            await read_body(request.scope, request.receive, max_body_bytes, caller_pause_s)
        )

    async def relayed(path: str, request: Request) -> Response:
        body = await json_body(request)
        content_type, chunks = await unless_left(request.receive, local_server.relay(path, body))
        return ClosingStream(chunks, media_type=content_type)

    # --- relayed to the local server as they are --------------------------------------------------

    @app.post(**describe.route("/v1/completions"))
    async def text_completions(request: Request) -> Response:
        """Text completions, by the local server."""
        return await relayed("/completions", request)

    @app.post(**describe.route("/v1/embeddings"))
    async def embeddings(request: Request) -> Response:
        """Embeddings, by the local server; they never go to a cloud."""
        return await relayed("/embeddings", request)

    # --- what there is, and what would happen -----------------------------------------------------

    @app.get(**describe.route("/v1/models"))
    async def list_models(request: Request) -> Response:
        """`auto`, `local`, `cloud`, and each side's models."""
        return JSONResponse(await views.model_list(router, dialect_of(request.scope)))

    @app.get(**describe.route("/v1/models/{model_id:path}"))
    async def get_model(model_id: str, request: Request) -> Response:
        """One of them."""
        listed = await views.model_list(router, dialect_of(request.scope))
        for row in listed["data"]:
            if row["id"] == model_id:
                return JSONResponse(row)
        raise UnknownModel(f"There is no model {model_id[:200]!r}; GET /v1/models lists them.")

    @app.post(**describe.route("/classify"))
    async def classify(request: Request) -> Response:
        """Where a prompt or a chat body would go, and why. No model is called."""
        body = await json_body(request)
        if "messages" not in body:
            if not isinstance(body.get("prompt"), str):
                raise InvalidRequest("Send `prompt`, a string, or `messages`.", param="prompt")
            body = {**body, "messages": [{"role": "user", "content": body["prompt"]}]}
        chat = ChatRequest(checked(body))
        outcome: Decision | RouterError
        try:
            outcome = await router.decide(chat, request.headers.get("x-force-route"))
        except (NoBackend, BackendUnfit, Private) as error:
            outcome = error
        return JSONResponse(views.classified(chat, outcome, router.policy))

    # --- for people and monitors ------------------------------------------------------------------

    @app.get(**describe.route("/health"))
    async def health() -> Response:
        """Alive, and each side: up, model, latency of the last look, what is wrong."""
        return JSONResponse(await views.health(router))

    @app.get(**describe.route("/info"))
    async def info() -> Response:
        """What it is set to."""
        return JSONResponse(await views.info(router, public(settings)))

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(html, headers=page_headers)

    @app.get(**describe.route("/stats"))
    async def stats(days: Annotated[float, Query(gt=0, le=MOST_DAYS)] = 7) -> Response:
        """Traffic, latency, tokens and money of the last days."""
        return JSONResponse(await asyncio.to_thread(stats_json, ledger.journal, days))

    @app.get(**describe.route("/decisions"))
    async def decisions(limit: Annotated[int, Query(ge=1, le=MOST_DECISIONS)] = 50) -> Response:
        """The last requests: where each went, and why, signal by signal."""
        return JSONResponse(await asyncio.to_thread(decisions_json, ledger.journal, limit))

    @app.post(**describe.route("/feedback"))
    async def feedback(request: Request) -> Response:
        """Say how good an answer was; the tuner learns from it."""
        body = await json_body(request)
        return JSONResponse(await asyncio.to_thread(feedback_json, ledger.journal, body))

    @app.get(**describe.route("/metrics"), response_class=PlainTextResponse)
    async def metrics() -> Response:
        """For Prometheus."""
        text, media_type = ledger.metrics.text()
        return Response(text, media_type=media_type)

    # --- failures ---------------------------------------------------------------------------------

    @app.exception_handler(RouterError)
    async def router_error(_: Request, error: RouterError) -> Response:
        error.message = redact(error.message)

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            await send_error(send, error, error_body(error, scope))

        return ByApp(told)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = str(first["loc"][-1])
        known = InvalidRequest(f"`{name}`: {first['msg']}.", param=name)
        return JSONResponse(error_body(known, request.scope), known.status)

    @app.exception_handler(CallerLeft)
    async def left(_: Request, __: CallerLeft) -> Response:
        return Response(status_code=499)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        path, method = request.url.path[:200], request.method
        if error.status_code == 405:
            known: RouterError = MethodNotAllowed(f"{path} does not take {method}.")
        elif error.status_code == 404:
            known = UnknownRoute(f"There is no {path}. GET /docs lists what there is.")
        else:
            known = RouterError(str(error.detail), status=error.status_code)
        return JSONResponse(error_body(known, request.scope), known.status, error.headers)

    for described in app.routes:
        if isinstance(described, APIRoute):
            described.summary, described.description = described.description.rstrip("."), ""

    hosts = [*settings.allowed_hosts, settings.server_host]
    key = settings.router_api_key
    return Gate(
        app,
        doors,
        api_key=key.get_secret_value() if key else None,
        allowed_hosts=hosts,
        cors_origins=settings.cors_origins,
    )


async def give_memory_back() -> None:
    """Large bodies and many streams leave holes in the heap that glibc keeps: half a millisecond
    now and then returns them to the system. Other C libraries have no such function."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    while trim is not None:
        await asyncio.sleep(GIVE_BACK_S)
        trim(0)


def public(settings: Settings) -> dict[str, Any]:
    """The settings that a caller may see."""
    return {
        "threshold": settings.complexity_threshold,
        "max_local_tokens": settings.max_local_tokens,
        "cloud_provider": settings.provider,
        "privacy": settings.privacy,
        "journal_prompts": settings.journal_prompts,
        "cloud_budget_usd_per_day": settings.cloud_budget_usd_per_day,
        "needs_key": settings.router_api_key is not None,
    }


def listen(host: str, port: int) -> socket.socket:
    """A socket that callers can connect to; raises SettingsError where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        said = (error.strerror or "").partition(" (while")[0]
        fix = "Set SERVER_HOST to an address of this machine."
        if error.errno == errno.EADDRINUSE:
            fix = "Is a server running already? If not, set SERVER_PORT to a free port."
        elif error.errno == errno.EACCES:
            fix = "Set SERVER_PORT to a port from 1024."
        raise SettingsError(f"SERVER_HOST={host} SERVER_PORT={port}: {said}. {fix}") from None
    # Whom it accepts inherits it; without, asyncio's own loop lets an answer wait for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def check_sides(settings: Settings) -> None:
    """Raises SettingsError where the server would ask itself, again and again."""
    url = settings.local_base_url
    if settings.is_own(url):
        raise SettingsError(
            f"LOCAL_BASE_URL={url} is this server's own address: set SERVER_PORT to another port"
            " (for example SERVER_PORT=8090)."
        )


def serving(
    app: App, settings: Settings, *, caller_pause_s: float = CALLER_PAUSE_S
) -> uvicorn.Config:
    """How the app is served over HTTP."""
    return uvicorn.Config(
        app,
        http=partial(Protocol, head_s=caller_pause_s),  # type: ignore[arg-type]
        access_log=False,
        ws="none",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.shutdown_grace_s),
    )


def main() -> None:
    """Start the server, or say in one line why not."""
    settings = settings_or_exit()
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(settings.secrets))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=[handler]
    )
    for chatty in ("httpx2", "httpcore2", "google_genai", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with bad_settings_exit():
        check_sides(settings)
        app = create_app(settings)
    host, port = settings.server_host, settings.server_port
    with bad_settings_exit():
        listener = listen(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    log.info("%s; for clients: %s/v1", url, url)
    gc.freeze()  # what was imported stays: the collector need not walk it again and again
    gc.set_threshold(10_000)  # nor look for cycles several times in each answer
    server = uvicorn.Server(serving(app, settings))
    # A terminal that is closed; nohup has it ignored.
    if (hangup := getattr(signal, "SIGHUP", None)) and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, server.handle_exit)
    with suppress(KeyboardInterrupt):
        server.run([listener])


if __name__ == "__main__":
    main()
