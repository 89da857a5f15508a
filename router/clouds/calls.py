"""Parts that calls to all clouds share: the choice of whole answers, time limits, and the errors of
connections."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from addresses import is_here
from router.backend import TimeLimits
from router.deadlines import within
from router.errors import (
    BackendBroken,
    BackendError,
    BackendMisconfigured,
    BackendTimeout,
    BackendUnreachable,
)
from router.http.client import STALE_S
from router.request import ChatRequest

SLOWEST_TOKENS_S: Final = 30
"""Tokens that even a slow cloud model writes in a second."""
USUAL_MAX_TOKENS: Final = 8192
"""Assumed limit of an answer without one; the default of CLOUD_MAX_TOKENS."""
_HARD_EFFORTS: Final = ("high", "xhigh", "max")


def comes_whole(request: ChatRequest, max_tokens: int | None, limits: TimeLimits) -> bool:
    """Return whether to ask the cloud for its answer in one piece, which takes far less CPU.

    Only if the caller does not stream, and if even a slow model ends an answer of `max_tokens` (as
    sent; None: no limit) within the time limit for the first byte, because nothing can be seen
    before. High effort may take longer.
    """
    longest_s = (max_tokens or USUAL_MAX_TOKENS) / SLOWEST_TOKENS_S
    hard = request.body.get("reasoning_effort") in _HARD_EFFORTS
    return not request.stream and not hard and longest_s <= limits.first_byte_s


def for_whole(limits: TimeLimits) -> TimeLimits:
    """Return the limits for an answer in one piece: all of it within the first byte's limit."""
    return replace(limits, total_s=min(limits.total_s, limits.first_byte_s))


def may_use_proxy(base_url: str | None) -> bool:
    """Return whether the proxies of the environment (HTTPS_PROXY…) may be used for this address.

    Not for an address on this machine: a proxy elsewhere cannot reach it, and would see the key.
    """
    try:
        host = base_url and urlsplit(base_url).hostname
    except ValueError:  # not an address: the request reports that
        return True
    return not host or not is_here(host)


def has_proxy(base_url: str) -> bool:
    """Return whether requests to this address go through a proxy of the environment."""
    return proxy_of(base_url) != ""


def proxy_fault(base_url: str) -> str:
    """Return why requests to this address cannot go through its proxy, "" if they can or have none.

    Does not name the address of the proxy: a login may be in it.
    """
    proxy = proxy_of(base_url)
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not proxy or usable:
        return ""
    target = urlsplit(base_url)
    return (
        f"The proxy in {target.scheme.upper()}_PROXY or ALL_PROXY cannot be used: its address must"
        f" start with http:// or https://. To connect without it, add {target.hostname} to"
        " NO_PROXY."
    )


def proxy_of(base_url: str) -> str:
    """Return the proxy of the environment for this address, with its scheme, "" for none."""
    try:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
    except ValueError:  # not an address: the client reports that
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or not may_use_proxy(base_url) or proxy_bypass(host):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


async def paced(
    chunks: AsyncIterator[bytes], limits: TimeLimits, backend: str, asked_at: float
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks as they come. Raises BackendTimeout if the first, next or last one is late.

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
    """Return the error for a late answer. `begun`: it had begun. `over`: its total time is over."""
    who = backend.capitalize()
    if over:
        message = f"{who} did not end its answer within {limits.total_s:g} s."
    elif begun:
        message = f"{who} stopped in the middle of its answer: nothing for {limits.idle_s:g} s."
    else:
        message = f"{who} did not begin to answer within {limits.first_byte_s:g} s."
    return BackendTimeout(message, backend=backend)


def was_stale(error: BaseException, after_s: float) -> bool:
    """Return whether a request failed because its kept connection had been closed meanwhile.

    `after_s`: seconds from sending to the failure. A closed connection fails at once, and only
    then is it safe to send the request again, because the server cannot have begun to answer.
    """
    import aiohttp

    gone = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, gone):
        cause = cause.__cause__
    refused = isinstance(cause, aiohttp.ClientConnectorError)
    return cause is not None and not refused and after_s < STALE_S


def connection_errors() -> tuple[type[Exception], ...]:
    """Return the errors of the HTTP libraries below the SDKs, also those of a stream.

    A function, so that the libraries are imported only when they are needed.
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
    """Return the error for one of `connection_errors()`.

    `begun`: the answer had begun, so that a lost connection means a broken answer.
    """
    import aiohttp
    import httpx2

    match error:
        case aiohttp.ClientHttpProxyError():
            said = f"{backend} could not be reached: the proxy refused it with HTTP {error.status}."
            return BackendUnreachable(said, backend=backend)
        case httpx2.ConnectTimeout() | aiohttp.ConnectionTimeoutError():
            return BackendUnreachable(f"{backend} could not be reached in time.", backend=backend)
        case httpx2.TimeoutException() | TimeoutError():
            return BackendTimeout(f"{backend} did not answer in time.", backend=backend)
        case httpx2.UnsupportedProtocol() | httpx2.InvalidURL() | aiohttp.InvalidURL():
            return BackendMisconfigured(f"The address of {backend} is not a URL.", backend=backend)
        case httpx2.ReadError() | httpx2.RemoteProtocolError() | aiohttp.ClientPayloadError():
            return BackendBroken(f"The connection to {backend} broke.", backend=backend)
        case httpx2.DecodingError() | httpx2.StreamError() | aiohttp.ClientResponseError():
            return BackendBroken(f"{backend} sent an answer that cannot be read.", backend=backend)
        case _ if begun:
            return BackendBroken(f"The connection to {backend} broke.", backend=backend)
        case _:
            return BackendUnreachable(f"{backend} could not be reached.", backend=backend)
