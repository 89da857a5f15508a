"""The status of the model that the settings name, or of the one that replaces it."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from router.backend import Status
from router.clouds.replacement import nearest, says

HOLDS_S: Final = 3600.0
"""How long an answer of the Models API is valid."""
FAILURE_HOLDS_S: Final = 10.0


class Gone(Exception):
    """The key does not open the model, or no longer. `names`: the models that it opens."""

    def __init__(self, why: str, names: Sequence[str]) -> None:
        super().__init__(why)
        self.why = why
        self.names = names


class ChosenModel(ABC):
    """The status of the model that a setting names.

    `is_default`: the user has not set it, so the nearest model of its tier answers once it is gone.
    """

    def __init__(
        self, model: str, setting: str, clock: Callable[[], float], *, is_default: bool
    ) -> None:
        self._model = model
        self._setting = setting
        self._clock = clock
        self._is_default = is_default
        self._status: Status | None = None
        self._holds_until = 0.0

    async def status(self) -> Status:
        """Return whether the key opens the model. Never raises; spends no tokens."""
        if self._status is None or self._clock() >= self._holds_until:
            self._status = await self._look()
            good = self._status.latency_ms is not None
            self._holds_until = self._clock() + (HOLDS_S if good else FAILURE_HOLDS_S)
        return self._status

    async def replacement(self, model: str) -> str | None:
        """Return the model that answers in place of one that was not found; None without one."""
        if not self._is_default or model != self._model:
            return None
        self._holds_until = 0.0
        status = await self.status()
        other = status.model.id if status.up and status.model is not None else model
        return other if other != model else None

    async def _look(self) -> Status:
        try:
            return await self._look_at(self._model)
        except Gone as gone:
            other = nearest(self._model, gone.names) if self._is_default else None
            if other is not None:
                with contextlib.suppress(Gone):
                    status = await self._look_at(other)
                    detail = says(self._model, other, self._setting)
                    return replace(status, detail=detail) if status.up else status
            return self._gone(gone)

    @abstractmethod
    async def _look_at(self, model: str) -> Status:
        """Ask the Models API for a model and return its status. Raises Gone, and nothing else."""

    @abstractmethod
    def _gone(self, gone: Gone) -> Status:
        """Return the status for a model that is gone, with the choices that the user has."""
