"""`chat.py` as a program, in a terminal and without one, and local servers that it talks to."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import orjson

from config import Settings
from router.embedded.server import ROOT
from tests.support.processes import free_port
from tests.support.scripted import Connection, Request, Script, ScriptedServer
from tests.support.terminal import WITHIN_S, Terminal, terminal

CTRL_C, CTRL_D, UP, TAB = "\x03", "\x04", "\x1b[A", "\t"


def piece(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "model": "local-model"}
    return b"data: %b\n\n" % orjson.dumps({**body, "choices": [choice]})


USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":42}}\n\n'
DONE = b"data: [DONE]\n\n"
HELLO = (piece("Hello **dear** "), piece("friend."), piece("", "stop"), USAGE, DONE)


async def says_hello(connection: Connection, request: Request) -> None:
    await connection.stream(*HELLO)


async def talks_on(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.chunk(piece("It all began "))
    await connection.silence()


def says(*texts: str) -> Script:
    """Return a server that answers with these pieces of text."""

    async def script(connection: Connection, request: Request) -> None:
        await connection.stream(*map(piece, texts), piece("", "stop"), USAGE, DONE)

    return script


async def refuses(connection: Connection, request: Request) -> None:
    await connection.answer(b'{"error": {"message": "out of order"}}', 500)


def environment(home: Path, local: ScriptedServer | None, **settings: object) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields} | {"NO_COLOR", "COLUMNS", "TERM"}
    env = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    url = f"{local.url}/v1" if local else "http://127.0.0.1:9/v1"
    values: dict[str, object] = {
        "local_base_url": url, "local_model": "local-model", "embedded_model": "off",
        "journal_path": "off", "complexity_threshold": 100, **settings,
    }  # fmt: skip
    env |= {name.upper(): str(value) for name, value in values.items()}
    return {"TERM": "xterm-256color"} | env | {"HOME": str(home), "XDG_DATA_HOME": str(home)}


@asynccontextmanager
async def chatting(
    home: Path, local: ScriptedServer, *words: str, columns: int = 100, **settings: object
) -> AsyncIterator[Terminal]:
    """The chat in a terminal, ready for its first line."""
    env = environment(home, local, **settings)
    async with terminal(ROOT / "chat.py", *words, env=env, columns=columns) as shown:
        await shown.shows(" >")
        yield shown


async def run(
    home: Path,
    local: ScriptedServer | None,
    *words: str | bytes,
    piped: bytes = b"",
    encoding: str = "utf-8",
    **settings: object,
) -> tuple[int, str, str]:
    """Run the chat without a terminal; return its exit status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "chat.py",
        *words,
        env=environment(home, local, pythonioencoding=encoding, **settings),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate(piped)
    assert process.returncode is not None
    return process.returncode, out.decode(encoding), err.decode(encoding)


@asynccontextmanager
async def server_running(env: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """Start `server.py` on a free port; yield a client of it, whose `base_url` is its address."""
    async with server_process(env) as (_, http):
        yield http


@asynccontextmanager
async def server_process(env: dict[str, str]) -> AsyncIterator[tuple[Process, httpx2.AsyncClient]]:
    """Start `server.py` on a free port; yield its process and a client of it."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, ROOT / "server.py", env={**env, "SERVER_PORT": str(port)}, stderr=DEVNULL
    )
    headers = {"x-api-key": env.get("ROUTER_API_KEY", "")}
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
            async with asyncio.timeout(WITHIN_S):
                await _up(http)
            yield process, http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _up(http: httpx2.AsyncClient) -> None:
    """Wait until the server answers."""
    while True:
        try:
            await http.get("/health")
        except httpx2.TransportError:
            await asyncio.sleep(0.02)
        else:
            return
