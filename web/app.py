"""The server as an ASGI app: a gate before the endpoints of the dialects and all other routes."""

from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from config import VERSION, Settings
from router.build import Assembly, assemble
from router.request import Dialect
from router.wire.anthropic import messages
from router.wire.chat import completions
from web import describe
from web.application import Application, Generation
from web.asgi import CALLER_PAUSE_S
from web.endpoint import Endpoint
from web.events import Feed
from web.exchange import Service, nobody_has
from web.failures import exception_handlers
from web.gate import Gate
from web.keys import Keys
from web.readiness import Readiness
from web.reload import Reread, Source
from web.responses_store import CompactedResponses, ResponsesStore, StoredResponses
from web.routes import Routes


def create_app(
    settings: Settings,
    assembly: Assembly | None = None,
    *,
    readiness: Readiness | None = None,
    source: Source | None = None,
    caller_pause_s: float = CALLER_PAUSE_S,
) -> Application:
    """Return the server; tests give the assembly, which is otherwise built from the settings.

    `readiness`: what `/ready` reports; the process that stops the server changes it. `source`:
    where the settings are read again; without one they stay as they are.
    """
    state = readiness or Readiness()
    if source is None:
        source = Source(None, {name: getattr(settings, name) for name in settings.model_fields_set})
    build = partial(_generation, ResponsesStore(), state, source, caller_pause_s)
    return Application(build, assembly or assemble(settings), state, source)


def _generation(
    store: ResponsesStore,
    readiness: Readiness,
    source: Source,
    caller_pause_s: float,
    parts: Assembly,
    reread: Reread,
) -> Generation:
    """Return the gate and the routes for one reading of the settings."""
    settings = parts.settings
    max_body_bytes = int(settings.max_body_mb * 2**20)
    shared = parts.shared.sealed if parts.shared is not None else None

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
                fetch_response=partial(store.fetch, shared) if shared is not None else nobody_has,
            )
        )

    # The gate hands requests to these directly, without the work that FastAPI does for a route.
    endpoints = {
        "/v1/chat/completions": endpoint(completions, "chat"),
        "/v1/responses": endpoint(StoredResponses(store, parts.shared_for), "responses"),
        "/v1/responses/compact": endpoint(CompactedResponses(store), "responses"),
        "/v1/messages": endpoint(messages, "messages"),
    }
    feed = Feed(parts.router, parts.ledger, readiness)
    routes = Routes(
        parts,
        readiness,
        source,
        reread,
        max_body_bytes=max_body_bytes,
        caller_pause_s=caller_pause_s,
    )
    table = (
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
        ("GET", "/stats", routes.stats),
        ("GET", "/decisions", routes.decisions),
        ("GET", "/decisions/{request_id}", routes.decision),
        ("GET", "/confidence", routes.confidence),
        ("GET", "/events", feed.stream),
        ("POST", "/feedback", routes.feedback),
        ("GET", "/metrics", routes.metrics),
    )

    api: FastAPI = FastAPIOffline(
        title="llm-router",
        description="Sends easy prompts to your local model and hard ones to the cloud.",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        exception_handlers=exception_handlers(parts.redact),
    )
    for method, path, handler in table:
        api.add_api_route(path, handler, methods=[method], **describe.route(path))
    describe.add_operations(api, endpoints)

    key = settings.router_api_key
    gate = Gate(
        api,
        endpoints,
        keys=Keys(key.get_secret_value() if key else None, parts.team),
        allowed_hosts=[*settings.allowed_hosts, settings.server_host],
        cors_origins=settings.cors_origins,
    )
    return Generation(parts, gate, endpoints.values(), feed)
