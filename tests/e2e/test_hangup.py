"""SIGHUP makes the server read its settings again; a closed terminal ends the server."""

import asyncio
import os
import pty
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.chaos.callers import DIALECTS
from tests.support.chaos.sides import LOCAL, models
from tests.support.processes import Server, copy_programs, in_thread, started
from tests.support.scripted import Connection, Request, scripted
from tests.support.waiting import settled

CALLERS = 8
RELOADS = 12
WITHIN_S = 30
READ_AGAIN = "The settings were read again"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a copy of the programs whose .env file may be written."""
    copy_programs(tmp_path)
    return tmp_path


async def slow(connection: Connection, request: Request) -> None:
    """Answer like the local server, over a few hundred milliseconds."""
    if not LOCAL.streams(request):
        await asyncio.sleep(0.1)
        await LOCAL.well(connection, request)
        return
    await connection.begin_stream()
    for piece in (LOCAL.begin, LOCAL.more, LOCAL.end):
        await asyncio.sleep(0.1)
        await connection.chunk(piece)
    await connection.end_stream()


async def begun(connection: Connection, request: Request) -> None:
    """Begin an answer that never ends."""
    await connection.begin_stream()
    await connection.chunk(LOCAL.begin)
    await connection.silence()


async def test_no_request_fails_while_sighup_changes_everything_under_load(programs: Path) -> None:
    async with scripted(slow, models) as first, scripted(slow, models) as second:
        env = programs / ".env"
        env.write_text(_settings(first.url, 0))
        env.chmod(0o600)
        async with (
            _started(programs) as running,
            httpx2.AsyncClient(base_url=running.url, timeout=WITHIN_S, trust_env=False) as http,
        ):
            statuses = await _under_load(http, running, env, (first.url, second.url))
            read = (await http.get("/info")).json()["settings"]
            log = running.log.read_text()
    assert set(statuses) == {"whole"}
    assert len(statuses) >= 2 * CALLERS
    assert {"COMPLEXITY_THRESHOLD", "LOCAL_BASE_URL"} <= set(read["changed"])
    assert log.count(READ_AGAIN) == RELOADS
    assert "Traceback" not in log
    for server_ in (first, second):
        assert any(request.method == "POST" for request in server_.requests)


async def _under_load(
    http: httpx2.AsyncClient, running: Server, env: Path, urls: tuple[str, str]
) -> list[str]:
    """Return what came of each request while the settings were read again and again."""
    came: list[str] = []
    is_over = False

    async def caller(number: int) -> None:
        dialect = DIALECTS[number % len(DIALECTS)]
        while not is_over:
            stream = len(came) % 2 == 0
            answer = await http.post(dialect.path, json=dialect.body(stream=stream))
            heard = dialect.hear(answer)
            came.append("whole" if heard.error is None and heard.finish else answer.text)

    async with asyncio.TaskGroup() as group:
        for number in range(CALLERS):
            group.create_task(caller(number))
        for turn in range(1, RELOADS + 1):
            await asyncio.to_thread(env.write_text, _settings(urls[turn % 2], turn))
            running.process.send_signal(signal.SIGHUP)
            await _read_again(running, turn)
        is_over = True
    return came


def _settings(url: str, turn: int) -> str:
    return f"LOCAL_BASE_URL={url}/v1\nCOMPLEXITY_THRESHOLD={80 + turn}\n"


def _started(
    programs: Path, tty: int | None = None, **settings: Any
) -> AbstractAsyncContextManager[Server]:
    """Start the server while the scripted ones go on answering."""
    return in_thread(started(programs, {"embedded_model": "off", **settings}, tty))


async def _read_again(running: Server, times: int) -> None:
    """Wait until the settings were read so many times more."""

    def has_read() -> bool:
        return running.log.read_text().count(READ_AGAIN) >= times

    await settled(has_read, "the settings were not read", WITHIN_S)


@contextmanager
def inherited(handling: signal.Handlers) -> Iterator[None]:
    """Let the server inherit how this process handles SIGHUP."""
    before = signal.signal(signal.SIGHUP, handling)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_a_closed_terminal_ends_the_server_in_good_order(programs: Path) -> None:
    master, slave = pty.openpty()
    settings = {"complexity_threshold": 100, "shutdown_grace_s": 1}
    dialect = DIALECTS[0]
    with inherited(signal.SIG_DFL):
        async with (
            scripted(begun, models) as local,
            _started(programs, slave, local_base_url=f"{local.url}/v1", **settings) as running,
            httpx2.AsyncClient(base_url=running.url, timeout=WITHIN_S, trust_env=False) as http,
        ):
            os.close(slave)
            asked = asyncio.create_task(http.post(dialect.path, json=dialect.body(stream=True)))
            await settled(lambda: bool(local.answering), "no request came", WITHIN_S)
            running.process.send_signal(signal.SIGHUP)  # the terminal is still open
            await _read_again(running, 1)
            assert running.process.poll() is None
            os.close(master)
            error = dialect.hear(await asked).error
            await asyncio.to_thread(running.process.wait, WITHIN_S)
            log = running.log.read_text()
    with closing(sqlite3.connect(running.log.with_suffix(".db"))) as journal:
        rows = journal.execute("SELECT outcome FROM requests").fetchall()
    assert error is not None
    assert "shutting down" in error["message"]
    assert "Traceback" not in log
    assert rows == [("failed",)]


async def test_a_server_under_nohup_outlives_its_terminal(programs: Path) -> None:
    master, slave = pty.openpty()
    with inherited(signal.SIG_IGN):  # as nohup does
        async with _started(programs, slave, local_base_url="http://127.0.0.1:9/v1") as running:
            os.close(slave)
            os.close(master)
            await _read_again(running, 1)
            assert running.process.poll() is None
            assert (await asyncio.to_thread(running.get, "/ready")).status_code == 200
