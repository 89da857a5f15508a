"""One request as the journal stores it: the request, the answer, the reason and the cost."""

from dataclasses import dataclass, field
from typing import Literal

from router.backend import Target
from router.events import Usage
from router.request import Dialect

Outcome = Literal["done", "failed", "left"]
"""left: the caller hung up before the answer ended."""
Feedback = Literal["good", "bad"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate that was tried and did not answer. `message` is short and free of keys."""

    backend: str
    model: str
    error: str
    """The class of the failure: "BackendTimeout"…"""
    message: str = ""
    """Empty if the backend's message quotes a prompt that must not be stored."""
    ms: float = 0


@dataclass(slots=True)
class Record:
    """One request. Filled in while it runs, given to `Journal.add` when it has ended.

    `conversation` and `question` are keyed hashes (`Journal.hashed`). `prompt` is kept only where
    prompts are journalled and the request is not private.
    """

    id: str
    time: float
    """When it began, in seconds since 1970."""
    dialect: Dialect = "chat"
    asked_model: str = ""
    user_agent: str = ""
    caller: str = ""
    """The name of the key, where a team has named ones."""
    replica: str = ""
    """The router that took it, where several share a journal."""

    target: Target | None = None
    """The side that answered or should have; None when no backend was asked."""
    backend: str = ""
    model: str = ""
    score: float = 0
    confidence: float = 0
    threshold: float = 50
    signals: dict[str, float] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    reason: str = ""
    fix: str = ""
    """The command after which the local model could have taken it."""
    attempts: tuple[Attempt, ...] = ()
    stream: bool = False
    fallback: bool = False
    forced: bool = False
    private: bool = False

    shadow_threshold: float | None = None
    """SHADOW_THRESHOLD, where it was set."""
    shadow_target: str = ""
    """The side that would have answered then."""
    kind: str = ""
    """The kind of the request: "code", "mathematics"…"""
    expected_ms: float | None = None
    """Expected time until the local model began to answer; None if it was unknown."""
    first_byte_ms: float | None = None
    total_ms: float | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    """0 for a local answer; None when the price is unknown."""
    saved_usd: float | None = None
    """For a local answer, what the cloud would have cost (an estimate); None when unknown."""
    outcome: Outcome = "done"
    status: int = 200
    error: str = ""
    """The class of the failure that the caller got."""
    message: str = ""
    """The message that the caller got, short and without keys; empty if it quotes a prompt that
    must not be stored."""

    answer: dict[str, float] = field(default_factory=dict)
    """Figures on how sure the local model was of its answer: answers/trust.py."""

    conversation: str = ""
    question: str = ""
    prompt: str | None = None
    feedback: Feedback | None = None
    feedback_source: str = ""
    """ "caller", "chat", or "repeat": the same question was asked again, of the cloud."""

    @property
    def unpriced(self) -> bool:
        """Return whether the cloud answered, at least in part, at a cost that is not fully known.

        The cost of an answer that did not end is that of the tokens counted until then.
        """
        is_known = self.outcome == "done" and self.cost_usd is not None
        return self.target == "cloud" and self.first_byte_ms is not None and not is_known

    @property
    def tokens_per_s(self) -> float | None:
        """Return the tokens per second once the answer had begun; None if unknown.

        A stopped answer has no final count of its tokens.
        """
        if (
            self.outcome != "done"
            or self.usage is None
            or self.total_ms is None
            or self.first_byte_ms is None
        ):
            return None
        took_s = (self.total_ms - self.first_byte_ms) / 1000
        return self.usage.completion_tokens / took_s if took_s > 0.01 else None
