"""All errors of the router, with the HTTP status that a caller gets.

    RouterError                     500
    ├─ InvalidRequest               400  the caller's body or header is wrong
    │  └─ UnknownResponse           400  previous_response_id names nothing that is kept here
    ├─ Unauthorized                 401  the caller's key is wrong or missing
    ├─ Forbidden                    403  this Host, Origin or key may not do that
    ├─ UnknownRoute                 404  no such path
    ├─ UnknownModel                 404  a path that names a model which is not there
    ├─ MethodNotAllowed             405
    ├─ Private                      409  must stay on this machine, but was forced to the cloud
    ├─ TooLarge                     413  the body is over MAX_BODY_MB
    ├─ BudgetSpent                  429  this key has used up its daily budget
    ├─ NoBackend                    503  nothing can answer; says what to start or set
    └─ BackendError                 502  a backend failed; `backend` names it
       ├─ BackendUnreachable        503  refused, reset, no route, side down or not configured
       ├─ BackendTimeout            504  connected, but silent for too long
       ├─ BackendBusy               429  rate limited, overloaded or queue full
       ├─ BackendUnfit              400  this backend cannot do it, another one may
       ├─ BackendMisconfigured      502  it refuses the configured key or model name
       ├─ BackendBroken             502  answered with nothing usable (cut off, not JSON)
       │  └─ NoUsableAnswer         502  empty, or a tool call that cannot be run
       │     └─ UnsureAnswer        502  the model's own probabilities are too low
       └─ BackendRejected           400  the request itself is wrong; no other is tried

`retryable` says whether the next candidate is worth trying; only the router acts on it.
"""

from collections.abc import Mapping
from typing import ClassVar


class RouterError(Exception):
    """A failure with its HTTP status and its OpenAI error type and code."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.request_id: str | None = None
        """The id of the request that failed, as in /decisions, once it is known."""
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class InvalidRequest(RouterError):
    """The caller's request is wrong; the message says which field and what is allowed."""

    status = 400
    type = "invalid_request_error"


class UnknownResponse(InvalidRequest):
    """The response of `previous_response_id` is not kept here."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"The response `{response_id}` of `previous_response_id` is not kept here, or no"
            " longer: send the whole conversation in `input`.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
        self.response_id = response_id


class Unauthorized(RouterError):
    """The caller's key is missing or unknown."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(RouterError):
    """The Host or Origin is not allowed (DNS rebinding, another site's page), or the key does not
    allow this."""

    status = 403
    type = "invalid_request_error"
    code = "forbidden"


class UnknownRoute(RouterError):
    """No such path."""

    status = 404
    type = "invalid_request_error"
    code = "unknown_url"


class UnknownModel(RouterError):
    """No such model id."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_found"


class MethodNotAllowed(RouterError):
    """The path exists, for another method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class Private(RouterError):
    """The request holds something private, and was forced to the cloud."""

    status = 409
    type = "invalid_request_error"
    code = "private"


class TooLarge(RouterError):
    """The body is larger than MAX_BODY_MB."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class BudgetSpent(RouterError):
    """Today's budget of a member of the team is spent, and only the cloud would answer."""

    status = 429
    type = "insufficient_quota"
    code = "budget_spent"


class NoBackend(RouterError):
    """Nothing can answer; the message says what to start or set."""

    status = 503
    code = "no_backend"


class BackendError(RouterError):
    """A backend failed. `backend` is its name: "local", "claude", "gemini", "embedded"."""

    status = 502
    type = "upstream_error"
    code: str | None = "upstream_error"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        backend: str,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(
            message, param=param, code=code, status=status, retry_after_s=retry_after_s
        )
        self.backend = backend


class BackendUnreachable(BackendError):
    """No connection: refused, reset, no route; or the side is down or not configured."""

    status = 503
    code = "upstream_unreachable"


class BackendTimeout(BackendError):
    """Connected, but silent for longer than a time limit allows."""

    status = 504
    code = "upstream_timeout"


class BackendBusy(BackendError):
    """Rate limited, overloaded, or its queue is full."""

    status = 429
    type = "rate_limit_error"
    code = "upstream_busy"


class BackendUnfit(BackendError):
    """This backend cannot express the request; another may. `param` names the part."""

    status = 400
    type = "invalid_request_error"
    code = "unsupported_by_backend"


class BackendMisconfigured(BackendError):
    """The backend refuses the configured key or model name; the message names the setting."""

    type = "upstream_auth"
    code = "upstream_auth"


class BackendBroken(BackendError):
    """It answered with nothing usable: empty, cut off, or not in its format."""

    code = "upstream_broken"


class NoUsableAnswer(BackendBroken):
    """The model's answer is of no use to the caller. Its server works."""

    code = "no_usable_answer"


class UnsureAnswer(NoUsableAnswer):
    """The model is too unsure of its answer. `trust`: figures for the journal."""

    code = "unsure_answer"

    def __init__(self, message: str, *, backend: str, trust: Mapping[str, float]) -> None:
        super().__init__(message, backend=backend)
        self.trust = trust


class BackendRejected(BackendError):
    """The request itself is wrong; every backend would refuse it."""

    status = 400
    type = "invalid_request_error"
    code = None
    retryable = False
