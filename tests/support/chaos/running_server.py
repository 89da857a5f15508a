"""The whole server on a real socket, in front of two scripted sides over real sockets."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from config import load_settings
from router.build import assemble
from router.parts.assembly import Assembly
from tests.support.chaos.sides import CLAUDE, LOCAL, Kind, models
from tests.support.scripted import Script, ScriptedServer, scripted
from tests.support.waiting import settled
from web.app import create_app
from web.asgi import CALLER_PAUSE_S
from web.serve import listen, uvicorn_config

for slow in ("anthropic", "google.genai"):
    import_module(slow)  # so that no test's time limit includes the import

HASTY: dict[str, Any] = {"first_byte_timeout_s": 0.5, "idle_timeout_s": 0.5}
"""Short time limits, for tests that run into one."""


@dataclass
class RunningServer:
    """The server under test and its scripted backends."""

    url: str
    http: httpx2.AsyncClient
    assembly: Assembly
    local: ScriptedServer
    cloud: ScriptedServer
    kind: Kind

    @property
    def faulty(self) -> ScriptedServer:
        """Return the side that is asked first."""
        return self.local if self.kind.target == "local" else self.cloud

    @property
    def sound(self) -> ScriptedServer:
        """Return the other side."""
        return self.cloud if self.kind.target == "local" else self.local

    @property
    def host(self) -> tuple[str, int]:
        """Return the address for a socket."""
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    def clock(self) -> float:
        """Return the time on the breakers' clock."""
        return time.monotonic()

    def forgive(self) -> None:
        """End the pause of a failed side, so that the next request tries it."""
        for watch in [seat.watch for seat in self.assembly.router.seats.values()]:
            watch.breaker.success()

    @property
    def at_work(self) -> int:
        """Return how many requests are being answered or wait for a slot."""
        slots = [s.slots for s in self.assembly.router.seats.values() if s.slots]
        return sum(side.busy + side.waiting for side in slots)


@asynccontextmanager
async def running_server(
    kind: Kind,
    local: Script,
    cloud: Script,
    *,
    caller_pause_s: float = CALLER_PAUSE_S,
    **settings: Any,
) -> AsyncIterator[RunningServer]:
    """Start a server whose cloud is of this kind (where it is "local", Claude).

    Closing it fails if a task, a socket or a taken slot is left.
    """
    before, sockets = asyncio.all_tasks(), open_sockets()
    async with scripted(local, models) as near, scripted(cloud, models) as far:
        assembly = assemble(load_settings(**_settings(kind, near, far) | settings))
        async with (
            served(assembly, caller_pause_s) as url,
            httpx2.AsyncClient(base_url=url, timeout=10, verify=False) as http,
        ):
            here = RunningServer(url, http, assembly, near, far, kind)
            yield here
            await settled(lambda: not here.at_work, "a slot was not given back")
    here_now = asyncio.current_task()  # a fixture's set-up and teardown run in different tasks
    await settled(lambda: asyncio.all_tasks() - {here_now} <= before, "a task was left")
    await settled(lambda: open_sockets() <= sockets, "a socket was left open")


def faulty(
    kind: Kind, script: Script, **settings: Any
) -> AbstractAsyncContextManager[RunningServer]:
    """Start a server whose first choice runs this script and whose other side works."""
    if kind.target == "local":
        return running_server(kind, script, CLAUDE.well, **settings)
    return running_server(kind, LOCAL.well, script, **settings)


def _settings(kind: Kind, local: ScriptedServer, cloud: ScriptedServer) -> dict[str, Any]:
    gemini = kind.name == "gemini"
    return {
        "env": None,
        "local_base_url": f"{local.url}/v1",
        "local_model": "local-model",
        "embedded_model": "off",
        "journal_path": "off",
        "cloud_provider": "gemini" if gemini else "anthropic",
        "anthropic_api_key": None if gemini else "sk-ant-unused",
        "anthropic_base_url": cloud.url,
        "gemini_api_key": "unused" if gemini else None,
        "gemini_base_url": cloud.url,
        "gemini_model": "gemini-3.8-flash",
        # Every request that is not forced goes to the failing side.
        "complexity_threshold": 100 if kind.target == "local" else 0,
    }


@asynccontextmanager
async def served(assembly: Assembly, caller_pause_s: float) -> AsyncIterator[str]:
    """Serve the app as `server.py` does; yield its address."""
    app = create_app(assembly.settings, assembly, caller_pause_s=caller_pause_s)
    config = uvicorn_config(app, assembly.settings, caller_pause_s=caller_pause_s)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with listen("127.0.0.1", 0) as listener:
        await server.startup(sockets=[listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            # server.shutdown() would sleep first, for callers that are gone by now.
            for listening in server.servers:
                listening.close()
            await server.lifespan.shutdown()


def open_sockets() -> int:
    """Return how many sockets this process has open; 0 where the system does not list them."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return 0
    count = 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(folder / name).startswith("socket:")
        except OSError:
            continue  # the descriptor of the folder itself
    return count
