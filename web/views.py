"""The JSON answers of the routes on the state of the sides, and of /classify."""

from typing import Any

from router.backend import Model
from router.classifier import LOCAL_MODEL, Score, explain
from router.classifier import score as score_of
from router.deciding.facts import Decision, Policy, Side
from router.decision import allow
from router.errors import RouterError
from router.privacy.scanner import Finding
from router.request import ChatRequest
from router.router import Router
from router.scoring.reach import Reach
from router.state.shared import SharedStore
from web.headline import headline
from web.reload import Reading

Json = dict[str, Any]


async def health(router: Router, store: SharedStore | None = None) -> Json:
    """Return the state of both sides, and what happens to prompts now. Costs no token."""
    local, cloud = await router.sides()
    return {
        "status": "ok" if local.usable or cloud.usable else "degraded",
        "headline": headline(local, cloud, router.policy, offline=router.offline)._asdict(),
        "local": side(local, router),
        "cloud": side(cloud, router),
        "servers": await servers(router),
        "clouds": await clouds(router),
        "store": _store(store) if store is not None else None,
        "notice": notice(local),
    }


def _store(store: SharedStore) -> Json:
    """Return the state of the store that several routers share; the address has no password."""
    return {"up": store.up, "address": store.address, "detail": store.trouble}


async def servers(router: Router) -> dict[str, Json]:
    """Return each local server by its name, as `side` describes it."""
    return {one.backend: side(one, router) for one in await router.local_sides()}


async def clouds(router: Router) -> dict[str, Json]:
    """Return each cloud by its name, the first one first."""
    return {one.backend: side(one, router) for one in await router.cloud_sides()}


async def info(router: Router, settings: Json) -> Json:
    """Return the settings that a caller may see, with both sides."""
    local, cloud = await router.sides()
    return {
        "name": "llm-router",
        **settings,
        "local_base_url": router.local.server.base_url if router.local.server else None,
        "notice": notice(local),
        "local": side(local, router),
        "cloud": side(cloud, router),
        "servers": await servers(router),
        "clouds": await clouds(router),
    }


def reading(reading: Reading) -> Json:
    """Return the result of the last reading of the settings."""
    return {
        "read_at": reading.at,
        "changed": reading.changed,
        "at_next_start": reading.at_next_start,
        "warnings": reading.warnings,
        "error": reading.error,
    }


def notice(local: Side) -> str | None:
    """Return a warning to show before answers are judged: the built-in model gives them."""
    return local.status.detail if local.backend == "embedded" else None


def side(side: Side, router: Router) -> Json:
    """Return the last known state of a side. Times are in milliseconds, lengths in tokens."""
    status = side.status
    seat = router.seats.get(side.backend)
    watch = seat.watch if seat else None
    slots = seat.slots if seat else None
    return {
        "up": side.usable,
        "state": status.state,
        "backend": side.backend,
        "server": status.server,
        "model": status.model.id if status.model else None,
        "can": _can(status.model) if status.model else None,
        "models": [model.id for model in status.models],
        "remote_models": [model.id for model in status.models if model.remote],
        "latency_ms": status.latency_ms,
        "seen_s_ago": watch.age_s if watch else None,
        "detail": _detail(side),
        "breaker": watch.breaker_state if watch else "closed",
        "running": slots.busy if slots else None,
        "waiting": slots.waiting if slots else None,
        "limit": slots.limit if slots else None,
    }


def _detail(side: Side) -> str:
    """Return what is wrong with a side, or will be soon, unless `notice` says it."""
    if not side.usable:
        return side.why_not
    return "" if notice(side) else side.status.detail


def _can(model: Model) -> Json:
    return {
        "loaded": model.loaded,
        "context_tokens": model.context_tokens,
        "max_context_tokens": model.max_context_tokens,
        "vision": model.vision,
        "tools": model.tools,
    }


def classified(
    request: ChatRequest,
    outcome: Decision | RouterError,
    policy: Policy,
    finding: Finding | None = None,
) -> Json:
    """Return a decision, or the score and the reason why no side can answer.

    `finding`: what makes the request private.
    """
    decided = outcome if isinstance(outcome, Decision) else None
    score = decided.score if decided else score_of(request)
    return {
        "score": round(score.total, 1),
        "threshold": policy.threshold,
        "target": decided.first.target if decided else None,
        "model": decided.first.model if decided else None,
        "reason": decided.reason if decided else None,
        "error": outcome.message if isinstance(outcome, RouterError) else None,
        "signals": {name: round(points, 1) for name, points in score.signals.items()},
        "evidence": [
            {
                "signal": e.signal,
                "count": e.count,
                "points": round(e.points, 1),
                "words": () if e.count == "base" else e.words,  # it has a sentence
            }
            for e in explain(request)
        ],
        "kind": score.kind,
        "reach": _reach(decided.ask.reach, score) if decided else None,
        "tokens": score.tokens,
        "first_word_s": _seconds(decided.ask.first_word_s) if decided else None,
        "confidence": round(score.confidence, 2),
        "gates": list(decided.gates) if decided else [],
        "private": finding.rule if finding else None,
        "finding": _finding(finding) if finding else None,
        "fix": decided.fix if decided else "",
        "candidates": [
            {"target": c.target, "backend": c.backend, "model": c.model}
            for c in (decided.candidates if decided else ())
        ],
        "would_fall_back": decided is not None and decided.would_fall_back,
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _reach(reach: Reach | None, score: Score) -> Json | None:
    """Return what is known of the local model, and its points. Sizes in billions."""
    if reach is None:
        return None
    return {
        "model": reach.model,
        "family": reach.family or None,
        "parameters_b": reach.parameters_b,
        "active_b": reach.active_b,
        "source": reach.source,
        "points": round(score.signals.get(LOCAL_MODEL, 0.0), 1),
    }


def _finding(finding: Finding) -> Json:
    """Return the rule of a finding, its message and what to do; never the text that was found."""
    return {
        "rule": finding.rule,
        "where": finding.where,
        "role": finding.role,
        "id": finding.id,
        "advice": f"Take it out of {finding.where}. {allow(finding.id)}",
    }
