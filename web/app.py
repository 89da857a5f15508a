"""The server as an ASGI app: a gate before the endpoints of the dialects and all other routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from config import Settings
from router.build import Assembly, assemble
from router.request import Dialect
from router.wire.anthropic import messages
from router.wire.chat import completions
from web import describe
from web.asgi import CALLER_PAUSE_S, App
from web.endpoint import Endpoint
from web.events import Feed
from web.exchange import Service
from web.failures import exception_handlers
from web.gate import Gate
from web.keys import Keys
from web.memory import trim_memory
from web.readiness import Readiness
from web.responses_store import CompactedResponses, ResponsesStore, StoredResponses
from web.routes import Routes


def create_app(
    settings: Settings,
    assembly: Assembly | None = None,
    *,
    readiness: Readiness | None = None,
    caller_pause_s: float = CALLER_PAUSE_S,
) -> App:
    """Return the server; tests give the assembly, which is otherwise built from the settings.

    `readiness`: what `/ready` reports; the process that stops the server changes it.
    """
    state = readiness or Readiness()
    parts = assembly or assemble(settings)
    max_body_bytes = int(settings.max_body_mb * 2**20)

    responses = ResponsesStore(shared=parts.sealed)

    def endpoint(wire: Any, dialect: Dialect) -> Endpoint:
        return Endpoint(
            Service(
                wire,
                dialect,
                parts.router,
                parts.ledger,
                parts.redact,
                max_body_bytes=max_body_bytes,
                caller_pause_s=caller_pause_s,
                keepalive_after_s=settings.keepalive_after_s,
                idle_timeout_s=settings.idle_timeout_s,
                fetch_response=responses.fetch,
            )
        )

    # The gate hands requests to these directly, without the work that FastAPI does for a route.
    endpoints = {
        "/v1/chat/completions": endpoint(completions, "chat"),
        "/v1/responses": endpoint(StoredResponses(responses, parts.may_share), "responses"),
        "/v1/responses/compact": endpoint(CompactedResponses(responses), "responses"),
        "/v1/messages": endpoint(messages, "messages"),
    }
    feed = Feed(parts.router, parts.ledger, state)
    routes = Routes(parts, state, max_body_bytes=max_body_bytes, caller_pause_s=caller_pause_s)
    table = (
        ("POST", "/v1/messages/count_tokens", routes.count_tokens),
        ("POST", "/v1/completions", routes.text_completions),
        ("POST", "/v1/embeddings", routes.embeddings),
        ("GET", "/v1/models", routes.list_models),
        ("GET", "/v1/models/{model_id:path}", routes.get_model),
        ("POST", "/classify", routes.classify),
        ("POST", "/privacy/allow", routes.allow_private),
        ("GET", "/health", routes.health),
        ("GET", "/ready", routes.ready),
        ("GET", "/info", routes.info),
        ("GET", "/identity", routes.identity),
        ("GET", "/", routes.page),
        ("GET", "/docs", routes.docs),
        ("GET", "/stats", routes.stats),
        ("GET", "/decisions", routes.decisions),
        ("GET", "/decisions/{request_id}", routes.decision),
        ("GET", "/confidence", routes.confidence),
        ("GET", "/events", feed.stream),
        ("POST", "/feedback", routes.feedback),
        ("GET", "/metrics", routes.metrics),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.starting()
        tasks = [asyncio.create_task(_start(parts, state)), asyncio.create_task(trim_memory())]
        yield
        feed.end()
        for one in endpoints.values():
            await one.drain()
        for task in tasks:
            task.cancel()
        await parts.aclose()

    api = FastAPIOffline(
        title="llm-router",
        description="Sends easy prompts to your local model and hard ones to the cloud.",
        version="0.1.0",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        exception_handlers=exception_handlers(parts.redact),
    )
    for method, path, handler in table:
        api.add_api_route(path, handler, methods=[method], **describe.route(path))
    describe.add_operations(api, endpoints)

    key = settings.router_api_key
    return Gate(
        api,
        endpoints,
        keys=Keys(key.get_secret_value() if key else None, parts.team),
        allowed_hosts=[*settings.allowed_hosts, settings.server_host],
        cors_origins=settings.cors_origins,
    )


async def _start(parts: Assembly, state: Readiness) -> None:
    """Look at the sides, which makes the server ready, then do what can wait."""
    await asyncio.gather(parts.router.sides(), parts.connect())
    state.ready()
    await parts.start()
