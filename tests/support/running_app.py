"""The app, without a socket, in front of two scripted backends: a local server and Claude."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import uvicorn

from config import load_settings
from router.parts.assembly import Assembly
from router.telemetry.record import Record
from tests.support.backend_answers import claude_answer, local_answer, models
from tests.support.scripted import Connection, Request, Script, scripted
from web.app import create_app
from web.application import Application
from web.asgi import App
from web.reload import Source


@dataclass
class RunningApp:
    """The app; `http` calls it without a socket."""

    app: Application
    source: Source
    http: httpx2.AsyncClient

    @property
    def assembly(self) -> Assembly:
        return self.app.parts

    async def ask(self, words: str, **options: Any) -> httpx2.Response:
        body = {"messages": [{"role": "user", "content": words}]} | options.pop("body", {})
        return await self.http.post("/v1/chat/completions", json=body, **options)

    @property
    def last(self) -> Record:
        return self.assembly.ledger.journal.recent(1)[0]


async def local_side(connection: Connection, request: Request) -> None:
    body, kind = local_answer(request, calls=False)
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


async def cloud_side(connection: Connection, request: Request) -> None:
    body, kind = claude_answer(request, calls=False)
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


def refusing(status: int, says: str) -> Script:
    async def script(connection: Connection, request: Request) -> None:
        error = {"error": {"message": says, "type": "server_error"}}
        await connection.answer(orjson.dumps(error), status)

    return script


@asynccontextmanager
async def running_app(
    local: Script = local_side,
    cloud: Script = cloud_side,
    *,
    local_models: Script = models,
    cloud_models: Script = models,
    **settings: Any,
) -> AsyncIterator[RunningApp]:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(scripted(local, local_models))
        there = await stack.enter_async_context(scripted(cloud, cloud_models))
        defaults: dict[str, Any] = {
            "local_base_url": f"{here.url}/v1",
            "local_model": "local-model",
            "embedded_model": "off",
            "journal_path": "off",
            "anthropic_api_key": "sk-ant-unused",
            "anthropic_base_url": there.url,
        }
        options = defaults | settings
        source = Source(options.pop("env", None), options)
        app = create_app(load_settings(source.env, **options), source=source)
        stack.push_async_callback(app.aclose)
        transport = httpx2.ASGITransport(app)
        http = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
        yield RunningApp(app, source, await stack.enter_async_context(http))


@asynccontextmanager
async def lifespan(app: App) -> AsyncIterator[None]:
    """Start an app and stop it at the end, as a server does."""
    said: asyncio.Queue[Any] = asyncio.Queue()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    await said.put({"type": "lifespan.startup"})
    living = asyncio.ensure_future(app({"type": "lifespan"}, said.get, heard.put))
    assert (await heard.get())["type"] == "lifespan.startup.complete"
    yield
    await said.put({"type": "lifespan.shutdown"})
    await living


@asynccontextmanager
async def on_a_socket(app: App) -> AsyncIterator[str]:
    """Serve an app; yield its address. At the end, open streams are cut off."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        await serving
        for connection in list(server.server_state.connections):
            connection.transport.abort()  # a browser keeps its connections open
        await asyncio.sleep(0)
