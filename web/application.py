"""The ASGI app whose settings can be exchanged while it answers."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from router.parts.assembly import Assembly
from web.asgi import App, Receive, Scope, Send
from web.endpoint import Endpoint
from web.events import Feed
from web.memory import trim_memory
from web.readiness import Readiness
from web.reload import Reading, Reread, Source

log = logging.getLogger("router")

_Task = asyncio.Task[None] | None


class Generation:
    """The routes for one reading of the settings, and the number of their running requests."""

    def __init__(self, parts: Assembly, gate: App, endpoints: Collection[Endpoint]) -> None:
        self.parts = parts
        self.gate = gate
        self._endpoints = endpoints
        self._running = 0
        self._ended: asyncio.Event | None = None

    def enter(self) -> None:
        """Note that a request has begun."""
        self._running += 1

    def leave(self) -> None:
        """Note that a request has ended."""
        self._running -= 1
        if self._ended is not None and not self._running:
            self._ended.set()

    async def ended(self) -> None:
        """Wait until the last request has ended; no new one may begin."""
        if self._running:
            self._ended = asyncio.Event()
            await self._ended.wait()

    async def drain(self) -> None:
        """Wait until requests that the server has cancelled have sent their last error."""
        for endpoint in self._endpoints:
            await endpoint.drain()


class Application:
    """Answers requests with the current settings, which it can exchange.

    A request ends with the settings that it began with. Parts that only earlier settings need are
    closed once the last of their requests has ended.
    """

    def __init__(
        self,
        build: Callable[[Assembly, Reread], Generation],
        parts: Assembly,
        readiness: Readiness,
        source: Source,
        feed: Feed,
    ) -> None:
        self._build = build
        self._now = build(parts, self.reread)
        feed.follow(parts)
        self.earlier: list[Generation] = []
        """Generations that still have requests."""
        self._readiness = readiness
        self._source = source
        self._feed = feed
        self._reading = asyncio.Lock()
        self._starting: _Task = None
        """Does the work for the current settings that requests do not wait for."""
        self._closing: _Task = None
        """Closes the earlier generations, the oldest one first, as later ones share its parts."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        now = self._now
        now.enter()
        try:
            await now.gate(scope, receive, send)
        finally:
            now.leave()

    @property
    def parts(self) -> Assembly:
        """Return the parts that answer new requests."""
        return self._now.parts

    async def reread(self) -> Reading:
        """Read the settings again. If they cannot be used, everything stays as it was."""
        async with self._reading:
            before = self._now
            renewed = await asyncio.to_thread(self._source.renewed, before.parts)
            if renewed is not None:
                parts, reading = renewed
                try:
                    await parts.prepare()  # so that no request waits for a server's first status
                    generation = self._build(parts, self.reread)
                except BaseException:
                    await parts.aclose(before.parts)
                    raise
                self._switch(generation)
                self._source.accept(reading)
            return self._source.last

    def _switch(self, generation: Generation) -> None:
        """Answer new requests with this generation. It is prepared, so nothing here can fail."""
        before, parts = self._now, generation.parts
        parts.take_over()
        self._now = generation
        self._feed.follow(parts)
        self.earlier.append(before)
        retiring = self._retire(before, self._starting, parts, self._closing)
        self._closing = self._begin(retiring, "while earlier settings were closed")
        # Only the seats: the rest of the earlier router need not stay in memory meanwhile.
        learned = tuple(before.parts.router.seats.values())
        announcing = parts.announce(learned)
        self._starting = self._begin(announcing, "after the settings were read again")

    async def _retire(self, old: Generation, starting: _Task, heir: Assembly, first: _Task) -> None:
        """Close the parts that only an earlier generation needs, after `first` has ended.

        `heir`: the parts of the next generation. `first` closes the generation before this one.
        """
        if starting is not None:
            starting.cancel()  # it would connect parts that are closed next
        if first is not None:
            await asyncio.wait({first})
        await old.ended()
        try:
            await old.parts.aclose(heir)
        except Exception:
            self.earlier.remove(old)
            raise
        self.earlier.remove(old)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Start, wait until the server stops, and close everything.

        A second Ctrl-C cancels the wait. The journal's last rows are written and the model servers
        stopped then too.
        """
        await receive()
        self._readiness.starting()
        self._starting = self._begin(self._start(self._now.parts), "at the start")
        self._begin(trim_memory(), "while memory was given back")
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        await self.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, parts: Assembly) -> None:
        """Look at the store and the sides, report ready, then do the work that can wait.

        Settings are not read again before the server is ready: that would cancel this.
        """
        async with self._reading:
            await asyncio.gather(parts.router.sides(), parts.connect())
            self._readiness.ready()
            await parts.prepare()
        await parts.announce()

    async def aclose(self) -> None:
        """Close everything, after cancelled requests have sent their last error."""
        if self._starting is not None:
            self._starting.cancel()  # the start holds the lock while it waits for the sides
        async with self._reading:  # parts of settings that are being read would stay open
            self._feed.end()
            for generation in (*self.earlier, self._now):
                await generation.drain()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            async with AsyncExitStack() as stack:  # calls the last one first, and each if one fails
                stack.push_async_callback(self._now.parts.aclose)
                for generation in reversed(self.earlier):
                    stack.push_async_callback(generation.parts.aclose, self._now.parts)

    def _begin(self, work: Coroutine[Any, Any, None], when: str) -> "asyncio.Task[None]":
        """Start a background task. If it fails, the error is logged with `when`."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, when))
        return task

    def _end(self, when: str, task: "asyncio.Task[None]") -> None:
        """Log the error of a task, and drop the task: the error keeps earlier parts in memory."""
        self._tasks.discard(task)
        if self._starting is task:
            self._starting = None
        if self._closing is task:
            self._closing = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal error %s", when, exc_info=error)
