"""LocalBackend: LM Studio, llama.cpp, Ollama, vLLM or any OpenAI-compatible server.

The caller's body goes out with only `model` replaced, and the answer's bytes come back unchanged:
for a chat request always, for another dialect where the server's own endpoint is better than a
translation (local/native.py). The exceptions, all of them here or in local/quirks.py:

- a stream is asked for its usage; the usage chunk is held back if the caller did not ask for it;
- a stream that ends without its last event gets one if the answer was complete, and one that
  begins without a role or a message_start gets that (wire/);
- half characters are joined or replaced, and short names of namespaced tools are completed;
- system messages in front are joined, because most chat templates accept only one;
- parts that a kind of server is known to refuse are sent in a form that it accepts;
- a server that gives log-probabilities is asked for them, and they are removed from an answer to
  a caller who did not ask (local/logprobs.py);
- request parts that no local server reads make it unfit for the request;
- thoughts are removed from a Messages answer to a caller who did not ask for them.
"""

import contextlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, Final

import orjson

from router.backend import (
    ConfidenceMode,
    Model,
    Relayed,
    Reply,
    Status,
    TimeLimits,
    Translated,
    primed,
)
from router.errors import BackendError
from router.events import Usage
from router.http.answer import LAST_BYTES_S, Answer, HttpError
from router.http.client import HttpClient
from router.http.proxy import Proxy
from router.local.discovery import Discovery, plain_name
from router.local.errors import FAILED, LocalErrors, read_refusal
from router.local.logprobs import Logprobs, LogprobsWish
from router.local.native import as_asked, as_it_came
from router.local.other_routes import OtherRoutes
from router.local.quirks import adapted, check_fit
from router.local.servers import fix_command, has_remote_name, model_ids
from router.request import ChatRequest, Dialect
from router.wire import half_characters, sse
from router.wire.anthropic import claude, messages_relay
from router.wire.anthropic.messages import ID_PREFIX
from router.wire.anthropic.messages_encoder import shows_thoughts, start_event
from router.wire.chat import completions, relay
from router.wire.forward import forward
from router.wire.tool_names import full_names_of

PROBE_TIMEOUT_S: Final = 3.0
MOST_PROBE_BYTES: Final = 8 * 2**20
NOT_THERE: Final = (404, 405, 501)
"""Statuses of servers for a path that they do not have."""

Tally = relay.ChatTally | messages_relay.MessagesTally


class LocalBackend:
    """Relays to one OpenAI-compatible server.

    `base_url` includes /v1, and `user:password@` if the server needs that instead of `api_key`.
    `model`: the one that is set for it, or "" for the one that is loaded.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        is_set: bool = True,
        name: str = "local",
        api_key: str | None = None,
        limits: TimeLimits,
        kind: str = "",
        confidence: ConfidenceMode = "off",
        proxy: Proxy | None = None,
    ) -> None:
        """Store the parts; open nothing.

        `is_set`: whether the user set the model. `kind`: the kind of server until a probe finds it
        out.
        """
        self.name = name
        self.model = model
        key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = HttpClient(base_url, key, limits.connect_s, proxy=proxy)
        self.base_url = self._http.url.rstrip("/")
        """The address without name and password, because messages show it."""
        credentials = self._http.credentials
        self._limits = limits
        self._errors = LocalErrors(name, self.base_url, credentials)
        self._discovery = Discovery(
            self.base_url, model, self._get, self._post_json, name=name, is_set=is_set
        )
        self._other_routes = OtherRoutes(
            model, self._post, self._model_ids, self._is_remote, self._errors, credentials, limits
        )
        self._server = kind
        self._wish = LogprobsWish(confidence)
        self._remote: frozenset[str] = frozenset()

    async def open(self, request: ChatRequest, model: str) -> Reply:
        """Send the request; return once the answer has begun. Raises BackendError."""
        check_fit(request, self.name, self._server)
        try:
            native = as_it_came(request, model, self._server)
            if native is not None and (reply := await self._native(request, native, model)):
                return reply
            return await self._chat(request, model)
        except FAILED as error:
            raise self._errors.of_client(error) from None

    async def _chat(self, request: ChatRequest, model: str) -> Reply:
        body = adapted(request, model, self._server)
        short_names = full_names_of(request.tools)
        logprobs = self._wish.add_to(body, request, model, self._server)
        answer = await self._post("/chat/completions", orjson.dumps(body))
        try:
            if answer.status != 200:
                error = await self._refusal(answer, model)
                if logprobs is None or logprobs.for_the_caller:
                    raise error
                if not self._wish.refused(model, error.message):
                    raise error
                answer.close()
                return await self._chat(request, model)
            if request.stream and answer.content_type != "application/json":
                tally = relay.ChatTally(
                    hold_usage=not request.include_usage, full_names=short_names
                )
                reply: Reply = await self._stream(answer, tally, model, logprobs=logprobs)
            else:
                raw, document = await self._document(answer, model, logprobs)
                if logprobs is not None:
                    self._wish.came(model, logprobs)
                if fault := relay.fault_of(document):
                    raise self._errors.broken(fault)
                if short_names and relay.give_full_names(document, "message", short_names):
                    raw = orjson.dumps(document)
                if request.stream:
                    events = completions.decode_complete(document)
                    reply = Translated(sse.once(events), model)
                else:
                    named = _name(document.get("model"), model)
                    reply = Relayed(sse.once(raw), named, document=document)
                    reply.logprobs = logprobs
                    reply.usage = completions.usage_of(document.get("usage"))
            reply.dropped = tuple(name for name in request.body if name not in body)
            return reply
        except BaseException:
            answer.close()
            raise

    async def _native(self, request: ChatRequest, body: dict[str, Any], model: str) -> Reply | None:
        """Return the answer of the server's own /messages; None if it does not have that path."""
        short_names = full_names_of(request.tools)
        answer = await self._post("/messages", orjson.dumps(body))
        try:
            if answer.status in NOT_THERE:
                answer.close()
                return None
            if answer.status != 200:
                raise await self._refusal(answer, model)
            if request.stream:
                tally = messages_relay.MessagesTally(
                    lambda: start_event(request, model, f"{ID_PREFIX}{uuid.uuid4().hex[:24]}"),
                    short_names,
                )
                relayed = await self._stream(answer, tally, model, "messages")
                return await as_asked(relayed, request, self.name)
            raw, document = await self._document(answer, model)
            if fault := messages_relay.fault_of(document):
                raise self._errors.broken(fault)
            if messages_relay.give_full_names(document["content"], short_names):
                raw = orjson.dumps(document)
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

    async def relay(
        self, path: str, body: dict[str, Any]
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """Send a body to another path by POST; return the answer's content type and bytes.

        Raises BackendError and UnknownModel.
        """
        return await self._other_routes.relay(path, body)

    def _is_remote(self, model: str) -> bool:
        # The server knows a model by several spellings of its name.
        return plain_name(model) in self._remote or has_remote_name(model)

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and body of a path. Raises OSError."""
        return await self._get(self.base_url + path)

    async def probe(self) -> Status:
        """Return the status of the server. Never raises."""
        status = await self._discovery.look()
        self._server = status.server
        self._remote = frozenset(plain_name(one.id) for one in status.models if one.remote)
        return status

    async def warm_up(self, model: str) -> None:
        """Make the server load the model, if it is a kind of server that can."""
        with contextlib.suppress(OSError):
            await self._discovery.warm_up(model)

    def enlarge_command(self, model: Model, needed_tokens: int) -> str:
        """Return the command that gives the model a context of this size, or ""."""
        return fix_command(self._server, model, needed_tokens)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _post(self, path: str, data: bytes) -> Answer:
        within_s = min(self._limits.first_byte_s, self._limits.total_s)
        return await self._http.post(self.base_url + path, data, within_s=within_s)

    async def _get(self, url: str) -> tuple[int, bytes]:
        return await _whole(self._http.get(url, within_s=PROBE_TIMEOUT_S))

    async def _post_json(self, url: str, body: dict[str, Any]) -> tuple[int, bytes]:
        data = orjson.dumps(body)
        return await _whole(self._http.post(url, data, within_s=self._limits.first_byte_s))

    async def _model_ids(self) -> list[str]:
        """Return the ids of all models, also of those that do not chat; none without a list."""
        try:
            status, raw = await self._get(f"{self.base_url}/models")
            return model_ids(orjson.loads(raw)) if status == 200 else []
        except (OSError, orjson.JSONDecodeError):
            return []

    async def _document(
        self, answer: Answer, model: str, logprobs: Logprobs | None = None
    ) -> tuple[bytes, dict[str, Any]]:
        """Read and check a whole JSON answer."""
        raw = await answer.read()
        if logprobs is not None:
            raw = logprobs.cut(raw)
        try:
            document = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raw = half_characters.replaced(raw)
            try:
                document = orjson.loads(raw)
            except orjson.JSONDecodeError:
                raise self._errors.broken("answered with something that is not JSON") from None
        if not isinstance(document, dict):
            raise self._errors.broken("answered with JSON that is not an object")
        if error := relay.in_band_error(document):
            raise self._errors.reported(200, error, model)
        return raw, document

    async def _stream(
        self,
        answer: Answer,
        tally: Tally,
        model: str,
        format: Dialect = "chat",
        logprobs: Logprobs | None = None,
    ) -> Relayed:
        """Return a stream that has begun: its first event has come and is not an error."""
        cutter = sse.Cutter()
        first = b""
        while piece := await answer.piece():
            block = cutter.whole(piece)
            first += block
            if sse.first_data(block):  # comments only show that the server is alive
                break
        else:
            first += cutter.last() + cutter.rest
        before, error = relay.before_error(first)
        if error and not sse.first_data(before):
            raise self._errors.reported(200, error, model)
        body = self._first_body(first)
        message = body.get("message") if format == "messages" else body
        named = message.get("model") if isinstance(message, dict) else None

        def note(usage: Usage | None) -> None:
            reply.usage = usage

        answer.flowing(self._limits.idle_s, self._limits.total_s)
        chunks = self._relay(answer, first, cutter, tally, note, model, logprobs)
        reply = Relayed(chunks, _name(named, model), format)
        reply.logprobs = logprobs
        if logprobs is None:
            reply.forward_to = partial(forward, answer.offer_to, cutter, tally.words)
        reply.chunks = await primed(chunks, self.name)
        return reply

    def _first_body(self, block: bytes) -> dict[str, Any]:
        """Return the JSON object in the data of the first event."""
        data = sse.first_data(block)
        if not data or data == b"[DONE]":
            raise self._errors.broken("sent an empty answer")
        if not sse.ends_whole(block):
            raise self._errors.broken("was cut off")
        try:
            body: dict[str, Any] = orjson.loads(data)
            if all(isinstance(choice, dict) for choice in body.get("choices") or ()):
                return body
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            pass
        raise self._errors.broken("sent an event that cannot be read")

    async def _relay(
        self,
        answer: Answer,
        block: bytes,
        cutter: sse.Cutter,
        tally: Tally,
        note: Callable[[Usage | None], None],
        model: str,
        logprobs: Logprobs | None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the blocks as the tally passes them, and the end of the stream if it is missing."""
        try:
            piece = b" "
            while True:
                if logprobs is not None:
                    block = logprobs.cut(block)
                if block and (passed := tally.passed(block)):
                    yield passed
                if tally.error:
                    raise self._errors.reported(200, tally.error, model)
                if tally.is_over:
                    return
                if not piece:
                    break
                try:
                    piece = await answer.piece()
                except FAILED as error:
                    if tally.ending is None:
                        over_s = self._limits.total_s if answer.is_overdue else None
                        raise self._errors.of_client(error, over_s) from None
                    piece = b""  # the answer is complete: a broken connection costs nothing
                block = cutter.whole(piece) if piece else cutter.last()
            if (ending := tally.ending) is None:
                raise self._errors.broken("was cut off in the middle of an answer")
            if ending:
                yield ending
        finally:
            note(tally.usage)
            if logprobs is not None and tally.is_over:
                self._wish.came(model, logprobs)
            answer.close(linger_s=LAST_BYTES_S if tally.is_over else 0)

    async def _refusal(self, answer: Answer, model: str) -> BackendError:
        refusal = await read_refusal(answer)
        return self._errors.reported(refusal.status, refusal.error, model, refusal.wait_s)


async def _whole(asking: Awaitable[Answer]) -> tuple[int, bytes]:
    """Return status and body. Raises OSError if there is no answer."""
    try:
        answer = await asking
        try:
            return answer.status, await answer.read(MOST_PROBE_BYTES)
        finally:
            answer.close()
    except HttpError as error:
        raise ConnectionError(str(error)) from None


def _name(reported: object, asked: str) -> str:
    """Return the model that the server reports, which may differ from the one asked for."""
    return reported if isinstance(reported, str) and reported else asked
