"""Errors of the clouds: the API key is removed from their messages."""

import pytest

from router.clouds.claude_errors import ClaudeErrors
from router.clouds.gemini_errors import GeminiErrors
from router.errors import BackendBroken, BackendError

KEY = "open sesame, mountain"


@pytest.mark.parametrize("errors", [ClaudeErrors(KEY), GeminiErrors(KEY)], ids=["claude", "gemini"])
def test_an_error_from_within_a_stream_has_no_key(errors: ClaudeErrors | GeminiErrors) -> None:
    with pytest.raises(BackendBroken) as caught, errors.translating():
        raise BackendBroken(f"The key {KEY} is out of order.", backend="cloud")
    assert caught.value.message == "The key [redacted] is out of order."
    assert KEY not in str(caught.value)


def test_an_error_of_the_sdk_has_no_key() -> None:
    with pytest.raises(BackendError) as caught, GeminiErrors(KEY).translating():
        raise ValueError(f"Header value {KEY!r} is not allowed.")
    assert "GEMINI_API_KEY" in caught.value.message
    assert KEY not in caught.value.message
