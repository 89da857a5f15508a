"""Attachments of messages: data URIs and the types of their content.

Source: RFC 2397, "The data URL scheme". Callers often name a wrong picture type, which clouds
refuse, so pictures are recognised by their first bytes.
"""

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

PDF: Final = "application/pdf"
_DATA_URI: Final = re.compile(r"data:([\w.+/-]*)((?:;[\w.+=\"-]+)*?)(;base64)?,", re.IGNORECASE)
_BEGINNINGS: Final = {  # in base64
    "/9j/": "image/jpeg",
    "iVBORw": "image/png",
    "R0lGOD": "image/gif",
    "JVBERi": PDF,
}


def read_data_uri(uri: str) -> tuple[str, str] | None:
    """Return the media type (lower case, maybe empty) and the base64 of a data URI.

    None if the text is no data URI. Raises ValueError with the reason if its content is invalid.
    """
    if (head := _DATA_URI.match(uri)) is None:
        return None
    data = uri[head.end() :]
    if not head[3]:
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    elif not is_base64(data):
        raise ValueError("The data URI does not hold valid base64.")
    if not data:
        raise ValueError("The data URI is empty.")
    return head[1].lower(), data


def is_base64(data: str) -> bool:
    """Return whether the text is valid base64."""
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def known_type(data: str) -> str | None:
    """Return the media type of a base64 picture or PDF by its first bytes; None if unknown."""
    if data.startswith("UklGR") and data[12:16] == "RUJQ":  # RIFF, four bytes, (W)EBP
        return "image/webp"
    return next((kind for start, kind in _BEGINNINGS.items() if data.startswith(start)), None)


def picture_type(media_type: str, data: str) -> str:
    """Return a picture's media type by its first bytes, else the one that its sender gives."""
    return known_type(data) or {"image/jpg": "image/jpeg"}.get(media_type, media_type)


def is_text(media_type: str) -> bool:
    """Return whether content of this media type is text."""
    return media_type.startswith("text/") or media_type == "application/json"
