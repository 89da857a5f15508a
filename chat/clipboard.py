"""Copies to the clipboard, with the terminal (OSC 52) and with the system's own program."""

import asyncio
import base64
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Final

PROGRAMS: Final = (
    ("pbcopy", (), "utf-8"),
    ("wl-copy", (), "utf-8"),
    ("xclip", ("-selection", "clipboard"), "utf-8"),
    ("clip.exe", (), "utf-16-le"),
)
"""Name, arguments, and encoding of the input: macOS, Wayland, X11, Windows and WSL."""
WITHIN_S: Final = 2.0


async def copy(text: str, *, by_terminal: bool) -> list[str]:
    """Copy a text; return the names of what took it: a program, the terminal, or both.

    Both are tried: over SSH only the terminal reaches the clipboard of the user's own machine, and
    not every terminal allows it.
    """
    took = [program] if (program := await _by_program(text)) else []
    if by_terminal:
        encoded = base64.b64encode(text.encode()).decode()
        sys.stdout.write(f"\x1b]52;c;{encoded}\x07")
        sys.stdout.flush()
        took.append("the terminal")
    return took


async def _by_program(text: str) -> str:
    """Return the first program that took the text, "" if none did."""
    for name, arguments, encoding in PROGRAMS:
        path = shutil.which(name)
        if path is None:
            continue
        # No pipes for output: xclip and wl-copy leave a process behind that would keep them open.
        try:
            process = await asyncio.create_subprocess_exec(
                path, *arguments, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL
            )
        except OSError:
            continue
        try:
            async with asyncio.timeout(WITHIN_S):
                await process.communicate(text.encode(encoding, "replace"))
        except TimeoutError:
            process.kill()
            await process.wait()
        if process.returncode == 0:
            return name
    return ""
