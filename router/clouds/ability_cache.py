"""Abilities of Claude models on disk, so that they are known right after a restart.

One small JSON file: `{"models": {"<id>": {"efforts": […], …}}}`. It holds no keys and no prompts.
A file that cannot be read or written is treated as missing.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from router.wire.anthropic.claude_model import Abilities, from_json, to_json


class AbilityCache:
    """The file at `path`; None: keep nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def load(self) -> dict[str, Abilities]:
        """Return the stored abilities by model."""
        if self._path is None:
            return {}
        try:
            stored = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        models = stored.get("models") if isinstance(stored, dict) else None
        return {
            model: from_json(known)
            for model, known in (models if isinstance(models, dict) else {}).items()
            if isinstance(known, dict)
        }

    def save(self, models: Mapping[str, Abilities]) -> None:
        """Replace the file."""
        if self._path is None:
            return
        document = {"models": {model: to_json(known) for model, known in models.items()}}
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
            draft.replace(self._path)
