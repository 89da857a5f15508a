"""Converter of the content parts of a chat message to Claude's content blocks.

Source: OpenAI API reference, "Chat Completions"; Anthropic API reference, "Messages", "Vision",
"PDF support".
"""

import base64
from typing import Any, Final

from router.errors import BackendUnfit
from router.wire.anthropic.claude_cache import Block, mark_of
from router.wire.anthropic.claude_model import Abilities
from router.wire.attachments import PDF, is_text, known_type, picture_type, read_data_uri

PICTURES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_MAX_TITLE: Final = 500


def unfit(message: str, param: str) -> BackendUnfit:
    """Return the error for a part of the request, `param`, that Claude does not support."""
    return BackendUnfit(message, backend="claude", param=param)


def text_block(text: str) -> list[Block]:
    """Return one block, or none for blank text, which Claude refuses."""
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def blocks(content: Any, where: str, abilities: Abilities) -> list[Block]:
    """Return the blocks of a message's content. Raises BackendUnfit for unreadable parts."""
    if content is None:
        return []
    if isinstance(content, str):
        return text_block(content)
    found: list[Block] = []
    for i, part in enumerate(content):
        made = _blocks_of(part, f"{where}.content[{i}]", abilities)
        if made and (mark := mark_of(part)) is not None:
            made[-1]["cache_control"] = mark
        found += made
    return found


def _blocks_of(part: dict[str, Any], where: str, abilities: Abilities) -> list[Block]:
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return text_block(text)
        case {"type": "refusal", "refusal": str(text)}:
            return text_block(text)
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return [_picture(url, where, abilities)]
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            return [_picture(url, where, abilities)]
        case {"type": "file", "file": dict(file)}:
            return [_file(file, where, abilities)]
        case {"type": "input_file"}:
            return [_file(part, where, abilities)]
        case {"type": "input_audio"}:
            raise unfit("Claude takes no audio.", where)
        case {"type": kind}:
            raise unfit(f"Claude cannot read a content part of type {kind!r} in this form.", where)
    raise unfit("Claude cannot read this content part.", where)


def _picture(url: str, where: str, abilities: Abilities) -> Block:
    if abilities.images is False:
        raise unfit("This Claude model cannot see pictures.", where)
    if url[:8].lower() == "https://":
        return {"type": "image", "source": {"type": "url", "url": url}}
    media_type, data = _data(url, where, "A picture must be a data URI or an https address.")
    return _picture_block(media_type, data, where)


def _picture_block(media_type: str, data: str, where: str) -> Block:
    kind = picture_type(media_type, data)
    if kind not in PICTURES:
        raise unfit(f"Claude reads JPEG, PNG, GIF and WebP pictures, not {kind!r}.", where)
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def _file(file: dict[str, Any], where: str, abilities: Abilities) -> Block:
    name = file.get("filename")
    title = {"title": name[:_MAX_TITLE]} if isinstance(name, str) and name else {}
    url = file.get("file_url")
    if isinstance(url, str) and url[:8].lower() == "https://":
        return {"type": "document", "source": {"type": "url", "url": url}} | title
    given = file.get("file_data")
    if not isinstance(given, str) or not given:
        raise unfit("Claude cannot read a file that is not sent along (`file_data`).", where)
    if known_type(given) == PDF:  # base64 without the data URI around it
        given = f"data:{PDF};base64,{given}"
    media_type, data = _data(given, where, "`file_data` must be a data URI.")
    if media_type.startswith("image/"):
        return _picture_block(media_type, data, where)
    if is_text(media_type):
        text = base64.b64decode(data).decode("utf-8", "replace")
        source = {"type": "text", "media_type": "text/plain", "data": text}
        return {"type": "document", "source": source} | title
    if media_type != PDF:
        raise unfit(f"Claude reads PDF, text and picture files, not {media_type!r}.", where)
    if abilities.pdfs is False:
        raise unfit("This Claude model cannot read PDF files.", where)
    source = {"type": "base64", "media_type": PDF, "data": data}
    return {"type": "document", "source": source} | title


def _data(uri: str, where: str, otherwise: str) -> tuple[str, str]:
    """Return media type and base64 of a data URI.

    Raises BackendUnfit, with the message `otherwise` if it is no data URI.
    """
    try:
        found = read_data_uri(uri)
    except ValueError as error:
        raise unfit(str(error), where) from None
    if found is None:
        raise unfit(otherwise, where)
    return found
