"""The server process: its listening socket, uvicorn's settings, memory and signals."""

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn

from config import Settings, SettingsError
from web.application import Application
from web.asgi import CALLER_PAUSE_S, App
from web.protocol import HttpProtocol
from web.readiness import Readiness

log = logging.getLogger("router")

BACKLOG: Final = 2048
"""Connections that may wait to be accepted: a thousand callers may come at once."""
KEEP_ALIVE_S: Final = 75
"""Seconds until an unused connection is closed; nginx's default. uvicorn's, 5 s, is also when many
clients stop using theirs: some send a request while it is being closed."""
GC_THRESHOLD: Final = 10_000
"""Objects between two garbage collections; Python's default collects several times an answer."""


class Server(uvicorn.Server):
    """A uvicorn server that still takes requests for a while after SIGTERM.

    `/ready` answers 503 from the signal on, so that load balancers send no more requests. A second
    signal ends the wait. SIGHUP makes the server read the settings again, or ends it if its
    terminal was closed.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        readiness: Readiness,
        delay_s: float,
        reread: Callable[[], Coroutine[Any, Any, object]] | None = None,
        *,
        ends_with_terminal: bool = False,
    ) -> None:
        super().__init__(config)
        self._readiness = readiness
        self._delay_s = delay_s
        self._until = 0.0
        self._reread = reread
        self._is_due = False
        self._rereading: asyncio.Task[object] | None = None
        self._ends_with_terminal = ends_with_terminal

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        waits = sig == signal.SIGTERM and not self.should_exit
        self._until = time.monotonic() + (self._delay_s if waits else 0)
        self._readiness.stop()
        super().handle_exit(sig, frame)

    def handle_hangup(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop if the terminal is gone, else read the settings at the next tick."""
        if self._ends_with_terminal and not has_terminal():
            self.handle_exit(sig, frame)
        else:
            self._is_due = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say that running answers are waited for, and wait for them."""
        if running := len(self.server_state.tasks):
            log.info(
                "Waiting up to %d s for the end of running requests (%d). Ctrl-C ends them now.",
                self.config.timeout_graceful_shutdown,
                running,
            )
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop taking requests."""
        if self._is_due and self._reread is not None:
            self._is_due = False
            self._rereading = asyncio.create_task(self._reread())
            self._rereading.add_done_callback(_report)
        stops = await super().on_tick(counter)
        return stops and time.monotonic() >= self._until


def serve(
    app: Application, settings: Settings, listener: socket.socket, readiness: Readiness
) -> None:
    """Answer requests until a signal stops the process."""
    gc.freeze()  # imported modules stay, so the collector need not visit them
    gc.set_threshold(GC_THRESHOLD)
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows
    # Under nohup the signal is ignored: the server outlives its terminal.
    is_heeded = hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    server = Server(
        uvicorn_config(app, settings),
        readiness,
        settings.shutdown_delay_s,
        app.reread,
        ends_with_terminal=is_heeded and has_terminal(),
    )
    if hangup is not None:
        signal.signal(hangup, server.handle_hangup)
    with suppress(KeyboardInterrupt):
        server.run([listener])


def _report(reading: asyncio.Task[object]) -> None:
    if not reading.cancelled() and (error := reading.exception()) is not None:
        log.error("internal error while the settings were read again", exc_info=error)


def has_terminal() -> bool:
    """Return whether the process belongs to a terminal that is open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def uvicorn_config(
    app: App, settings: Settings, *, caller_pause_s: float = CALLER_PAUSE_S
) -> uvicorn.Config:
    """Return the settings with which uvicorn serves the app."""
    return uvicorn.Config(
        app,
        http=partial(HttpProtocol, head_s=caller_pause_s),  # type: ignore[arg-type]
        access_log=False,
        ws="none",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(settings.shutdown_grace_s),
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises SettingsError, saying what to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        problem = (error.strerror or "").partition(" (while")[0]
        fix = "Set SERVER_HOST to an address of this machine."
        if error.errno == errno.EADDRINUSE:
            fix = "Is a server running already? If not, set SERVER_PORT to a free port."
        elif error.errno == errno.EACCES:
            fix = "Set SERVER_PORT to a port from 1024."
        raise SettingsError(f"SERVER_HOST={host} SERVER_PORT={port}: {problem}. {fix}") from None
    # Accepted sockets inherit this. Without it, asyncio's own loop delays an answer by 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def url_of(settings: Settings) -> str:
    """Return the address of the server for people and clients, without `/v1`."""
    host = settings.server_host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server_port}"
