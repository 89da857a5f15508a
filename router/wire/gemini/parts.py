"""Converter of the content parts of a chat message to Gemini's parts.

Source: OpenAI API reference, "Chat Completions"; Gemini API reference, "Content", "Image
understanding", "Audio understanding", "Document understanding".
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from router.request import ChatRequest
from router.wire.attachments import PDF, is_base64, is_text, known_type, picture_type, read_data_uri
from router.wire.gemini.rpc_status import unfit

Part = dict[str, Any]
Fetched = Mapping[str, tuple[bytes, str]]
"""Pictures by their URL, each with the media type of its server."""

_PICTURES: Final = frozenset(
    ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif", "image/gif", "image/avif"]
)
_AUDIO: Final = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
}
_URL: Final = re.compile(r"https?://", re.IGNORECASE)


def picture_urls(request: ChatRequest) -> dict[str, str]:
    """Return the URLs of pictures to fetch first, each with the path of its part."""
    urls: dict[str, str] = {}
    for i, message in enumerate(request.messages):
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            url = _picture_url(part)
            if url is not None and _URL.match(url):
                urls.setdefault(url, f"messages[{i}].content[{j}]")
    return urls


def parts(content: Any, where: str, fetched: Fetched) -> list[Part]:
    """Return the parts of a message's content. Raises BackendUnfit for unreadable parts."""
    if content is None:
        return []
    if isinstance(content, str):
        return text_part(content)
    found = (_part(part, f"{where}.content[{j}]", fetched) for j, part in enumerate(content))
    return [part for part in found if part.get("text") != ""]


def text_part(text: str) -> list[Part]:
    """Return one part, or none for empty text, which Gemini refuses."""
    return [{"text": text}] if text else []


def _part(part: Mapping[str, Any], where: str, fetched: Fetched) -> Part:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return {"text": text}
        case {"type": "refusal", "refusal": str(text)}:
            return {"text": text}
        case {"type": "image_url" | "input_image"} if (url := _picture_url(part)) is not None:
            return _picture(url, where, fetched)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(kind)}}:
            if kind not in _AUDIO:
                raise unfit(f"Gemini does not take audio in the format {kind!r}.", where)
            return _inline(_AUDIO[kind], data, where)
        case {"type": "file", "file": {"file_data": str(data)}} if data:
            return _file(data, where)
        case {"type": "file"}:
            raise unfit("Gemini cannot read a file that is not sent along (`file_data`).", where)
    raise unfit(f"Gemini cannot take a part of type {part['type']!r} like this.", where)


def _picture_url(part: Mapping[str, Any]) -> str | None:
    if part.get("type") not in ("image_url", "input_image"):
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    return url if isinstance(url, str) else None


def _picture(url: str, where: str, fetched: Fetched) -> Part:
    if (found := fetched.get(url)) is not None:
        return _seen(found[1], base64.b64encode(found[0]).decode(), where)
    if (given := _data(url, where)) is None:
        raise unfit("Gemini takes a picture as a data: or https: URL.", where)
    return _seen(*given, where)


def _seen(media_type: str, data: str, where: str) -> Part:
    kind = picture_type(media_type, data)
    if kind not in _PICTURES:
        raise unfit(f"Gemini does not take pictures of type {kind or 'unknown'}.", where)
    return _inline(kind, data, where)


def _file(given: str, where: str) -> Part:
    """Return a file: a PDF, text or picture as a data URI, or a PDF in bare base64."""
    if known_type(given) == PDF:
        return _inline(PDF, given, where)
    if (found := _data(given, where)) is None:
        raise unfit("`file_data` must be a data URI.", where)
    media_type, data = found
    if media_type.startswith("image/"):
        return _seen(media_type, data, where)
    if is_text(media_type):  # Gemini does not know every kind of text
        return _inline("text/plain", data, where)
    if media_type != PDF:
        raise unfit(f"Gemini takes PDF, text and picture files, not {media_type}.", where)
    return _inline(PDF, data, where)


def _data(uri: str, where: str) -> tuple[str, str] | None:
    try:
        return read_data_uri(uri)
    except ValueError as error:
        raise unfit(str(error), where) from None


def _inline(media_type: str, data: str, where: str) -> Part:
    if not data or not is_base64(data):
        raise unfit("The data of this part is not base64.", where)
    return {"inlineData": {"mimeType": media_type, "data": data}}
