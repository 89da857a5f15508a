"""Waiting for what happens by itself."""

import asyncio
from collections.abc import Callable

SETTLED_S = 2.0
"""Time limit of the cleanup after a request, on a busy machine."""


async def settled(holds: Callable[[], bool], otherwise: str, within_s: float = SETTLED_S) -> float:
    """Wait until `holds()`; return the seconds it took. Fails with `otherwise`."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not holds():
        assert clock() - began < within_s, otherwise
        await asyncio.sleep(0.002)
    return clock() - began
