"""The handlers of the routes that FastAPI serves. web/app.py has their paths."""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Query, Request
from fastapi.responses import JSONResponse, Response

from config import Settings
from router.deciding.facts import Decision
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
from router.request import ChatRequest, checked
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
from web import token_counts, views
from web.context import Here
from web.dialect import dialect_of
from web.hints import purpose_of
from web.keys import member_of
from web.model_list import codex_catalogue, model_list
from web.page import load_docs, load_page
from web.relayed import relayed

PROXY_HEADERS: Final = ("forwarded", "via", "x-forwarded-for")
"""Headers of a reverse proxy: behind one, the address of every caller is the proxy's."""

Days = Annotated[float, Query(gt=0, le=MOST_DAYS)]
Word = Annotated[str | None, Query(max_length=200)]


async def count_tokens(request: Request, here: Here) -> Response:
    """Count the tokens of a Messages request; an estimate, unless Claude is asked for."""
    chat = messages.counting_request(await here.json_body(request), request.headers)
    member = member_of(request.scope)
    return JSONResponse(
        {"input_tokens": await token_counts.count_tokens(here.router, chat, member)}
    )


async def text_completions(request: Request, here: Here) -> Response:
    """Relay text completions to the local server."""
    return await relayed("/completions", request, here)


async def embeddings(request: Request, here: Here) -> Response:
    """Relay embeddings to the local server; they never go to a cloud."""
    return await relayed("/embeddings", request, here)


async def list_models(request: Request, here: Here) -> Response:
    """List every name that `model` can have; for Codex, its catalogue beside the list."""
    listed = await model_list(here.router, dialect_of(request.scope))
    if "client_version" in request.query_params:
        listed["models"] = await codex_catalogue(here.router)
    return JSONResponse(listed)


async def get_model(model_id: str, request: Request, here: Here) -> Response:
    """Return one row of that list. Raises UnknownModel."""
    listed = await model_list(here.router, dialect_of(request.scope))
    for row in listed["data"]:
        if row["id"] == model_id:
            return JSONResponse(row)
    raise UnknownModel(f"There is no model {model_id[:200]!r}; GET /v1/models lists them.")


async def classify(request: Request, here: Here) -> Response:
    """Decide where a prompt or a chat body would go, without calling a model."""
    body = await here.json_body(request)
    if "messages" not in body:
        if not isinstance(body.get("prompt"), str):
            raise InvalidRequest("Send `prompt`, a string, or `messages`.", param="prompt")
        body = {**body, "messages": [{"role": "user", "content": body["prompt"]}]}
    local, cloud = (_supposed_model(body, f"{side}_model") for side in ("local", "cloud"))
    chat = ChatRequest(checked(body), purpose=purpose_of(request.scope))
    outcome: Decision | RouterError
    try:
        if local or cloud:
            outcome = await here.router.what_if(chat, local, cloud)
        else:
            force, member = request.headers.get("x-force-route"), member_of(request.scope)
            outcome = await here.router.decide(chat, force, member)
    except (NoBackend, BackendUnfit, Private, BudgetSpent) as error:
        outcome = error
    privacy = here.router.privacy
    finding = privacy.check(chat) if privacy is not None else None
    return JSONResponse(views.classified(chat, outcome, here.router.policy, finding))


async def allow_private(request: Request, here: Here) -> Response:
    """Allow a false alarm of the privacy scan in its conversation; only from this machine."""
    _check_is_here(request, "allow a finding")
    alarm = (await here.json_body(request)).get("id")
    if not isinstance(alarm, str) or not await here.router.allow_private(alarm):
        raise InvalidRequest(
            "`id` must be that of a finding: the log, /classify and the error name it.",
            param="id",
        )
    return JSONResponse({"allowed": alarm})


async def reload_settings(request: Request, here: Here) -> Response:
    """Read the settings again, as SIGHUP does; only from this machine.

    Raises InvalidRequest if they cannot be used.
    """
    _check_is_here(request, "have the settings read again")
    reading = await here.reread()
    if reading.error:
        raise InvalidRequest(f"The settings stay as they were. {reading.error}")
    return JSONResponse(views.reading(reading))


async def health(here: Here) -> Response:
    """Return the state of each side, and of the store that several routers share."""
    return JSONResponse(await views.health(here.router, here.parts.store))


async def ready(here: Here) -> Response:
    """Return 200 while a load balancer should send requests here, else 503."""
    state = here.readiness.state
    is_ready = state == "ready"
    return JSONResponse({"ready": is_ready, "state": state}, 200 if is_ready else 503)


async def info(here: Here) -> Response:
    """Return the settings that a caller may see."""
    settings = {**_public(here.settings), "settings": views.reading(here.source.last)}
    return JSONResponse(await views.info(here.router, settings))


async def identity(
    request: Request, here: Here, nonce: Annotated[str, Query(pattern="^[0-9a-f]{32}$")]
) -> Response:
    """Prove to a program on this machine that this server is of the same user."""
    key = await asyncio.to_thread(read_key)
    address = request.scope.get("server")
    if request.client is None or not _is_loopback(request.client.host) or not address:
        raise Forbidden("Only programs on the router's own machine can ask whose it is.")
    if key is None:
        raise Forbidden("This server has no key to prove whose it is.")
    proof = prove(key, here.settings, address[0], address[1], nonce)
    return JSONResponse({"user": proof.user, "settings": proof.settings})


async def page(here: Here) -> Response:
    """Return the status page."""
    return _html(load_page())


async def docs(here: Here) -> Response:
    """Return the page that documents the routes."""
    return _html(load_docs())


async def no_icon() -> Response:
    """Return nothing to a browser that shows JSON and looks for an icon beside it."""
    return Response(status_code=204, headers={"cache-control": "max-age=86400"})


async def stats(here: Here, days: Days = 7) -> Response:
    """Return traffic, latency, tokens and money of the last days."""
    return JSONResponse(await asyncio.to_thread(stats_json, here.ledger.journal, days))


async def confidence(here: Here, days: Days = 7) -> Response:
    """Return the calibrations of LOCAL_CONFIDENCE, and their verdicts on recent answers."""
    journal, truster = here.ledger.journal, here.router.truster
    found = await asyncio.to_thread(confidence_json, journal, truster, days, time.time())
    return JSONResponse(found)


async def decisions(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=MOST_DECISIONS)] = 50,
    side: Side | None = None,
    reason: Word = None,
    client: Word = None,
) -> Response:
    """Return the last requests that match the filters, newest first."""
    wanted = Wanted(side, reason, client)
    journal = here.ledger.journal
    return JSONResponse(await asyncio.to_thread(decisions_json, journal, limit, wanted))


async def decision(request_id: str, here: Here) -> Response:
    """Return one request. Raises InvalidRequest, with status 404 if there is none."""
    return JSONResponse(await asyncio.to_thread(found_json, here.ledger.journal, request_id))


async def events(here: Here) -> Response:
    """Stream new decisions and changed states."""
    return await here.feed.stream()


async def feedback(request: Request, here: Here) -> Response:
    """Record how good an answer was."""
    body = await here.json_body(request)
    return JSONResponse(await asyncio.to_thread(feedback_json, here.ledger.journal, body))


async def metrics(here: Here) -> Response:
    """Return the metrics for Prometheus."""
    text, media_type = here.ledger.metrics.text()
    return Response(text, media_type=media_type)


def _check_is_here(request: Request, what: str) -> None:
    """Raise Forbidden if the request comes from another machine."""
    is_passed_on = any(name in request.headers for name in PROXY_HEADERS)
    if is_passed_on or request.client is None or not _is_loopback(request.client.host):
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
