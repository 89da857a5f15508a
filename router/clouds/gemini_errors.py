"""Gemini's errors: those of the SDK and of refused requests, without keys."""

import contextlib
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Final

import orjson

from router.clouds.calls import connection_errors, connection_failure
from router.clouds.direct import Refused
from router.errors import BackendBroken, BackendError, BackendMisconfigured, BackendUnfit
from router.privacy.redact import redact
from router.wire.gemini import generate_content

NAME: Final = "gemini"


class GeminiErrors:
    """Converts errors to BackendErrors, and removes the key from their messages."""

    def __init__(self, api_key: str | None) -> None:
        self._secrets = (api_key,) if api_key else ()

    @contextlib.contextmanager
    def translating(self) -> Iterator[None]:
        """Convert errors of the SDK and its libraries to BackendErrors without keys."""
        from google.genai import errors

        try:
            yield
        except errors.APIError as error:
            headers = getattr(error.response, "headers", {})
            raise generate_content.failure(
                error.details, error.code, headers, self._secrets
            ) from None
        except connection_errors() as error:
            raise connection_failure(error, backend=NAME) from None
        except RecursionError:
            message = "The request is nested too deeply for Gemini."
            raise BackendUnfit(message, backend=NAME) from None
        except (UnicodeDecodeError, JSONDecodeError, errors.UnknownApiResponseError):
            raise BackendBroken(
                "Gemini sent an answer that cannot be read.", backend=NAME
            ) from None
        except ValueError as error:  # the SDK itself refuses a key, an address or a model
            said = redact(str(error).partition("\n")[0], self._secrets)
            raise BackendMisconfigured(
                f"GEMINI_API_KEY, GEMINI_BASE_URL or GEMINI_MODEL cannot be used: {said}",
                backend=NAME,
            ) from None
        except BackendError as error:
            error.message = redact(error.message, self._secrets)
            error.args = (error.message,)
            raise

    def refusal(self, refused: Refused) -> BackendError:
        """Return the error for an answer with an error status."""
        try:
            said = orjson.loads(refused.body)
        except orjson.JSONDecodeError:
            said = {"message": refused.body.decode("utf-8", "replace"), "status": ""}
        return generate_content.failure(said, refused.status, refused.headers, self._secrets)
