"""Collects all text of a JSON value, with attached files decoded.

Files come as data URIs (in base64 or percent-encoded) or as bare base64. The field depends on the
dialect, so every string is checked. Decoding makes a text shorter, so the work is bounded by the
size of the request.
"""

import base64
import binascii
import re
from typing import Any, Final
from urllib.parse import unquote_to_bytes

_SHORTEST: Final = 24
"""Shorter strings, in characters, are no files."""
_DEEPEST: Final = 3
"""Most levels of files within files."""
_DATA_URI: Final = re.compile(r"\s*data:[^,]{0,200},", re.IGNORECASE)
_BASE64: Final = re.compile(r"\s*[A-Za-z0-9+/_-]{24,}(?:\r?\n[A-Za-z0-9+/_-]+)*={0,2}\s*")
_NO_TEXT: Final = (
    *(b"%PDF-", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"PK\x03\x04", b"\x1f\x8b", b"OggS"),
    *(b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"\xff\xf9", b"\x00\x00\x00", b"BZh"),
)
"""First bytes of PDF files, pictures, audio and archives."""
_STANDARD: Final = str.maketrans("-_", "+/")
UNREADABLE: Final = bytes(byte for byte in range(256) if not (9 <= byte < 14 or 32 <= byte < 127))
"""Bytes that are not in plain text."""
_CONTAINERS: Final = (b"WEBP", b"WAVE", b"AIFF", b"AIFC")


def text_in(value: Any) -> str:
    """Return the texts of a JSON value, one a line; names stand before their values."""
    texts: list[str] = []
    _gather(value, texts)
    return "\n".join(texts)


def _gather(value: Any, texts: list[str]) -> None:
    match value:
        case str():
            texts.append(value)
            _decode(value, texts, _DEEPEST)
        case dict():
            for name, item in value.items():
                if isinstance(item, str):
                    texts.append(f'"{name}": "{item}"')
                    _decode(item, texts, _DEEPEST)
                else:
                    texts.append(name)
                    _gather(item, texts)
        case list():
            for item in value:
                _gather(item, texts)
        case int() | float() if not isinstance(value, bool):
            texts.append(str(value))


def _decode(text: str, texts: list[str], deepest: int) -> None:
    """Add the decoded text if this text is an encoded file."""
    if deepest == 0 or len(text) < _SHORTEST:
        return
    data = _decoded(text)
    if data is None:
        return
    try:
        # Even if it begins like a picture: `GIF8...` can be the first word of a text.
        decoded = data.decode()
    except UnicodeDecodeError:
        if data.startswith(_NO_TEXT) or data[8:12] in _CONTAINERS:
            return
        decoded = data.translate(None, UNREADABLE).decode("ascii")
    texts.append(decoded)
    _decode(decoded, texts, deepest - 1)


def _decoded(text: str) -> bytes | None:
    """Return the bytes of a data URI or of base64; None for other text."""
    if (head := _DATA_URI.match(text)) is not None:
        if not head.group().lower().rstrip(", ").endswith(";base64"):
            return unquote_to_bytes(text[head.end() :])
        text = text[head.end() :]
    elif not _BASE64.fullmatch(text):
        return None
    if "%" in text:
        text = unquote_to_bytes(text).decode("latin-1")
    digits = "".join(text.split()).translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4))
    except (binascii.Error, ValueError):
        return None
