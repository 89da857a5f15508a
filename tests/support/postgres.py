"""A real PostgreSQL server for the tests, on a free port, with a password.

The driver is imported when a test needs it, so that the others do not have it in memory.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.processes import free_port, wait_until

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
MISSING = "PostgreSQL is not installed (Debian: postgresql)"
PASSWORD = "s3cr3t/pass word"
NOBODY = 65_534


@dataclass
class Postgres:
    """A server that can be started, killed, and started again."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def address(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """Return the JOURNAL_URL of a database."""
        quoted = password.replace("/", "%2F").replace(" ", "%20")
        return f"postgresql://router:{quoted}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Create an empty database; return its JOURNAL_URL."""
        import psycopg

        name = f"journal{next(self._numbers)}"
        with psycopg.connect(self.address(), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = ["-p", str(self.port), "-k", "", "-F"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command("postgres", "-D", str(self.folder / "data"), *options),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, f"PostgreSQL did not start: {self.folder / 'log'}")

    def kill(self) -> None:
        """Kill the server and its children, as a machine that loses its power does."""
        killed = self._signal_all(signal.SIGKILL)
        self._wait()
        # A server does not start while one of them still has the shared memory.
        wait_until(lambda: not any(map(_is_alive, killed)), "PostgreSQL's processes did not end")

    def freeze(self) -> None:
        """Stop every process of the server: connections stay open, and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server at once. It removes its shared memory."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self._wait()

    def _wait(self) -> None:
        assert self.process is not None
        self.process.wait(30)
        self.process = None

    def _signal_all(self, number: int) -> list[int]:
        """Send a signal to the server and its children, each of which has its own session.

        Return the children's process ids.
        """
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)  # so that it starts no further child meanwhile
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = [int(pid) for pid in task.read_text().split()]
        for pid in (self.process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return children

    def _answers(self) -> bool:
        import psycopg

        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            psycopg.connect(self.address(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def command(program: str, *arguments: str) -> list[str]:
    """Return the command that runs a program of PostgreSQL, which refuses to run as root."""
    assert BIN is not None
    own = [str(BIN / program), *arguments]
    if os.geteuid() != 0:
        return own
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *own]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Start a server for all tests of a session, or skip the test."""
    if BIN is None:
        pytest.skip(MISSING)
    pytest.importorskip("psycopg")
    # Not below pytest's own folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, NOBODY, NOBODY)
        options = ["-U", "router", "-A", "scram-sha-256", "--pwfile", str(password), "--no-sync"]
        subprocess.run(
            command("initdb", "-D", str(folder / "data"), *options),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        for attempt in range(3):
            server = Postgres(folder, free_port())
            try:
                server.start()
                break
            except AssertionError:  # another test has taken the port meanwhile
                if attempt == 2:
                    raise
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: Postgres) -> str:
    """Create an empty database and return its address."""
    if postgres.process is None or postgres.process.poll() is not None:  # a test has failed
        postgres.start()
    return postgres.database()
