"""ClaudeBackend: Anthropic's Messages API through the anthropic SDK.

The SDK makes the request (keys, address, proxies, errors) with its aiohttp transport; the answer
is read raw, because its typed events cost four times as much CPU as the rest of the route.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from router.backend import Model, Relayed, Reply, Status, TimeLimits, Translated, primed
from router.cloud_calls import connection_errors, connection_failure, paced
from router.errors import (
    BackendBroken,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Event, ToolCallStart, Usage
from router.failures import CONTEXT_LENGTH, retry_after_s
from router.redact import redact
from router.request import ChatRequest
from router.vault import Vault
from router.wire import claude, sse
from router.wire.claude_model import Abilities, abilities
from router.wire.claude_turns import Recall

if TYPE_CHECKING:
    import anthropic
    import httpx2

# Given explicitly, because the SDK would otherwise look for keys and addresses of its own.
BASE_URL: Final = "https://api.anthropic.com"

_LOOK_S: Final = 3600.0
"""How long what the Models API said holds."""
_LOOK_AGAIN_S: Final = 10.0
"""How long its failure holds."""
_LAST_BYTES_S: Final = 0.2
"""How long the end of the connection's message may take after the end of Claude's."""
_BEARER_SINCE: Final = "2026-10-21"
"""API version from which keys are sent as bearer tokens; before, as x-api-key."""


class ClaudeBackend:
    """Claude, as a backend of the router."""

    name: Final = "claude"

    def __init__(
        self,
        api_key: str | None,
        model: str,
        *,
        max_tokens: int,
        limits: TimeLimits,
        base_url: str | None = None,
        vault: Vault | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` is the one that `probe()` looks at, `max_tokens` the limit of an answer to a
        request without one, `base_url` the address with or without its /v1."""
        self._api_key = api_key
        self._model = model
        self._max_tokens = max_tokens
        self._limits = limits
        self._base_url = (base_url or BASE_URL).rstrip("/").removesuffix("/v1")
        self._vault = vault or Vault()
        self._clock = clock
        self._client: anthropic.AsyncAnthropic | None = None
        self._building = asyncio.Lock()
        self._abilities: dict[str, Abilities] = {}
        self._status: Status | None = None
        self._look_at = 0.0

    async def warm(self) -> None:
        """Import the SDK and build its client, so that the first request need not wait for it."""
        if self._api_key is not None:
            await self._connected()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def open(self, request: ChatRequest, model: str) -> Reply:
        if self._api_key is None:
            raise BackendUnreachable(_NO_KEY, backend=self.name)
        if request.dialect == "messages" and request.original is not None:
            return await self._relay(request, request.original, model)
        known = self._abilities.get(model, claude.UNKNOWN)
        try:
            return await self._translate(request, model, known, self._recall(model))
        except BackendRejected as error:
            if (
                error.code == CONTEXT_LENGTH
                or (other := await self._other_way(error, model)) is None
            ):
                raise
        return await self._translate(request, model, *other)

    async def probe(self) -> Status:
        """Is there a key, and does it open the model? Asks the Models API, once in a long while."""
        if self._api_key is None:
            return Status("unconfigured", server="anthropic", detail=_NO_KEY)
        if self._status is None or self._clock() >= self._look_at:
            self._status, hold_s = await self._look()
            self._look_at = self._clock() + hold_s
        return self._status

    # The two ways to answer

    async def _translate(
        self, request: ChatRequest, model: str, known: Abilities, recall: Recall
    ) -> Translated:
        params, dropped = claude.encode(
            request, model, max_tokens=self._max_tokens, abilities=known, recall=recall
        )
        events = self._events(_json(params), model, claude.renamed_tools(request))
        return Translated(await primed(events, self.name), model, dropped)

    async def _events(
        self, body: bytes, model: str, tool_names: Mapping[str, str]
    ) -> AsyncGenerator[Event, None]:
        async with self._answer(body) as chunks:
            async for event in claude.decode(sse.blocks(chunks), tool_names):
                if isinstance(event, ToolCallStart) and event.extra:
                    self._vault.put(event.id, model, event.extra)
                yield event

    async def _relay(self, request: ChatRequest, original: dict[str, Any], model: str) -> Relayed:
        """The caller speaks Claude's own format: its request and the answer pass as they are."""

        def note(usage: Usage | None) -> None:
            reply.usage = usage

        relayed = self._stream if original.get("stream") is True else self._document
        body = _json(claude.passed_on(original, model))
        reply = Relayed(relayed(body, request.headers, note), model, format="messages")
        reply.chunks = await primed(reply.chunks, self.name)
        return reply

    async def _stream(
        self, body: bytes, headers: Mapping[str, str], note: Callable[[Usage | None], None]
    ) -> AsyncGenerator[bytes, None]:
        tally = claude.Tally()
        held: list[bytes] = []
        try:
            async with self._answer(body, headers) as chunks:
                async for block in sse.blocks(chunks):
                    tally.read(block)
                    held.append(block)
                    if tally.begun:  # until then another backend can still answer
                        yield b"".join(held)
                        held.clear()
        finally:
            note(tally.usage)
        if not tally.ended:
            raise BackendBroken("Claude's answer broke off before its end.", backend=self.name)

    async def _document(
        self, body: bytes, headers: Mapping[str, str], note: Callable[[Usage | None], None]
    ) -> AsyncGenerator[bytes, None]:
        async with self._answer(body, headers) as chunks:
            document = b"".join([chunk async for chunk in chunks])
        usage = self._parsed(document).get("usage")
        note(claude.usage_of(usage if isinstance(usage, dict) else {}))
        yield document

    # One call

    @contextlib.asynccontextmanager
    async def _answer(
        self, body: bytes, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a Messages request; the bytes of its answer. Leaving early closes the connection."""
        client = await self._connected()
        with self._translating_errors():
            response = await self._send(client, body, headers or {})
            try:
                chunks = paced(response.aiter_bytes(), self._limits.idle_s, self.name)
                yield chunks
                with contextlib.suppress(TimeoutError):  # read to its end, a connection is kept
                    async with asyncio.timeout(_LAST_BYTES_S):
                        async for _ in chunks:
                            pass
            finally:
                await response.aclose()

    async def _send(
        self, client: "anthropic.AsyncAnthropic", body: bytes, headers: Mapping[str, str]
    ) -> "httpx2.Response":
        import anthropic
        import httpx2

        sent: dict[str, Any] = dict(headers)
        if sent.get("anthropic-version", _BEARER_SINCE) < _BEARER_SINCE:
            sent |= {"x-api-key": self._api_key, "Authorization": anthropic.Omit()}
        try:
            async with asyncio.timeout(self._limits.first_byte_s):
                # With this cast_to the SDK hands out the response as it is, its body unread.
                response = await client.post(
                    "/v1/messages",
                    cast_to=httpx2.Response,
                    content=body,
                    options={"headers": sent},
                    stream=True,
                    stream_cls=anthropic.AsyncStream[Any],
                )
        except TimeoutError:
            raise BackendTimeout(
                f"claude did not begin to answer within {self._limits.first_byte_s:g} s.",
                backend=self.name,
            ) from None
        return cast("httpx2.Response", response)

    async def _connected(self) -> "anthropic.AsyncAnthropic":
        if self._client is None:
            async with self._building:
                if self._client is None:
                    # In a thread: the import takes a second or more.
                    self._client = await asyncio.to_thread(self._built)
        return self._client

    def _built(self) -> "anthropic.AsyncAnthropic":
        import anthropic
        import httpx2

        # No read timeout: time limits are ours. aiohttp reads 0 connections as no limit.
        timeout = httpx2.Timeout(None, connect=self._limits.connect_s)
        limits = httpx2.Limits(max_connections=0, keepalive_expiry=30)
        return anthropic.AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=timeout,
            http_client=anthropic.DefaultAioHttpClient(timeout=timeout, limits=limits),
        )

    @contextlib.contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """The SDK's errors and those of the libraries beneath it as ours, keys cleaned away."""
        import anthropic

        try:
            yield
        except anthropic.APIStatusError as error:
            raise self._status_failure(error) from None
        except anthropic.APIConnectionError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise connection_failure(cause, backend=self.name) from None
        except anthropic.AnthropicError as error:
            raise BackendError(self._cleaned(str(error)), backend=self.name) from None
        except connection_errors() as error:
            raise connection_failure(error, backend=self.name) from None
        except BackendError as error:  # from inside the stream
            error.message = self._cleaned(error.message)
            error.args = (error.message,)
            raise

    def _status_failure(self, error: "anthropic.APIStatusError") -> BackendError:
        status = error.status_code
        told = error.body.get("error") if isinstance(error.body, dict) else None
        if not isinstance(told, dict):
            told = {"message": f"Claude answered HTTP {status} without an error that can be read."}
        told = told | {"message": self._cleaned(str(told.get("message") or ""))}
        return claude.failure(told, status, retry_after_s(error.response.headers))

    def _cleaned(self, message: str) -> str:
        return redact(message, (self._api_key,) if self._api_key else ())

    # What the model accepts

    def _recall(self, model: str) -> Recall:
        return lambda call_id: self._vault.get(call_id, model)

    async def _other_way(
        self, error: BackendRejected, model: str
    ) -> tuple[Abilities, Recall] | None:
        """How to ask again after a refusal that may be about how we asked; None if it is not."""
        if error.code == CONTEXT_LENGTH:
            return None
        words = error.message.lower()
        known = better = self._abilities.get(model, claude.UNKNOWN)
        if not known.known:
            with contextlib.suppress(BackendError):
                better = (await self._look_up(model))[0]
        recall = self._recall(model)
        if "tool_choice" in words:
            better = replace(better, forced_choice=False)
        self._abilities[model] = better
        if "thinking" in words or "signature" in words:
            recall = claude.forgetting
        elif better == known:
            return None
        return better, recall

    async def _look_up(self, model: str) -> tuple[Abilities, dict[str, Any]]:
        client = await self._connected()
        with self._translating_errors():
            response = await client.models.with_raw_response.retrieve(
                model, timeout=self._limits.connect_s
            )
        info = self._parsed(response.http_response.content)
        return abilities(info), info

    async def _look(self) -> tuple[Status, float]:
        """What the Models API says about our key and model, and for how many seconds it holds."""
        began = self._clock()
        try:
            known, info = await self._look_up(self._model)
        except BackendMisconfigured as error:
            if error.code != claude.NO_SUCH_MODEL:
                return Status("locked", server="anthropic", detail=error.message), _LOOK_AGAIN_S
            return await self._look_around(), _LOOK_AGAIN_S
        except (BackendTimeout, BackendUnreachable) as error:
            return Status("down", server="anthropic", detail=error.message), _LOOK_AGAIN_S
        except BackendError as error:  # it is there, only its Models API is not well
            model = Model(self._model)
            return Status("ready", model, server="anthropic", detail=error.message), _LOOK_AGAIN_S
        self._abilities[self._model] = known
        latency_ms = (self._clock() - began) * 1000
        model = _model(self._model, known)
        if info.get("lifecycle") == "retired":
            return await self._look_around(f"{self._model} is retired."), _LOOK_AGAIN_S
        detail = ""
        if info.get("lifecycle") == "deprecated":
            last_day = str(info.get("retires_at") or "")[:10] or "a day not yet set"
            detail = f"{self._model} retires on {last_day}: choose another ANTHROPIC_MODEL."
        return Status("ready", model, (model,), "anthropic", latency_ms, detail), _LOOK_S

    async def _look_around(self, why: str = "") -> Status:
        """The model is not there: what is? A server without a Models API is taken at its word."""
        try:
            names = await self._names()
        except BackendError:
            names = []
        if not why and (not names or self._model in names):
            return Status("ready", Model(self._model), server="anthropic")
        why = why or f"This key has no model {self._model}."
        detail = f"{why} Set ANTHROPIC_MODEL to one of: {', '.join(names) or 'your models'}."
        models = tuple(Model(name) for name in names)
        return Status("down", None, models, "anthropic", detail=detail)

    async def _names(self) -> list[str]:
        """The models that the key can use, newest first; empty if that is not Anthropic's list."""
        client = await self._connected()
        with self._translating_errors():
            response = await client.models.with_raw_response.list(
                limit=1000, timeout=self._limits.connect_s
            )
        return claude.model_names(self._parsed(response.http_response.content))

    def _parsed(self, document: bytes) -> dict[str, Any]:
        try:
            parsed = orjson.loads(document)
        except orjson.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, dict):
            raise BackendBroken("Claude's answer cannot be read.", backend=self.name)
        return parsed


_NO_KEY: Final = "Claude is not configured: set ANTHROPIC_API_KEY."


def _model(name: str, known: Abilities) -> Model:
    limit = known.max_input_tokens
    return Model(name, True, limit, limit, vision=known.images, tools=True)


def _json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # it goes deeper than orjson does
        message = "The request is nested too deeply for Claude."
        raise BackendUnfit(message, backend=ClaudeBackend.name) from None
