"""Ids that cannot be guessed."""

import os
from typing import Final

ID_BYTES: Final = 12
BLOCK_IDS: Final = 256
"""Ids whose random bytes are read at a time: the system call takes longer than the rest."""

_unused: list[str] = []


def new_id() -> str:
    """Return 24 hexadecimal digits of the system's random bytes."""
    if not _unused:
        digits = os.urandom(ID_BYTES * BLOCK_IDS).hex()
        width = 2 * ID_BYTES
        _unused.extend([digits[i : i + width] for i in range(0, len(digits), width)])
    return _unused.pop()
