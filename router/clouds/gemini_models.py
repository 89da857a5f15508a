"""The models of a Gemini key: their limits, and the state of the one in the settings.

The Models API is asked once an hour.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from router.backend import Model, Status
from router.clouds.chosen_model import ChosenModel, Gone
from router.errors import BackendError, BackendMisconfigured
from router.wire.failures import NO_SUCH_MODEL
from router.wire.gemini import generate_content

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


class GeminiModels(ChosenModel):
    """The models of one key. `model` is the one that the settings name."""

    def __init__(
        self,
        model: str,
        find: Find,
        names: Names,
        clock: Callable[[], float],
        *,
        is_default: bool = False,
    ) -> None:
        super().__init__(model, "GEMINI_MODEL", clock, is_default=is_default)
        self._find = find
        self._names = names
        self._limits: dict[str, Limits] = {}
        self._only_beta: set[str] = set()

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

    async def with_choices(self, why: str) -> str:
        """Return `why`, followed by the models that the key can use, if they can be listed."""
        return _with_choices(why, await self._listed())

    async def _listed(self) -> list[str]:
        """Return the models that the key can use; none if they cannot be listed."""
        try:
            async with asyncio.timeout(LIMIT_S):
                return await self._names()
        except (BackendError, TimeoutError):
            return []

    def _gone(self, gone: Gone) -> Status:
        detail = _with_choices(gone.why, gone.names)
        return Status("down", server=generate_content.NAME, detail=detail)

    async def _look_at(self, model: str) -> Status:
        began = self._clock()
        try:
            limit = (await self.look_up(model)).input_tokens
        except generate_content.UnknownGeminiModel as error:
            if error.code == NO_SUCH_MODEL:
                raise Gone(error.message, await self._listed()) from None
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


def _with_choices(why: str, names: Sequence[str]) -> str:
    return f"{why} This key can use: {', '.join(names)}." if names else why
