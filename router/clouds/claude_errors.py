"""Claude's errors: those of the SDK and of refused requests, without keys."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import orjson

from router.clouds import claude_sdk
from router.clouds.calls import connection_errors, connection_failure
from router.clouds.direct import Refused
from router.errors import BackendError
from router.privacy.redact import redact
from router.wire.anthropic import claude
from router.wire.failures import retry_after_s

if TYPE_CHECKING:
    import anthropic

NAME: Final = "claude"


class ClaudeErrors:
    """Converts errors to BackendErrors, and removes the key from their messages."""

    def __init__(self, api_key: str | None) -> None:
        self._secrets = (api_key,) if api_key else ()

    @contextlib.contextmanager
    def translating(self, *, begun: bool = False) -> Iterator[None]:
        """Convert errors of the SDK and its libraries to BackendErrors without keys.

        `begun`: the answer has begun, so a lost connection means an answer that was cut off.
        """
        try:
            yield
        except BackendError as error:  # from inside the stream
            error.message = self._cleaned(error.message)
            error.args = (error.message,)
            raise
        except connection_errors() as error:
            raise connection_failure(error, backend=NAME, begun=begun) from None
        except claude_sdk.errors() as error:
            raise self._sdk_failure(error) from None

    def _sdk_failure(self, error: "anthropic.AnthropicError") -> BackendError:
        import anthropic

        if isinstance(error, anthropic.APIConnectionError):
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            return connection_failure(cause, backend=NAME)
        if not isinstance(error, anthropic.APIStatusError):
            return BackendError(self._cleaned(str(error)), backend=NAME)
        return self._refusal_of(error.body, error.status_code, error.response.headers)

    def refusal(self, refused: Refused) -> BackendError:
        """Return the error for an answer with an error status."""
        try:
            body = orjson.loads(refused.body)
        except orjson.JSONDecodeError:
            body = None
        return self._refusal_of(body, refused.status, refused.headers)

    def _refusal_of(self, body: object, status: int, headers: Mapping[str, str]) -> BackendError:
        detail = body.get("error") if isinstance(body, dict) else None
        if not isinstance(detail, dict):
            detail = {"message": f"Claude answered HTTP {status} without a readable error."}
        detail = detail | {"message": self._cleaned(str(detail.get("message") or ""))}
        return claude.failure(detail, status, retry_after_s(headers))

    def _cleaned(self, message: str) -> str:
        return redact(message, self._secrets)
