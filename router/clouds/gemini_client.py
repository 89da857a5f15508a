"""GeminiBackend: Google's generateContent through the google-genai SDK.

The SDK makes the address and the headers once for each model, and `direct.py` sends the bodies.
Behind a proxy the SDK sends each request itself. Its pydantic models take 250 µs of CPU for a token
and 10 ms for an agent's prompt. Two public features avoid them: the body goes in whole as
`HttpOptions.extra_body`, and the HTTP transport (`gemini_transport.py`) keeps the answer's bytes
for `wire/gemini/reply.py`.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.backend import Model, Status, TimeLimits, Translated, primed
from router.clouds.calls import (
    comes_whole,
    connection_errors,
    connection_failure,
    for_whole,
    has_proxy,
    paced,
    proxy_fault,
    proxy_of,
    too_slow,
)
from router.clouds.direct import DirectClient, Refused, WordForwarder
from router.clouds.gemini_errors import GeminiErrors
from router.clouds.gemini_models import BETA, GeminiModels, Limits
from router.clouds.pictures import PictureError, Pictures
from router.clouds.thought_signatures import Vault
from router.deadlines import within
from router.errors import (
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Batch, ToolCallStart
from router.http.client import header_lines
from router.request import ChatRequest
from router.wire.gemini import generate_content

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    from google import genai

# Given explicitly, because the SDK would otherwise look for keys and addresses of its own.
BASE_URL: Final = "https://generativelanguage.googleapis.com"

MOST_HEADS: Final = 64
_NOT_SENT: Final = frozenset(
    {"host", "accept-encoding", "connection", "content-type", "content-length"}
)
"""Headers of the SDK that the direct client sets itself."""
_VERSION: Final = re.compile(r"/v1(?:alpha|beta)?/?$")
_NO_KEY: Final = "Gemini is not configured: set GEMINI_API_KEY."


class GeminiBackend:
    """Gemini as a backend of the router."""

    name: Final = generate_content.NAME

    def __init__(
        self,
        api_key: str | None,
        model: str,
        *,
        limits: TimeLimits,
        base_url: str | None = None,
        vault: Vault | None = None,
        pictures: Pictures | None = None,
        is_default: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the parts; open nothing.

        `model` is the one that `probe()` checks. `base_url` may end with an API version, which
        is ignored: the model decides. `is_default`: the user has not named the model, so another
        one may answer once it is retired."""
        self._api_key = api_key
        self._errors = GeminiErrors(api_key)
        self._model = model
        self._limits = limits
        self._base_url = _VERSION.sub("", base_url or BASE_URL)
        self._proxy_fault = proxy_fault(self._base_url)
        self._vault = Vault() if vault is None else vault
        self._pictures = Pictures() if pictures is None else pictures
        self._models = GeminiModels(
            model, self._limits_of, self._usable_models, clock, is_default=is_default
        )
        self._client: genai.Client | None = None
        self._http: httpx2.AsyncClient | None = None
        self._direct: DirectClient | None = None
        self._heads: dict[tuple[str, str, bool], tuple[str, bytes]] = {}
        """Address and header lines that the SDK gives a request, by version, model and `whole`."""
        self._building = asyncio.Lock()

    async def warm(self) -> None:
        """Prepare the client: import the SDK now, so that no request waits for it."""
        if self._api_key is not None and not self._proxy_fault:
            await self._connected()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None and self._http is not None:
            self._client.close()
            await self._http.aclose()
            self._client = self._http = None
        if self._direct is not None:
            await self._direct.aclose()
            self._direct = None

    async def open(self, request: ChatRequest, model: str) -> Translated:
        """Send the request; return once the answer has begun. Raises BackendError.

        A body that is refused is sent once more in its simplest form.
        """
        if self._api_key is None:
            raise BackendUnreachable(_NO_KEY, backend=self.name)
        pictures = await self._fetched(request)
        try:
            return await self._answered(request, model, pictures)
        except generate_content.UnknownGeminiModel as error:
            if other := await self._models.replacement(model):
                return await self._answered(request, other, pictures)
            message = await self._models.with_choices(error.message)
            raise BackendMisconfigured(message, backend=self.name, code=error.code) from None

    async def _answered(
        self, request: ChatRequest, model: str, pictures: Mapping[str, tuple[bytes, str]]
    ) -> Translated:
        await self._vault.fetch(request, model)

        def encoded(*, strict: bool) -> generate_content.GeminiRequest:
            limits = self._models.limits(model)
            return generate_content.encode(
                request,
                model,
                pictures=pictures,
                recall=lambda call_id: self._vault.get(call_id, model),
                most_tokens=limits.output_tokens if limits else None,
                strict=strict,
            )

        sent = encoded(strict=False)
        try:
            return await self._begun(request, sent, model)
        except BackendRejected as refused:
            if refused.code is not None or refused.status != 400:
                raise
            if self._models.limits(model) is None:
                with contextlib.suppress(BackendError, TimeoutError):
                    await self._models.look_up(model)
            forms = (encoded(strict=False), encoded(strict=True))
            simpler = next((form for form in forms if form.body != sent.body), None)
            if simpler is None:
                raise
            try:
                return await self._begun(request, simpler, model)
            except BackendRejected:
                raise refused from None  # its message is about the caller's own body

    async def probe(self) -> Status:
        """Return whether there is a key and it opens the model; asks the Models API once an hour.

        Before the SDK is imported (`warm`) the answer is yes, so that no request waits for it.
        """
        if self._api_key is None:
            return Status("unconfigured", server=self.name, detail=_NO_KEY)
        if self._proxy_fault:
            return Status("down", server=self.name, detail=self._proxy_fault)
        if self._client is None:
            return Status("ready", Model(self._model), server=self.name)
        return await self._models.status()

    # One answer

    async def _begun(
        self, request: ChatRequest, sent: generate_content.GeminiRequest, model: str
    ) -> Translated:
        """Return the answer once it has begun.

        It is requested again if the model's first answer is unusable, or with the beta of the API
        if the stable version lacks the model or a field.
        """
        most_tokens = sent.body.get("generationConfig", {}).get("maxOutputTokens")
        whole = comes_whole(request, most_tokens, self._limits)

        async def attempt() -> Translated:
            words = WordForwarder(generate_content.GeminiDecoder(sent.names or {}))
            events = await primed(self._events(sent, model, whole, words), self.name)
            return Translated(events, model, sent.dropped, words.forward_to, words.usage_so_far)

        try:
            return await attempt()
        except generate_content.Malformed:
            pass
        except (generate_content.UnknownGeminiModel, generate_content.UnknownField):
            if not self._models.turn_to_beta(model):
                raise
        return await attempt()

    async def _events(
        self, sent: generate_content.GeminiRequest, model: str, whole: bool, words: WordForwarder
    ) -> AsyncGenerator[Batch, None]:
        client = await self._connected()
        with self._errors.translating():
            async with (
                contextlib.aclosing(self._chunks(client, sent.body, model, whole, words)) as chunks,
                contextlib.aclosing(
                    generate_content.decode_whole(chunks, sent.names)
                    if whole
                    else words.events(chunks)
                ) as batches,
            ):
                async for batch in batches:
                    for event in batch:
                        if isinstance(event, ToolCallStart) and event.extra:
                            self._vault.put(event.id, model, event.extra)
                    yield batch

    async def _chunks(
        self,
        client: "genai.Client",
        body: Mapping[str, Any],
        model: str,
        whole: bool,
        words: WordForwarder,
    ) -> AsyncGenerator[bytes, None]:
        """Send a body; yield the answer's bytes. Closing the generator closes the connection."""
        limits = for_whole(self._limits) if whole else self._limits
        if (direct := self._direct) is not None:
            url, lines = await self._head(client, model, whole)
            try:
                data = orjson.dumps(body)
            except TypeError:  # orjson refuses deep nesting and half characters
                data = json.dumps(body).encode()
            try:
                async with direct.answer(url, lines, data, limits) as pieces:
                    words.attach(pieces)
                    async for piece in pieces:
                        yield piece
            except Refused as refused:
                raise self._errors.refusal(refused) from None
            return
        asked_at = asyncio.get_running_loop().time()
        try:
            with within(limits.first_byte_s) as limit:
                response = await self._send(client, body, model, whole)
        except connection_errors() as error:
            if limit.expired:
                raise too_slow(limits, self.name) from None
            raise connection_failure(error, backend=self.name) from None
        try:
            chunks = response.content.iter_any()
            async for chunk in paced(chunks, limits, self.name, asked_at):
                yield chunk
        except connection_errors() as error:
            raise connection_failure(error, backend=self.name, begun=True) from None
        finally:
            response.close()

    async def _send(
        self, client: "genai.Client", body: Mapping[str, Any], model: str, whole: bool
    ) -> "aiohttp.ClientResponse":
        """Send a body; return the answer, unread, as soon as it begins."""
        from router.clouds.gemini_transport import unread

        answers: list[aiohttp.ClientResponse] = []
        token = unread.set(answers)
        try:
            await self._ask_sdk(client, body, model, whole)
        except BaseException:
            for answer in answers:
                answer.close()
            raise
        finally:
            unread.reset(token)
        return answers[0]

    async def _head(self, client: "genai.Client", model: str, whole: bool) -> tuple[str, bytes]:
        """Return the address and the header lines that the SDK gives a request for this model."""
        from router.clouds.gemini_transport import captured

        key = (self._models.version(model), model, whole)
        if (known := self._heads.get(key)) is not None:
            return known
        requests: list[httpx2.Request] = []
        token = captured.set(requests)
        try:
            await self._ask_sdk(client, {}, model, whole)
        finally:
            captured.reset(token)
        sent = requests[0]
        headers = {name: value for name, value in sent.headers.items() if name not in _NOT_SENT}
        if len(self._heads) >= MOST_HEADS:
            self._heads.clear()
        self._heads[key] = str(sent.url), header_lines(headers)
        return self._heads[key]

    async def _ask_sdk(
        self, client: "genai.Client", body: Mapping[str, Any], model: str, whole: bool
    ) -> None:
        """Make the SDK send a body; its transport stores the request or the answer."""
        from google.genai import types

        config = types.GenerateContentConfigDict(
            automatic_continuation=False,
            automatic_function_calling={"disable": True},
            http_options={"extra_body": dict(body), "api_version": self._models.version(model)},
        )
        # The SDK requires `contents`; the body replaces them.
        contents = types.Content()
        if whole:
            await client.aio.models.generate_content(model=model, contents=contents, config=config)
            return
        stream = await client.aio.models.generate_content_stream(
            model=model, contents=contents, config=config
        )
        async for _ in stream:  # sends it; nothing is left for the SDK to read
            pass

    async def _fetched(self, request: ChatRequest) -> Mapping[str, tuple[bytes, str]]:
        urls = generate_content.picture_urls(request)
        try:
            return await self._pictures.fetch(urls)
        except PictureError as error:
            raise BackendUnfit(
                f"Gemini needs pictures in the request itself. {error}",
                backend=self.name,
                param=urls[error.url],
            ) from None

    # The SDK

    async def _connected(self) -> "genai.Client":
        """Return the SDK's client. Raises BackendMisconfigured."""
        if self._proxy_fault:
            raise BackendMisconfigured(self._proxy_fault, backend=self.name)
        async with self._building:
            if self._client is None:
                # In a thread: the import takes a second or more.
                client, self._http = await asyncio.to_thread(self._built)
                self._client = client
            return self._client

    def _built(self) -> "tuple[genai.Client, httpx2.AsyncClient]":
        import httpx2
        from google import genai
        from google.genai import types

        from router.clouds.gemini_transport import GeminiTransport

        transport = GeminiTransport(self._limits.connect_s, proxy_of(self._base_url))
        http = httpx2.AsyncClient(transport=transport)
        options = types.HttpOptions(
            base_url=self._base_url,
            httpx_async_client=http,
            # The SDK also makes a client that is not used here. It refuses some ALL_PROXYs.
            client_args={"trust_env": False},
        )
        with self._errors.translating():
            client = genai.Client(enterprise=False, api_key=self._api_key, http_options=options)
        if not has_proxy(self._base_url):
            tls = httpx2.create_ssl_context() if self._base_url.startswith("https:") else None
            self._direct = DirectClient(self._base_url, self._limits.connect_s, tls, self.name)
        return client, http

    # The Models API

    async def _limits_of(self, model: str, version: str) -> Limits:
        client = await self._connected()
        with self._errors.translating():
            found = await client.aio.models.get(
                model=model, config={"http_options": {"api_version": version}}
            )
        return Limits(found.input_token_limit, found.output_token_limit)

    async def _usable_models(self) -> list[str]:
        client = await self._connected()
        with self._errors.translating():
            models = await client.aio.models.list(
                config={"page_size": 1000, "http_options": {"api_version": BETA}}
            )
            return sorted(
                [
                    (model.name or "").removeprefix("models/")
                    async for model in models
                    if "generateContent" in (model.supported_actions or ())
                ]
            )
