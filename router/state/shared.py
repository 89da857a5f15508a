"""The store that several routers share: keys with values and expiry in a Valkey or Redis server.

Reads of requests that come at the same time share a round trip, and so do writes. While the server
is down no request waits for it: reads return None at once, and writes wait. When it is back, each
registered renewal writes the data that the server may lack.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from router.deadlines import while_idle

log = logging.getLogger("router")

READ_LIMIT_S: Final = 0.1
"""How long a read may take. A request waits for it, so a server this slow counts as down."""
WRITE_LIMIT_S: Final = 2.0
LOOK_S: Final = 1.0
"""How often the server is looked at."""
MERGE_S: Final = 3 * LOOK_S
"""How long after an outage the routers may need to write what the server lacks."""
BATCH: Final = 500
"""Writes of one round trip."""
MOST_WAITING: Final = 50_000
MOST_WAITING_BYTES: Final = 64 * 2**20
"""Writes that wait while the server is down; then the oldest are dropped."""
PREFIX: Final = b"llm-router:1:"
"""Begins every key. The number changes when values get another format."""
EPOCH: Final = PREFIX + b"epoch"
"""A random value that the first router sets. Another value means that the server lost its data."""
EPOCH_BYTES: Final = 8
LOOK_TTL_S: Final = 60
ADD_MEMBER: Final = """
local set = redis.call('GET', KEYS[1]) or ''
local width = #ARGV[1]
local found = false
for at = 1, #set, width do
  found = found or string.sub(set, at, at + width - 1) == ARGV[1]
end
if not found then set = set .. ARGV[1] end
redis.call('SET', KEYS[1], set, 'EX', ARGV[2])
"""
"""Adds to a set of members of one size that is kept as a string, so that MGET reads many sets."""

Values = list[bytes | None]
Write = tuple[bytes | str | int, ...]


class Store(Protocol):
    """The operations on the server. Keys have no PREFIX; they expire after `ttl_s` seconds."""

    @property
    def is_complete(self) -> bool:
        """Return whether it answers and has what every router has written."""
        ...

    def ask(self, keys: Sequence[bytes]) -> Awaitable[Values | None]:
        """Send for values; the result is None if the server does not answer in time."""
        ...

    async def read(self, keys: Sequence[bytes]) -> Values | None:
        """Return values that may be large; None if the server does not answer in time."""
        ...

    def put(self, key: bytes, value: bytes, ttl_s: int, *, only_new: bool = False) -> None:
        """Write a value soon. `only_new`: leave a value that is there."""
        ...

    def add_member(self, key: bytes, member: bytes, ttl_s: int) -> None:
        """Add to a set soon; its members have one size. It is read as one string of them."""
        ...

    def put_field(self, key: bytes, field: bytes, value: bytes, ttl_s: int) -> None:
        """Write a field of a hash soon."""
        ...

    def drop(self, key: bytes) -> None:
        """Delete a key soon."""
        ...

    async def fields(self, key: bytes) -> dict[bytes, bytes] | None:
        """Return all fields of a hash; None if the server does not answer in time."""
        ...

    async def written(self) -> None:
        """Wait until what was written so far is there, or the server has failed."""
        ...

    def on_return(self, name: str, renew: Callable[[], None]) -> None:
        """Call this whenever the server may lack what was written, at first with the next look.

        It writes it again. It takes the place of an earlier one of that name.
        """
        ...

    def every_look(self, name: str, follow: Callable[[], Awaitable[None]]) -> None:
        """Call this after each look at a server that answers, about once a second.

        It takes the place of an earlier one of that name.
        """
        ...


class SharedStore:
    """A Valkey or Redis server as a Store."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Connect to nothing yet. Raises ImportError without the client, ValueError on bad URLs."""
        from valkey.asyncio import Valkey
        from valkey.exceptions import ValkeyError

        self.address = _without_password(url)
        self.up = False
        self.trouble = "The shared store was not looked at yet."
        """Why the server cannot be used, in one sentence; empty while it can."""
        self._client: Any = Valkey.from_url(url, socket_connect_timeout=WRITE_LIMIT_S)
        # uvloop raises RuntimeError when a connection has just been closed.
        self._failures = (ValkeyError, OSError, EOFError, RuntimeError)
        self._clock = clock
        self._complete_at = 0.0
        self._epoch = b""
        self._warned = False
        self._renewals: dict[str, Callable[[], None]] = {}
        self._has_new_renewal = False
        self._followers: dict[str, Callable[[], Awaitable[None]]] = {}
        self._asked: list[tuple[list[bytes], asyncio.Future[Values | None]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._writes: deque[Write] = deque()
        self._waiting_bytes = 0
        self._added = self._done = 0
        """Writes so far, and how many of them are over."""
        self._settling: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Callers of `written`: how many writes must be over, and a future for that."""
        self._writing: asyncio.Task[None] | None = None
        self._touch: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def is_complete(self) -> bool:
        return self.up and self._clock() >= self._complete_at

    async def start(self) -> None:
        """Look at the server once, and from then on in the background; a second call is free."""
        if self._touch is None:
            self._touch = asyncio.create_task(self._stay_in_touch())
            await self.look()

    async def aclose(self) -> None:
        """Write what waits, if the server answers, and close the connections."""
        self._is_closed = True
        if self._touch is not None:
            self._touch.cancel()
            await asyncio.gather(self._touch, return_exceptions=True)
        await self.written()
        tasks = [task for task in (self._reading, self._writing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def on_return(self, name: str, renew: Callable[[], None]) -> None:
        self._renewals[name] = renew
        self._has_new_renewal = True

    def every_look(self, name: str, follow: Callable[[], Awaitable[None]]) -> None:
        self._followers[name] = follow

    def ask(self, keys: Sequence[bytes]) -> "asyncio.Future[Values | None]":
        answer = asyncio.get_running_loop().create_future()
        if not self.up or not keys:
            answer.set_result([] if self.up else None)
            return answer
        self._asked.append(([PREFIX + key for key in keys], answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        return answer

    async def read(self, keys: Sequence[bytes]) -> Values | None:
        if not keys:
            return []
        found: Values | None = await self._result("MGET", *[PREFIX + key for key in keys])
        return found

    async def fields(self, key: bytes) -> dict[bytes, bytes] | None:
        found: dict[bytes, bytes] | None = await self._result("HGETALL", PREFIX + key)
        return found

    def put(self, key: bytes, value: bytes, ttl_s: int, *, only_new: bool = False) -> None:
        self._write_soon("SET", PREFIX + key, value, "EX", ttl_s, *(["NX"] if only_new else []))

    def add_member(self, key: bytes, member: bytes, ttl_s: int) -> None:
        self._write_soon("EVAL", ADD_MEMBER, 1, PREFIX + key, member, ttl_s)

    def put_field(self, key: bytes, field: bytes, value: bytes, ttl_s: int) -> None:
        self._write_soon("HSET", PREFIX + key, field, value)
        self._write_soon("EXPIRE", PREFIX + key, ttl_s)

    def drop(self, key: bytes) -> None:
        self._write_soon("DEL", PREFIX + key)

    async def written(self) -> None:
        if not self.up or self._done == self._added:
            return
        settled = asyncio.get_running_loop().create_future()
        self._settling.append((self._added, settled))
        # Not less than a write may take: else another router could read before a private mark.
        await asyncio.wait({settled}, timeout=WRITE_LIMIT_S)

    async def look(self) -> None:
        """See whether the server takes writes and still has its data, and act on a change."""
        try:
            *written, epoch = await self._sent(
                [
                    ("EVAL", ADD_MEMBER, 1, PREFIX + b"look", b"1", LOOK_TTL_S),
                    ("SET", EPOCH, os.urandom(EPOCH_BYTES), "NX"),
                    ("GET", EPOCH),
                ]
            )
            if refused := [result for result in written if isinstance(result, Exception)]:
                raise refused[0]
        except self._failures as error:
            self._lost(error)
            return
        if not self.up or epoch != self._epoch or self._has_new_renewal:
            self._found(epoch)
        self._begin_writing()
        for follow in [*self._followers.values()]:  # a thread that reads settings may add one
            await follow()

    async def _stay_in_touch(self) -> None:
        while not self._is_closed:  # the client may swallow a cancellation while it connects
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:
                log.exception("internal error while looking at the shared store")

    def _found(self, epoch: bytes) -> None:
        """Count the server as up, and renew the data that it may have lost."""
        if self._warned:
            log.info("The shared store at %s answers again.", self.address)
        if self._warned or (self._epoch and epoch != self._epoch):
            self._complete_at = self._clock() + MERGE_S
        self.up, self.trouble, self._warned, self._epoch = True, "", False, epoch
        self._has_new_renewal = False
        for renew in [*self._renewals.values()]:
            renew()

    def _lost(self, error: BaseException) -> None:
        self.up = False
        self._settle(self._added)
        why = str(error) or type(error).__name__
        self.trouble = (
            f"The shared store at {self.address} cannot be used ({why}). Each router goes on with"
            " what it has. A conversation that another router may have found private stays local."
        )
        if not self._warned:
            self._warned = True
            log.warning("%s", self.trouble)

    async def _read(self) -> None:
        """Answer all `ask` calls. Those that come during a round trip share the next one."""
        asked: list[tuple[list[bytes], asyncio.Future[Values | None]]] = []
        try:
            while self._asked:
                asked, self._asked = self._asked, []
                keys = [key for one, _ in asked for key in one]
                values: Values | None = await self._result("MGET", *keys, limit_s=READ_LIMIT_S)
                at = 0
                for keys, answer in asked:
                    if not answer.done():  # else its caller has left
                        answer.set_result(values and values[at : at + len(keys)])
                    at += len(keys)
        finally:
            self._reading = None
            for _, answer in asked + self._asked:
                if not answer.done():
                    answer.set_result(None)

    async def _result(self, *command: bytes | str, limit_s: float = WRITE_LIMIT_S) -> Any:
        """Return the result of a command; None while the server is down."""
        if not self.up:
            return None
        try:
            with while_idle(limit_s):
                return await self._client.execute_command(*command)
        except self._failures as error:
            self._lost(error)
            return None

    def _write_soon(self, *write: bytes | str | int) -> None:
        self._writes.append(write)
        self._added += 1
        self._waiting_bytes += _size(write)
        while len(self._writes) > MOST_WAITING or self._waiting_bytes > MOST_WAITING_BYTES:
            self._waiting_bytes -= _size(self._writes.popleft())
            self._done += 1
        self._begin_writing()

    def _begin_writing(self) -> None:
        if self.up and self._writes and self._writing is None:
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._writes and self.up:
                batch = [self._writes.popleft() for _ in range(min(BATCH, len(self._writes)))]
                self._waiting_bytes -= sum(map(_size, batch))
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: list[Write]) -> None:
        """Write. If the connection fails the batch waits on; what is refused is dropped."""
        try:
            results = await self._sent(batch)
        except self._failures as error:
            self._lost(error)
            self._writes.extendleft(reversed(batch))
            self._waiting_bytes += sum(map(_size, batch))
            return
        self._done += len(batch)
        self._settle(self._done)
        if refused := [result for result in results if isinstance(result, Exception)]:
            self._lost(refused[0])

    def _settle(self, done: int) -> None:
        """Wake the callers of `written` that wait for at most this many writes."""
        while self._settling and self._settling[0][0] <= done:
            _, settled = self._settling.popleft()
            if not settled.done():
                settled.set_result(None)

    async def _sent(self, commands: Sequence[Write]) -> list[Any]:
        """Send commands in one round trip; return their results, errors among them."""
        with while_idle(WRITE_LIMIT_S):
            async with self._client.pipeline(False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                results: list[Any] = await pipeline.execute(raise_on_error=False)
                return results


def _size(write: Write) -> int:
    return sum(len(part) for part in write if isinstance(part, bytes))


def _without_password(url: str) -> str:
    """Return scheme, host, port and database of an address."""
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
