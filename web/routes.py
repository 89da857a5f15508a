"""The handlers of the routes that FastAPI serves. web/app.py has their paths."""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response

from config import Settings
from router.build import Assembly
from router.decision import Decision
from router.errors import (
    BackendUnfit,
    BudgetSpent,
    Forbidden,
    InvalidRequest,
    NoBackend,
    Private,
    RouterError,
    UnknownModel,
)
from router.request import ChatRequest, checked, parse_json
from router.state.same_user import prove, read_key
from router.telemetry.confidence_figures import confidence_json
from router.telemetry.stats import (
    MOST_DAYS,
    MOST_DECISIONS,
    decisions_json,
    feedback_json,
    found_json,
    stats_json,
)
from router.telemetry.wanted import Side, Wanted
from router.wire.anthropic import messages
from web import views
from web.asgi import read_body
from web.dialect import dialect_of
from web.hints import purpose_of
from web.keys import member_of
from web.model_list import codex_catalogue, model_list
from web.page import load_docs, load_page
from web.readiness import Readiness
from web.relayed import relayed
from web.reload import Reread, Source
from web.token_counts import count_tokens

Days = Annotated[float, Query(gt=0, le=MOST_DAYS)]
Word = Annotated[str | None, Query(max_length=200)]


class Routes:
    """The handlers, and what they share."""

    def __init__(
        self,
        assembly: Assembly,
        readiness: Readiness,
        source: Source,
        reread: Reread,
        *,
        max_body_bytes: int,
        caller_pause_s: float,
    ) -> None:
        self._readiness = readiness
        self._source = source
        self._reread = reread
        self._router = assembly.router
        self._ledger = assembly.ledger
        self._store = assembly.store
        self._settings = assembly.settings
        self._max_body_bytes = max_body_bytes
        self._caller_pause_s = caller_pause_s
        self._page = load_page()
        self._docs = load_docs()

    async def count_tokens(self, request: Request) -> Response:
        """Count the tokens of a Messages request; an estimate, unless Claude is asked for."""
        chat = messages.counting_request(await self._json_body(request), request.headers)
        return JSONResponse({"input_tokens": await count_tokens(self._router, chat)})

    async def text_completions(self, request: Request) -> Response:
        """Relay text completions to the local server."""
        return await self._relayed("/completions", request)

    async def embeddings(self, request: Request) -> Response:
        """Relay embeddings to the local server; they never go to a cloud."""
        return await self._relayed("/embeddings", request)

    async def list_models(self, request: Request) -> Response:
        """List every name that `model` can have; for Codex, its catalogue beside the list."""
        listed = await model_list(self._router, dialect_of(request.scope))
        if "client_version" in request.query_params:
            listed["models"] = await codex_catalogue(self._router)
        return JSONResponse(listed)

    async def get_model(self, model_id: str, request: Request) -> Response:
        """Return one row of that list. Raises UnknownModel."""
        listed = await model_list(self._router, dialect_of(request.scope))
        for row in listed["data"]:
            if row["id"] == model_id:
                return JSONResponse(row)
        raise UnknownModel(f"There is no model {model_id[:200]!r}; GET /v1/models lists them.")

    async def classify(self, request: Request) -> Response:
        """Decide where a prompt or a chat body would go, without calling a model."""
        body = await self._json_body(request)
        if "messages" not in body:
            if not isinstance(body.get("prompt"), str):
                raise InvalidRequest("Send `prompt`, a string, or `messages`.", param="prompt")
            body = {**body, "messages": [{"role": "user", "content": body["prompt"]}]}
        local, cloud = (_supposed_model(body, f"{side}_model") for side in ("local", "cloud"))
        chat = ChatRequest(checked(body), purpose=purpose_of(request.scope))
        outcome: Decision | RouterError
        try:
            if local or cloud:
                outcome = self._router.what_if(chat, local, cloud)
            else:
                force, member = request.headers.get("x-force-route"), member_of(request.scope)
                outcome = await self._router.decide(chat, force, member)
        except (NoBackend, BackendUnfit, Private, BudgetSpent) as error:
            outcome = error
        privacy = self._router.privacy
        finding = privacy.check(chat) if privacy is not None else None
        return JSONResponse(views.classified(chat, outcome, self._router.policy, finding))

    async def allow_private(self, request: Request) -> Response:
        """Allow a false alarm of the privacy scan in its conversation; only from this machine."""
        _check_is_here(request, "allow a finding")
        alarm = (await self._json_body(request)).get("id")
        if not isinstance(alarm, str) or not await self._router.allow_private(alarm):
            raise InvalidRequest(
                "`id` must be that of a finding: the log, /classify and the error name it.",
                param="id",
            )
        return JSONResponse({"allowed": alarm})

    async def reload_settings(self, request: Request) -> Response:
        """Read the settings again, as SIGHUP does; only from this machine.

        Raises InvalidRequest where they cannot be used.
        """
        _check_is_here(request, "have the settings read again")
        reading = await self._reread()
        if reading.error:
            raise InvalidRequest(f"The settings stay as they were. {reading.error}")
        return JSONResponse(views.reading(reading))

    async def health(self) -> Response:
        """Return the state of each side, and of the store that several routers share."""
        return JSONResponse(await views.health(self._router, self._store))

    async def ready(self) -> Response:
        """Return 200 while a load balancer should send requests here, else 503."""
        state = self._readiness.state
        is_ready = state == "ready"
        return JSONResponse({"ready": is_ready, "state": state}, 200 if is_ready else 503)

    async def info(self) -> Response:
        """Return the settings that a caller may see."""
        settings = {**_public(self._settings), "settings": views.reading(self._source.last)}
        return JSONResponse(await views.info(self._router, settings))

    async def identity(
        self, request: Request, nonce: Annotated[str, Query(pattern="^[0-9a-f]{32}$")]
    ) -> Response:
        """Prove to a program of the same user whose server this is; only on this machine."""
        key = await asyncio.to_thread(read_key)
        address = request.scope.get("server")
        if request.client is None or not _is_loopback(request.client.host) or not address:
            raise Forbidden("Only programs on the router's own machine can ask whose it is.")
        if key is None:
            raise Forbidden("This server has no key to prove whose it is.")
        proof = prove(key, self._settings, address[0], address[1], nonce)
        return JSONResponse({"user": proof.user, "settings": proof.settings})

    async def page(self) -> Response:
        """Return the status page."""
        return _html(self._page)

    async def docs(self) -> Response:
        """Return the page that documents the routes."""
        return _html(self._docs)

    async def stats(self, days: Days = 7) -> Response:
        """Return traffic, latency, tokens and money of the last days."""
        return JSONResponse(await asyncio.to_thread(stats_json, self._ledger.journal, days))

    async def confidence(self, days: Days = 7) -> Response:
        """Return the calibrations of LOCAL_CONFIDENCE, and what they make of recent answers."""
        journal, truster = self._ledger.journal, self._router.truster
        found = await asyncio.to_thread(confidence_json, journal, truster, days, time.time())
        return JSONResponse(found)

    async def decisions(
        self,
        limit: Annotated[int, Query(ge=1, le=MOST_DECISIONS)] = 50,
        side: Side | None = None,
        reason: Word = None,
        client: Word = None,
    ) -> Response:
        """Return the last requests, newest first: all, or those that the filters let through."""
        wanted = Wanted(side, reason, client)
        journal = self._ledger.journal
        return JSONResponse(await asyncio.to_thread(decisions_json, journal, limit, wanted))

    async def decision(self, request_id: str) -> Response:
        """Return one request. Raises InvalidRequest, with status 404 if there is none."""
        return JSONResponse(await asyncio.to_thread(found_json, self._ledger.journal, request_id))

    async def feedback(self, request: Request) -> Response:
        """Record how good an answer was."""
        body = await self._json_body(request)
        return JSONResponse(await asyncio.to_thread(feedback_json, self._ledger.journal, body))

    async def metrics(self) -> Response:
        """Return the metrics for Prometheus."""
        text, media_type = self._ledger.metrics.text()
        return Response(text, media_type=media_type)

    async def _json_body(self, request: Request) -> dict[str, Any]:
        return parse_json(
            await read_body(
                request.scope, request.receive, self._max_body_bytes, self._caller_pause_s
            )
        )

    async def _relayed(self, path: str, request: Request) -> Response:
        return await relayed(path, request, self._json_body, self._router.server_for, self._ledger)


def _check_is_here(request: Request, what: str) -> None:
    """Raise Forbidden if the request comes from another machine."""
    if request.client is None or not _is_loopback(request.client.host):
        raise Forbidden(f"Only the user on the router's own machine can {what}.")


def _is_loopback(host: str) -> bool:
    """Return whether a caller's address is this machine's own."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _html(page: tuple[bytes, Mapping[str, str]]) -> Response:
    content, headers = page
    return Response(content, headers=headers)


def _supposed_model(body: dict[str, Any], field: str) -> str:
    """Return the name of a model that is to be taken as there, or ""."""
    name = body.get(field)
    if name is not None and not isinstance(name, str):
        raise InvalidRequest(f"`{field}` must be the name of a model.", param=field)
    return name or ""


def _public(settings: Settings) -> dict[str, Any]:
    """Return the settings that a caller may see."""
    return {
        "threshold": settings.complexity_threshold,
        "max_local_tokens": settings.max_local_tokens,
        "cloud_provider": settings.provider,
        "privacy": settings.privacy,
        "offline": settings.offline,
        "journal_prompts": settings.journal_prompts,
        "cloud_budget_usd_per_day": settings.cloud_budget_usd_per_day,
        "needs_key": settings.router_api_key is not None,
    }
