"""Local model servers at their usual ports: what each has loaded, and with which context."""

import asyncio
from dataclasses import dataclass
from typing import Final

from router.backend import Model, Status, TimeLimits
from router.local_client import LocalBackend

USUAL_PORTS: Final = {"LM Studio": 1234, "Ollama": 11434, "llama.cpp": 8080, "vLLM": 8000}
NAMES: Final = {
    "lmstudio": "LM Studio",
    "ollama": "Ollama",
    "llama.cpp": "llama.cpp",
    "vllm": "vLLM",
}
LIMITS: Final = TimeLimits(connect_s=0.5, first_byte_s=3, idle_s=3, total_s=3)
LOOK_S: Final = 4.0
OUR_NAMES: Final = frozenset({"auto", "local", "cloud"})
"""Models that a llm-router lists: it is no model server."""


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


async def look(ports: dict[str, int]) -> list[Found]:
    """Ask all ports at once; those without a model server are left out."""
    urls = [f"http://127.0.0.1:{port}/v1" for port in ports.values()]
    statuses = await asyncio.gather(*map(_status, urls))
    return [
        Found(NAMES.get(status.server, usual), url, status)
        for usual, url, status in zip(ports, urls, statuses, strict=True)
        if status is not None
    ]


async def _status(url: str) -> Status | None:
    backend = LocalBackend(url, "", limits=LIMITS)
    try:
        async with asyncio.timeout(LOOK_S):
            status = await backend.probe()
    except TimeoutError:
        return None
    finally:
        await backend.aclose()
    is_ours = {model.id for model in status.models} >= OUR_NAMES
    return None if status.state == "down" or is_ours else status
