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
NO_TLS = "Failed finding TLS support"
"""What a server says that was built without TLS, before it exits."""


@dataclass
class StoreServer:
    """A server that can be killed and started again; it keeps nothing on disk."""

    folder: Path
    program: str
    port: int
    options: tuple[str, ...] = ()
    """Further options of its command line."""
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        password = PASSWORD.replace("&", "%26")
        return f"valkey://:{password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        address = ("--bind", "127.0.0.1", "--port", str(self.port), "--requirepass", PASSWORD)
        kept = ("--save", "", "--appendonly", "no", "--daemonize", "no")
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, *address, *kept, *self.options],
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

    @property
    def _log(self) -> Path:
        return self.folder / "store.log"

    def _end(self, how: int) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(STOP_S)
            self.process = None

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None and NO_TLS in self._log.read_text():
            pytest.skip(f"{self.program} was built without TLS")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            time.sleep(0.01)
            return False


@contextmanager
def store_server(folder: Path, *options: str) -> Iterator[StoreServer]:
    """Start a server with these further options, or skip the test where there is none."""
    pytest.importorskip("valkey", reason="the package valkey is not installed")
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    server = StoreServer(folder, program, free_port(), options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
