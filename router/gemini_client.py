"""GeminiBackend: Google's generateContent through the google-genai SDK.

The SDK makes the address, signs the request, sends it and reads its errors. Its pydantic models
cost 250 µs of CPU a token and 10 ms for an agent's prompt; both ways around them are public ones:
the body goes in whole as `HttpOptions.extra_body`, and the HTTP transport that the SDK is given
(`gemini_transport.py`) keeps the answer's bytes back for `wire/gemini.py`.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Final

from router.backend import Model, Status, TimeLimits, Translated, primed
from router.cloud_calls import connection_errors, connection_failure
from router.errors import (
    BackendBroken,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.events import Event, ToolCallStart
from router.failures import cleaned
from router.pictures import PictureError, Pictures
from router.request import ChatRequest
from router.vault import Vault
from router.wire import gemini

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    from google import genai

BASE_URL: Final = "https://generativelanguage.googleapis.com"
# Given explicitly, because the SDK would otherwise look for keys and addresses of its own.

_LOOK_S: Final = 3600.0
"""How long what the Models API said holds."""
_LOOK_AGAIN_S: Final = 10.0
"""How long its failure holds."""
_LOOK_LIMIT_S: Final = 10.0
_PREVIEW: Final = re.compile(r"latest|preview|exp")
"""Models that only the beta of the API has; the others are asked for where it is stable."""
_VERSION: Final = re.compile(r"/v1(?:alpha|beta)?/?$")
_NO_KEY: Final = "Gemini is not configured: set GEMINI_API_KEY."


class GeminiBackend:
    """Gemini, as a backend of the router."""

    name: Final = gemini.NAME

    def __init__(
        self,
        api_key: str | None,
        model: str,
        *,
        limits: TimeLimits,
        base_url: str | None = None,
        vault: Vault | None = None,
        pictures: Pictures | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model` is the one that `probe()` looks at; `base_url` may end with an API version, which
        is then left to the model."""
        self._api_key = api_key
        self._secrets = (api_key,) if api_key else ()
        self._model = model
        self._limits = limits
        self._base_url = _VERSION.sub("", base_url or BASE_URL)
        self._vault = Vault() if vault is None else vault
        self._pictures = Pictures() if pictures is None else pictures
        self._clock = clock
        self._client: genai.Client | None = None
        self._http: httpx2.AsyncClient | None = None
        self._building = asyncio.Lock()
        self._status: Status | None = None
        self._look_at = 0.0

    async def warm(self) -> None:
        """Import the SDK and build its client, so that the first request need not wait for it."""
        if self._api_key is not None:
            await self._connected()

    async def aclose(self) -> None:
        if self._client is not None and self._http is not None:
            self._client.close()
            await self._http.aclose()
            self._client = self._http = None

    async def open(self, request: ChatRequest, model: str) -> Translated:
        """Send the request; return once the answer has begun. Raises BackendError.

        A body that is refused is sent once more in the simplest form there is of it.
        """
        if self._api_key is None:
            raise BackendUnreachable(_NO_KEY, backend=self.name)
        pictures = await self._fetched(request)

        def encoded(strict: bool) -> gemini.Encoded:
            return gemini.encode(
                request,
                model,
                pictures=pictures,
                recall=lambda call_id: self._vault.get(call_id, model),
                strict=strict,
            )

        sent = encoded(strict=False)
        try:
            events = await self._begun(sent, model)
        except BackendRejected as refused:
            simpler = encoded(strict=True)
            if refused.code is not None or refused.status != 400 or simpler.body == sent.body:
                raise
            sent = simpler
            try:
                events = await self._begun(sent, model)
            except BackendRejected:
                raise refused from None  # its message is about what the caller wrote
        except gemini.UnknownGeminiModel as error:
            raise BackendMisconfigured(
                await self._naming_models(error), backend=self.name
            ) from None
        return Translated(events, model, sent.dropped)

    async def probe(self) -> Status:
        """Is there a key, and does it open the model? Asks the Models API, once in a long while.

        Before the SDK is there (`warm`) the answer is taken to be yes: nobody shall wait for it.
        """
        if self._api_key is None:
            return Status("unconfigured", server=self.name, detail=_NO_KEY)
        if self._client is None:
            return Status("ready", Model(self._model), server=self.name)
        if self._status is None or self._clock() >= self._look_at:
            self._status = await self._look()
            self._look_at = self._clock() + (_LOOK_S if self._status.up else _LOOK_AGAIN_S)
        return self._status

    # One answer

    async def _begun(self, sent: gemini.Encoded, model: str) -> AsyncGenerator[Event, None]:
        """The answer, once it has begun; asked for again if the model's first try is unusable."""
        try:
            return await primed(self._events(sent, model), self.name)
        except gemini.Malformed:
            return await primed(self._events(sent, model), self.name)

    async def _events(self, sent: gemini.Encoded, model: str) -> AsyncGenerator[Event, None]:
        client = await self._connected()
        with self._translating_errors():
            async with (
                contextlib.aclosing(self._chunks(client, sent.body, model)) as chunks,
                contextlib.aclosing(gemini.decode(chunks, sent.names)) as events,
            ):
                async for event in events:
                    if isinstance(event, ToolCallStart) and event.extra:
                        self._vault.put(event.id, model, event.extra)
                    yield event

    async def _chunks(
        self, client: "genai.Client", body: Mapping[str, Any], model: str
    ) -> AsyncGenerator[bytes, None]:
        """Send a body; the answer's bytes as they come. Closing it closes the connection."""
        response: aiohttp.ClientResponse | None = None
        now = asyncio.get_running_loop().time
        end = now() + self._limits.total_s
        limit = asyncio.timeout(self._limits.first_byte_s)
        try:
            async with limit:
                response = await self._send(client, body, model)
                chunk = await response.content.readany()
            while chunk:
                yield chunk
                limit = asyncio.timeout_at(min(now() + self._limits.idle_s, end))
                async with limit:
                    chunk = await response.content.readany()
        except connection_errors() as error:
            begun = response is not None
            if limit.expired():
                raise self._too_slow(begun, over=now() >= end) from None
            raise connection_failure(error, backend=self.name, begun=begun) from None
        finally:
            if response is not None:
                response.close()

    async def _send(
        self, client: "genai.Client", body: Mapping[str, Any], model: str
    ) -> "aiohttp.ClientResponse":
        """Send a body; the answer as soon as it begins, unread."""
        from google.genai import types

        from router.gemini_transport import unread

        config = types.GenerateContentConfigDict(
            automatic_continuation=False,
            automatic_function_calling={"disable": True},
            http_options={"extra_body": dict(body), "api_version": _api_version(model)},
        )
        answers: list[aiohttp.ClientResponse] = []
        token = unread.set(answers)
        try:
            # `contents` must be something; the body takes its place.
            stream = await client.aio.models.generate_content_stream(
                model=model, contents="-", config=config
            )
            async for _ in stream:  # sends it; there is nothing for the SDK to read
                pass
        except BaseException:
            for answer in answers:
                answer.close()
            raise
        finally:
            unread.reset(token)
        return answers[0]

    def _too_slow(self, begun: bool, over: bool) -> BackendTimeout:
        limits = self._limits
        if over:
            message = f"Gemini did not end its answer within {limits.total_s:g} s."
        elif begun:
            message = f"Gemini stopped in the middle of its answer for {limits.idle_s:g} s."
        else:
            message = f"Gemini did not begin to answer within {limits.first_byte_s:g} s."
        return BackendTimeout(message, backend=self.name)

    async def _fetched(self, request: ChatRequest) -> Mapping[str, tuple[bytes, str]]:
        urls = gemini.picture_urls(request)
        try:
            return await self._pictures.fetch(urls)
        except PictureError as error:
            raise BackendUnfit(
                f"Gemini wants pictures in the request itself. {error}",
                backend=self.name,
                param=urls[error.url],
            ) from None

    # The SDK

    async def _connected(self) -> "genai.Client":
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

        from router.gemini_transport import Transport

        http = httpx2.AsyncClient(transport=Transport(self._limits.connect_s))
        options = types.HttpOptions(base_url=self._base_url, httpx_async_client=http)
        with self._translating_errors():
            return genai.Client(enterprise=False, api_key=self._api_key, http_options=options), http

    @contextlib.contextmanager
    def _translating_errors(self) -> Iterator[None]:
        """The SDK's errors and those of the libraries beneath it as ours, keys cleaned away."""
        from google.genai import errors

        try:
            yield
        except errors.APIError as error:
            headers = getattr(error.response, "headers", {})
            raise gemini.failure(error.details, error.code, headers, self._secrets) from None
        except connection_errors() as error:
            raise connection_failure(error, backend=self.name) from None
        except RecursionError:
            raise BackendRejected("The request is nested too deep.", backend=self.name) from None
        except (UnicodeDecodeError, JSONDecodeError, errors.UnknownApiResponseError):
            raise BackendBroken("Gemini sent what cannot be read.", backend=self.name) from None
        except ValueError as error:  # what the SDK itself refuses: a key, an address, a model
            said = cleaned(str(error).partition("\n")[0], self._secrets)
            raise BackendMisconfigured(
                f"GEMINI_API_KEY, GEMINI_BASE_URL or GEMINI_MODEL cannot be used: {said}",
                backend=self.name,
            ) from None
        except BackendError as error:
            error.message = cleaned(error.message, self._secrets)
            error.args = (error.message,)
            raise

    # The Models API

    async def _look(self) -> Status:
        started = self._clock()
        try:
            async with asyncio.timeout(_LOOK_LIMIT_S):
                limit = await self._input_limit()
        except gemini.UnknownGeminiModel as error:
            return Status("down", server=self.name, detail=await self._naming_models(error))
        except BackendMisconfigured as error:
            return Status("locked", server=self.name, detail=error.message)
        except BackendError as error:
            return Status("down", server=self.name, detail=error.message)
        except TimeoutError:
            return Status("down", server=self.name, detail="Gemini did not answer in time.")
        model = Model(self._model, loaded=True, context_tokens=limit, max_context_tokens=limit)
        latency_ms = (self._clock() - started) * 1000
        return Status("ready", model, (model,), self.name, latency_ms)

    async def _input_limit(self) -> int | None:
        """Tokens that the model reads. Raises UnknownGeminiModel if there is no such model."""
        client = await self._connected()
        with self._translating_errors():
            found = await client.aio.models.get(
                model=self._model,
                config={"http_options": {"api_version": _api_version(self._model)}},
            )
        return found.input_token_limit

    async def _naming_models(self, error: BackendError) -> str:
        """The error's message with the models that the key can use, if they can be had."""
        try:
            async with asyncio.timeout(_LOOK_LIMIT_S):
                names = await self._usable_models()
        except (BackendError, TimeoutError):
            return error.message
        return f"{error.message} This key can use: {', '.join(names)}."

    async def _usable_models(self) -> list[str]:
        client = await self._connected()
        with self._translating_errors():
            models = await client.aio.models.list(
                config={"page_size": 1000, "http_options": {"api_version": "v1beta"}}
            )
            return sorted(
                [
                    (model.name or "").removeprefix("models/")
                    async for model in models
                    if "generateContent" in (model.supported_actions or ())
                ]
            )


def _api_version(model: str) -> str:
    return "v1beta" if _PREVIEW.search(model) else "v1"
