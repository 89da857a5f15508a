"""Folders that tests read from."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The checkout."""
RECORDINGS: Final = ROOT / "tests" / "recordings"
"""Requests of real clients and answers of real servers."""
