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

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from router.backend import Relayed, Reply, Status, TimeLimits, Translated, chained, primed
from router.deadlines import within
from router.errors import BackendBroken, BackendError, BackendTimeout, BackendUnreachable
from router.events import Event, Usage
from router.failures import retry_after_s
from router.local.discovery import Discovery
from router.local.failures import failure
from router.local.native import as_it_came
from router.local.request import adapted, check_fit
from router.redact import GONE, redact
from router.request import ChatRequest, Dialect
from router.wire import chat_relay, claude, messages_relay, openai, sse
from router.wire.messages_answer import shows_thoughts

PROBE_TIMEOUT_S: Final = 3.0
MOST_ERROR_BYTES: Final = 64 * 1024
MOST_PROBE_BYTES: Final = 8 * 2**20
STALE_CONNECTION_S: Final = 0.1
"""A kept connection that the server has closed meanwhile fails at once; only then is it safe to
send the request again, for nobody can have begun to answer it."""
LAST_BYTES_S: Final = 0.2
"""How long the end of the connection's message may take after the end of the answer."""

NOT_THERE: Final = (404, 405, 501)
"""What servers answer at a path that they do not have."""

Tally = chat_relay.Tally | messages_relay.Tally


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
        address = URL(base_url.rstrip("/"))
        self.base_url = str(address.with_user(None))
        """Without the name and password it may have been given with: messages show it."""
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        elif address.user is not None:
            login = aiohttp.encode_basic_auth(address.user, address.password or "", "utf-8")
            self._headers["Authorization"] = login
        self._key = self._headers.get("Authorization", "").partition(" ")[2]
        self._limits = limits
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._discovery = Discovery(self.base_url, model, self._get, self._post_json)
        self._server = ""

    async def open(self, request: ChatRequest, model: str) -> Reply:
        check_fit(request, self.name, self._server)
        with self._translating_errors(), within(self._limits.first_byte_s):
            native = as_it_came(request, model, self._server)
            if native is not None and (reply := await self._native(request, native, model)):
                return reply
            return await self._chat(request, model)

    async def _chat(self, request: ChatRequest, model: str) -> Reply:
        body = adapted(request, model, self._server)
        response = await self._post("/chat/completions", orjson.dumps(body))
        try:
            if response.status != 200:
                raise await self._refusal(response)
            if request.stream and response.content_type != "application/json":
                tally = chat_relay.Tally(hold_usage=not request.include_usage)
                reply: Reply = await self._stream(response, tally, model)
            else:
                raw, document = await self._document(response)
                if fault := chat_relay.fault_of(document):
                    raise self._broken(fault)
                if request.stream:
                    reply = await self._translated(openai.decode_complete(document), model)
                else:
                    named = _name(document.get("model"), model)
                    reply = Relayed(_once(raw), named, document=document)
                    reply.usage = openai.usage_of(document.get("usage"))
            reply.dropped = tuple(name for name in request.body if name not in body)
            return reply
        except BaseException:
            response.close()
            raise

    async def _native(self, request: ChatRequest, body: dict[str, Any], model: str) -> Reply | None:
        """The answer of the server's own /messages; None if this one is too old to have it."""
        response = await self._post("/messages", orjson.dumps(body))
        try:
            if response.status in NOT_THERE:
                response.close()
                return None
            if response.status != 200:
                raise await self._refusal(response)
            if request.stream:
                relayed = await self._stream(response, messages_relay.Tally(), model, "messages")
                return await self._as_asked(relayed, request)
            raw, document = await self._document(response)
            if fault := messages_relay.fault_of(document):
                raise self._broken(fault)
            if not shows_thoughts(request):
                shown = messages_relay.without_thoughts(document)
                raw = raw if shown == document else orjson.dumps(shown)
                document = shown
            named = _name(document.get("model"), model)
            reply = Relayed(_once(raw), named, "messages", document=document)
            reply.usage = claude.usage_of(document.get("usage"))
            return reply
        except BaseException:
            response.close()
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
        reply.chunks = await chained(held, reply.chunks)
        if first != "thinking":
            return reply
        return Translated(await primed(self._decoded(reply.chunks), self.name), reply.model)

    async def _decoded(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[Event, None]:
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
        with self._translating_errors(), within(self._limits.first_byte_s):
            response = await self._post(path, orjson.dumps(body))
            try:
                if response.status != 200:
                    raise await self._refusal(response)
                if response.content_type == "text/event-stream":
                    chunks = self._passed_on(response)
                else:
                    chunks = _once(self._without_key(await response.read()))
            except BaseException:
                response.close()
                raise
        return response.content_type, chunks

    async def _passed_on(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        try:
            with self._translating_errors():
                async for piece in self._pieces(response):
                    yield self._without_key(piece)
        except BackendError as error:
            yield b"\n\n" + openai.error_event(error)
        finally:
            response.close()

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

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def _client(self, *, fresh: bool = False) -> aiohttp.ClientSession:
        """`fresh`: each request on a new connection."""
        if fresh not in self._sessions:
            self._sessions[fresh] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, force_close=fresh),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                # Each of its time limits would be a timer: see deadlines.py.
                timeout=aiohttp.ClientTimeout(None, sock_connect=self._limits.connect_s),
                auto_decompress=False,
            )
        return self._sessions[fresh]

    async def _post(self, path: str, data: bytes) -> aiohttp.ClientResponse:
        clock = asyncio.get_running_loop().time
        url = self.base_url + path
        started = clock()
        try:
            return await self._client().post(url, data=data, allow_redirects=False)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError):
            if clock() - started > STALE_CONNECTION_S:
                raise
        # llama.cpp closes one after each stream: after a burst of them there may be more of them.
        return await self._client(fresh=True).post(url, data=data, allow_redirects=False)

    async def _get(self, url: str) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(PROBE_TIMEOUT_S, sock_connect=self._limits.connect_s)
        try:
            async with self._client().get(url, timeout=timeout, allow_redirects=False) as answer:
                return answer.status, await _read(answer, MOST_PROBE_BYTES)
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from None

    async def _post_json(self, url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        try:
            with within(self._limits.first_byte_s):
                async with self._client().post(url, data=orjson.dumps(body)) as answer:
                    return answer.status, await _read(answer, MOST_PROBE_BYTES)
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from None

    async def _document(self, response: aiohttp.ClientResponse) -> tuple[bytes, dict[str, Any]]:
        """A whole JSON answer, checked before anybody is told that it is one."""
        raw = await response.read()
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self._broken("answered with something that is not JSON") from None
        if not isinstance(document, dict):
            raise self._broken("answered with JSON that is not an object")
        if error := chat_relay.in_band_error(document):
            raise self._error(200, error)
        return raw, document

    async def _translated(self, events: list[Event], model: str) -> Translated:
        """For a server that answers a request for a stream with a whole document."""
        return Translated(await primed(_each(events), self.name), model)

    async def _stream(
        self,
        response: aiohttp.ClientResponse,
        tally: Tally,
        model: str,
        format: Dialect = "chat",
    ) -> Relayed:
        """An answer that has begun: its first event is here, and is not an error."""
        blocks = sse.blocks(self._pieces(response))
        first = b""
        async for block in blocks:
            first += block
            if any(sse.data_of(block)):  # comments say that it is alive, not that it answers
                break
        body = self._first_body(first)
        if error := chat_relay.in_band_error(body):
            raise self._error(200, error)
        message = body.get("message") if format == "messages" else body
        named = message.get("model") if isinstance(message, dict) else None

        def note(usage: Usage | None) -> None:
            reply.usage = usage

        chunks = self._relay(response, first, blocks, tally, note)
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
        response: aiohttp.ClientResponse,
        block: bytes,
        blocks: AsyncGenerator[bytes, None],
        tally: Tally,
        note: Callable[[Usage | None], None],
    ) -> AsyncGenerator[bytes, None]:
        """Pass the blocks on, as far as the tally lets them."""
        try:
            with self._translating_errors():
                while block:
                    if passed := tally.passed(block):
                        yield passed
                    if tally.error:
                        raise self._error(200, tally.error)
                    if tally.is_over:
                        await self._read_end(blocks)
                        return
                    block = await anext(blocks, b"")
                    if block and not sse.ends_whole(block):
                        raise self._broken("was cut off in the middle of an answer")
                ending = tally.ending
                if ending is None:
                    raise self._broken("was cut off in the middle of an answer")
                if ending:
                    yield ending
        finally:
            note(tally.usage)
            response.close()

    async def _read_end(self, blocks: AsyncGenerator[bytes, None]) -> None:
        """Read what follows the last event: nothing, but then the connection can be kept."""
        concerns_nobody = (TimeoutError, aiohttp.ClientError, ConnectionError)
        with contextlib.suppress(*concerns_nobody), within(LAST_BYTES_S):
            await anext(blocks, b"")

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """The body as it comes; whoever waits for the first piece has set a limit to that.

        Raises TimeoutError when nothing more comes for too long, or it does not come to an end.
        aiohttp's own limits are no help: where a chunk's length cannot be read, it hangs up and
        lets its reader wait.
        """
        clock, limits = asyncio.get_running_loop().time, self._limits
        until = clock() + limits.total_s
        piece = await response.content.readany()
        while piece:
            yield piece
            with within(min(limits.idle_s, until - clock())):
                piece = await response.content.readany()

    async def _refusal(self, response: aiohttp.ClientResponse) -> BackendError:
        raw = await _read(response, MOST_ERROR_BYTES)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        said = (
            (chat_relay.in_band_error(body) if isinstance(body, dict) else "")
            or response.reason
            or ""
        )
        return self._error(response.status, said, retry_after_s(response.headers))

    def _error(self, status: int, said: str, wait_s: float | None = None) -> BackendError:
        said = redact(said, (self._key,))  # before it is shortened: half a key is not recognised
        return failure(status, said, self.name, self.model, wait_s)

    def _broken(self, how: str) -> BackendBroken:
        return BackendBroken(f"The {self.name} server {how}.", backend=self.name)

    @contextlib.contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """aiohttp's errors to ours, around the call and around the iteration."""
        try:
            yield
        except aiohttp.ConnectionTimeoutError:
            raise BackendUnreachable(
                f"The {self.name} server at {self.base_url} does not accept connections.",
                backend=self.name,
            ) from None
        except TimeoutError:
            raise BackendTimeout(
                f"The {self.name} server was silent for too long.", backend=self.name
            ) from None
        except aiohttp.ClientPayloadError:
            raise self._broken("was cut off in the middle of an answer") from None
        except (aiohttp.ClientConnectionError, ConnectionError):
            raise BackendUnreachable(
                f"The {self.name} server at {self.base_url} does not answer. Is it running?",
                backend=self.name,
            ) from None
        except aiohttp.ClientError as error:
            raise self._broken(f"answered with something unreadable ({error})") from None


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body, or as much of it; `content.read()` would return what has arrived so far."""
    raw = bytearray()
    async for block in response.content.iter_any():
        raw += block
        if len(raw) >= most:
            break
    return bytes(raw[:most])


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


async def _once(raw: bytes) -> AsyncGenerator[bytes, None]:
    yield raw


def _name(told: object, asked: str) -> str:
    """The model that a server says answers, which may be another than was asked."""
    return told if isinstance(told, str) and told else asked
