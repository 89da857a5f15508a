"""A Valkey or Redis server of its own for a test, on a free port."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import free_port, wait_until

PROGRAMS = ("valkey-server", "redis-server")
PASSWORD = "opensesame-Tr0ub4dor&3"  # pragma: allowlist secret
STOP_S = 10.0


@dataclass
class StoreServer:
    """A server that can be killed and started again; it keeps nothing on disk."""

    folder: Path
    program: str
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        password = PASSWORD.replace("&", "%26")
        return f"valkey://:{password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no")
        with (self.folder / "store.log").open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, "--port", str(self.port), "--requirepass", PASSWORD, *options],
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
        wait_until(self._answers, f"{self.program} did not start; see {self.folder}", STOP_S)

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang: it keeps its connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def configure(self, name: str, value: str) -> None:
        """Change a setting of the running server."""
        from valkey import Valkey

        with Valkey.from_url(self.url) as client:
            client.config_set(name, value)

    def _end(self, how: int) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(STOP_S)
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            time.sleep(0.01)
            return False


@contextmanager
def store_server(folder: Path) -> Iterator[StoreServer]:
    """Start a server, or skip the test where there is none."""
    pytest.importorskip("valkey", reason="the package valkey is not installed")
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    server = StoreServer(folder, program, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()
