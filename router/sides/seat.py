"""A backend together with its run-time state."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Self

from router.backend import Backend, LocalServer, Status, Target
from router.deciding.facts import Ask, Side
from router.sides.availability import Watch
from router.sides.loading import Loader
from router.sides.pool import Balancer
from router.sides.slots import Slots
from router.sides.speed import Speed, Turn

PATIENCE_S: Final = 0.25
"""Seconds that the first request after a silence waits for a new status of a local server."""


class Seat:
    """A backend with its watch, and for a local one its slots and loader.

    `loader` is None where the router cannot ask the server to load a model; `slots` and `speed` are
    None for a cloud.
    """

    def __init__(
        self,
        backend: Backend,
        target: Target,
        watch: Watch,
        *,
        slots: Slots | None = None,
        loader: Loader | None = None,
        speed: Speed | None = None,
        server: LocalServer | None = None,
        follows_server: bool = False,
        balancer: Balancer | None = None,
    ) -> None:
        """Take the parts of a backend.

        `follows_server`: the limit of `slots` is what the server reports. `balancer`: None if there
        is only one local server.
        """
        self.backend = backend
        self.target = target
        self.watch = watch
        self.slots = slots
        self.loader = loader
        self.speed = speed
        self.server = server
        self._follows_server = follows_server
        self._balancer = balancer
        self._side: Side | None = None

    @classmethod
    def of_server(
        cls,
        server: LocalServer,
        *,
        ttl_s: float,
        concurrency: int | None,
        queue: int,
        balancer: Balancer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Return the seat of a local server that loads models when asked to."""
        watch = Watch(server, ttl_s, clock, patience_s=PATIENCE_S)
        return cls(
            server,
            "local",
            watch,
            slots=Slots(concurrency, queue),
            loader=Loader(server, watch, clock),
            speed=Speed(clock),
            server=server,
            follows_server=concurrency is None,
            balancer=balancer,
        )

    @classmethod
    def of_embedded(
        cls,
        backend: Backend,
        *,
        ttl_s: float,
        concurrency: int | None,
        queue: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Return the seat of the built-in model."""
        watch = Watch(backend, ttl_s, clock, patience_s=PATIENCE_S)
        slots = Slots(concurrency, queue)
        return cls(
            backend,
            "local",
            watch,
            slots=slots,
            speed=Speed(clock),
            follows_server=concurrency is None,
        )

    @classmethod
    def of_cloud(
        cls, backend: Backend, *, ttl_s: float, clock: Callable[[], float] = time.monotonic
    ) -> Self:
        """Return the seat of a cloud; requests never wait for its status."""
        return cls(backend, "cloud", Watch(backend, ttl_s, clock))

    @property
    def name(self) -> str:
        """Return the backend's name."""
        return self.backend.name

    async def side(self) -> Side:
        """Return a snapshot for a decision; waits only for the first status ever."""
        status = self.watch.fresh
        if status is None:
            status = await self.watch.status()
        return self._snapshot(status)

    def side_now(self) -> Side | None:
        """Return a snapshot, if the last look at the backend is not old."""
        status = self.watch.fresh
        return None if status is None else self._snapshot(status)

    def turn(self, model: str, ask: Ask) -> Turn | None:
        """Return a new turn for this model; None for a cloud, whose speed is not measured."""
        if self.speed is None:
            return None
        if self._balancer is None:
            return self.speed.turn(model, ask.new_tokens, ask.size_tokens)
        unread = self._balancer.unread_tokens(self.name, ask)
        visit = self._balancer.begin(self.name, ask)
        return self.speed.turn(model, unread, ask.size_tokens, visit)

    async def aclose(self) -> None:
        """Stop the background tasks and close the backend."""
        async with AsyncExitStack() as stack:  # calls the last one first, and each if one fails
            stack.push_async_callback(self.backend.aclose)
            stack.push_async_callback(self.watch.aclose)
            if self.loader is not None:
                stack.push_async_callback(self.loader.aclose)

    def _snapshot(self, status: Status) -> Side:
        slots = self.slots
        if slots is not None and self._follows_server and status.model is not None:
            slots.limit = status.model.parallel
        blocked, full = self.watch.blocked, slots is not None and slots.full
        side = self._side
        if (
            side is None
            or side.status is not status
            or side.blocked != blocked
            or side.full != full
        ):
            # The snapshot seldom changes, so most requests share one.
            enlarge = self.server.enlarge_command if self.server else Side.enlarge
            side = Side(self.target, self.name, status, blocked, full, enlarge)
            self._side = side
        return side
