"""Converts a text to the plain spelling that the privacy rules search.

Undone are: JSON escapes at every level of nesting, octal escapes, percent-encoding, HTML entities,
terminal colours (also written out, as in `^[[32m` or `\\033[32m`), letters that are struck over,
NUL, control and invisible characters, and typographic variants of characters (NFKC). None of this
goes across the end of a line. A step that does not apply costs one search for the character that it
needs.
"""

import html
import re
import unicodedata
from functools import lru_cache
from html.entities import html5
from typing import Final
from urllib.parse import unquote

MOST_ROUNDS: Final = 8
"""Levels of encoding that are undone: JSON within JSON within an address, and so on."""

_MARKED: Final = {
    **{"\\\\": "\0", '\\"': '"', "\\/": "/", "\\'": "'", "\\_": "_"},
    **{"\\n": "\n", "\\r": "\r", "\\t": "\t"},
}
"""JSON's escapes, and Markdown's of `_`. A NUL, of which none is left by then, marks an escaped
backslash until the others are undone."""
_JSON_ESCAPE: Final = re.compile(r"\\[\\\"/'nrt_]")
_SPARSE: Final = 100
"""Characters for each escape from which on a search for escapes is faster than replacing all."""
_HEX_ESCAPE: Final = re.compile(
    r"\\(?:u{1,4}([0-9A-Fa-f]{4})|[ux]\{([0-9A-Fa-f]{1,6})\}|U([0-9A-Fa-f]{8})"
    r"|x([0-9A-Fa-f]{2})(?![0-9A-Fa-f]{26}))"  # as PostgreSQL writes bytes; hidden.py reads them
)
_OCTAL_ESCAPE: Final = re.compile(r"\\([0-3][0-7]{2})")
_AFTER_ESCAPE: Final = (
    r"(?:\[[0-9:;<=>?]{0,40}[A-Za-z]|\][^\n\x07\x1b\\^]{0,400}(?:\x07|\x1b\\|\\a|\^G)|\(B)"
)
_COLOUR: Final = re.compile(r"(?:\x1b|\^\[)" + _AFTER_ESCAPE + r"|\x9b[0-9:;<=>?]{0,40}[A-Za-z]")
_COLOUR_WRITTEN_OUT: Final = re.compile(
    r"\\(?:x1[bB]|0?33|[eE]|u001[bB]|u\{1[bB]\})" + _AFTER_ESCAPE
)
_PERCENT: Final = re.compile(r"%(?:u[0-9A-Fa-f]{2})?[0-9A-Fa-f]{2}")
_PERCENT_U: Final = re.compile(r"%u([0-9A-Fa-f]{4})")
_ENTITY: Final = re.compile(
    r"&(?:#0{0,9}[0-9]{1,7};?|#[xX]0{0,9}[0-9A-Fa-f]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)"
)
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\x80-\x84\x86-\x9f"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_ASCII: Final = bytes(range(128))
_FEW: Final = 8
"""Up to so many kinds of characters are replaced one by one, which is faster."""
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]+")
"""A second copy of ASCII in invisible characters."""
_TAG_OFFSET: Final = 0xE0000
_CONTROLS: Final = tuple(chr(code) for code in (*range(1, 9), *range(14, 27), *range(28, 32), 127))
_STRUCK_OVER: Final = re.compile(".\b")
_CONTROL: Final = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_DASH: Final = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")


def normalize(text: str) -> str:
    """Return the text in its plain spelling; the same object if nothing changes."""
    for _ in range(2 * MOST_ROUNDS):
        plainer = _without_escapes(text)
        if plainer == text:
            plainer = _in_plain_characters(text)
            if plainer == text:
                break
        text = plainer
    return text


def other_characters(data: bytes) -> set[str]:
    """Return the characters of a text in UTF-8 that are not in ASCII."""
    return set(data.translate(None, _ASCII).decode("utf-8", "ignore"))


@lru_cache(maxsize=4096)
def is_variant(character: str) -> bool:
    """Return whether `normalize` changes this character, or joins it to the one before."""
    return bool(
        _INVISIBLE.match(character)
        or _DASH.match(character)
        or not unicodedata.is_normalized("NFKC", character)
        or _joins(character)
    )


def _joins(character: str) -> bool:
    """Return whether NFKC may join this character to the one before."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"


def _without_escapes(text: str) -> str:
    """Undo one level of escapes, and remove control sequences of terminals."""
    if "\0" in text:
        text = text.replace("\0", "")
    if "\x1b" in text or "\x9b" in text or ("^" in text and "^[" in text):
        text = _COLOUR.sub("", text)  # first, as some of it ends with a control character
    if any(control in text for control in _CONTROLS):
        text = _CONTROL.sub("", _STRUCK_OVER.sub("", text))
    if "\\" in text:
        text = _unescaped(_COLOUR_WRITTEN_OUT.sub("", text))
    if "%" in text and _PERCENT.search(text):
        text = unquote(_PERCENT_U.sub(_by_number, text) if "%u" in text else text)
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    return text


def _in_plain_characters(text: str) -> str:
    """Remove invisible characters, and replace typographic variants."""
    if text.isascii():
        return text
    # The patterns are slow, and most of a text is ASCII: look at its other characters once each.
    others = "".join(other_characters(text.encode("utf-8", "surrogatepass")))
    if _TAGS.search(others):
        tags = "".join(_TAGS.findall(text))
        text += "\n" + "".join(chr(ord(tag) - _TAG_OFFSET) for tag in tags)
    if _INVISIBLE.search(others):
        text = _INVISIBLE.sub("", text)
    if _DASH.search(others):
        text = _DASH.sub("-", text)
    variants = [one for one in others if not unicodedata.is_normalized("NFKC", one)]
    plain = {one: unicodedata.normalize("NFKC", one) for one in variants[:_FEW]}
    if len(variants) > len(plain) or any(map(_joins, (*others, *"".join(plain.values())))):
        return unicodedata.normalize("NFKC", text)
    for one, characters in plain.items():  # each stands for itself, so this does the same
        text = text.replace(one, characters)
    return text


def _unescaped(text: str) -> str:
    """Undo one level of JSON's escapes; other backslashes stay."""
    if text.count("\\") * _SPARSE < len(text):
        text = _JSON_ESCAPE.sub(lambda escape: _MARKED[escape[0]], text)
    else:
        for escape, character in _MARKED.items():
            text = text.replace(escape, character)
    if "\\u" in text or "\\x" in text or "\\U" in text:
        text = _HEX_ESCAPE.sub(_by_number, text)
        if not text.isascii():  # halves of a pair that were escaped one by one
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if _OCTAL_ESCAPE.search(text):
        text = _OCTAL_ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), text)
    return text.replace("\0", "\\")


def _by_number(escape: re.Match[str]) -> str:
    number = int(escape[escape.lastindex or 0], 16)
    return chr(number) if 0 < number < 0x110000 else ""


def _character(entity: re.Match[str]) -> str:
    return html5.get(entity[0][1:]) or html.unescape(entity[0])
