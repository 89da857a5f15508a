"""Converter of Gemini's errors: `{"error": {"code", "message", "status", "details"}}`.

Source: google.rpc.Status with its ErrorInfo and RetryInfo details, as the Gemini API sends them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from router.errors import BackendError, BackendMisconfigured, BackendRejected, BackendUnfit
from router.privacy.redact import redact
from router.wire.failures import CONTEXT_LENGTH, NO_SUCH_MODEL, retry_after_s, status_failure

NAME: Final = "gemini"
MOST_CHARS: Final = 1000
"""Limit of an error message; a proxy may answer with a whole page."""

# A prompt that is too long has no code of its own, only prose.
_TOO_LONG: Final = re.compile(
    r"token count.{0,40}exceeds the maximum|exceeds the maximum number of (?:input )?tokens"
    r"|input (?:is|context is) too long",
    re.IGNORECASE | re.DOTALL,
)
_NO_FIELD: Final = re.compile(r"unknown name .{0,200}cannot find field", re.IGNORECASE | re.DOTALL)
_KEY_REASONS: Final = (
    "API_KEY_INVALID",
    "API_KEY_EXPIRED",
    "API_KEY_SERVICE_BLOCKED",
    "API_KEY_HTTP_REFERRER_BLOCKED",
)
_HTTP_STATUS: Final = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def unfit(message: str, param: str) -> BackendUnfit:
    """Return the error for a part of the request, `param`, that Gemini does not support."""
    return BackendUnfit(message, backend=NAME, param=param)


def failure(
    payload: Any,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
) -> BackendError:
    """Return the error for an error answer.

    `payload`: the parsed body, or an event of a stream; sometimes wrapped in a list. `status`: the
    HTTP status, if it was an error status.
    """
    if isinstance(payload, list) and payload:
        payload = payload[0]
    error = payload.get("error", payload) if isinstance(payload, Mapping) else {}
    if not isinstance(error, Mapping):
        error = {"message": str(error)}
    name = error.get("status")
    if status is None:
        code = error.get("code")
        known = _HTTP_STATUS.get(name, 500) if isinstance(name, str) else 500
        status = code if isinstance(code, int) and 400 <= code < 600 else known
    said = redact(str(error.get("message") or name or f"HTTP status {status}"), secrets).strip()
    said = said[:MOST_CHARS]
    if (
        status == 401
        or any(detail.get("reason") in _KEY_REASONS for detail in _details(error))
        or ("api key" in said.lower() and status in (400, 403))
    ):
        return BackendMisconfigured(f"Gemini refused GEMINI_API_KEY: {said}", backend=NAME)
    if status == 403:
        return BackendMisconfigured(
            f"Gemini does not let GEMINI_API_KEY do this: {said}", backend=NAME
        )
    if status == 404:
        return UnknownGeminiModel(
            f"Gemini has no such model; set GEMINI_MODEL to one it has. It said: {said}",
            backend=NAME,
            # At an address of the user's own any server may answer 404; Google gives a name.
            code=NO_SUCH_MODEL if name == "NOT_FOUND" else None,
        )
    if name == "FAILED_PRECONDITION":  # the account's country or billing, nothing in the request
        return BackendMisconfigured(
            f"Gemini does not serve the account of GEMINI_API_KEY: {said}", backend=NAME
        )
    if status == 400 and _TOO_LONG.search(said):
        return BackendRejected(said, backend=NAME, code=CONTEXT_LENGTH)
    if status == 400 and _NO_FIELD.search(said):
        return UnknownField(said, backend=NAME)
    return status_failure(status, said, backend=NAME, retry_after_s=_wait_s(error, headers or {}))


class UnknownGeminiModel(BackendMisconfigured):
    """The model does not exist, or not for this key, or not in this version of the API."""


class UnknownField(BackendRejected):
    """A field of the request is not part of this version of the API."""


def _wait_s(error: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait before a retry: of RetryInfo ("34.5s"), else of the header."""
    for detail in _details(error):
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and re.fullmatch(r"\d+(\.\d+)?s", delay):
            return float(delay[:-1])
    return retry_after_s(headers)


def _details(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = error.get("details")
    if not isinstance(details, list):
        return []
    return [detail for detail in details if isinstance(detail, Mapping)]
