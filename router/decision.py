"""decide(): which side should answer, and why. Pure: no I/O, no clock, no log."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from router.backend import Status, Target
from router.classifier import Score
from router.errors import BackendUnfit, NoBackend, Private

Reason = Literal[
    "private",
    "forced",
    "background",
    "vision",
    "tools",
    "context",
    "too_long",
    "budget",
    "local_cold",
    "local_busy",
    "inherited",
    "no_signal",
    "complex",
    "simple",
    "local_down",
    "cloud_down",
    "cloud_unconfigured",
    "escalated",
]
"""Why an answer comes from where it comes from; the only place where reasons are spelled.
In order of precedence; the last four say that the preferred side could not answer."""

REASONS: Final = get_args(Reason)
MISFITS: Final[tuple[Reason, ...]] = ("vision", "tools", "context")
"""What the local model may not be made for."""
HARD_MISFITS: Final[tuple[Reason, ...]] = ("vision", "context")
"""What it cannot do at all; any model can be shown tools, if need be."""

SWITCH_DOWN_MARGIN: Final = 15.0
"""Points below the threshold from which a long conversation leaves a cloud whose cache is warm."""
LONG_CONVERSATION_TOKENS: Final = 2000
"""From here on a local model reads the whole conversation again for seconds before it answers."""
ANSWER_TOKENS: Final = 1024
"""Room kept for an answer whose length the caller does not limit."""
MOST_ANSWER_TOKENS: Final = 4096
"""Room kept at most: callers ask for 32,000 tokens and need 300."""
CONTEXT_HEADROOM: Final = 1.1
"""The token count is an estimate."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend and the model it would answer with."""

    target: Target
    backend: str
    model: str


@dataclass(frozen=True, slots=True)
class Side:
    """One side at the moment of a decision."""

    target: Target
    backend: str
    status: Status
    blocked: bool = False
    """It failed a moment ago and is left alone."""
    full: bool = False
    """As many requests wait for it as may."""

    @property
    def usable(self) -> bool:
        return self.status.up and self.status.model is not None and not self.blocked

    @property
    def why_not(self) -> str:
        """One sentence on why it cannot answer, and what to do."""
        if self.status.detail:
            return self.status.detail
        if self.blocked:
            return f"The {self.target} side ({self.backend}) failed a moment ago and is left alone."
        return f"The {self.target} side ({self.backend}) cannot answer."

    def candidate(self, model: str = "") -> Candidate:
        named = self.status.model.id if self.status.model else ""
        return Candidate(self.target, self.backend, model or named)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a decision reads of a request."""

    score: Score
    size_tokens: int = 0
    """Everything the caller sends."""
    max_tokens: int | None = None
    has_images: bool = False
    has_tools: bool = False
    force: Target | None = None
    force_model: str = ""
    private: str | None = None
    """The rule by which it must stay on this machine."""
    background: str | None = None
    """What a program wanted it for: "title", "tags"…"""
    last_target: Target | None = None
    """Where this conversation's last answer came from, if its cache is still warm there."""
    escalated: bool = False
    """The local model has failed in this conversation."""

    @property
    def needed_tokens(self) -> int:
        """Context it takes: what is sent, with headroom, and room for the answer."""
        room = min(self.max_tokens or ANSWER_TOKENS, MOST_ANSWER_TOKENS)
        return int(self.size_tokens * CONTEXT_HEADROOM) + room


@dataclass(frozen=True, slots=True)
class Policy:
    """The user's settings that a decision depends on."""

    threshold: float = 50
    max_local_tokens: int = 3000
    unsure_target: Target = "local"
    cold_local: Literal["cloud", "wait"] = "cloud"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who will be asked, in order of preference, and why."""

    candidates: tuple[Candidate, ...]
    reason: Reason
    score: Score
    gates: tuple[Reason, ...] = ()
    """Every gate the request met, whether it decided or not."""
    forced: bool = False
    private: str | None = None
    would_fall_back: bool = False
    """The side that should answer cannot."""

    @property
    def first(self) -> Candidate:
        return self.candidates[0]


def decide(ask: Ask, local: Side, cloud: Side, policy: Policy, *, broke: bool = False) -> Decision:
    """The rules, in order of precedence. `broke`: today's cloud budget is spent.

    Raises Private (forced to the cloud), BackendUnfit (too long for every side there is) and
    NoBackend (nobody can answer; names what to start or set).
    """
    gates = _gates(ask, local, policy, broke)
    if ask.private:
        if ask.force == "cloud":
            raise Private(
                "This request was forced to the cloud, but holds something private"
                f" ({ask.private}). Take it out, or start the server with PRIVACY=off."
            )
        if not local.usable:
            raise NoBackend(
                f"This request holds something private ({ask.private}) and must stay on this"
                f" machine. {local.why_not} PRIVACY=off would allow the cloud."
            )
        if cannot := _first(gates, HARD_MISFITS):
            raise NoBackend(
                f"This request holds something private ({ask.private}) and must stay on this"
                f" machine, where the model cannot take it ({cannot})."
            )
        model = ask.force_model if ask.force else ""
        return Decision((local.candidate(model),), "private", ask.score, gates, private=ask.private)
    if ask.force:
        side = local if ask.force == "local" else cloud
        if side.status.state == "unconfigured" or not side.candidate(ask.force_model).model:
            raise NoBackend(side.why_not)
        return Decision((side.candidate(ask.force_model),), "forced", ask.score, gates, forced=True)

    target, reason = _preference(ask, local, cloud, policy, gates)
    preferred, other = (local, cloud) if target == "local" else (cloud, local)
    excluded = {"local"} if _first(gates, HARD_MISFITS) else set()
    if broke:
        excluded.add("cloud")
        if target == "cloud":
            target, reason, preferred, other = "local", "budget", local, cloud
    able = [side for side in (preferred, other) if side.usable and side.target not in excluded]
    if not able:
        raise _nobody(ask, local, cloud, gates, broke)
    fell = able[0] is not preferred
    if fell:
        reason = _down(preferred)
    candidates = tuple(side.candidate() for side in able)
    return Decision(candidates, reason, ask.score, gates, would_fall_back=fell)


def _preference(
    ask: Ask, local: Side, cloud: Side, policy: Policy, gates: tuple[Reason, ...]
) -> tuple[Target, Reason]:
    if "background" in gates:
        return "local", "background"
    if misfit := _first(gates, MISFITS):
        return "cloud", misfit
    if "too_long" in gates:
        return "cloud", "too_long"
    target, reason = _by_score(ask, policy)
    if target == "local" and cloud.usable and local.usable:
        if "local_cold" in gates:
            return "cloud", "local_cold"
        if local.full:
            return "cloud", "local_busy"
    return target, reason


def _by_score(ask: Ask, policy: Policy) -> tuple[Target, Reason]:
    score = ask.score
    if score.total >= policy.threshold:
        follows = score.total - score.signals.get("conversation", 0.0) < policy.threshold
        return "cloud", "inherited" if follows else "complex"
    if ask.escalated or (
        ask.last_target == "cloud"
        and ask.size_tokens > LONG_CONVERSATION_TOKENS
        and score.total > policy.threshold - SWITCH_DOWN_MARGIN
    ):
        return "cloud", "inherited"
    if score.unsure:
        return policy.unsure_target, "no_signal"
    return "local", "simple"


def _gates(ask: Ask, local: Side, policy: Policy, broke: bool) -> tuple[Reason, ...]:
    model = local.status.model
    met: dict[Reason, bool] = {
        "private": ask.private is not None,
        "forced": ask.force is not None,
        "background": ask.background is not None,
        "vision": ask.has_images and model is not None and model.vision is False,
        "tools": ask.has_tools and model is not None and model.tools is False,
        "context": (
            model is not None
            and model.context_tokens is not None
            and ask.needed_tokens > model.context_tokens
        ),
        "too_long": ask.score.tokens > policy.max_local_tokens,
        "budget": broke,
        "local_cold": policy.cold_local == "cloud" and local.status.state == "cold",
        "local_busy": local.full,
    }
    return tuple(gate for gate, is_met in met.items() if is_met)


def _first(gates: tuple[Reason, ...], of: tuple[Reason, ...]) -> Reason | None:
    return next((gate for gate in of if gate in gates), None)


def _down(side: Side) -> Reason:
    if side.target == "local":
        return "local_down"
    return "cloud_unconfigured" if side.status.state == "unconfigured" else "cloud_down"


def _nobody(
    ask: Ask, local: Side, cloud: Side, gates: tuple[Reason, ...], broke: bool
) -> NoBackend | BackendUnfit:
    misfit = _first(gates, HARD_MISFITS)
    model = local.status.model
    if misfit == "context" and local.usable and model is not None and not broke:
        return BackendUnfit(
            f"The request needs about {ask.needed_tokens} tokens; {model.id} is loaded with"
            f" {model.context_tokens}. {cloud.why_not}",
            backend=local.backend,
            code="context_length_exceeded",
        )
    if misfit and local.usable and model is not None:
        first = {
            "vision": f"{model.id} takes no pictures.",
            "context": f"{model.id} is loaded with too short a context.",
        }.get(misfit, "")
    else:
        first = local.why_not
    then = "Today's CLOUD_BUDGET_USD_PER_DAY is spent." if broke else cloud.why_not
    return NoBackend(f"{first} {then}")
