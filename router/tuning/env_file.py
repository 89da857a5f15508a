"""Change one setting in a `.env` file and leave every other byte as it is."""

import os
import re
import tempfile
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream


def write_setting(path: Path, name: str, value: str) -> None:
    """Set `name` where the file sets it, else at its end. Replaces the file in one step.

    Comments, line ends, a link and the file's permissions stay; a new file is its owner's alone.
    """
    path = path.resolve()
    before = path.read_bytes().decode("utf-8", "surrogateescape") if path.exists() else ""
    pieces, found = [], False
    for binding in parse_stream(StringIO(before, newline="")):
        piece = binding.original.string
        if binding.key is not None and binding.key.upper() == name:
            found = True
            piece = re.sub(
                r"""([ \t]*=[ \t]*)('[^']*'|"[^"]*"|[^\s#]*)""",
                lambda match: match[1] + value,
                piece,
                count=1,
            )
        pieces.append(piece)
    if not found:
        newline = "\r\n" if "\r\n" in before else "\n"
        start = "" if not before or before.endswith("\n") else newline
        pieces.append(f"{start}{name}={value}{newline}")
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write("".join(pieces).encode("utf-8", "surrogateescape"))
        os.chmod(beside, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)  # it holds the keys of the original
        raise
