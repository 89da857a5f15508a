"""LocalBackend: LM Studio, llama.cpp, Ollama, vLLM or any OpenAI-compatible server.

The caller's body goes out with only `model` replaced, and the answer's bytes come back as they
are: of a chat request always, of one in another dialect where the server's own endpoint for it is
better than a translation (local/native.py). The exceptions, all of them here or in
local/request.py:

- a stream is asked for its usage; the usage chunk is held back if the caller did not ask for it;
- a stream that ends without `[DONE]` gets one if it said how it finished, else it is an error;
- system messages in front are joined, for most chat templates take only one;
- what a kind of server is known to refuse is sent in the form that it takes;
- request parts that no local server reads make it unfit for the request;
- thoughts are taken out of a Messages answer to a caller who did not ask for them.
"""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import orjson

from router.backend import (
    Chained,
    Items,
    Model,
    Relayed,
    Reply,
    Status,
    TimeLimits,
    Translated,
    primed,
)
from router.clouds.failures import retry_after_s
from router.errors import BackendBroken, BackendError, BackendTimeout, BackendUnreachable
from router.events import Event, Usage
from router.local.discovery import Discovery
from router.local.errors import failure
from router.local.http.client import HttpClient
from router.local.http.connection import Answer, CutOff, HttpError, Unreadable
from router.local.native import as_it_came
from router.local.quirks import adapted, check_fit
from router.local.servers import fix_command
from router.privacy.redact import GONE, redact
from router.request import ChatRequest, Dialect
from router.wire import sse
from router.wire.anthropic import claude, messages_relay
from router.wire.anthropic.messages_encoder import shows_thoughts
from router.wire.chat import completions, relay

PROBE_TIMEOUT_S: Final = 3.0
MOST_ERROR_BYTES: Final = 64 * 1024
MOST_PROBE_BYTES: Final = 8 * 2**20
LAST_BYTES_S: Final = 0.2
"""How long the end of the server's message may take after the end of the answer."""
FAILED: Final = (HttpError, TimeoutError)
"""What the HTTP client raises."""

NOT_THERE: Final = (404, 405, 501)
"""What servers answer at a path that they do not have."""

Tally = relay.Tally | messages_relay.Tally


class LocalBackend:
    """Relays to one OpenAI-compatible server.

    `base_url` includes /v1, and `user:password@` where the server wants that and not `api_key`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        name: str = "local",
        api_key: str | None = None,
        limits: TimeLimits,
    ) -> None:
        self.name = name
        self.model = model
        key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = HttpClient(base_url, key, limits.connect_s)
        self.base_url = self._http.url.rstrip("/")
        """Without the name and password it may have been given with: messages show it."""
        self._key = self._http.credentials
        self._limits = limits
        self._discovery = Discovery(self.base_url, model, self._get, self._post_json)
        self._server = ""

    async def open(self, request: ChatRequest, model: str) -> Reply:
        check_fit(request, self.name, self._server)
        try:
            native = as_it_came(request, model, self._server)
            if native is not None and (reply := await self._native(request, native, model)):
                return reply
            return await self._chat(request, model)
        except FAILED as error:
            raise self._failure(error) from None

    async def _chat(self, request: ChatRequest, model: str) -> Reply:
        body = adapted(request, model, self._server)
        answer = await self._post("/chat/completions", orjson.dumps(body))
        try:
            if answer.status != 200:
                raise await self._refusal(answer)
            if request.stream and answer.content_type != "application/json":
                tally = relay.Tally(hold_usage=not request.include_usage)
                reply: Reply = await self._stream(answer, tally, model)
            else:
                raw, document = await self._document(answer)
                if fault := relay.fault_of(document):
                    raise self._broken(fault)
                if request.stream:
                    reply = await self._translated(completions.decode_complete(document), model)
                else:
                    named = _name(document.get("model"), model)
                    reply = Relayed(sse.once(raw), named, document=document)
                    reply.usage = completions.usage_of(document.get("usage"))
            reply.dropped = tuple(name for name in request.body if name not in body)
            return reply
        except BaseException:
            answer.close()
            raise

    async def _native(self, request: ChatRequest, body: dict[str, Any], model: str) -> Reply | None:
        """The answer of the server's own /messages; None if this one is too old to have it."""
        answer = await self._post("/messages", orjson.dumps(body))
        try:
            if answer.status in NOT_THERE:
                answer.close()
                return None
            if answer.status != 200:
                raise await self._refusal(answer)
            if request.stream:
                relayed = await self._stream(answer, messages_relay.Tally(), model, "messages")
                return await self._as_asked(relayed, request)
            raw, document = await self._document(answer)
            if fault := messages_relay.fault_of(document):
                raise self._broken(fault)
            if not shows_thoughts(request):
                shown = messages_relay.without_thoughts(document)
                raw = raw if shown == document else orjson.dumps(shown)
                document = shown
            named = _name(document.get("model"), model)
            reply = Relayed(sse.once(raw), named, "messages", document=document)
            reply.usage = claude.usage_of(document.get("usage"))
            return reply
        except BaseException:
            answer.close()
            raise

    async def _as_asked(self, reply: Relayed, request: ChatRequest) -> Reply:
        """The stream as it is, or as events if it begins with thoughts that nobody asked for."""
        if shows_thoughts(request):
            return reply
        held: list[bytes] = []
        first = ""
        async for block in reply.chunks:
            held.append(block)
            if first := messages_relay.first_block(block):
                break
        reply.chunks = Chained(held, reply.chunks)
        if first != "thinking":
            return reply
        return Translated(await primed(self._decoded(reply.chunks), self.name), reply.model)

    async def _decoded(self, chunks: Items[bytes]) -> AsyncGenerator[Event, None]:
        async with contextlib.aclosing(chunks):
            async for event in claude.decode(chunks, backend=self.name):
                yield event

    async def relay(
        self, path: str, body: dict[str, Any]
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """POST a body to another of the server's paths, as it is: the answer's type and bytes.

        Raises BackendError; what fails once a stream has begun is told in its last event.
        """
        if not isinstance(body.get("model"), str) or body["model"] in ("", "auto", "local"):
            body = {**body, "model": self.model}
        try:
            answer = await self._post(path, orjson.dumps(body))
            try:
                if answer.status != 200:
                    raise await self._refusal(answer)
                if answer.content_type == "text/event-stream":
                    chunks = self._passed_on(answer)
                    await anext(chunks)  # one that was never begun does not close what it holds
                else:
                    chunks = sse.once(self._without_key(await answer.read()))
            except BaseException:
                answer.close()
                raise
        except FAILED as error:
            raise self._failure(error) from None
        return answer.content_type, chunks

    async def _passed_on(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        answer.flowing(self._limits.idle_s, self._limits.total_s)
        try:
            yield b""
            while piece := await answer.piece():
                yield self._without_key(piece)
        except FAILED as error:
            yield b"\n\n" + completions.error_event(self._failure(error))
        finally:
            answer.close()

    def _without_key(self, piece: bytes) -> bytes:
        """What tells of an error may repeat the key that was sent."""
        if self._key and b'"error"' in piece:
            return piece.replace(self._key.encode(), GONE.encode())
        return piece

    async def probe(self) -> Status:
        status = await self._discovery.look()
        self._server = status.server
        return status

    async def warm_up(self, model: str) -> None:
        """Have the server load the model, if it is one that can be told to."""
        with contextlib.suppress(OSError):
            await self._discovery.warm_up(self._post_json, model)

    def enlarge_command(self, model: Model, needed_tokens: int) -> str:
        """Return the command that gives the model a context of this size, or ""."""
        return fix_command(self._server, model, needed_tokens)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _post(self, path: str, data: bytes) -> Answer:
        within_s = min(self._limits.first_byte_s, self._limits.total_s)
        return await self._http.post(self.base_url + path, data, within_s=within_s)

    async def _get(self, url: str) -> tuple[int, bytes]:
        return await _whole(self._http.get(url, within_s=PROBE_TIMEOUT_S))

    async def _post_json(self, url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        data = orjson.dumps(body)
        return await _whole(self._http.post(url, data, within_s=self._limits.first_byte_s))

    async def _document(self, answer: Answer) -> tuple[bytes, dict[str, Any]]:
        """A whole JSON answer, checked before anybody is told that it is one."""
        raw = await answer.read()
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self._broken("answered with something that is not JSON") from None
        if not isinstance(document, dict):
            raise self._broken("answered with JSON that is not an object")
        if error := relay.in_band_error(document):
            raise self._error(200, error)
        return raw, document

    async def _translated(self, events: list[Event], model: str) -> Translated:
        """For a server that answers a request for a stream with a whole document."""
        return Translated(await primed(_each(events), self.name), model)

    async def _stream(
        self,
        answer: Answer,
        tally: Tally,
        model: str,
        format: Dialect = "chat",
    ) -> Relayed:
        """An answer that has begun: its first event is here, and is not an error."""
        cutter = sse.Cutter()
        first = b""
        while piece := await answer.piece():
            block = cutter.whole(piece)
            first += block
            if any(sse.data_of(block)):  # comments say that it is alive, not that it answers
                break
        else:
            first += cutter.rest
        body = self._first_body(first)
        if error := relay.in_band_error(body):
            raise self._error(200, error)
        message = body.get("message") if format == "messages" else body
        named = message.get("model") if isinstance(message, dict) else None

        def note(usage: Usage | None) -> None:
            reply.usage = usage

        answer.flowing(self._limits.idle_s, self._limits.total_s)
        chunks = self._relay(answer, first, cutter, tally, note)
        reply = Relayed(chunks, _name(named, model), format)
        reply.chunks = await primed(chunks, self.name)
        return reply

    def _first_body(self, block: bytes) -> dict[str, Any]:
        """The JSON object that is the first event's data."""
        data = next(sse.data_of(block), b"")
        if not data or data == b"[DONE]":
            raise self._broken("sent an empty answer")
        if not sse.ends_whole(block):
            raise self._broken("was cut off")
        try:
            body: dict[str, Any] = orjson.loads(data)
            if all(isinstance(choice, dict) for choice in body.get("choices") or ()):
                return body
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            pass
        raise self._broken("sent an event that cannot be read")

    async def _relay(
        self,
        answer: Answer,
        block: bytes,
        cutter: sse.Cutter,
        tally: Tally,
        note: Callable[[Usage | None], None],
    ) -> AsyncGenerator[bytes, None]:
        """Pass the blocks on, as far as the tally lets them."""
        try:
            while True:
                if block and (passed := tally.passed(block)):
                    yield passed
                if tally.error:
                    raise self._error(200, tally.error)
                if tally.is_over:
                    return
                piece = await answer.piece()
                if not piece:
                    break
                block = cutter.whole(piece)
            ending = None if cutter.rest else tally.ending
            if ending is None:
                raise self._broken("was cut off in the middle of an answer")
            if ending:
                yield ending
        except FAILED as error:
            raise self._failure(error) from None
        finally:
            note(tally.usage)
            answer.close(linger_s=LAST_BYTES_S if tally.is_over else 0)

    async def _refusal(self, answer: Answer) -> BackendError:
        raw = await answer.read(MOST_ERROR_BYTES)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        said = (relay.in_band_error(body) if isinstance(body, dict) else "") or answer.reason
        wait = {"retry-after": answer.headers.get(b"retry-after", b"").decode("latin-1")}
        return self._error(answer.status, said, retry_after_s(wait))

    def _error(self, status: int, said: str, wait_s: float | None = None) -> BackendError:
        said = redact(said, (self._key,))  # before it is shortened: half a key is not recognised
        return failure(status, said, self.name, self.model, wait_s)

    def _broken(self, how: str) -> BackendBroken:
        return BackendBroken(f"The {self.name} server {how}.", backend=self.name)

    def _failure(self, error: Exception) -> BackendError:
        """What a failure of the HTTP client means."""
        if isinstance(error, TimeoutError):
            said = f"The {self.name} server was silent for too long."
            return BackendTimeout(said, backend=self.name)
        if isinstance(error, CutOff):
            return self._broken("was cut off in the middle of an answer")
        if isinstance(error, Unreadable):
            return self._broken(f"answered with something unreadable ({error})")
        why = f" ({error})" if str(error) else ""
        said = f"The {self.name} server at {self.base_url} does not answer{why}. Is it running?"
        return BackendUnreachable(said, backend=self.name)


async def _whole(asking: Awaitable[Answer]) -> tuple[int, bytes]:
    """Status and body. Raises OSError where there is no answer."""
    try:
        answer = await asking
        try:
            return answer.status, await answer.read(MOST_PROBE_BYTES)
        finally:
            answer.close()
    except HttpError as error:
        raise ConnectionError(str(error)) from None


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


def _name(told: object, asked: str) -> str:
    """The model that a server says answers, which may be another than was asked."""
    return told if isinstance(told, str) and told else asked
