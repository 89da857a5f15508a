"""What calls to any cloud have in common: time limits, and failures told in our words.

The clients map by SDK exception type, status and code first; here is what an HTTP status or a
broken connection means whichever cloud it came from.
"""

import asyncio
import email.utils
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnreachable,
)

CONTEXT_LENGTH: Final = "context_length_exceeded"
"""The code that clients look for to shorten a conversation."""

_KEY_SHAPES: Final = re.compile(
    r"sk-[\w-]{8,}|AIza[\w-]{16,}|(?i:bearer)\s+[\w.~+/=-]{8,}|(?<=[?&]key=)[^&\s\"']+"
)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a cloud may take, in seconds."""

    connect_s: float
    first_byte_s: float
    """From the request to the first byte of the answer."""
    idle_s: float
    """Between two pieces of an answer."""


async def paced(
    chunks: AsyncIterator[bytes], idle_s: float, backend: str
) -> AsyncGenerator[bytes, None]:
    """The chunks as they come; raises BackendTimeout when the next one takes too long."""
    try:
        while True:
            async with asyncio.timeout(idle_s):
                chunk = await anext(chunks)
            yield chunk
    except StopAsyncIteration:
        return
    except TimeoutError:
        raise BackendTimeout(
            f"{backend} stopped in the middle of its answer: nothing for {idle_s:g} s.",
            backend=backend,
        ) from None


def status_failure(
    status: int,
    message: str,
    *,
    backend: str,
    param: str | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> BackendError:
    """The failure that an HTTP error status stands for. `message` is the provider's own, cleaned."""
    match status:
        case 401 | 402 | 403 | 404:
            return BackendMisconfigured(message, backend=backend, code=code)
        case 408 | 504:
            return BackendTimeout(message, backend=backend, code=code)
        case 429:
            return BackendBusy(message, backend=backend, code=code, retry_after_s=retry_after_s)
        case 503 | 529:
            return BackendBusy(
                message, backend=backend, code=code, status=503, retry_after_s=retry_after_s
            )
        case 413:
            return BackendRejected(
                message, backend=backend, param=param, code=code or "request_too_large", status=413
            )
        case 409 | 425 | 499:
            return BackendError(message, backend=backend, code=code)
        case _ if 400 <= status < 500:
            return BackendRejected(message, backend=backend, param=param, code=code)
        case _:
            return BackendError(message, backend=backend, code=code, retry_after_s=retry_after_s)


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


def connection_failure(error: Exception, *, backend: str) -> BackendError:
    """The failure that one of `connection_errors()` stands for."""
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
        case httpx2.DecodingError() | httpx2.StreamError():
            return BackendBroken(f"{backend} sent what cannot be read.", backend=backend)
        case _:
            return BackendUnreachable(f"{backend} could not be reached.", backend=backend)


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait as a Retry-After header says, in seconds or as a date; None without one.

    `now`: seconds since the epoch.
    """
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, then - (time.time() if now is None else now))


def cleaned(message: str, secrets: Iterable[str] = ()) -> str:
    """A provider's message without our keys, and without anything else in the shape of a key."""
    for secret in secrets:
        message = message.replace(secret, "…")
    return _KEY_SHAPES.sub("…", message)
