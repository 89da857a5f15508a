"""Loading the local model: begun when a request finds it cold, once for all who wait for it."""

import asyncio
from collections.abc import Callable
from typing import Final

from router.backend import LocalServer
from router.sides.availability import Watch

AGAIN_S: Final = 60.0
"""How long a model that could not be loaded is left alone."""


class Loader:
    """Has the local server load its model.

    One load at a time: servers load a model twice when two requests ask for it together.
    """

    def __init__(self, backend: LocalServer, watch: Watch, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._watch = watch
        self._clock = clock
        self._loading: asyncio.Task[None] | None = None
        self._again_at = 0.0

    def must_load(self, model: str) -> bool:
        """Is this the model that the local server would answer with, and is it cold?"""
        status = self._watch.last
        if status is None or status.model is None:
            return False
        return status.state == "cold" and status.model.id == model

    def begin(self) -> None:
        """Load it in the background, unless that is under way or has just failed."""
        if self._loading is None or (self._loading.done() and self._clock() >= self._again_at):
            self._loading = asyncio.create_task(self._load())

    async def loaded(self) -> None:
        """Load it, or join the load that is under way; returns as well when it failed."""
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
