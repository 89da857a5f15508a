"""The server as an ASGI app: a gate before the endpoints of the dialects and all other routes."""

from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from config import VERSION, Settings
from router.build import assemble
from router.parts.assembly import Assembly
from router.request import Dialect
from router.wire.anthropic import messages
from router.wire.chat import completions
from web import describe, routes
from web.application import Application, Generation
from web.asgi import CALLER_PAUSE_S
from web.context import Context
from web.endpoint import Endpoint
from web.events import Feed
from web.exchange import Service
from web.failures import EXCEPTION_HANDLERS
from web.gate import Gate
from web.keys import Keys
from web.readiness import Readiness
from web.reload import Reread, Source
from web.responses_store import CompactedResponses, ResponsesStore, StoredResponses

ROUTES: Final = (
    ("POST", "/v1/messages/count_tokens", routes.count_tokens),
    ("POST", "/v1/completions", routes.text_completions),
    ("POST", "/v1/embeddings", routes.embeddings),
    ("GET", "/v1/models", routes.list_models),
    ("GET", "/v1/models/{model_id:path}", routes.get_model),
    ("POST", "/classify", routes.classify),
    ("POST", "/privacy/allow", routes.allow_private),
    ("POST", "/settings/reload", routes.reload_settings),
    ("GET", "/health", routes.health),
    ("GET", "/ready", routes.ready),
    ("GET", "/info", routes.info),
    ("GET", "/identity", routes.identity),
    ("GET", "/", routes.page),
    ("GET", "/docs", routes.docs),
    ("GET", "/favicon.ico", routes.no_icon),
    ("GET", "/stats", routes.stats),
    ("GET", "/decisions", routes.decisions),
    ("GET", "/decisions/{request_id}", routes.decision),
    ("GET", "/confidence", routes.confidence),
    ("GET", "/events", routes.events),
    ("POST", "/feedback", routes.feedback),
    ("GET", "/metrics", routes.metrics),
)
DIALECT_PATHS: Final = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/responses/compact",
    "/v1/messages",
)
"""Paths of the callers' dialects, which the gate hands to their endpoints."""


def create_app(
    settings: Settings,
    assembly: Assembly | None = None,
    *,
    readiness: Readiness | None = None,
    source: Source | None = None,
    caller_pause_s: float = CALLER_PAUSE_S,
) -> Application:
    """Return the server; tests give the assembly, which is otherwise built from the settings.

    `readiness`: the state that `/ready` reports; the code that stops the server changes it.
    `source`: where the settings are read again; without one they stay as they are.
    """
    state = readiness or Readiness()
    if source is None:
        source = Source(None, {name: getattr(settings, name) for name in settings.model_fields_set})
    feed = Feed(state)
    build = partial(_generation, _api(), ResponsesStore(), state, source, feed, caller_pause_s)
    return Application(build, assembly or assemble(settings), state, source, feed)


def _api() -> FastAPI:
    """Return the app for the routes outside the dialects.

    It serves all generations of settings: each request has its `Context`.
    """
    api: FastAPI = FastAPIOffline(
        title="llm-router",
        description="Sends easy prompts to your local model and hard ones to the cloud.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        exception_handlers=EXCEPTION_HANDLERS,
    )
    for method, path, handler in ROUTES:
        api.add_api_route(path, handler, methods=[method], **describe.route(path))
    describe.add_operations(api, DIALECT_PATHS)
    return api


def _generation(
    api: FastAPI,
    store: ResponsesStore,
    readiness: Readiness,
    source: Source,
    feed: Feed,
    caller_pause_s: float,
    parts: Assembly,
    reread: Reread,
) -> Generation:
    """Return the gate and the endpoints for one reading of the settings."""
    settings = parts.settings
    shared = parts.shared.sealed if parts.shared is not None else None

    def endpoint(wire: Any, dialect: Dialect) -> Endpoint:
        return Endpoint(
            Service(
                wire,
                dialect,
                parts.router,
                parts.ledger,
                parts.redact,
                max_body_bytes=settings.max_body_bytes,
                caller_pause_s=caller_pause_s,
                keepalive_after_s=settings.keepalive_after_s,
                idle_timeout_s=settings.idle_timeout_s,
                fetch_response=partial(store.fetch, shared),
            )
        )

    # The gate hands requests to these directly, without the work that FastAPI does for a route.
    dialects = (
        endpoint(completions, "chat"),
        endpoint(StoredResponses(store, parts.shared_for), "responses"),
        endpoint(CompactedResponses(store), "responses"),
        endpoint(messages, "messages"),
    )
    endpoints = dict(zip(DIALECT_PATHS, dialects, strict=True))
    key = settings.router_api_key
    gate = Gate(
        Context(parts, readiness, source, reread, feed, caller_pause_s).given_to(api),
        endpoints,
        keys=Keys(key.get_secret_value() if key else None, parts.team),
        allowed_hosts=[*settings.allowed_hosts, settings.server_host],
        cors_origins=settings.cors_origins,
    )
    return Generation(parts, gate, endpoints.values())
