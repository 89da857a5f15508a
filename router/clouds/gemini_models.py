"""The models of a Gemini key: their limits, and the state of the one in the settings.

The Models API is asked once an hour.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple

from router.backend import Model, Status
from router.clouds.replacement import nearest, says
from router.errors import BackendError, BackendMisconfigured
from router.wire.failures import NO_SUCH_MODEL
from router.wire.gemini import generate_content

HOLDS_S: Final = 3600.0
"""How long an answer of the Models API is valid."""
FAILURE_HOLDS_S: Final = 10.0
LIMIT_S: Final = 10.0
"""Time limit of a request to the Models API."""

STABLE: Final = "v1"
BETA: Final = "v1beta"
_PREVIEW: Final = re.compile(r"latest|preview|exp")
"""Models that only the beta of the API has; for all others the stable version is asked first."""


class Limits(NamedTuple):
    """The most tokens that a model reads and writes; None if unknown."""

    input_tokens: int | None = None
    output_tokens: int | None = None


Find = Callable[[str, str], Awaitable[Limits]]
"""Looks up a model in a version of the API. Raises UnknownGeminiModel and other BackendErrors."""
Names = Callable[[], Awaitable[list[str]]]
"""Returns the models that the key can use. Raises BackendError."""


class GeminiModels:
    """The models of one key. `model` is the one that the settings name.

    `is_default`: the user has not named it, so the nearest of its tier answers once it is gone.
    """

    def __init__(
        self,
        model: str,
        find: Find,
        names: Names,
        clock: Callable[[], float],
        *,
        is_default: bool = False,
    ) -> None:
        self._model = model
        self._is_default = is_default
        self._find = find
        self._names = names
        self._clock = clock
        self._limits: dict[str, Limits] = {}
        self._only_beta: set[str] = set()
        self._status: Status | None = None
        self._holds_until = 0.0

    def version(self, model: str) -> str:
        """Return the version of the API to use for a model."""
        beta = model in self._only_beta or _PREVIEW.search(model)
        return BETA if beta else STABLE

    def turn_to_beta(self, model: str) -> bool:
        """Switch a model to the beta of the API; return False if it uses the beta already."""
        if self.version(model) == BETA:
            return False
        self._only_beta.add(model)
        return True

    def limits(self, model: str) -> Limits | None:
        """Return the known limits of a model, without asking the API."""
        return self._limits.get(model)

    async def look_up(self, model: str) -> Limits:
        """Ask the Models API for a model, and keep its limits. Raises BackendError."""
        async with asyncio.timeout(LIMIT_S):
            version = self.version(model)
            try:
                found = await self._find(model, version)
            except generate_content.UnknownGeminiModel:
                if version == BETA:
                    raise
                found = await self._find(model, BETA)
                self._only_beta.add(model)
        self._limits[model] = found
        return found

    async def status(self) -> Status:
        """Return whether the key opens the model. Never raises; spends no tokens."""
        if self._status is None or self._clock() >= self._holds_until:
            self._status = await self._look()
            self._holds_until = self._clock() + (HOLDS_S if self._status.up else FAILURE_HOLDS_S)
        return self._status

    async def with_choices(self, why: str) -> str:
        """Return `why`, followed by the models that the key can use, if they can be listed."""
        names = await self._listed()
        return f"{why} This key can use: {', '.join(names)}." if names else why

    async def replacement(self, model: str) -> str | None:
        """Return what answers in place of a model that was not found; None if nothing does."""
        if not self._is_default or model != self._model:
            return None
        self._holds_until = 0.0
        status = await self.status()
        other = status.model.id if status.up and status.model is not None else model
        return other if other != model else None

    async def _listed(self) -> list[str]:
        """Return the models that the key can use; none if they cannot be listed."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self._names()
        except (BackendError, TimeoutError):
            return []

    async def _look(self) -> Status:
        try:
            return await self._look_at(self._model)
        except generate_content.UnknownGeminiModel as error:
            other = nearest(self._model, await self._listed()) if self._is_default else None
            if other is not None:
                with contextlib.suppress(generate_content.UnknownGeminiModel):
                    status = await self._look_at(other)
                    detail = says(self._model, other, "GEMINI_MODEL")
                    return replace(status, detail=detail) if status.up else status
            detail = await self.with_choices(error.message)
            return Status("down", server=generate_content.NAME, detail=detail)

    async def _look_at(self, model: str) -> Status:
        """Return the status with this model. Raises UnknownGeminiModel if it is not there."""
        began = self._clock()
        try:
            limit = (await self.look_up(model)).input_tokens
        except generate_content.UnknownGeminiModel as error:
            if error.code == NO_SUCH_MODEL:
                raise
            limit = None  # a proxy at GEMINI_BASE_URL without a Models API
        except BackendMisconfigured as error:
            return Status("locked", server=generate_content.NAME, detail=error.message)
        except BackendError as error:
            return Status("down", server=generate_content.NAME, detail=error.message)
        except TimeoutError:
            return Status(
                "down", server=generate_content.NAME, detail="Gemini did not answer in time."
            )
        found = Model(model, loaded=True, context_tokens=limit, max_context_tokens=limit)
        latency_ms = (self._clock() - began) * 1000
        return Status("ready", found, (found,), generate_content.NAME, latency_ms)
