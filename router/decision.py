"""The rules that choose a side for a request. Pure: no I/O, no clock, no log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from router.backend import Target
from router.deciding.facts import Ask, Candidate, Decision, Policy, Reason, Side
from router.errors import BackendUnfit, NoBackend, Private

MISFITS: Final[tuple[Reason, ...]] = ("vision", "tools", "context")
"""Reasons that mean: the local model is not made for this request."""
HARD_MISFITS: Final[tuple[Reason, ...]] = ("vision", "context")
"""Those of them that rule the local model out. Any model can be given tools, if need be."""

SWITCH_DOWN_MARGIN: Final = 15.0
"""Points below the threshold from which a long conversation leaves a cloud whose cache is warm."""
LONG_CONVERSATION_TOKENS: Final = 2000
"""A local model takes seconds to read a longer conversation again before it answers."""


def decide(
    ask: Ask,
    local: Side,
    cloud: Side,
    policy: Policy,
    *,
    broke: bool = False,
    spares: Sequence[Side] = (),
    clouds: Sequence[Side] = (),
) -> Decision:
    """Return the candidates and the reason, by the rules in their order.

    `broke`: today's cloud budget is spent. `spares`: further local servers that can take the
    request, asked in this order when the one of `local` fails; `clouds`: the same for `cloud`.
    Raises Private (forced to the cloud), BackendUnfit (too long for every side there is) and
    NoBackend (no side can answer; names what to start or set).
    """
    decision = _decided(ask, local, cloud, policy, broke, spares, clouds)
    if policy.shadow_threshold is None:
        return decision
    other = replace(policy, threshold=policy.shadow_threshold)
    shadow = _decided(ask, local, cloud, other, broke, spares, clouds)
    return replace(decision, shadow=shadow.first.target)


def _decided(
    ask: Ask,
    local: Side,
    cloud: Side,
    policy: Policy,
    broke: bool,
    spares: Sequence[Side],
    clouds: Sequence[Side],
) -> Decision:
    gates = _gates(ask, local, policy, broke)
    if ask.private:
        return _kept_here(ask, local, spares, gates)
    if ask.force == "local":
        return _forced(ask, local, spares, gates)
    if ask.force == "cloud":
        return _forced(ask, cloud, clouds, gates)
    target, reason = _preference(ask, local, cloud, policy, gates)
    if broke and target == "cloud":
        target, reason = "local", "budget"
    preferred, other = (local, cloud) if target == "local" else (cloud, local)
    sides = [side for side in (preferred, other) if not _excludes(gates, side.target)]
    # A side that failed a moment ago is better than none.
    able = [side for side in sides if side.usable] or [side for side in sides if side.up]
    if not able:
        raise _nobody(ask, local, cloud, gates)
    fell = able[0] is not preferred
    if fell:
        reason = _down(preferred)
    candidates: list[Candidate] = []
    for side in able:
        candidates.append(side.candidate())
        more = spares if side is local else clouds
        candidates += [other.candidate() for other in more]
    return Decision(
        tuple(candidates), reason, ask, gates, would_fall_back=fell, fix=_fix(ask, local, gates)
    )


def allow(finding_id: str) -> str:
    """Return how a false alarm is allowed."""
    body = f'{{"id": "{finding_id}"}}'
    return f"A false alarm can be allowed on this machine: POST /privacy/allow {body}."


UNKNOWN_PAST: Final = "perhaps something private: the shared store does not answer"
"""In place of a finding, where another router may have found something in the conversation."""


def stays_here(ask: Ask) -> str:
    """Return why no other side answers a private request, and what to do."""
    if ask.private == UNKNOWN_PAST:
        return (
            "Another router may have found something private in this conversation, and the shared"
            " store (STATE_URL) does not answer, so the request must stay on this machine. Start"
            " the store, or a new conversation."
        )
    return (
        f"The request holds something private ({ask.private}), so it must stay on this machine."
        f" Take it out. {allow(ask.finding_id)} PRIVACY=off would allow the cloud for all requests."
    )


def _kept_here(
    ask: Ask, local: Side, spares: Sequence[Side], gates: tuple[Reason, ...]
) -> Decision:
    if ask.force == "cloud" and ask.private == UNKNOWN_PAST:
        raise Private(f"This request was forced to the cloud. {stays_here(ask)}")
    if ask.force == "cloud":
        raise Private(
            f"This request was forced to the cloud, but holds something private ({ask.private})."
            f" Take it out, or start the server with PRIVACY=off. {allow(ask.finding_id)}"
        )
    if not local.up:
        raise NoBackend(f"{local.why_not} {stays_here(ask)}")
    if misfit := _first(gates, HARD_MISFITS):
        raise NoBackend(f"{_misfit(misfit, ask, local)} {stays_here(ask)}")
    name = ask.force_model if ask.force else ""
    here = [side for side in (local, *spares) if not _is_remote(side, name)]
    if not here:
        raise NoBackend(
            f"The local model does not run on this machine. {stays_here(ask)}"
            " Set LOCAL_MODEL to a model that runs here."
        )
    return Decision(tuple([side.candidate(name) for side in here]), "private", ask, gates)


def _is_remote(side: Side, name: str) -> bool:
    """Return whether another machine would answer with this model."""
    model = side.model(name)
    return model is not None and model.remote


def _forced(ask: Ask, side: Side, spares: Sequence[Side], gates: tuple[Reason, ...]) -> Decision:
    candidate = side.candidate(ask.force_model)
    if not side.status.up or not candidate.model:
        raise NoBackend(side.why_not)
    others = [spare.candidate(ask.force_model) for spare in spares]
    return Decision((candidate, *others), "forced", ask, gates, forced=True)


def _preference(
    ask: Ask, local: Side, cloud: Side, policy: Policy, gates: tuple[Reason, ...]
) -> tuple[Target, Reason]:
    if "background" in gates and not _excludes(gates, "local"):
        return "local", "background"
    if misfit := _first(gates, MISFITS):
        return "cloud", misfit
    if ask.purpose == "subagent" and policy.subagents != "auto":
        return policy.subagents, "subagent"
    target, reason = _by_purpose(ask) or _by_score(ask, policy)
    if target == "local" and cloud.usable and local.usable:
        if "slow" in gates:
            return "cloud", "slow"
        if "local_cold" in gates:
            return "cloud", "local_cold"
        if local.full:
            return "cloud", "local_busy"
        if ask.stalled:
            return "cloud", "stalled"
    return target, reason


def _by_purpose(ask: Ask) -> tuple[Target, Reason] | None:
    """Return the side for a summary of the conversation: the one that has it in its cache.

    The last prompt is the client's own, so neither its score nor its length says anything.
    """
    if ask.purpose != "compaction":
        return None
    return "cloud" if ask.escalated else ask.last_target or "local", "compaction"


def _by_score(ask: Ask, policy: Policy) -> tuple[Target, Reason]:
    score = ask.score
    if score.tokens > policy.max_local_tokens:
        return "cloud", "too_long"
    if score.total >= policy.threshold:
        follows = score.total - score.signals.get("conversation", 0.0) < policy.threshold
        return "cloud", "inherited" if follows else "complex"
    if ask.escalated or (ask.last_target == "cloud" and _is_not_worth_leaving(ask, policy)):
        return "cloud", "inherited"
    if score.unsure:
        return policy.unsure_target, "no_signal"
    return "local", "simple"


def _is_not_worth_leaving(ask: Ask, policy: Policy) -> bool:
    """Return whether a move to the local model costs more than it saves.

    It would have to read the whole conversation first.
    """
    if ask.in_tool_loop:
        return True
    long = ask.size_tokens > LONG_CONVERSATION_TOKENS
    return long and ask.score.total > policy.threshold - SWITCH_DOWN_MARGIN


def _gates(ask: Ask, local: Side, policy: Policy, broke: bool) -> tuple[Reason, ...]:
    model = local.model(ask.force_model if ask.force == "local" else "")
    room = model.room_tokens if model is not None else None
    met: dict[Reason, bool] = {
        "private": ask.private is not None,
        "forced": ask.force is not None,
        "background": ask.background is not None,
        "vision": ask.has_images and model is not None and model.vision is False,
        "tools": ask.has_tools and model is not None and model.tools is False,
        "context": room is not None and ask.needed_tokens > room,
        "compaction": ask.purpose == "compaction",
        "subagent": ask.purpose == "subagent" and policy.subagents != "auto",
        "too_long": ask.score.tokens > policy.max_local_tokens,
        "slow": 0 < policy.patience_s < (ask.first_word_s or 0),
        "local_cold": policy.cold_local == "cloud" and local.status.state == "cold",
        "local_busy": local.full,
        "budget": broke,
    }
    return tuple([gate for gate, is_met in met.items() if is_met])


def _first(gates: tuple[Reason, ...], of: tuple[Reason, ...]) -> Reason | None:
    for gate in of:
        if gate in gates:
            return gate
    return None


def _excludes(gates: tuple[Reason, ...], target: Target) -> bool:
    """Return whether this side must not be asked at all."""
    if target == "cloud":
        return "budget" in gates
    return _first(gates, HARD_MISFITS) is not None


def _down(side: Side) -> Reason:
    if side.target == "local":
        return "local_down"
    return "cloud_unconfigured" if side.status.state == "unconfigured" else "cloud_down"


def _nobody(
    ask: Ask, local: Side, cloud: Side, gates: tuple[Reason, ...]
) -> NoBackend | BackendUnfit:
    broke = "budget" in gates
    then = "Today's CLOUD_BUDGET_USD_PER_DAY is spent." if broke else cloud.why_not
    misfit = _first(gates, HARD_MISFITS)
    if misfit is None or not local.up:
        return NoBackend(f"{local.why_not} {then}")
    said = f"{_misfit(misfit, ask, local)} {then}"
    if misfit == "context" and not broke:
        # Clients shorten the conversation when they read this code.
        return BackendUnfit(said, backend=local.backend, code="context_length_exceeded")
    return NoBackend(said)


def _misfit(misfit: Reason, ask: Ask, local: Side) -> str:
    """Return a sentence on why the local model cannot take the request, and what would help."""
    model = local.model(ask.force_model)
    assert model is not None
    if misfit == "vision":
        said = f"{model.id} takes no pictures."
    else:
        needed, room = ask.needed_tokens, model.room_tokens
        said = f"The request needs about {needed} tokens; {model.id} has room for {room}."
        if local.backend == "embedded":
            return f"{said} Start a local server with a larger context (see llm-router doctor)."
    fix = _fix(ask, local, (misfit,))
    return f"{said} This would help: {fix}." if fix else said


def _fix(ask: Ask, local: Side, gates: tuple[Reason, ...]) -> str:
    """Return the command or setting with which the local model could take the request, or ""."""
    model = local.model(ask.force_model)
    misfit = _first(gates, MISFITS)
    if model is None or misfit is None:
        return ""
    if misfit == "context":
        return local.enlarge(model, ask.needed_tokens)
    able = next((m for m in local.status.models if getattr(m, misfit)), None)
    return f"LOCAL_MODEL={able.id}" if able else ""
