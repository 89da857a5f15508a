"""The models of an Anthropic key: their abilities and the state of the one in the settings.

The Models API is asked once an hour. Until it has answered, the abilities from the last run count,
and for other models those of the built-in table.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from router.backend import Model, State, Status
from router.clouds.ability_cache import AbilityCache
from router.clouds.chosen_model import FAILURE_HOLDS_S, ChosenModel, Gone
from router.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnreachable
from router.wire.anthropic.claude_model import (
    COMMON_EFFORTS,
    Abilities,
    abilities,
    built_in,
    model_names,
)
from router.wire.failures import NO_SUCH_MODEL

Get = Callable[[str], Awaitable[dict[str, Any]]]
"""Fetches a JSON object by its path. Raises BackendError."""

LOOK_UP_S: Final = 3.0
"""Longest wait of a request for the abilities of an unknown model."""


class ClaudeModels(ChosenModel):
    """The models of one key. `model` is the one that the settings name."""

    def __init__(
        self,
        model: str,
        get: Get,
        clock: Callable[[], float],
        cache: AbilityCache,
        *,
        is_default: bool = False,
    ) -> None:
        super().__init__(model, "ANTHROPIC_MODEL", clock, is_default=is_default)
        self._get = get
        self._cache = cache
        self._stored: dict[str, Abilities] | None = None
        self._learned: dict[str, Abilities] = {}
        self._failed_at: dict[str, float] = {}

    def abilities(self, model: str) -> Abilities:
        """Return the known abilities of a model, without asking the API."""
        if model in self._learned:
            return self._learned[model]
        if self._stored is None:
            self._stored = self._cache.load()
        return self._stored.get(model) or built_in(model)

    def is_learned(self, model: str) -> bool:
        """Return whether the abilities come from the Models API or a refusal."""
        return model in self._learned

    async def find_abilities(self, model: str) -> Abilities:
        """Return the abilities of a model; ask the Models API if nothing is known of it yet.

        If it does not answer, the effort levels that most models have are assumed: Claude refuses
        a level that the model lacks, and the request is sent again without it.
        """
        if not (self.is_learned(model) or self.abilities(model).known or self._has_failed(model)):
            try:
                async with asyncio.timeout(LOOK_UP_S):
                    await self.look_up(model)
            except (BackendError, TimeoutError):
                self._failed_at[model] = self._clock()
        known = self.abilities(model)
        if known.efforts is None and not self.is_learned(model):
            return replace(known, efforts=COMMON_EFFORTS)
        return known

    def _has_failed(self, model: str) -> bool:
        """Return whether the Models API failed to answer for this model a moment ago."""
        failed_at = self._failed_at.get(model)
        return failed_at is not None and self._clock() < failed_at + FAILURE_HOLDS_S

    def learn(self, model: str, known: Abilities) -> None:
        """Store the abilities that the API has reported."""
        self._learned[model] = known

    async def look_up(self, model: str) -> dict[str, Any]:
        """Ask the Models API for a model, and keep its abilities. Raises BackendError."""
        info = await self._get(f"/v1/models/{quote(model, safe='')}")
        found = abilities(info)
        if found != self.abilities(model):
            self._stored = {**(self._stored or {}), model: found}
            await asyncio.to_thread(self._cache.save, self._stored)
        self.learn(model, found)
        return info

    async def with_choices(self, why: str) -> str:
        """Return `why`, followed by the models that the key can use."""
        return _with_choices(why, await self._names())

    def _gone(self, gone: Gone) -> Status:
        return _status("down", _with_choices(gone.why, gone.names))

    async def _look_at(self, model: str) -> Status:
        began = self._clock()
        try:
            info = await self.look_up(model)
        except BackendMisconfigured as error:
            if error.code == NO_SUCH_MODEL:
                return await self._without(model)
            return _status("locked", error.message)
        except (BackendTimeout, BackendUnreachable) as error:
            return _status("down", error.message)
        except BackendError as error:  # it answers, only its Models API fails
            return _status("ready", error.message, Model(model))
        latency_ms = (self._clock() - began) * 1000
        lifecycle = info.get("lifecycle")
        if lifecycle == "retired":
            raise Gone(f"{model} is retired.", await self._names())
        detail = ""
        if lifecycle == "deprecated":
            last_day = str(info.get("retires_at") or "")[:10] or "a day not yet set"
            detail = f"{model} retires on {last_day}: choose another ANTHROPIC_MODEL."
        known = self.abilities(model)
        limit = known.max_input_tokens
        found = Model(model, True, limit, limit, vision=known.images, tools=True)
        return Status("ready", found, (found,), "anthropic", latency_ms, detail)

    async def _without(self, model: str) -> Status:
        """Return the status for a model that was not found; a gateway may have no Models API.

        Raises Gone if there is one, and it lists others.
        """
        names = await self._names()
        if not names or model in names:
            return _status("ready", "", Model(model))
        raise Gone(f"This key has no model {model}.", names)

    async def _names(self) -> list[str]:
        try:
            return model_names(await self._get("/v1/models?limit=1000"))
        except BackendError:
            return []


def _with_choices(why: str, names: Sequence[str]) -> str:
    choice = f"one of: {', '.join(names)}" if names else "a model of yours"
    return f"{why} Set ANTHROPIC_MODEL to {choice}."


def _status(state: State, detail: str, model: Model | None = None) -> Status:
    return Status(state, model, server="anthropic", detail=detail)
