"""The cloud backends. Importing them opens nothing; an SDK is imported when first used.

In `clouds/`, `claude_client.py` and `gemini_client.py` hold the calls, `claude_models.py` and
`gemini_models.py` what the providers say of their models, `calls.py` what both
have in common, `vault.py` the opaque data that must come back to the model that made it,
`pictures.py` the pictures that Gemini wants fetched. The formats are in `wire/`.
"""

from router.clouds.claude_client import ClaudeBackend
from router.clouds.gemini_client import GeminiBackend

__all__ = ["ClaudeBackend", "GeminiBackend"]
