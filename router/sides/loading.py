"""Loads a local model that is not loaded yet, once for all requests that wait for it."""

import asyncio
from collections.abc import Callable
from typing import Final

from router.backend import LocalServer
from router.sides.availability import Watch

AGAIN_S: Final = 60.0
"""Seconds after a failed load in which it is not tried again."""


class Loader:
    """Makes the local server load its model.

    It runs one load at a time: some servers load a model twice when two requests ask for it.
    """

    def __init__(self, backend: LocalServer, watch: Watch, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._watch = watch
        self._clock = clock
        self._loading: asyncio.Task[None] | None = None
        self._again_at = 0.0

    def must_load(self, model: str) -> bool:
        """Return whether the local server would answer with this model and has not loaded it."""
        status = self._watch.last
        if status is None or status.model is None:
            return False
        return status.state == "cold" and status.model.id == model

    def begin(self) -> None:
        """Load the model in the background, unless a load is under way or has just failed."""
        if self._loading is None or (self._loading.done() and self._clock() >= self._again_at):
            self._loading = asyncio.create_task(self._load())

    async def loaded(self) -> None:
        """Load the model and wait for it; return without an error if loading fails."""
        self.begin()
        assert self._loading is not None
        await asyncio.shield(self._loading)

    async def aclose(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    async def _load(self) -> None:
        status = self._watch.last
        if status is not None and status.model is not None:
            await self._backend.warm_up(status.model.id)
        if (await self._watch.look()).state == "cold":
            self._again_at = self._clock() + AGAIN_S
