"""The facts that a decision depends on, and the decision: plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

from router.backend import Model, Status, Target
from router.classifier import Score
from router.request import Purpose
from router.scoring.reach import Reach

Reason = Literal[
    "private",
    "forced",
    "background",
    "vision",
    "tools",
    "context",
    "compaction",
    "subagent",
    "too_long",
    "inherited",
    "no_signal",
    "complex",
    "simple",
    "slow",
    "local_cold",
    "local_busy",
    "stalled",
    "budget",
    "local_down",
    "cloud_down",
    "cloud_unconfigured",
    "escalated",
]
"""Why a side answers, in the order of docs/routing.md. The last four mean that the preferred side
could not answer."""

REASONS: Final = get_args(Reason)
ANSWER_TOKENS: Final = 1024
"""Room kept for an answer whose length the caller does not limit."""
MOST_ANSWER_TOKENS: Final = 4096
"""The most room kept for an answer: callers ask for 32,000 tokens and need 300."""
CONTEXT_HEADROOM: Final = 1.1
"""Factor on the token count, which is an estimate."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend and the model it would answer with."""

    target: Target
    backend: str
    model: str


def _no_command(model: Model, needed_tokens: int) -> str:
    return ""


@dataclass(frozen=True)
class Side:
    """One side at the moment of a decision."""

    target: Target
    backend: str
    status: Status
    blocked: bool = False
    """Its circuit breaker is open: it failed a moment ago."""
    full: bool = False
    """Its queue is full."""
    enlarge: Callable[[Model, int], str] = _no_command
    """Returns the command that gives a model a context of so many tokens, or ""."""

    @cached_property
    def up(self) -> bool:
        """Return whether there is a model that would answer."""
        return self.status.up and self.status.model is not None

    @cached_property
    def usable(self) -> bool:
        return self.up and not self.blocked

    @property
    def why_not(self) -> str:
        """Return a sentence that says why it cannot answer, and what to do."""
        if self.status.detail and not self.up:
            return self.status.detail
        if self.blocked:
            failed = "failed a moment ago; it is tried again soon"
            return f"The {self.target} side ({self.backend}) {failed}."
        return f"The {self.target} side ({self.backend}) cannot answer."

    def model(self, name: str = "") -> Model | None:
        """Return the model of this name; without a name, the model that would answer."""
        models = self.status.models
        return next((m for m in models if m.id == name), None) if name else self.status.model

    def candidate(self, name: str = "") -> Candidate:
        return Candidate(self.target, self.backend, name) if name else self._first

    @cached_property
    def _first(self) -> Candidate:
        model = self.status.model.id if self.status.model else ""
        return Candidate(self.target, self.backend, model)


def needed_tokens(size_tokens: int, max_tokens: int | None) -> int:
    """Return the context that a prompt of this size needs, with headroom, and its answer."""
    room = min(max_tokens or ANSWER_TOKENS, MOST_ANSWER_TOKENS)
    return int(size_tokens * CONTEXT_HEADROOM) + room


@dataclass(slots=True)
class Ask:
    """The facts of a request that a decision depends on; never changed.

    The class is not frozen, because that would make it three times as slow to create.
    """

    score: Score
    reach: Reach | None = None
    """What the local model can do; None if that is unknown."""
    size_tokens: int = 0
    """Tokens of everything that the caller sends."""
    new_tokens: int = 0
    """The part of it that is not in the local server's cache."""
    first_word_s: float | None = None
    """Expected seconds until the local model begins to answer; None if that is unknown."""
    max_tokens: int | None = None
    has_images: bool = False
    has_tools: bool = False
    force: Target | None = None
    force_model: str = ""
    private: str | None = None
    """Why it must stay on this machine: the rule, where it matched, and the id of the finding."""
    finding_id: str = ""
    background: str | None = None
    """Why a program sent it by itself: "title", "tags"…"""
    purpose: Purpose | None = None
    """The purpose that the client declares."""
    last_target: Target | None = None
    """The side of this conversation's last answer, if its prompt cache is still warm."""
    in_tool_loop: bool = False
    """The model continues its turn with the results of its tools."""
    escalated: bool = False
    """The local model has failed in this conversation."""
    stalled: bool = False
    """The conversation's tool loop went in circles: answers/stalled.py."""
    conversation: Sequence[bytes] = ()
    """Digests that identify it: conversations.prefixes_of()."""
    blocks: Sequence[bytes] = ()
    """Digests of the prompt's beginning: pool.blocks_of(). Empty with a single local server."""

    @property
    def needed_tokens(self) -> int:
        """Return the context that is needed: what is sent, with headroom, and the answer."""
        return needed_tokens(self.size_tokens, self.max_tokens)


@dataclass(frozen=True, slots=True)
class Policy:
    """The user's settings that a decision depends on."""

    threshold: float = 50
    max_local_tokens: int = 3000
    unsure_target: Target = "local"
    cold_local: Literal["cloud", "wait"] = "cloud"
    patience_s: float = 0
    """Seconds that the first word of a local answer may be away; 0: any."""
    shadow_threshold: float | None = None
    """Another threshold, whose decision is only noted."""
    subagents: Literal["auto", "local", "cloud"] = "auto"
    """The side that answers agents which another agent has started; auto: the score decides."""


@dataclass(slots=True)
class Decision:
    """The candidates in order of preference, and the reason; not changed once it is made."""

    candidates: tuple[Candidate, ...]
    reason: Reason
    ask: Ask
    gates: tuple[Reason, ...] = ()
    """Every gate that applies to the request, also those that did not decide."""
    forced: bool = False
    would_fall_back: bool = False
    """The side that should answer cannot."""
    fix: str = ""
    """What would let the local model take a request that does not fit it."""
    shadow: Target | None = None
    """The side that would come first at the shadow threshold; None where there is none."""

    @property
    def first(self) -> Candidate:
        return self.candidates[0]

    @property
    def score(self) -> Score:
        return self.ask.score

    @property
    def private(self) -> str | None:
        return self.ask.private
