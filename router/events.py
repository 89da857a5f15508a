"""The pieces of a model's answer, as values that every wire format is translated to and from."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer.

    `prompt_tokens` includes cache reads and writes, `completion_tokens` includes reasoning:
    the detail fields are parts of those two and must not be added to them.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    by_model: tuple[tuple[str, "Usage"], ...] = ()
    """Parts of these counts that another model was charged for, with its id."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the visible answer."""

    text: str


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its log-probability (natural logarithm); `top`: the likely alternatives."""

    token: str
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True)
class Logprobs:
    """The tokens of the visible answer since the last such event; only if they were asked for."""

    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's thinking, as far as it is shown."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """A piece of the model's reason for refusing; the Finish is `content_filter`."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """A tool call begins. `index` counts tool calls from 0; exactly one start per index.

    `extra` is opaque backend data (thinking blocks, thought signatures) that must come back to
    the model that made it on the next turn, and to no other.
    """

    index: int
    id: str
    name: str
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A fragment of a tool call's arguments; the fragments of one index join to valid JSON."""

    index: int
    arguments: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event, exactly one. `usage` is None if the backend did not report it."""

    reason: FinishReason
    usage: Usage | None = None


Event = (
    TextDelta | Logprobs | ReasoningDelta | RefusalDelta | ToolCallStart | ToolCallDelta | Finish
)

Batch = Sequence[Event]
"""Events that arrived together, in order and at least one. Passing on a batch in one step takes a
fraction of the time that its events would take one by one."""


Item_contra = TypeVar("Item_contra", contravariant=True)


class Sink(Protocol[Item_contra]):
    """Sends the items of an answer without waking the task that reads it.

    Waking that task for each token takes more time than the rest of a relay.
    """

    def is_ready(self) -> bool:
        """Return whether `send` may be called now."""

    def send(self, item: Item_contra) -> None:
        """Send an item. Call it only if `is_ready` has just returned True."""


async def each_of(batches: AsyncIterator[Batch]) -> AsyncGenerator[Event, None]:
    """Yield the events one by one."""
    async for batch in batches:
        for event in batch:
            yield event
