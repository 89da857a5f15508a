"""Finds local model servers at their usual ports, and chooses the one that is used."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from router.backend import LocalServer, Model, Reply, Status, TimeLimits
from router.local_client import LocalBackend
from router.request import ChatRequest

USUAL_PORTS: Final = {"LM Studio": 1234, "Ollama": 11434, "llama.cpp": 8080, "vLLM": 8000}
NAMES: Final = {
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "llama.cpp": "llama.cpp",
    "vllm": "vLLM",
}
LIMITS: Final = TimeLimits(connect_s=0.5, first_byte_s=3, idle_s=3, total_s=3)
LOOK_S: Final = 4.0
LOOK_AGAIN_S: Final = 60.0
"""Pause between two searches: other programs at these ports log each request."""
OUR_NAMES: Final = frozenset({"auto", "local", "cloud"})
"""Models that an llm-router lists: it is no model server."""


@dataclass(frozen=True, slots=True)
class Found:
    """A server that answered."""

    name: str
    """Of its kind: "LM Studio", "Ollama"…"""
    url: str
    """With its /v1."""
    status: Status

    @property
    def loaded(self) -> list[Model]:
        """Return the models that are in memory now, as far as the server says."""
        return [model for model in self.status.models if model.loaded]


class UsualServers:
    """The server at the default address or, while that is down, the first other one that answers.

    For users who have not set LOCAL_BASE_URL. A server that was found is used as long as it
    answers; then the default is asked again, and the others after it.
    """

    def __init__(
        self,
        default: LocalServer,
        others: Sequence[LocalServer],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = default.name
        self.model = default.model
        self._default = default
        self._others = others
        self._now = default
        self._clock = clock
        self._look_at = clock()

    @property
    def base_url(self) -> str:
        """Return the address of the server that is used."""
        return self._now.base_url

    async def probe(self) -> Status:
        """Look at the server that is used; if it is down, look for another one. Never raises."""
        status = await self._now.probe()
        if status.state == "down" and self._now is not self._default:
            self._now = self._default
            self._look_at = self._clock()
            status = await self._default.probe()
        if status.state == "down" and self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_AGAIN_S
            status = await self._found() or status
        return status if self._now is self._default else self._explained(status)

    async def _found(self) -> Status | None:
        """Use the first other server that answers, best one with a model, and return its status."""
        statuses = await asyncio.gather(*map(_status, self._others))
        found = [pair for pair in zip(self._others, statuses, strict=True) if pair[1] is not None]
        for server, status in sorted(found, key=_lacks_model):
            self._now = server
            return status
        return None

    def _explained(self, status: Status) -> Status:
        kind, url = NAMES.get(status.server, "a server"), self._now.base_url
        detail = f"Nothing answers at {self._default.base_url}, so {kind} at {url} is used."
        return replace(status, detail=f"{detail} {status.detail}".strip())

    async def open(self, request: ChatRequest, model: str) -> Reply:
        """Send the request to the server that is used. Raises BackendError."""
        return await self._now.open(request, model)

    async def warm_up(self, model: str) -> None:
        """Make that server load the model."""
        await self._now.warm_up(model)

    async def relay(
        self, path: str, body: dict[str, Any]
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """Send a body to another path of that server by POST. Raises BackendError."""
        return await self._now.relay(path, body)

    def enlarge_command(self, model: Model, needed_tokens: int) -> str:
        """Return the command that gives the model a context of this size, or ""."""
        return self._now.enlarge_command(model, needed_tokens)

    async def aclose(self) -> None:
        """Close the connections to all of them."""
        for server in (self._default, *self._others):
            await server.aclose()


def _lacks_model(found: tuple[LocalServer, Status | None]) -> bool:
    status = found[1]
    return status is None or status.model is None


async def look(ports: dict[str, int]) -> list[Found]:
    """Ask all ports at once; those without a model server are left out."""
    servers = [LocalBackend(url_of(port), "", limits=LIMITS) for port in ports.values()]
    try:
        statuses = await asyncio.gather(*map(_status, servers))
    finally:
        for server in servers:
            await server.aclose()
    return [
        Found(NAMES.get(status.server, usual), server.base_url, status)
        for usual, server, status in zip(ports, servers, statuses, strict=True)
        if status is not None
    ]


def url_of(port: int) -> str:
    """Return the address of a server at this port of this machine."""
    return f"http://127.0.0.1:{port}/v1"


async def _status(server: LocalServer) -> Status | None:
    """Return the status of a server that is of use; else None.

    A server that wants a key is of none. It may be another llm-router, and no key is sent there.
    """
    try:
        async with asyncio.timeout(LOOK_S):
            status = await server.probe()
    except TimeoutError:
        return None
    is_ours = {model.id for model in status.models} >= OUR_NAMES
    return None if not status.up or is_ours else status
