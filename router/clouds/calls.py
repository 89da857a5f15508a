"""What calls to any cloud have in common: when a whole answer is asked for, time limits, and what a
connection that fails means."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from config import LOOPBACK
from router.backend import TimeLimits
from router.deadlines import within
from router.errors import (
    BackendBroken,
    BackendError,
    BackendMisconfigured,
    BackendTimeout,
    BackendUnreachable,
)
from router.request import ChatRequest

STALE_S: Final = 0.1

SLOWEST_TOKENS_S: Final = 30
"""The fewest tokens that a cloud is taken to write in a second."""
USUAL_MAX_TOKENS: Final = 8192
"""What an answer without a limit is taken to have at most: what CLOUD_MAX_TOKENS is by default."""
_HARD_EFFORTS: Final = ("high", "xhigh", "max")


def comes_whole(request: ChatRequest, max_tokens: int | None, limits: TimeLimits) -> bool:
    """May the cloud be asked for its answer in one piece, which costs far less than many?

    Only where the caller wants it so, and where even a slow model has ended an answer of
    `max_tokens` (as sent; None: no limit is) by the time at which it must have begun, for nothing
    of it is seen before. Hard thought may take longer.
    """
    longest_s = (max_tokens or USUAL_MAX_TOKENS) / SLOWEST_TOKENS_S
    hard = request.body.get("reasoning_effort") in _HARD_EFFORTS
    return not request.stream and not hard and longest_s <= limits.first_byte_s


def for_whole(limits: TimeLimits) -> TimeLimits:
    """The limits of an answer in one piece: all of it must come in the time of the first byte."""
    return replace(limits, total_s=min(limits.total_s, limits.first_byte_s))


def may_use_proxy(base_url: str | None) -> bool:
    """Do the proxies that the environment names (HTTPS_PROXY…) lead to this address? Never to one
    on this machine: it is not there, and it would be told the key."""
    try:
        return base_url is None or urlsplit(base_url).hostname not in LOOPBACK
    except ValueError:  # no address at all: whoever uses it says so
        return True


async def paced(
    chunks: AsyncIterator[bytes], limits: TimeLimits, backend: str, asked_at: float
) -> AsyncGenerator[bytes, None]:
    """The chunks as they come. Raises BackendTimeout when the first, the next or the last is late.

    `asked_at`: the event loop's time at which the request was sent.
    """
    clock = asyncio.get_running_loop().time
    end = asked_at + limits.total_s
    until = asked_at + limits.first_byte_s
    begun = False
    try:
        while True:
            with within(min(until, end) - clock()):
                chunk = await anext(chunks)
            begun = True
            yield chunk
            until = clock() + limits.idle_s
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise too_slow(limits, backend, begun=begun, over=clock() >= end) from None


def too_slow(
    limits: TimeLimits, backend: str, *, begun: bool = False, over: bool = False
) -> BackendTimeout:
    """`begun`: the answer had; `over`: the time for all of it is."""
    who = backend.capitalize()
    if over:
        message = f"{who} did not end its answer within {limits.total_s:g} s."
    elif begun:
        message = f"{who} stopped in the middle of its answer: nothing for {limits.idle_s:g} s."
    else:
        message = f"{who} did not begin to answer within {limits.first_byte_s:g} s."
    return BackendTimeout(message, backend=backend)


def was_stale(error: BaseException, after_s: float) -> bool:
    """Did a request fail because its pooled connection had been closed meanwhile?

    `after_s`: seconds from sending it to the failure. A closed connection fails at once, and only
    then is it safe to send the request again, for nobody can have begun to answer it.
    """
    import aiohttp

    gone = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, gone):
        cause = cause.__cause__
    refused = isinstance(cause, aiohttp.ClientConnectorError)
    return cause is not None and not refused and after_s < STALE_S


def connection_errors() -> tuple[type[Exception], ...]:
    """What the HTTP libraries beneath the SDKs raise, also in the middle of a stream.

    A function, so that nothing is imported before something has gone wrong.
    """
    import aiohttp
    import httpx2

    return (
        httpx2.HTTPError,
        httpx2.StreamError,
        httpx2.InvalidURL,
        aiohttp.ClientError,
        OSError,  # TimeoutError is one
    )


def connection_failure(error: Exception, *, backend: str, begun: bool = False) -> BackendError:
    """The failure that one of `connection_errors()` stands for.

    `begun`: the answer had begun. Then a connection that goes is broken, whatever it is called.
    """
    import aiohttp
    import httpx2

    match error:
        case httpx2.ConnectTimeout() | aiohttp.ConnectionTimeoutError():
            return BackendUnreachable(f"{backend} could not be reached in time.", backend=backend)
        case httpx2.TimeoutException() | TimeoutError():
            return BackendTimeout(f"{backend} did not answer in time.", backend=backend)
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL() | aiohttp.InvalidURL():
            return BackendMisconfigured(f"The address of {backend} is not a URL.", backend=backend)
        case httpx2.ReadError() | httpx2.RemoteProtocolError() | aiohttp.ClientPayloadError():
            return BackendBroken(f"The connection to {backend} broke.", backend=backend)
        case httpx2.DecodingError() | httpx2.StreamError() | aiohttp.ClientResponseError():
            return BackendBroken(f"{backend} sent what cannot be read.", backend=backend)
        case _ if begun:
            return BackendBroken(f"The connection to {backend} broke.", backend=backend)
        case _:
            return BackendUnreachable(f"{backend} could not be reached.", backend=backend)
