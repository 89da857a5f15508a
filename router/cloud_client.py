"""The cloud backends. Importing them opens nothing; an SDK is imported when it is first used.

The clients and what they share are in `clouds/`, the formats in `wire/`.
"""

from router.clouds.claude_client import ClaudeBackend
from router.clouds.gemini_client import GeminiBackend
from router.compatible.backend import OpenAIBackend

__all__ = ["ClaudeBackend", "GeminiBackend", "OpenAIBackend"]
