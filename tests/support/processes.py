"""Processes for the end-to-end tests: a llama.cpp server and the router."""

import asyncio
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from openai import OpenAI

from config import Settings
from router.embedded.server import BUILT_IN_TEMPERATURE, CHILD_ENV, ROOT, command

START_LIMIT_S = 60.0

T = TypeVar("T")


def copy_programs(folder: Path) -> None:
    """Copy the programs, so that a developer's own .env does not affect them.

    The compiled modules go along, with the times of their sources, so that no copy compiles them.
    """
    for program in ROOT.glob("*.py"):
        shutil.copy2(program, folder)
    unfinished = shutil.ignore_patterns("*.pyc.*")
    for package in ("router", "web", "chat", "llm_router"):
        shutil.copytree(ROOT / package, folder / package, ignore=unfinished)
    if (compiled := ROOT / "__pycache__").exists():
        shutil.copytree(compiled, folder / compiled.name, ignore=unfinished)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@asynccontextmanager
async def in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context manager in a thread, while scripted servers go on answering."""
    value = await asyncio.to_thread(manager.__enter__)
    try:
        yield value
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


@contextmanager
def llama(model: Path, port: int = 0) -> Iterator["Llama"]:
    """Start a llama.cpp server with this model."""
    with subprocess.Popen(
        command(model, BUILT_IN_TEMPERATURE, port),
        cwd=ROOT,
        env=os.environ | CHILD_ENV,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the model server did not start"
            yield Llama(process, url)
        finally:
            process.stdin.close()


@dataclass
class Llama:
    """A running llama.cpp server; `url` has no /v1."""

    process: "subprocess.Popen[str]"
    url: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Server:
    """A running `python server.py`."""

    process: "subprocess.Popen[bytes]"
    url: str
    log: Path
    ready_s: float

    def client(self) -> OpenAI:
        """Return the official client, set up as a user would."""
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60)

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(f"{self.url}{path}", timeout=10, trust_env=False)

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/health").json()
        return answer

    def wait_for(self, side: str, state: str, limit_s: float = START_LIMIT_S) -> float:
        """Wait until /health reports the side in that state; return the seconds it took."""
        return wait_until(
            lambda: self.health()[side]["state"] == state,
            f"the {side} side did not become {state}; see {self.log}",
            limit_s,
        )

    def resident_mb(self) -> float:
        """Return the memory of the server without its children; Linux only."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@contextmanager
def server(folder: Path, **settings: object) -> Iterator[Server]:
    """Start `python server.py` in a folder, with these settings and those of a .env file there."""
    with started(folder, settings) as running:
        yield running


@contextmanager
def started(
    folder: Path, settings: Mapping[str, object], tty: int | None = None
) -> Iterator[Server]:
    """Start it as `server` does, in the terminal of this file, if any."""
    ours = {name.upper() for name in Settings.model_fields}
    env = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    port = free_port()
    env |= {"SERVER_PORT": str(port), "JOURNAL_PATH": str(folder / f"{port}.db")}
    env |= {name.upper(): str(value) for name, value in settings.items()}
    log = folder / f"{port}.log"
    began = time.perf_counter()
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "server.py"],
            cwd=folder,
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=None if tty is None else partial(fcntl.ioctl, tty, termios.TIOCSCTTY, 0),
        ) as process,
    ):
        running = Server(process, f"http://127.0.0.1:{port}", log, 0.0)
        try:
            wait_until(lambda: _answers(running), f"the server did not start; see {log}")
            running.ready_s = time.perf_counter() - began
            yield running
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _answers(running: Server) -> bool:
    if running.process.poll() is not None:
        raise AssertionError(running.log.read_text())
    try:
        return running.get("/health").status_code == 200
    except httpx2.TransportError:
        return False


def wait_until(holds: Any, otherwise: str, limit_s: float = START_LIMIT_S) -> float:
    """Poll until it holds; return the seconds it took, or fail with the reason."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > limit_s:
            raise AssertionError(otherwise)
        time.sleep(0.02)
    return time.monotonic() - began
