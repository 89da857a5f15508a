"""The protocol of backends: a request goes in, and a reply that was not read yet comes out."""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
)
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, runtime_checkable

from router.errors import BackendBroken
from router.events import Batch, Sink, Usage
from router.request import ChatRequest, Dialect

Target = Literal["local", "cloud"]
ConfidenceMode = Literal["off", "shadow", "on"]
"""off: a local model's log-probabilities are not read. shadow: they are read and recorded. on: an
answer that is too uncertain starts over on the cloud. See answers/trust.py."""
State = Literal["ready", "cold", "locked", "down", "unconfigured"]
"""ready: answers now. cold: up, but the model must first be loaded. locked: up, but it
refuses our key. down: does not answer. unconfigured: no key or switched off."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a backend may take, in seconds."""

    connect_s: float = 2
    first_byte_s: float = 300
    """From the request to the first byte of the answer; a local model may have to load."""
    idle_s: float = 120
    """Between two pieces of an answer."""
    total_s: float = 3600
    """For the whole answer."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model and what it can do now; None means the server does not say."""

    id: str
    loaded: bool | None = None
    context_tokens: int | None = None
    """Context length it is loaded with (of a cloud model: its input limit)."""
    max_context_tokens: int | None = None
    vision: bool | None = None
    tools: bool | None = None
    parallel: int | None = None
    """Requests it can work on at a time."""
    parameters_b: float | None = None
    """Size, in billions of parameters."""
    quantization: str = ""
    """As the server writes it: "Q4_K_M", "4bit"; empty where it does not say."""
    origin: str = ""
    """The repository or file that it was loaded from, where `id` does not tell."""
    remote: bool = False
    """The server passes requests for it on to another machine."""

    @property
    def room_tokens(self) -> int | None:
        """Tokens that fit into it now; into a model that is not loaded, the most that could fit."""
        return self.context_tokens or self.max_context_tokens


@dataclass(frozen=True, slots=True)
class Status:
    """The result of one probe of a backend. Never holds a key."""

    state: State
    model: Model | None = None
    """The model that would answer; None where there is none or several to choose from."""
    models: tuple[Model, ...] = ()
    server: str = ""
    """The kind of server: "lmstudio", "llama.cpp", "ollama", "vllm", "openai", "anthropic"…"""
    latency_ms: float | None = None
    detail: str = ""
    """One sentence on what is wrong and what to do about it; empty if all is well."""
    embedders: tuple[str, ...] = ()
    """Ids of models that only embed or rank."""

    @property
    def up(self) -> bool:
        return self.state in ("ready", "cold")

    def in_words(self, before: "Status | None" = None) -> str:
        """Return the status as a log line says it, without a detail that `before` has too."""
        is_known = before is not None and before.detail == self.detail
        detail = "" if is_known else self.detail
        if not self.up or self.model is None:
            return detail or self.state
        room = self.model.context_tokens
        loaded = f", context {room}" if room and self.state == "ready" else ""
        return f"{self.model.id}, {self.state}{loaded}" + (f". {detail}" if detail else "")


Item = TypeVar("Item", Batch, bytes)
Item_co = TypeVar("Item_co", covariant=True)


class Items(Protocol[Item_co]):
    """An answer's items as they come: an asynchronous iterator that can be closed early."""

    def __aiter__(self) -> AsyncIterator[Item_co]: ...
    def __anext__(self) -> Awaitable[Item_co]: ...
    async def aclose(self) -> None: ...


Forward = Callable[[Sink[Item]], None]
"""Connects an answer to a sink. From then on, what is only words goes to the sink, if a reader
waits for the next item and the sink is ready. Everything else goes to the reader."""

Token = tuple[str, float]
"""A token and its log-probability."""


class Logprobs(Protocol):
    """The log-probabilities of an answer's tokens, as far as its chunks were read."""

    def tokens(self) -> list[Token]:
        """Return the tokens, the model's thoughts among them where the server mixes them."""

    def first_alternatives(self) -> list[float]:
        """Return the log-probabilities listed for the first token, its own included."""


@dataclass(slots=True)
class Relayed:
    """An answer in the caller's own format, byte for byte.

    `chunks`: whole SSE events (a stream), or pieces of one JSON document. `usage` is known once
    the chunks are read to their end.
    """

    chunks: Items[bytes]
    model: str
    format: Dialect = "chat"
    dropped: tuple[str, ...] = ()
    usage: Usage | None = None
    document: Mapping[str, Any] | None = None
    """The chunks as one parsed JSON document, if the backend had to parse it anyway."""
    logprobs: Logprobs | None = None
    """None where the server was not asked for them."""
    forward_to: Forward[bytes] | None = None
    """None if every chunk must be read."""

    async def aclose(self) -> None:
        await self.chunks.aclose()


@dataclass(slots=True)
class Translated:
    """An answer as events, for the encoder of the caller's format."""

    events: Items[Batch]
    model: str
    dropped: tuple[str, ...] = ()
    """Names of request fields that this backend left out."""
    forward_to: Forward[Batch] | None = None
    """None, or without effect, if all events must be read."""
    usage_so_far: Callable[[], Usage | None] = lambda: None
    """Returns the tokens counted so far: the only usage of an answer that does not end."""

    async def aclose(self) -> None:
        await self.events.aclose()


Reply = Relayed | Translated


class Backend(Protocol):
    """A service that answers requests. It connects, and imports its SDK, when it is first used."""

    @property
    def name(self) -> str:
        """Return the name: "local", "embedded", "claude", "gemini", or that of a local server."""

    async def open(self, request: ChatRequest, model: str) -> Reply:
        """Send the request; return once the answer has begun. Raises BackendError.

        Cancelling closes the connection. The caller of this method must close the reply.
        """

    async def probe(self) -> Status:
        """Look at the backend, without spending tokens, and return its status. Never raises."""

    async def aclose(self) -> None:
        """Close the connections."""


@runtime_checkable
class CountsTokens(Protocol):
    """A backend that counts the tokens of a Messages request itself."""

    @property
    def name(self) -> str:
        """Return the name of the backend."""

    async def count_tokens(self, request: ChatRequest, model: str) -> int:
        """Return the tokens of the prompt. Raises BackendError."""


class LocalServer(Backend, Protocol):
    """A local server, which also loads models and takes requests other than chats."""

    @property
    def model(self) -> str:
        """Return the model that the user set, or "" for the one that is loaded."""

    @property
    def base_url(self) -> str:
        """Return the address with its /v1, without credentials."""

    async def warm_up(self, model: str) -> None:
        """Make the server load the model; return without an error if it cannot."""

    async def relay(
        self, path: str, body: dict[str, Any]
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """Send a body to another path by POST; return the answer's content type and bytes.

        Raises BackendError, and UnknownModel for a model that the server lacks. If a stream fails
        after it has begun, the failure is yielded as its last event and then raised.
        """

    def enlarge_command(self, model: Model, needed_tokens: int) -> str:
        """Return the command that gives the model a context of this size, or ""."""


async def primed(items: Items[Item], backend: str) -> "Chained[Item]":
    """Wait for the first item, so that a failure before it can still go elsewhere.

    Raises BackendBroken when there is none, and whatever `items` raises.
    """
    try:
        first = await anext(items)
    except StopAsyncIteration:
        raise BackendBroken(f"{backend} sent an empty answer.", backend=backend) from None
    except asyncio.CancelledError:
        await items.aclose()
        raise
    return Chained([first], items)


class Chained(Generic[Item]):
    """Items that were read already, then those of `rest`. Closing it closes `rest`, read or not.

    It is no generator: that would be one more step for each token of an answer.
    """

    def __init__(self, begun: Iterable[Item], rest: Items[Item]) -> None:
        # Last one first, for pop(). A deque would be half a kilobyte more for each open stream.
        self._begun: list[Item] = list(begun)[::-1]
        self._rest: Items[Item] = rest
        if isinstance(rest, Chained):
            self._begun = rest._begun + self._begun
            self._rest = rest._rest

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[Item]:
        return _now(self._begun.pop()) if self._begun else self._rest.__anext__()

    async def aclose(self) -> None:
        self._begun.clear()
        await self._rest.aclose()


async def _now(item: Item) -> Item:
    return item
