"""Files that go with a question: texts between fences, pictures as image parts."""

import base64
import codecs
import os
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chat.errors import ChatError
from chat.text import fenced, visible

MOST_PICTURE_BYTES: Final = 5 * 2**20
"""The smallest limit of the clouds (Claude's)."""
SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
"""First bytes of the kinds of pictures that every side takes, except WebP."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that was read. A picture has its data as a data URI, any other file its text."""

    name: str
    text: str = ""
    picture: str = ""

    @property
    def size(self) -> str:
        """Return the size in words."""
        if self.picture:
            return f"a picture, {len(self.picture) * 3 // 4 / 1000:.0f} kB"
        return f"{len(self.text):,} characters"


def read_attachment(path: str, most_bytes: int) -> Attachment:
    """Read a file, of at most this size. Raises ChatError."""
    file = _path(path)
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise ChatError(f"{path} is not a file.")
        with file.open("rb") as opened:
            data = opened.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        raise ChatError(f"{path}: {getattr(error, 'strerror', None) or error}.") from None
    name = visible(file.name.encode("utf-8", "replace").decode())
    if len(data) > most_bytes:
        raise ChatError(f"{name} is larger than MAX_BODY_MB={most_bytes / 2**20:g}.")
    if kind := _picture_type(data):
        if len(data) > MOST_PICTURE_BYTES:
            most_mb = MOST_PICTURE_BYTES // 2**20
            raise ChatError(f"{name} is larger than {most_mb} MB: make the picture smaller.")
        return Attachment(name, picture=f"data:{kind};base64,{base64.b64encode(data).decode()}")
    return Attachment(name, text=_text(data, name))


def content_of(question: str, attached: Sequence[Attachment]) -> str | list[dict[str, Any]]:
    """Return the content of a message: the question, the files' texts, then the pictures."""
    texts = [f"{one.name}:\n{fenced(one.text)}" for one in attached if not one.picture]
    text = "\n\n".join([question, *texts])
    pictures = [one.picture for one in attached if one.picture]
    if not pictures:
        return text
    parts = [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
    return [{"type": "text", "text": text}, *parts]


def _path(given: str) -> Path:
    """Return the path without the quotes or escapes that a terminal adds to a dropped file."""
    path = Path(given).expanduser() if "\0" not in given else Path()
    if os.path.exists(path):
        return path
    try:
        words = shlex.split(given)
    except ValueError:
        return path
    return Path(words[0]).expanduser() if len(words) == 1 else path


def _picture_type(data: bytes) -> str:
    """Return the media type of a picture that every side takes, "" for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in SIGNATURES if data.startswith(start)), "")


def _text(data: bytes, name: str) -> str:
    """Return a file as text. Raises ChatError if it is no text, or empty."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data:
        raise ChatError(f"{name} is neither a text nor a picture (PNG, JPEG, GIF, WebP).")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    text = text.replace("\r\n", "\n").rstrip("\n")
    if not text.strip():
        raise ChatError(f"{name} is empty.")
    return text
