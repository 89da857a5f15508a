"""Sources of the chat's answers: the router in this process, or a server that runs already."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final, Protocol

from router.backend import Target
from router.request import ChatRequest
from router.telemetry.record import Feedback, Record

AGENT: Final = "chat.py"


@dataclass(slots=True)
class Outcome:
    """How an answer came about; filled in when it has ended."""

    record: Record
    private: bool = True
    """Whether the question is private, or was never examined."""


@dataclass(frozen=True, slots=True)
class SideState:
    """A side in words."""

    target: Target
    usable: bool
    description: str
    """Its state, model, loaded context, and what is wrong with it."""
    why_not: str
    """Why it cannot answer, and what to do; empty if it can."""


class Source(Protocol):
    """Answers questions, and describes sides and models. Raises RouterError with one line."""

    def ask(self, request: ChatRequest, outcome: Outcome) -> AsyncGenerator[str, None]:
        """Yield the answer in pieces. Once closed it has filled in `outcome`, also on a failure."""
        ...

    async def sides(self) -> tuple[SideState, SideState]:
        """Return the local and the cloud side as they were last seen."""
        ...

    async def models(self) -> list[str]:
        """Return every name that a request's `model` can have, `auto` first."""
        ...

    async def notice(self) -> str:
        """Return a sentence that says so if the built-in model answers, else an empty text."""
        ...

    async def rate(self, request_id: str, verdict: Feedback) -> None:
        """Note how good an answer was."""
        ...

    async def aclose(self) -> None:
        """Close the connections, and stop what was started."""
        ...


def described(state: str, model: str, context_tokens: int | None, detail: str) -> str:
    """Return a side in words."""
    context = f"{context_tokens} tokens loaded" if context_tokens else ""
    said = ", ".join(part for part in (state, model, context) if part)
    return f"{said}. {detail}" if detail else said
