"""A program in a pseudo-terminal, with typed input and a readable screen."""

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pyte

WITHIN_S = 20.0
LINES = 300
"""Enough lines that nothing scrolls away."""


class Terminal:
    """The screen and keyboard of a running program."""

    def __init__(self, process: Process, master: int, columns: int) -> None:
        self.raw = b""
        self._process = process
        self._master = master
        self._screen = pyte.Screen(columns, LINES)
        # Answers the program's queries to the terminal, such as the cursor position.
        self._screen.write_process_input = self.type  # type: ignore[method-assign]
        self._stream = pyte.ByteStream(self._screen)
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def text(self) -> str:
        """Return the text on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def type(self, data: str) -> None:
        self.send(data.encode())

    def send(self, data: bytes) -> None:
        """Type bytes, which need not be valid text."""
        os.write(self._master, data)

    async def shows(self, words: str, times: int = 1) -> None:
        """Wait until the text is on the screen so many times."""
        try:
            async with asyncio.timeout(WITHIN_S):
                while self.text.count(words) < times:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} did not appear:\n{self.text}") from None

    async def enter(self, line: str, shown: str, times: int = 1) -> None:
        """Type a line and Enter; wait until `shown` is on the screen so many times."""
        self.type(f"{line}\r")
        await self.shows(shown, times)

    async def ends(self) -> int:
        """Wait for the program to end; return its exit status."""
        async with asyncio.timeout(WITHIN_S):
            return await self._process.wait()

    def _read(self) -> None:
        try:
            block = os.read(self._master, 65536)
        except OSError:  # the program has ended
            block = b""
        if not block:
            asyncio.get_running_loop().remove_reader(self._master)
        self.raw += block
        self._stream.feed(block)
        self._changed.set()


@asynccontextmanager
async def terminal(
    program: Path, *words: str, env: Mapping[str, str], columns: int = 100
) -> AsyncIterator[Terminal]:
    """Start a Python program in a terminal of this width."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        *words,
        env=env,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        # Ctrl-C reaches a program only through its controlling terminal.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    try:
        yield Terminal(process, master, columns)
    finally:
        asyncio.get_running_loop().remove_reader(master)
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(master)
