"""LocalBackend: LM Studio, llama.cpp, Ollama, vLLM or any OpenAI-compatible server.

The caller's body goes out with only `model` replaced, and the answer's bytes come back as they
are. The exceptions, all of them here:

- a stream is asked for its usage; the usage chunk is held back if the caller did not ask for it;
- a stream that ends without `[DONE]` gets one if it said how it finished, else it is an error;
- system messages in front are joined, for most chat templates take only one;
- what a kind of server is known to refuse is sent in the form that it takes (`_adapted`);
- request parts that no local server reads make it unfit for the request (`_check_fit`).
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import takewhile
from typing import Any, Final

import aiohttp
import orjson

from router.backend import Relayed, Reply, Status, TimeLimits, Translated, primed
from router.discovery import Discovery
from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Event, Usage
from router.request import ChatRequest, text_of
from router.wire import openai, sse

PROBE_TIMEOUT_S: Final = 3.0
MOST_ERROR_BYTES: Final = 64 * 1024
MOST_PROBE_BYTES: Final = 8 * 2**20
STALE_CONNECTION_S: Final = 0.1
"""A pooled connection that the server has closed meanwhile fails at once; only then is it safe to
send the request again, for nobody can have begun to answer it."""
MOST_STALE_CONNECTIONS: Final = 8
"""llama.cpp closes one after each stream: after a burst of them there may be several."""

# LM Studio gives most failures as prose, without a code; llama.cpp and Ollama some of them.
_NOT_READY: Final = re.compile(
    r"no models? (?:is |are )?(?:currently )?loaded|model (?:is |has been )?(?:unloaded|not loaded)"
    r"|has crashed|failed to load|engine protocol start|channel error|loading model",
    re.IGNORECASE,
)
_TOO_LONG: Final = re.compile(
    r"context (?:length|size|window|overflow|the overflow)|n_ctx|n_keep|maximum context"
    r"|exceeds? the (?:available )?context",
    re.IGNORECASE,
)
_CANNOT: Final = re.compile(
    r"does not support (?:images?|tools|vision)|image input is not supported|base64 encoded image"
    r"|response_format|tool_choice|jinja",
    re.IGNORECASE,
)
"""What this model cannot and another may. Jinja: its chat template refuses the order of roles."""
_USAGE_FOLLOWS: Final = re.compile(rb'"usage"\s*:\s*\{')


class LocalBackend:
    """Relays to one OpenAI-compatible server. Times in seconds; `base_url` includes /v1."""

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
        self.base_url = base_url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._limits = limits
        self._timeout = aiohttp.ClientTimeout(
            total=limits.total_s, sock_connect=limits.connect_s, sock_read=limits.first_byte_s
        )
        self._session: aiohttp.ClientSession | None = None
        self._discovery = Discovery(self.base_url, model, self._get, self._post_json)
        self._server = ""

    async def open(self, request: ChatRequest, model: str) -> Reply:
        _check_fit(request, self.name)
        body = _adapted(request, model, self._server)
        with self._translating_errors():
            async with asyncio.timeout(self._limits.first_byte_s):
                response = await self._post("/chat/completions", orjson.dumps(body))
                try:
                    if response.status != 200:
                        raise await self._refusal(response)
                    if request.stream and response.content_type != "application/json":
                        reply: Reply = await self._stream(response, request, model)
                    else:
                        document = await self._document(response, model)
                        reply = await self._as_stream(document) if request.stream else document
                    reply.dropped = tuple(name for name in request.body if name not in body)
                    return reply
                except BaseException:
                    response.close()
                    raise

    async def relay(
        self, path: str, body: dict[str, Any]
    ) -> tuple[int, str, AsyncGenerator[bytes, None]]:
        """POST a body to another of the server's paths, as it is: its status, type and bytes."""
        if not isinstance(body.get("model"), str) or body["model"] in ("", "auto", "local"):
            body = {**body, "model": self.model}
        with self._translating_errors():
            response = await self._post(path, orjson.dumps(body))
        return response.status, response.content_type, self._passed_on(response)

    async def _passed_on(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        try:
            with self._translating_errors():
                async for chunk in response.content.iter_any():
                    yield chunk
        finally:
            response.close()

    async def probe(self) -> Status:
        status = await self._discovery.look()
        self._server = status.server
        return status

    async def warm_up(self, model: str) -> None:
        """Have the server load the model, if it is one that can be told to."""
        with contextlib.suppress(OSError):
            await self._discovery.warm_up(self._post_json, model)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                timeout=self._timeout,
                auto_decompress=False,
            )
        return self._session

    async def _post(self, path: str, data: bytes) -> aiohttp.ClientResponse:
        clock = asyncio.get_running_loop().time
        url = self.base_url + path
        for _ in range(MOST_STALE_CONNECTIONS):
            started = clock()
            try:
                return await self._client().post(url, data=data, allow_redirects=False)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError):
                if clock() - started > STALE_CONNECTION_S:
                    raise
        return await self._client().post(url, data=data, allow_redirects=False)

    async def _get(self, url: str) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(PROBE_TIMEOUT_S, sock_connect=self._limits.connect_s)
        try:
            async with self._client().get(url, timeout=timeout, allow_redirects=False) as answer:
                return answer.status, await _read(answer, MOST_PROBE_BYTES)
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from None

    async def _post_json(self, url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        try:
            async with self._client().post(url, data=orjson.dumps(body)) as answer:
                return answer.status, await _read(answer, MOST_PROBE_BYTES)
        except aiohttp.ClientError as error:
            raise ConnectionError(str(error)) from None

    async def _document(self, response: aiohttp.ClientResponse, model: str) -> Relayed:
        """A whole JSON answer, checked before anybody is told that it is one."""
        raw = await response.read()
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise self._broken("answered with something that is not JSON") from None
        if not isinstance(body, dict):
            raise self._broken("answered with JSON that is not a chat completion")
        if error := _in_band_error(body):
            raise self._error(200, error)
        if not body.get("choices"):
            raise self._broken("answered without any choices")
        reply = Relayed(_once(raw), body.get("model") or model)
        reply.usage = openai.usage_of(body.get("usage"))
        return reply

    async def _as_stream(self, reply: Relayed) -> Translated:
        """For a server that answers a request for a stream with a whole document."""
        raw = b"".join([chunk async for chunk in reply.chunks])
        events = openai.decode_complete(orjson.loads(raw))
        return Translated(await primed(_each(events), self.name), reply.model)

    async def _stream(
        self, response: aiohttp.ClientResponse, request: ChatRequest, model: str
    ) -> Relayed:
        """An answer that has begun: its first event is here, and is not an error."""
        blocks = sse.blocks(response.content.iter_any())
        first = await anext(blocks, b"")
        if not sse.ends_whole(first):
            raise self._broken("sent an empty answer" if not first else "was cut off")
        body = next(_objects(first), {})
        if error := _in_band_error(body):
            raise self._error(200, error)
        if connection := response.connection:
            protocol = connection.protocol
            if protocol is not None:
                protocol.read_timeout = self._limits.idle_s
                protocol.start_timeout()

        def note(usage: Usage) -> None:
            reply.usage = usage

        chunks = self._relay(
            response, first, blocks, hold_usage=not request.include_usage, note=note
        )
        reply = Relayed(chunks, body.get("model") or model)
        return reply

    async def _relay(
        self,
        response: aiohttp.ClientResponse,
        block: bytes,
        blocks: AsyncGenerator[bytes, None],
        *,
        hold_usage: bool,
        note: Callable[[Usage], None],
    ) -> AsyncGenerator[bytes, None]:
        """Pass the blocks on; look only into those that say "usage" or "error".

        JSON escapes the quotes of what the model says, so the words are keys where they are found.
        """
        last = before = b""
        try:
            with self._translating_errors():
                while block:
                    if b'"error"' in block:
                        block, error = _before_error(block)
                        if error:
                            if block:
                                yield block
                            raise self._error(200, error)
                    if b'"usage"' in block and _USAGE_FOLLOWS.search(block):
                        for body in _objects(block):
                            if usage := openai.usage_of(body.get("usage")):
                                note(usage)
                        if hold_usage:
                            block = _without_usage_chunk(block)
                    if block:
                        yield block
                        before, last = last, block
                    block = await anext(blocks, b"")
                    if block and not sse.ends_whole(block):
                        raise self._broken("was cut off in the middle of an answer")
                if b"[DONE]" not in last:
                    if not any(_says_finished(body) for body in _objects(before + last)):
                        raise self._broken("was cut off in the middle of an answer")
                    yield sse.DONE
        finally:
            response.close()

    async def _refusal(self, response: aiohttp.ClientResponse) -> BackendError:
        raw = await _read(response, MOST_ERROR_BYTES)
        retry_after = response.headers.get("Retry-After", "")
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        said = (_in_band_error(body) if isinstance(body, dict) else "") or response.reason or ""
        wait_s = float(retry_after) if retry_after.isdecimal() else None
        return self._error(response.status, said, wait_s)

    def _error(self, status: int, said: str, retry_after_s: float | None = None) -> BackendError:
        """What a failure that the server reports means: by status first, then by its prose."""
        said = f"The {self.name} server said: {said[:2000]}"
        if _NOT_READY.search(said):
            return BackendUnreachable(said, backend=self.name, code="local_not_ready")
        if _TOO_LONG.search(said):
            return BackendUnfit(said, backend=self.name, code="context_length_exceeded")
        if status in (401, 403):
            fix = "Set LOCAL_API_KEY to a token that it accepts."
            return BackendMisconfigured(f"{said} {fix}", backend=self.name)
        if status == 404:
            fix = f"Is LOCAL_MODEL={self.model} the name of one of its models?"
            return BackendMisconfigured(f"{said} {fix}", backend=self.name)
        if status in (408, 504):
            return BackendTimeout(said, backend=self.name)
        if status in (429, 503, 529):
            return BackendBusy(said, backend=self.name, retry_after_s=retry_after_s)
        if _CANNOT.search(said):
            return BackendUnfit(said, backend=self.name)
        if 400 <= status < 500:
            return BackendRejected(said, backend=self.name, status=status)
        return BackendBroken(said, backend=self.name)

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


def _check_fit(request: ChatRequest, name: str) -> None:
    """Raises BackendUnfit on a part that no local server reads."""
    for i, message in enumerate(request.messages):
        content = message.get("content")
        if not isinstance(content, list):
            continue
        for j, part in enumerate(content):
            if part["type"] == "file":
                spot = f"messages[{i}].content[{j}]"
                raise BackendUnfit(
                    f"`{spot}`: the {name} server reads no files.", backend=name, param=spot
                )


def _adapted(request: ChatRequest, model: str, server: str) -> dict[str, Any]:
    """The caller's body, as this server takes it; the caller's own is not touched."""
    body = {**request.body, "model": model}
    if request.stream:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if "max_completion_tokens" in body and "max_tokens" not in body:
        body["max_tokens"] = body["max_completion_tokens"]
    body["messages"] = _one_system_message(
        [
            {**message, "role": "system"} if message["role"] == "developer" else message
            for message in request.messages
        ]
    )
    if server == "lmstudio":
        _adapt_to_lm_studio(body)
    if server == "ollama" and "gpt-oss" not in model:
        # Ollama refuses it for models that do not think; Claude Code and Codex always send it.
        body.pop("reasoning_effort", None)
    return body


def _one_system_message(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those in front become one: many chat templates refuse a second."""
    front = [*takewhile(lambda message: message["role"] == "system", messages)]
    if len(front) < 2:
        return messages
    text = "\n\n".join(text_of(message.get("content")) for message in front)
    return [{**front[0], "content": text}, *messages[len(front) :]]


def _adapt_to_lm_studio(body: dict[str, Any]) -> None:
    """LM Studio takes `tool_choice` as a string only, and no `json_object`."""
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = (choice.get("function") or {}).get("name")
        body["tool_choice"] = "required"
        body["tools"] = [
            tool
            for tool in body.get("tools") or ()
            if (tool.get("function") or {}).get("name") == named
        ]
    response_format = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_object":
        schema = {"name": "object", "schema": {"type": "object"}}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}


def _objects(block: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects in a block of events; what is not one is passed over."""
    for data in sse.data_of(block):
        with contextlib.suppress(orjson.JSONDecodeError):
            body = orjson.loads(data)
            if isinstance(body, dict):
                yield body


def _in_band_error(body: dict[str, Any]) -> str:
    """What a body says went wrong: `{"error": "text"}` or `{"error": {"message": …}}`."""
    error = body.get("error")
    if not error:
        return ""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or error)
    return str(error)


def _before_error(block: bytes) -> tuple[bytes, str]:
    """What the block says before an event that is an error, and that error; if there is one."""
    events = block.replace(b"\r\n", b"\n").split(b"\n\n")
    for position, event in enumerate(events):
        for body in _objects(event):
            if error := _in_band_error(body):
                return b"".join(good + b"\n\n" for good in events[:position]), error
    return block, ""


def _without_usage_chunk(block: bytes) -> bytes:
    """The block without events that carry usage and no choice."""
    kept = []
    for event in block.replace(b"\r\n", b"\n").split(b"\n\n"):
        body = next(_objects(event), None) if b'"usage"' in event else None
        if body is None or body.get("choices"):
            kept.append(event)
    return b"\n\n".join(kept)


def _says_finished(body: dict[str, Any]) -> bool:
    return any(
        isinstance(choice, dict) and choice.get("finish_reason")
        for choice in body.get("choices") or ()
    )


async def _each(events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


async def _once(raw: bytes) -> AsyncGenerator[bytes, None]:
    yield raw
