"""Parts that both OpenAI formats share: the error object and the keep-alive comment."""

from typing import Any, Final

from router.errors import RouterError

KEEPALIVE: Final = b": keep-alive\n\n"


def error_body(error: RouterError) -> dict[str, Any]:
    """Return the error in OpenAI's shape."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }
