"""ClaudeBackend: Anthropic's Messages API through the anthropic SDK.

The SDK gives the headers (keys, versions), and `direct.py` sends the request. Behind a proxy the
SDK sends it with its aiohttp transport. The answer is read as raw bytes, because the SDK's typed
events take four times the CPU of the rest of the route.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.backend import Forward, Model, Relayed, Reply, Status, TimeLimits, Translated, primed
from router.clouds import claude_sdk
from router.clouds.ability_cache import AbilityCache
from router.clouds.calls import (
    comes_whole,
    connection_errors,
    for_whole,
    has_proxy,
    paced,
    proxy_fault,
)
from router.clouds.claude_errors import ClaudeErrors
from router.clouds.claude_models import ClaudeModels
from router.clouds.direct import AnswerBytes, DirectClient, Refused, WordForwarder
from router.clouds.thought_signatures import Vault
from router.errors import (
    BackendBroken,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Batch, ToolCallStart, Usage
from router.http.answer import LAST_BYTES_S
from router.http.client import header_lines
from router.request import ChatRequest
from router.wire import sse
from router.wire.anthropic import claude
from router.wire.anthropic.claude_model import Abilities
from router.wire.anthropic.claude_turns import Recall
from router.wire.failures import CONTEXT_LENGTH, NO_SUCH_MODEL
from router.wire.forward import forward

if TYPE_CHECKING:
    import anthropic

# Given explicitly, because the SDK would otherwise look for keys and addresses of its own.
BASE_URL: Final = "https://api.anthropic.com"


class ClaudeBackend:
    """Claude as a backend of the router."""

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
        ability_file: Path | None = None,
        is_default: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the parts; open nothing.

        `model` is the one that `probe()` checks, `max_tokens` the limit of an answer to a
        request without one, `base_url` the address with or without its /v1. `ability_file` keeps
        the abilities of models over restarts; None: they are not kept. `is_default`: the user has
        not named the model, so another one may answer once it is retired."""
        self._api_key = api_key
        self._errors = ClaudeErrors(api_key)
        self._model = model
        self._max_tokens = max_tokens
        self._limits = limits
        self._base_url = (base_url or BASE_URL).rstrip("/").removesuffix("/v1")
        self._proxy_fault = proxy_fault(self._base_url)
        self._vault = Vault() if vault is None else vault
        self._models = ClaudeModels(
            model, self._get, clock, AbilityCache(ability_file), is_default=is_default
        )
        self._client: anthropic.AsyncAnthropic | None = None
        self._direct: DirectClient | None = None
        self._headers: dict[str, str] = {}
        self._building = asyncio.Lock()

    async def warm(self) -> None:
        """Prepare the client: import the SDK now, so that no request waits for it."""
        if self._api_key is not None and not self._proxy_fault:
            await self._connected()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._direct is not None:
            await self._direct.aclose()
            self._direct = None
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def open(self, request: ChatRequest, model: str) -> Reply:
        """Send the request; return once the answer has begun. Raises BackendError."""
        if self._api_key is None:
            raise BackendUnreachable(_NO_KEY, backend=self.name)
        try:
            return await self._answered(request, model)
        except BackendMisconfigured as error:
            if error.code != NO_SUCH_MODEL:
                raise
            if other := await self._models.replacement(model):
                return await self._answered(request, other)
            message = await self._models.with_choices(error.message)
            raise BackendMisconfigured(message, backend=self.name, code=error.code) from None

    async def count_tokens(self, request: ChatRequest, model: str) -> int:
        """Return Claude's count of the prompt of a Messages request. Raises BackendError."""
        if self._api_key is None:
            raise BackendUnreachable(_NO_KEY, backend=self.name)
        body = _json(claude.passed_on(request.original or {}, model))
        path = "/v1/messages/count_tokens"
        async with self._answer(body, self._limits, request.headers, path) as chunks:
            answer = self._parsed(b"".join([chunk async for chunk in chunks]))
        if type(answer.get("input_tokens")) is not int:
            raise BackendBroken("Claude sent no token count.", backend=self.name)
        return int(answer["input_tokens"])

    async def probe(self) -> Status:
        """Return whether there is a key and it opens the model; asks the Models API once an hour.

        Before the SDK is imported (`warm`) the answer is yes, so that no request waits for it.
        """
        if self._api_key is None:
            return Status("unconfigured", server="anthropic", detail=_NO_KEY)
        if self._proxy_fault:
            return Status("down", server="anthropic", detail=self._proxy_fault)
        if self._client is None:
            return Status("ready", Model(self._model), server="anthropic")
        return await self._models.status()

    # --- answers

    async def _answered(self, request: ChatRequest, model: str) -> Reply:
        if request.dialect == "messages" and request.original is not None:
            return await self._relay(request, request.original, model)
        return await self._translate(request, model)

    async def _translate(self, request: ChatRequest, model: str) -> Translated:
        if claude.asks_for_abilities(request):
            known = await self._models.find_abilities(model)
        else:
            known = self._models.abilities(model)
        await self._vault.fetch(request, model)
        way = _Way(known, lambda call_id: self._vault.get(call_id, model))
        try:
            return await self._ask(request, model, way)
        except BackendRejected as error:
            other = await self._other_way(error, model, way)
            if other == way:
                raise
        return await self._ask(request, model, other)

    async def _ask(self, request: ChatRequest, model: str, way: "_Way") -> Translated:
        sent = claude.encode(
            request,
            model,
            max_tokens=self._max_tokens,
            abilities=way.abilities,
            recall=way.recall,
            plain=way.plain,
        )
        whole = comes_whole(request, sent.params["max_tokens"], self._limits)
        words = WordForwarder(claude.ClaudeDecoder(tool_names=sent.names))
        events = await primed(self._events(sent, model, whole, words), self.name)
        return Translated(events, model, sent.dropped, words.forward_to, words.usage_so_far)

    async def _other_way(self, error: BackendRejected, model: str, way: "_Way") -> "_Way":
        """Return another way to ask, if the refusal may be about this one; else the same way."""
        if error.code == CONTEXT_LENGTH:
            return way
        words = error.message.lower()
        if not self._models.is_learned(model):
            with contextlib.suppress(BackendError):
                await self._models.look_up(model)
        known = self._models.abilities(model)
        if "tool_choice" in words:
            known = replace(known, forced_choice=False)
            self._models.learn(model, known)
        if "effort" in words and known.efforts in (None, way.abilities.efforts):
            known = replace(known, efforts=())
            self._models.learn(model, known)
        thoughtless = "thinking" in words or "signature" in words
        return _Way(known, claude.forgetting if thoughtless else way.recall, "schema" in words)

    async def _events(
        self,
        sent: claude.ClaudeRequest,
        model: str,
        whole: bool,
        words: WordForwarder,
    ) -> AsyncGenerator[Batch, None]:
        demand = {claude.DEMAND: sent.demand} if sent.demand else {}
        limits = for_whole(self._limits) if whole else self._limits
        body = _json(sent.params if whole else sent.params | {"stream": True})
        async with self._answer(body, limits) as chunks:
            if whole:
                batches = claude.decode_whole(chunks, sent.names)
            else:
                words.attach(chunks)
                batches = words.events(chunks)
            async for batch in batches:
                for event in batch:
                    if isinstance(event, ToolCallStart) and (event.extra or demand):
                        self._vault.put(event.id, model, {**(event.extra or {}), **demand})
                yield batch

    async def _relay(self, request: ChatRequest, original: dict[str, Any], model: str) -> Relayed:
        """Pass on a request in Claude's own format, and the answer, without translation."""

        def note(usage: Usage | None) -> None:
            reply.usage = usage

        def set_forward(forward_to: Forward[bytes]) -> None:
            reply.forward_to = forward_to

        body = _json(claude.passed_on(original, model))
        if original.get("stream") is True:
            chunks = self._stream(body, request.headers, note, set_forward)
        else:
            chunks = self._document(body, request.headers, note)
        reply = Relayed(chunks, model, format="messages")
        reply.chunks = await primed(chunks, self.name)
        return reply

    async def _stream(
        self,
        body: bytes,
        headers: Mapping[str, str],
        note: Callable[[Usage | None], None],
        set_forward: Callable[[Forward[bytes]], None],
    ) -> AsyncGenerator[bytes, None]:
        tally, cutter = claude.ClaudeTally(), sse.Cutter()
        held: list[bytes] = []
        try:
            async with self._answer(body, self._limits, headers) as chunks:
                if isinstance(chunks, AnswerBytes):
                    set_forward(partial(forward, chunks.offer_to, cutter, tally.words))
                async for block in sse.blocks(chunks, cutter):
                    if not sse.ends_whole(block):
                        break
                    held.append(tally.passed(block))
                    if tally.begun:  # until then another backend can still answer
                        yield b"".join(held)
                        held.clear()
                    if tally.failure is not None:
                        raise tally.failure
                    if tally.ended:
                        break
        except BackendError:
            if tally.failure is not None or tally.ending is None:
                raise
        finally:
            note(tally.usage)
        if tally.ending is None:
            raise BackendBroken(
                "Claude ended its stream before the end of the answer.", backend=self.name
            )
        if tally.ending:
            yield tally.ending

    async def _document(
        self, body: bytes, headers: Mapping[str, str], note: Callable[[Usage | None], None]
    ) -> AsyncGenerator[bytes, None]:
        async with self._answer(body, self._limits, headers) as chunks:
            document = b"".join([chunk async for chunk in chunks])
            message = claude.message_of(document)
        note(claude.usage_of(message.get("usage")))
        yield document

    # --- one call

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        body: bytes,
        limits: TimeLimits,
        headers: Mapping[str, str] | None = None,
        path: str = "/v1/messages",
    ) -> AsyncIterator[AsyncIterable[bytes]]:
        """Send a request and yield the bytes of its answer. Leaving early closes the connection."""
        with self._errors.translating():
            client = await self._connected()
        if (direct := self._direct) is not None:
            with self._errors.translating():
                lines = self._header_lines(headers or {})
                url = self._base_url.rstrip("/") + path
                try:
                    async with direct.answer(url, lines, body, limits) as chunks:
                        yield chunks
                except Refused as refused:
                    raise self._errors.refusal(refused) from None
            return
        with self._errors.translating():
            asked_at = asyncio.get_running_loop().time()
            response = await claude_sdk.send(client, path, body, headers or {}, self._limits)
        with self._errors.translating(begun=True):
            try:
                pieces = paced(response.aiter_bytes(), limits, self.name, asked_at)
                yield pieces
                # Read to its end, a connection is kept.
                with contextlib.suppress(BackendTimeout, *connection_errors()):
                    async with asyncio.timeout(LAST_BYTES_S):
                        async for _ in pieces:
                            pass
            finally:
                await response.aclose()

    def _header_lines(self, headers: Mapping[str, str]) -> bytes:
        """Return the SDK's headers, and the caller's own, as lines of a request."""
        sent = {**self._headers, **headers}
        if sent.get("anthropic-version", claude_sdk.BEARER_SINCE) < claude_sdk.BEARER_SINCE:
            sent.pop("Authorization", None)
            sent["x-api-key"] = self._api_key or ""
        return header_lines(sent)

    async def _connected(self) -> "anthropic.AsyncAnthropic":
        """Return the SDK's client. Raises BackendMisconfigured."""
        if self._proxy_fault:
            raise BackendMisconfigured(self._proxy_fault, backend=self.name)
        if self._client is None:
            async with self._building:
                if self._client is None:
                    # In a thread: the import takes a second or more.
                    self._client = await asyncio.to_thread(self._built)
        return self._client

    def _built(self) -> "anthropic.AsyncAnthropic":
        """Return the SDK's client; make the direct one beside it, unless a proxy is in use."""
        client = claude_sdk.build(self._api_key, self._base_url, self._limits)
        if not has_proxy(self._base_url):
            import httpx2

            self._headers = claude_sdk.headers_of(client)
            tls = httpx2.create_ssl_context() if self._base_url.startswith("https:") else None
            self._direct = DirectClient(self._base_url, self._limits.connect_s, tls, self.name)
        return client

    async def _get(self, path: str) -> dict[str, Any]:
        client = await self._connected()
        import httpx2

        with self._errors.translating():
            async with asyncio.timeout(self._limits.connect_s):
                response = await client.get(path, cast_to=httpx2.Response)
        return self._parsed(response.content)

    def _parsed(self, document: bytes) -> dict[str, Any]:
        try:
            parsed = orjson.loads(document)
        except orjson.JSONDecodeError:
            parsed = None
        if not isinstance(parsed, dict):
            raise BackendBroken("Claude's answer cannot be read.", backend=self.name)
        return parsed


_NO_KEY: Final = "Claude is not configured: set ANTHROPIC_API_KEY."


@dataclass(frozen=True, slots=True)
class _Way:
    """One of the ways to put a request to Claude."""

    abilities: Abilities
    recall: Recall
    plain: bool = False


def _json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # nested deeper than orjson writes
        message = "The request is nested too deeply for Claude."
        raise BackendUnfit(message, backend=ClaudeBackend.name) from None
