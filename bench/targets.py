"""The measured processes: started here, and read from /proc (Linux)."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
NGINX: Final = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  keepalive_requests 100000000; access_log off;
  client_max_body_size 64m; client_body_buffer_size 4m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 1024;
    keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=2048; location / {{
    proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_buffering off; }} }}
}}
"""


class Target:
    """One process that listens on a port of its own."""

    def __init__(self, command: list[str], port: int, env: dict[str, str] | None = None) -> None:
        self.port = port
        began = time.monotonic()
        # No other variables of the caller's environment, because settings there would count.
        clean = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=clean | (env or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait()
        self.start_s = time.monotonic() - began
        """Seconds until its first answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def cpu_ms(self) -> float:
        """Return the CPU time of all its threads so far."""
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((t / "schedstat").read_text().split()[0]) for t in threads) / 1e6

    @property
    def rss_mb(self) -> float:
        """Return the resident memory."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    @property
    def sockets(self) -> int:
        """Return the number of its open sockets, listening ones included."""
        count = 0
        for descriptor in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(descriptor).startswith("socket:")
        return count

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/v1/models", timeout=5):
                    return
            except OSError:
                time.sleep(0.02)
        self._process.kill()
        raise RuntimeError(f"{self._process.args!r} does not answer")


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def mock() -> Target:
    port = free_port()
    return Target([sys.executable, str(ROOT / "bench/mock.py"), str(port)], port)


def router(mock_port: int, folder: Path, **settings: str) -> Target:
    """Start the router with default settings and a cloud that gets no requests."""
    port = free_port()
    env = {
        "SERVER_PORT": str(port),
        "LOCAL_BASE_URL": f"http://127.0.0.1:{mock_port}/v1",
        "LOCAL_MODEL": "mock",
        "EMBEDDED_MODEL": "off",
        "ANTHROPIC_API_KEY": "sk-none",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "COMPLEXITY_THRESHOLD": "100",
        "MAX_LOCAL_TOKENS": "100000000",
        "LOG_DECISIONS": "false",
        "JOURNAL_PATH": str(folder / "journal.db"),
        **settings,
    }
    return Target([sys.executable, "server.py"], port, env)


def nginx_command() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def nginx(mock_port: int, folder: Path) -> Target | None:
    """Start nginx as a plain proxy; return None if it is not installed."""
    command = nginx_command()
    if command is None:
        return None
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, mock=mock_port))
    return Target([command, "-c", str(config), "-p", str(folder)], port)
