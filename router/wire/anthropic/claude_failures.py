"""Claude's error objects as the router's errors.

Source: Anthropic API reference, "Errors".
"""

from collections.abc import Mapping
from typing import Any, Final

from router.errors import BackendError, BackendMisconfigured
from router.wire.failures import CONTEXT_LENGTH, NO_SUCH_MODEL, status_failure
from router.wire.fields import text

BACKEND: Final = "claude"

# An error inside a stream has no HTTP status of its own.
_STATUS: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
# Failures of the account, not of the request, whatever status they come with.
_BILLING_CODES: Final = frozenset(
    [
        "contract_spend_limit_reached",
        "enforced_spend_limit_reached",
        "linked_organization_spend_limit_reached",
        "linked_organization_billing_unavailable",
        "user_profile_billing_not_authorized",
        "user_profile_not_billable",
    ]
)
_ACCOUNT_CODES: Final = frozenset(
    [
        "cmek_key_disabled",
        "cmek_key_network_blocked",
        "organization_not_eligible",
        "organization_not_enrolled_in_beta",
        "organization_on_hold",
        "organization_type_not_supported",
        "region_not_supported",
        "unsupported_region",
        "workspace_human_review_disabled",
        "workspace_policy_violation",
    ]
)
# Where there is no code, only prose. Lower case.
_TOO_LONG: Final = ("prompt is too long", "context limit", "context window", "context size")
_NO_CREDIT: Final = "credit balance is too low"


def failure(
    error: Mapping[str, Any], status: int | None = None, retry_after_s: float | None = None
) -> BackendError:
    """Return the error for Claude's error object: by code and type, then status, words last."""
    message = text(error, "message") or "Claude reported an error without a message."
    kind = text(error, "type")
    details = error.get("details")
    code = text(details, "error_code") if isinstance(details, Mapping) else ""
    if status is None or status < 400:
        status = _STATUS.get(kind, 500)
    if code in _BILLING_CODES or status == 402 or _NO_CREDIT in message.lower():
        return BackendMisconfigured(
            f"Claude's billing refused the request: {message} Check the plan and credit of the "
            "account that ANTHROPIC_API_KEY belongs to.",
            backend=BACKEND,
            code="upstream_billing",
        )
    if code in _ACCOUNT_CODES:
        return BackendMisconfigured(
            f"Claude does not serve the account of ANTHROPIC_API_KEY: {message}", backend=BACKEND
        )
    if status in (401, 403):
        return BackendMisconfigured(
            f"Claude refused the key: {message} Check ANTHROPIC_API_KEY.", backend=BACKEND
        )
    if status == 404:
        return BackendMisconfigured(
            f"Claude has no such model: {message} (ANTHROPIC_MODEL)",
            backend=BACKEND,
            code=NO_SUCH_MODEL,
        )
    if status in (400, 413) and any(phrase in message.lower() for phrase in _TOO_LONG):
        return status_failure(400, message, backend=BACKEND, param="messages", code=CONTEXT_LENGTH)
    return status_failure(
        status, message, backend=BACKEND, code=code or None, retry_after_s=retry_after_s
    )
