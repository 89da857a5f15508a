"""A lock on a file that other processes respect, on every system: SQLite's, as for the journal."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

WAIT_S: Final = 5.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is an empty file beside it. Raises OSError after WAIT_S."""
    lock = path.with_name(f"{path.name}.lock")
    with suppress(FileExistsError):  # SQLite would let everyone read it
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with closing(sqlite3.connect(lock, timeout=WAIT_S, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            yield
    except sqlite3.Error as error:
        raise OSError(errno.ENOLCK, f"{lock.name}: {error}") from error
