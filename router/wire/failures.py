"""The meaning of the failures that backends report: by HTTP status, error type and error code.

Clients and wire formats look at exception types and codes of their provider first; this module
holds what is the same for all providers.
"""

import email.utils
import re
import time
from collections.abc import Iterable, Mapping
from typing import Final

from router.errors import (
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
)

CONTEXT_LENGTH: Final = "context_length_exceeded"
"""The code at which clients shorten a conversation."""
NO_SUCH_MODEL: Final = "upstream_model"
"""The router's own code for a model that a cloud does not know."""
TOO_LONG_KINDS: Final = frozenset({CONTEXT_LENGTH, "exceed_context_size_error"})
"""Types and codes of an error that say that the prompt is too long."""

_STATUS_OF: Final[Mapping[str, int]] = {
    "429": 429,
    "rate_limit_error": 429,
    "503": 503,
    "529": 503,
    "overloaded_error": 503,
    "unavailable_error": 503,
    "400": 400,
    "422": 400,
    "invalid_request_error": 400,
}
"""HTTP status by type or code of an error inside an answer that began with status 200."""
_NUMBER: Final = re.compile(r"\d{1,9}(?:\.\d{0,9})?", re.ASCII)


def status_of(kinds: Iterable[str]) -> int | None:
    """Return the HTTP status that the types and codes of an error stand for; None if unknown."""
    known = {_STATUS_OF[kind] for kind in kinds if kind in _STATUS_OF}
    return max(known, default=None)


def status_failure(
    status: int,
    message: str,
    *,
    backend: str,
    param: str | None = None,
    code: str | None = None,
    retry_after_s: float | None = None,
) -> BackendError:
    """Return the error for an HTTP status. `message` is the provider's, free of keys."""
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
    """Return the seconds that a Retry-After header asks to wait; None without one.

    The header holds seconds or a date. `now`: seconds since 1970.
    """
    value = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, then - (time.time() if now is None else now))
