"""A backend that treats each request as its prompt says, so that the valid outcomes are known.

"Question 7: local=well cloud=cut": the local side answers it, the cloud's answer is cut off.
"""

import asyncio
import random
import re
import time
from typing import Final

from tests.support.chaos.sides import LOCAL, THERE, Kind
from tests.support.scripted import Connection, Request, ScriptedServer

STATUSES: Final = {"busy": 429, "broken": 500, "overloaded": 503, "rejected": 400}
FAULTS: Final = (*STATUSES, "reset", "silent", "nonsense", "cut", "stall", "failing")
ORDER: Final = re.compile(rb"Question (\d+): local=(\w+) cloud=(\w+)")
AFTERMATH_S: Final = 4.0
"""Seconds after an outage until the server must have noticed that the side is back."""


class Side:
    """A backend that treats each request as its prompt says."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.back_at = float("-inf")
        self.heard_at: dict[int, float] = {}
        """Time of each question's last arrival here, by its number."""

    async def answer(self, connection: Connection, request: Request) -> None:
        order = ORDER.search(request.body)
        assert order is not None
        fault = order[2 if self.kind is LOCAL else 3].decode()
        self.heard_at[int(order[1])] = time.monotonic()
        words = b" number %b" % order[1]
        if status := STATUSES.get(fault):
            retry_after = {"Retry_After": "1"} if fault == "busy" else {}
            await connection.answer(self.kind.failure(status, "No."), status, **retry_after)
        elif fault == "reset":
            connection.reset()
        elif fault == "silent":
            await connection.silence()
        elif fault == "nonsense":
            await connection.answer(b"<html>It works!</html>", content_type="text/html")
        elif self.kind.streams(request):
            await self._stream(connection, fault, self.kind.more.replace(THERE.encode(), words))
        else:
            document = self.kind.document.replace(THERE.encode(), words)
            await connection.answer(document if fault == "well" else document[:-9])

    async def _stream(self, connection: Connection, fault: str, more: bytes) -> None:
        await connection.begin_stream()
        await connection.chunk(self.kind.begin)
        await asyncio.sleep(random.uniform(0, 0.1))
        if fault == "stall":
            await connection.silence()
        elif fault == "cut":
            await connection.chunk(more[:30])
            connection.reset()
        elif fault == "failing":
            error = self.kind.failure(500, "Out of memory.")
            await connection.chunk(b"event: error\ndata: %b\n\n" % error)
            connection.reset()
        else:
            await connection.chunk(more + self.kind.end)
            await connection.end_stream()

    async def outage(self, server: ScriptedServer, seconds: float) -> None:
        self.back_at = float("inf")
        await server.stop()
        await asyncio.sleep(seconds)
        await server.start()
        self.back_at = time.monotonic()

    def was_gone(self, since: float, refused: bool) -> bool:
        """Return whether the side was gone at any time since then.

        `refused`: the server refused the request, perhaps before it noticed that the side was back.
        """
        return self.back_at + (AFTERMATH_S if refused else 0) > since
