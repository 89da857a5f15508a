"""Two router processes with one store, which is killed under load and comes back."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.support.backend_answers import models
from tests.support.processes import Server, in_thread, server
from tests.support.replicas import HARD, SECRET, Messages, user
from tests.support.running_app import cloud_side, local_side
from tests.support.scripted import Connection, Request, scripted
from tests.support.store import PASSWORD, StoreServer, store_server

CALLERS = 8
TURNS = 4
KILL_AT_S, START_AT_S, STOP_AT_S = 1.0, 2.5, 4.0
ATTEMPTS = 40
"""Open conversations, half a second apart, of which one has to end in the cloud."""


class Load:
    """Callers whose conversations change the router with every turn."""

    def __init__(self, routers: list[Server], http: httpx2.AsyncClient) -> None:
        self.sides: list[str] = []
        self._routers = routers
        self._http = http
        self._number = itertools.count()

    async def converse(self, *, private: bool) -> str:
        """Hold a conversation of some turns; return the side of the last one.

        The later turns leave out the private text of the first.
        """
        number = next(self._number)
        name = f"{'secret' if private else 'open'} case {number}"
        asking = f"What is {SECRET}?" if private else "What is it?"
        answer = {"role": "assistant", "content": f"About {name}, there is much to say."}
        said: Messages = [user(f"{name}: {HARD}"), answer, user(f"{asking} {HARD}")]
        side = ""
        for turn in range(TURNS):
            router = self._routers[(number + turn) % 2]
            got = await self._http.post(
                f"{router.url}/v1/chat/completions", json={"messages": said}
            )
            assert got.status_code == 200, got.text
            side = got.headers["x-router-target"]
            self.sides.append(side)
            said[2] = user("(removed)") if private else said[2]
            answer = {"role": "assistant", "content": f"This is answer {turn} to {name}."}
            said = [*said, answer, user(f"{name}, {turn}: {HARD}")]
        return side

    async def reaches_the_cloud(self) -> None:
        """Hold open conversations until one ends in the cloud.

        After an outage they stay local for MERGE_S, for they may be private. On a busy machine a
        slow answer of the store counts as an outage.
        """
        for _ in range(ATTEMPTS):
            if await self.converse(private=False) == "cloud":
                return
            await asyncio.sleep(0.5)
        raise AssertionError("open conversations stay local")

    async def run(self, caller: int, until_s: float) -> None:
        """Begin conversations until then."""
        loop = asyncio.get_running_loop()
        while loop.time() < until_s:
            await self.converse(private=caller % 2 == 0)
            await asyncio.sleep(0.02)


@asynccontextmanager
async def two_routers(
    checkout: Path, store: StoreServer, cloud_got: list[bytes]
) -> AsyncIterator[list[Server]]:
    async def cloud(connection: Connection, request: Request) -> None:
        cloud_got.append(request.body)
        await cloud_side(connection, request)

    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(scripted(local_side, models))
        there = await stack.enter_async_context(scripted(cloud, models))
        settings: dict[str, Any] = {
            "local_base_url": f"{here.url}/v1",
            "embedded_model": "off",
            "anthropic_api_key": "sk-ant-unused",
            "anthropic_base_url": there.url,
            "state_url": store.url,
        }
        yield [
            await stack.enter_async_context(in_thread(server(checkout, **settings)))
            for _ in range(2)
        ]


async def test_nothing_private_leaves_and_nothing_fails_when_the_store_is_killed(
    checkout: Path, tmp_path: Path
) -> None:
    cloud_got: list[bytes] = []
    with store_server(tmp_path) as store:
        async with (
            two_routers(checkout, store, cloud_got) as routers,
            httpx2.AsyncClient(timeout=30, trust_env=False) as http,
        ):
            load = Load(routers, http)
            assert await load.converse(private=True) == "local"
            await load.reaches_the_cloud()
            began = asyncio.get_running_loop().time()
            callers = [
                asyncio.create_task(load.run(caller, began + STOP_AT_S))
                for caller in range(CALLERS)
            ]
            await asyncio.sleep(KILL_AT_S)
            store.kill()
            await asyncio.sleep(START_AT_S - KILL_AT_S)
            await asyncio.to_thread(store.start)
            await asyncio.gather(*callers)
            assert {"local", "cloud"} <= set(load.sides)
            assert not [body for body in cloud_got if b"secret case" in body]
            await load.reaches_the_cloud()
            assert await load.converse(private=True) == "local"
            assert not [body for body in cloud_got if b"secret case" in body]
        for router in routers:
            log = router.log.read_text()
            # One warning for an outage; on a busy machine a slow answer may count as another one.
            assert 1 <= log.count("cannot be used") == log.count("answers again") <= 3
            assert PASSWORD not in log
            assert "internal error" not in log
