"""What Anthropic's Models API says of a key's models; asked for once in a long while."""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

from router.backend import Model, State, Status
from router.clouds.failures import NO_SUCH_MODEL
from router.errors import BackendError, BackendMisconfigured, BackendTimeout, BackendUnreachable
from router.wire.anthropic import claude
from router.wire.anthropic.claude_model import Abilities, abilities, model_names

Get = Callable[[str], Awaitable[dict[str, Any]]]
"""Fetches a JSON object by its path; raises BackendError."""

HOLDS_S: Final = 3600.0
"""How long what it said is taken to be true."""
FAILURE_HOLDS_S: Final = 10.0


class ClaudeModels:
    """The models of one key. `model` is the one that the settings name."""

    def __init__(self, model: str, get: Get, clock: Callable[[], float]) -> None:
        self._model = model
        self._get = get
        self._clock = clock
        self._abilities: dict[str, Abilities] = {}
        self._status: Status | None = None
        self._holds_until = 0.0

    def abilities(self, model: str) -> Abilities:
        """What is known by now, without asking."""
        return self._abilities.get(model, claude.UNKNOWN)

    def learn(self, model: str, known: Abilities) -> None:
        self._abilities[model] = known

    async def look_up(self, model: str) -> dict[str, Any]:
        """The Models API's word on a model; remembers its abilities."""
        info = await self._get(f"/v1/models/{quote(model, safe='')}")
        self.learn(model, abilities(info))
        return info

    async def status(self) -> Status:
        """Does the key open the model? Never raises; spends no tokens."""
        if self._status is None or self._clock() >= self._holds_until:
            self._status = await self._look()
            good = self._status.latency_ms is not None
            self._holds_until = self._clock() + (HOLDS_S if good else FAILURE_HOLDS_S)
        return self._status

    async def told_which(self, why: str) -> str:
        """`why`, and which models there are to choose from."""
        return _told(why, await self._names())

    async def _look(self) -> Status:
        began = self._clock()
        try:
            info = await self.look_up(self._model)
        except BackendMisconfigured as error:
            if error.code == NO_SUCH_MODEL:
                return await self._without_model()
            return _status("locked", error.message)
        except (BackendTimeout, BackendUnreachable) as error:
            return _status("down", error.message)
        except BackendError as error:  # it is there, only its Models API is not well
            return _status("ready", error.message, Model(self._model))
        latency_ms = (self._clock() - began) * 1000
        lifecycle = info.get("lifecycle")
        if lifecycle == "retired":
            return _status("down", await self.told_which(f"{self._model} is retired."))
        detail = ""
        if lifecycle == "deprecated":
            last_day = str(info.get("retires_at") or "")[:10] or "a day not yet set"
            detail = f"{self._model} retires on {last_day}: choose another ANTHROPIC_MODEL."
        known = self.abilities(self._model)
        limit = known.max_input_tokens
        model = Model(self._model, True, limit, limit, vision=known.images, tools=True)
        return Status("ready", model, (model,), "anthropic", latency_ms, detail)

    async def _without_model(self) -> Status:
        """The model is not there. A server without a Models API is taken at its word."""
        names = await self._names()
        if not names or self._model in names:
            return _status("ready", "", Model(self._model))
        return _status("down", _told(f"This key has no model {self._model}.", names))

    async def _names(self) -> list[str]:
        try:
            return model_names(await self._get("/v1/models?limit=1000"))
        except BackendError:
            return []


def _told(why: str, names: list[str]) -> str:
    choice = f"one of: {', '.join(names)}" if names else "a model of yours"
    return f"{why} Set ANTHROPIC_MODEL to {choice}."


def _status(state: State, detail: str, model: Model | None = None) -> Status:
    return Status(state, model, server="anthropic", detail=detail)
