"""Returns freed memory to the system."""

import asyncio
import ctypes
import sys
from typing import Final

TRIM_S: Final = 2.0
"""Seconds between two returns of freed memory."""


async def trim_memory() -> None:
    """Return freed memory to the system at intervals, without end.

    Large bodies and many streams leave holes in the heap that glibc keeps. A trim takes half a
    millisecond. Other C libraries have no such function, so this does nothing there.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    while trim is not None:
        await asyncio.sleep(TRIM_S)
        trim(0)
