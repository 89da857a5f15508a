"""Two routers behind the nginx and the Caddy of deploy/: one stops or dies under load."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from router.state import team
from tests.support.chaos.sides import LOCAL, models
from tests.support.paths import ROOT
from tests.support.processes import Server, free_port, in_thread, server, wait_until
from tests.support.scripted import Connection, Request, scripted

FRONTS = ("nginx", "caddy")
MAIN = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/site.conf;
}}
"""
MEMBERS = 40
STREAMS = 500
DELAY_S = 2
"""SHUTDOWN_DELAY_S of the routers."""
STREAM_S = DELAY_S + 1.5
"""Streams last longer than a stopping router takes requests."""


@dataclass
class Cluster:
    """Two routers, a proxy before them, and a key for each of MEMBERS."""

    routers: list[Server]
    url: str
    keys: list[str]

    async def ask(self, http: httpx2.AsyncClient, key: str, *, stream: bool) -> None:
        """Fail unless a whole answer comes."""
        answer = await self._answer(http, key, stream=stream)
        assert answer.status_code == 200, answer.text
        if stream:
            assert b'"error"' not in answer.content
            assert answer.content.endswith(b"data: [DONE]\n\n")

    async def statuses(self, http: httpx2.AsyncClient) -> set[int]:
        """Return the statuses of one request with each key, all at once."""
        answers = [self._answer(http, key, stream=False) for key in self.keys]
        return {answer.status_code for answer in await asyncio.gather(*answers)}

    async def _answer(self, http: httpx2.AsyncClient, key: str, *, stream: bool) -> httpx2.Response:
        body = {"messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        headers = {"authorization": f"Bearer {key}"}
        return await http.post(f"{self.url}/v1/chat/completions", json=body, headers=headers)


def program(name: str) -> str:
    """Return the path of a reverse proxy, or skip the test."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def command(name: str, folder: Path, port: int, ports: list[int]) -> list[str]:
    """Write the proxy's example of deploy/ for these ports, and return what starts it."""
    example = "nginx.conf" if name == "nginx" else "Caddyfile"
    site = (ROOT / "deploy" / example).read_text()
    for number, router_port in enumerate(ports, 1):
        site = site.replace(f"router{number}:8080", f"127.0.0.1:{router_port}")
    if name == "caddy":
        config = folder / "Caddyfile"
        config.write_text("{\n\tadmin off\n}\n" + site.replace("\n:8080", f"\n:{port}"))
        return [program(name), "run", "--config", str(config)]
    (folder / "site.conf").write_text(site.replace("listen 8080", f"listen 127.0.0.1:{port}"))
    config = folder / "nginx.conf"
    config.write_text(MAIN.format(folder=folder))
    return [program(name), "-c", str(config)]


@contextmanager
def proxy(name: str, folder: Path, ports: list[int]) -> Iterator[str]:
    """Start a reverse proxy before the routers at these ports."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / f"{name}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command(name, folder, port, ports), stderr=output) as process,
    ):
        try:
            wait_until(lambda: _answers(url), f"{name} did not start: {log}")
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{url}/ready", trust_env=False).status_code == 200
    return False


def callers() -> httpx2.AsyncClient:
    """Return a client with as many connections as there are requests."""
    limits = httpx2.Limits(max_connections=None)
    return httpx2.AsyncClient(timeout=60, limits=limits, trust_env=False)


async def slowly(connection: Connection, request: Request) -> None:
    """Answer; a stream takes STREAM_S."""
    if not request.json.get("stream"):
        await LOCAL.well(connection, request)
        return
    await connection.begin_stream()
    await connection.chunk(LOCAL.begin)
    await asyncio.sleep(STREAM_S)
    await connection.chunk(LOCAL.end)
    await connection.end_stream()


@asynccontextmanager
async def cluster(front: str, checkout: Path, tmp_path: Path) -> AsyncIterator[Cluster]:
    program(front)
    keys_file = tmp_path / "keys.json"
    keys = [
        team.add(keys_file, f"member{i}", budget_usd_per_day=None, sides=team.SIDES)
        for i in range(MEMBERS)
    ]
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(scripted(slowly, models))
        routers = []
        for _ in range(2):
            starting = server(
                checkout,
                local_base_url=f"{local.url}/v1",
                embedded_model="off",
                commit_hold_s=0,
                router_keys_file=keys_file,
                connect_timeout_s=30,  # the servers of a busy machine are slow to accept
                shutdown_delay_s=DELAY_S,
                shutdown_grace_s=20,
            )
            routers.append(await stack.enter_async_context(in_thread(starting)))
        ports = [int(router.url.rpartition(":")[2]) for router in routers]
        url = await stack.enter_async_context(in_thread(proxy(front, tmp_path, ports)))
        yield Cluster(routers, url, keys)


@pytest.mark.parametrize("front", FRONTS)
async def test_no_stream_breaks_and_no_request_fails_when_a_router_stops(
    front: str, checkout: Path, tmp_path: Path
) -> None:
    async with (
        cluster(front, checkout, tmp_path) as routers,
        callers() as http,
    ):
        leaving = routers.routers[0]
        streams = [
            asyncio.create_task(routers.ask(http, routers.keys[i % MEMBERS], stream=True))
            for i in range(STREAMS)
        ]
        await asyncio.sleep(0.7)
        leaving.process.send_signal(signal.SIGTERM)
        while (red := await http.get(f"{leaving.url}/ready")).status_code == 200:
            assert leaving.process.poll() is None
        assert (red.status_code, red.json()["state"]) == (503, "stopping")
        for _ in range(4):
            await asyncio.gather(*[routers.ask(http, key, stream=False) for key in routers.keys])
            await asyncio.sleep(0.5)
        await asyncio.gather(*streams)
        code = await asyncio.to_thread(leaving.process.wait, 30)
        assert code in (0, -signal.SIGTERM)
        await asyncio.gather(*[routers.ask(http, key, stream=True) for key in routers.keys])


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
@pytest.mark.parametrize(("front", "at_first"), [("nginx", {200}), ("caddy", {200, 502})])
async def test_the_other_router_takes_the_requests_of_a_killed_one(
    front: str, at_first: set[int], busy: bool, checkout: Path, tmp_path: Path
) -> None:
    """`at_first`: what callers get that ask before the proxy has noticed. Caddy 2.6 sends no POST
    a second time."""
    async with (
        cluster(front, checkout, tmp_path) as routers,
        callers() as http,
    ):
        killed = routers.routers[0].process
        assert await routers.statuses(http) == {200}
        if busy:
            asked = asyncio.create_task(routers.statuses(http))
            await asyncio.sleep(0.02)
            killed.kill()
            assert await asked <= at_first
        else:
            killed.kill()
            await asyncio.to_thread(killed.wait)
        assert await routers.statuses(http) <= at_first
        for _ in range(4):
            assert await routers.statuses(http) == {200}


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_a_key_always_leads_to_the_same_router(
    front: str, header: str, tmp_path: Path
) -> None:
    program(front)
    async with scripted(greet, greet) as one, scripted(greet, greet) as other:
        behind = proxy(front, tmp_path, [one.port, other.port])
        async with in_thread(behind) as url, callers() as http:
            for i in range(MEMBERS * 3):
                await http.post(url, headers={header: f"key{i % MEMBERS}"})
    keys_of = [Counter(sent.headers[header] for sent in it.requests) for it in (one, other)]
    assert all(keys_of)
    assert keys_of[0].keys().isdisjoint(keys_of[1])
    assert not any("x-key" in sent.headers for sent in (*one.requests, *other.requests))


async def greet(connection: Connection, request: Request) -> None:
    await connection.answer(b"{}")
