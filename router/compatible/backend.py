"""OpenAIBackend: OpenAI, OpenRouter, Groq, Mistral, DeepSeek or any other OpenAI-compatible cloud.

It relays bytes as the local side does, without the changes that local servers need.
"""

import time
from collections.abc import Callable
from typing import Final

import orjson

from router.backend import Model, Reply, Status, TimeLimits
from router.clouds.calls import proxy_of
from router.http.proxy import Proxy
from router.local.quirks import OPENAI_CLOUD
from router.local.servers import model_ids
from router.local_client import LocalBackend
from router.request import ChatRequest

BASE_URL: Final = "https://api.openai.com/v1"
LOOK_AGAIN_S: Final = 3600.0
"""How long the answer of the Models API is trusted."""


class OpenAIBackend:
    """An OpenAI-compatible cloud; `base_url` includes /v1."""

    name = "openai"

    def __init__(
        self,
        api_key: str,
        model: str,
        *,
        limits: TimeLimits,
        base_url: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._base_url = (base_url or BASE_URL).rstrip("/")
        proxy = proxy_of(self._base_url)
        self._relay = LocalBackend(
            self._base_url,
            model,
            name=self.name,
            api_key=api_key,
            limits=limits,
            kind=OPENAI_CLOUD,
            proxy=Proxy(proxy) if proxy else None,
        )
        self._clock = clock
        self._seen: Status | None = None
        self._seen_at = 0.0

    async def open(self, request: ChatRequest, model: str) -> Reply:
        """Send the request; return once the answer has begun. Raises BackendError."""
        return await self._relay.open(request, model)

    async def probe(self) -> Status:
        """Return whether the key opens the model; asks the Models API once an hour. Never raises.

        Some gateways have no Models API, so only a refused key or a failed connection counts.
        """
        if self._seen is not None and self._clock() - self._seen_at < LOOK_AGAIN_S:
            return self._seen
        began = self._clock()
        try:
            status, raw = await self._relay.get("/models")
        except OSError as error:
            why = f" ({error})" if str(error) else ""
            detail = f"{self._base_url} does not answer{why}."
            return Status("down", server=OPENAI_CLOUD, detail=detail)
        if status in (401, 403):
            detail = f"{self._base_url} refuses OPENAI_API_KEY."
            return Status("locked", server=OPENAI_CLOUD, detail=detail)
        known = _models_in(raw) if status == 200 else []
        detail = ""
        if known and self._model not in known:
            detail = f"OPENAI_MODEL={self._model} is not in the list of {self._base_url}/models."
        latency_ms = (self._clock() - began) * 1000
        model = Model(self._model, loaded=True)
        self._seen = Status("ready", model, (model,), OPENAI_CLOUD, latency_ms, detail)
        self._seen_at = self._clock()
        return self._seen

    async def warm(self) -> None:
        """Do nothing: there is no SDK to import."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._relay.aclose()


def _models_in(raw: bytes) -> list[str]:
    try:
        return model_ids(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return []
