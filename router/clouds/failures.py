"""Failures of a cloud told in our words, whichever cloud it was. Pure; no SDK in sight.

The clients and the wire formats branch on SDK exception type, status and error code first; here
is what an HTTP status means.
"""

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Final

from router.errors import (
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
)

CONTEXT_LENGTH: Final = "context_length_exceeded"
"""The code that clients look for to shorten a conversation."""

NO_SUCH_MODEL: Final = "upstream_model"
"""Our code for a model that a cloud does not know."""

_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{0,9})?", re.ASCII)


def status_failure(
    status: int,
    message: str,
    *,
    backend: str,
    param: str | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> BackendError:
    """What an HTTP error status stands for. `message` is the provider's own, cleaned."""
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


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait as a Retry-After header says, in seconds or as a date; None without one.

    `now`: seconds since the epoch.
    """
    value = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, then - (time.time() if now is None else now))
