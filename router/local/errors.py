"""What the failures mean that local servers report: by status first, then by their prose."""

import re
from typing import Final

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

# LM Studio gives most failures as prose, without a code; llama.cpp and Ollama some of them.
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
"""What this model cannot and another may. Jinja: its chat template refuses the order of roles."""


def failure(
    status: int, said: str, backend: str, model: str, retry_after_s: float | None = None
) -> BackendError:
    """The error for an answer with this status; `model` is the LOCAL_MODEL that was asked for."""
    said = f"The {backend} server said: {said[:2000]}"
    if _NOT_READY.search(said):
        return BackendUnreachable(said, backend=backend, code="local_not_ready")
    if _TOO_LONG.search(said):
        return BackendUnfit(said, backend=backend, code="context_length_exceeded")
    if status in (401, 403):
        fix = "Set LOCAL_API_KEY to a token that it accepts."
        return BackendMisconfigured(f"{_sentence(said)} {fix}", backend=backend)
    if status == 404:
        fix = f"Is LOCAL_MODEL={model} the name of one of its models?"
        return BackendMisconfigured(f"{_sentence(said)} {fix}", backend=backend)
    if status in (408, 504):
        return BackendTimeout(said, backend=backend)
    if status in (429, 503, 529):
        return BackendBusy(said, backend=backend, retry_after_s=retry_after_s)
    if _CANNOT.search(said):
        return BackendUnfit(said, backend=backend)
    if 400 <= status < 500:
        return BackendRejected(said, backend=backend, status=status)
    return BackendBroken(said, backend=backend)


def _sentence(said: str) -> str:
    said = said.rstrip()
    return said if said.endswith((".", "!", "?")) else f"{said}."
