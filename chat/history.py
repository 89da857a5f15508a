"""The lines typed in this session and earlier ones, in a file that only the user can read."""

from pathlib import Path

import platformdirs
from prompt_toolkit.history import FileHistory, History, InMemoryHistory


class KeptHistory(FileHistory):
    """Lines of this session and earlier ones. Only `keep` writes one to the file."""

    def __init__(self, path: Path, *, is_new: bool) -> None:
        super().__init__(str(path))
        self.path = path
        self.is_new = is_new

    def store_string(self, string: str) -> None:
        """Leave the file alone: whether the line is private is not known yet."""

    def keep(self, line: str) -> None:
        """Write a line to the file."""
        super().store_string(line)


def open_history() -> History:
    """Return the history in the user's data folder."""
    path = platformdirs.user_data_path("llm-router", appauthor=False) / "chat_history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not path.exists()
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return KeptHistory(path, is_new=is_new)
