"""The meaning of the errors of local servers: by status and code first, then by their prose."""

import re
from collections.abc import Set
from typing import Final, NamedTuple

import orjson

from router.errors import (
    BackendBroken,
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendRejected,
    BackendTimeout,
    BackendUnfit,
    BackendUnreachable,
)
from router.http.answer import MOST_ERROR_BYTES, Answer, CutOff, HttpError, Unreadable
from router.local.servers import setting_of
from router.privacy.redact import redact
from router.wire.chat.relay import ReportedError, in_band_error
from router.wire.failures import CONTEXT_LENGTH, TOO_LONG_KINDS, retry_after_s, status_of

FAILED: Final = (HttpError, TimeoutError)
"""Errors of the HTTP client."""
MOST_CHARS: Final = 2000
"""Limit of an error message."""
RETRY_S: Final = 5.0
"""How long to wait for a server that is loading or overloaded and names no time."""

# LM Studio reports most errors as prose, without a code; llama.cpp and Ollama some of them.
_NOT_READY: Final = re.compile(
    r"no models? (?:is |are )?(?:currently )?loaded|model (?:is |has been )?(?:unloaded|not loaded)"
    r"|has crashed|failed to load|engine protocol start|channel error|loading model",
    re.IGNORECASE,
)
_TOO_LONG: Final = re.compile(
    r"context (?:length|size|window|overflow|the overflow)|n_ctx|n_keep|maximum context"
    r"|exceeds? the (?:available )?context",
    re.IGNORECASE,
)
_CANNOT: Final = re.compile(
    r"does not support (?:images?|tools|vision)|image input is not supported|base64 encoded image"
    r"|response_format|tool_choice|jinja",
    re.IGNORECASE,
)
"""Parts of a request that another model may support. Jinja: the chat template refuses the roles."""
_NO_SUCH_MODEL: Final = re.compile(
    r"model\b.{0,200}\b(?:not found|does not exist|not exist|unknown)"
    r"|(?:no such|unknown|invalid) model",
    re.IGNORECASE | re.DOTALL,
)


class Refusal(NamedTuple):
    """An answer with an error status."""

    status: int
    error: ReportedError
    wait_s: float | None
    """Seconds until a retry, if the server says so."""

    @property
    def is_unknown_model(self) -> bool:
        """Return whether the server lacks the model; some say so with status 400."""
        if self.status == 404 or "model_not_found" in self.error.kinds:
            return True
        return self.status in (400, 422) and bool(_NO_SUCH_MODEL.search(self.error.message))


async def read_refusal(answer: Answer) -> Refusal:
    """Read an answer with an error status. Raises what reading raises."""
    raw = await answer.read(MOST_ERROR_BYTES)
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    error = in_band_error(body) if isinstance(body, dict) else None
    header = {"retry-after": answer.headers.get(b"retry-after", b"").decode("latin-1")}
    return Refusal(answer.status, error or ReportedError(answer.reason), retry_after_s(header))


class LocalErrors:
    """Makes the errors of one server, without the key that it was sent."""

    def __init__(self, backend: str, base_url: str, key: str) -> None:
        self._backend = backend
        self._base_url = base_url
        self._key = key

    def reported(
        self, status: int, error: ReportedError, model: str, wait_s: float | None = None
    ) -> BackendError:
        """Return the error that the server reports; `model` is the one that was asked for."""
        said = redact(error.message, (self._key,))  # before it is cut: half a key is not found
        return failure(status, said, self._backend, model, wait_s, error.kinds)

    def broken(self, how: str) -> BackendBroken:
        """Return the error for an unusable answer; `how` continues "The local server"."""
        return BackendBroken(f"The {self._backend} server {how}.", backend=self._backend)

    def of_client(self, error: Exception, over_s: float | None = None) -> BackendError:
        """Return the error for one of `FAILED`.

        `over_s`: the time for a whole answer, in seconds, if that is over.
        """
        if isinstance(error, TimeoutError):
            how = "was silent for too long"
            if over_s is not None:
                how = f"did not end its answer within {over_s:g} s"
            return BackendTimeout(f"The {self._backend} server {how}.", backend=self._backend)
        if isinstance(error, CutOff):
            return self.broken("was cut off in the middle of an answer")
        if isinstance(error, Unreadable):
            return self.broken(f"answered with something unreadable ({error})")
        why = f" ({error})" if str(error) else ""
        message = (
            f"The {self._backend} server at {self._base_url} does not answer{why}. Is it running?"
        )
        return BackendUnreachable(message, backend=self._backend)


def failure(
    status: int,
    said: str,
    backend: str,
    model: str,
    wait_s: float | None = None,
    kinds: Set[str] = frozenset(),
) -> BackendError:
    """Return the error for an answer with this status.

    `said`: the server's words. `model`: the one that was asked for. `wait_s`: seconds until a
    retry. `kinds`: type and code of the error; they give the status of an error inside an answer
    that began with status 200.
    """
    said = f"The {backend} server said: {said[:MOST_CHARS]}"
    if status == 200:
        status = status_of(kinds) or status
    if _NOT_READY.search(said):
        return BackendUnreachable(
            said, backend=backend, code="local_not_ready", retry_after_s=wait_s or RETRY_S
        )
    if kinds & TOO_LONG_KINDS or _TOO_LONG.search(said):
        return BackendUnfit(said, backend=backend, code=CONTEXT_LENGTH)
    if status in (401, 403):
        fix = f"Set {setting_of(backend, 'key')} to a token that it accepts."
        return BackendMisconfigured(f"{_sentence(said)} {fix}", backend=backend)
    if status == 404:
        setting = setting_of(backend, "model")
        fix = f"Is {model} the name of one of its models? Set {setting} to the model to ask for."
        return BackendMisconfigured(f"{_sentence(said)} {fix}", backend=backend)
    if status in (408, 504):
        return BackendTimeout(said, backend=backend)
    if status == 429:
        return BackendBusy(said, backend=backend, retry_after_s=wait_s)
    if status in (503, 529):
        return BackendBusy(said, backend=backend, status=503, retry_after_s=wait_s or RETRY_S)
    if _CANNOT.search(said):
        return BackendUnfit(said, backend=backend)
    if 400 <= status < 500:
        return BackendRejected(said, backend=backend, status=status)
    return BackendBroken(said, backend=backend)


def _sentence(said: str) -> str:
    said = said.rstrip()
    return said if said.endswith((".", "!", "?")) else f"{said}."
