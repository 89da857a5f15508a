"""Converts a text to one plain spelling, so that each privacy rule needs to match only that.

Undone are: JSON escapes at every level of nesting, percent-encoding, HTML entities, terminal
colours (also written out, as in `^[[32m` or `\\033[32m`), NUL and zero-width characters, and
typographic variants of characters (NFKC). A step that does not apply costs one search for the
character that it needs.
"""

import html
import re
import unicodedata
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
    r"\\(?:u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|U([0-9A-Fa-f]{8}))"
)
_AFTER_ESCAPE: Final = (
    r"(?:\[[0-9:;<=>?]{0,40}[A-Za-z]|\][^\x07\x1b\\^]{0,400}(?:\x07|\x1b\\|\\a|\^G)|\(B)"
)
_COLOUR: Final = re.compile(r"(?:\x1b|\^\[)" + _AFTER_ESCAPE)
_COLOUR_WRITTEN_OUT: Final = re.compile(
    r"\\(?:x1[bB]|0?33|[eE]|u001[bB]|u\{1[bB]\})" + _AFTER_ESCAPE
)
_PERCENT: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_ENTITY: Final = re.compile(
    r"&(?:#0{0,9}[0-9]{1,7};?|#[xX]0{0,9}[0-9A-Fa-f]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)"
)
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_DASH: Final = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")


def normalize(text: str) -> str:
    """Return the text in its plain spelling; the same object if nothing changes."""
    for _ in range(MOST_ROUNDS):
        plainer = _one_round(text)
        if plainer == text:
            break
        text = plainer
    return text


def _one_round(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", "")
    if "\x1b" in text or ("^" in text and "^[" in text):
        text = _COLOUR.sub("", text)
    if "\\" in text:
        text = _unescaped(_COLOUR_WRITTEN_OUT.sub("", text))
    if "%" in text and _PERCENT.search(text):
        text = unquote(text)
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    if not text.isascii():
        text = _DASH.sub("-", _INVISIBLE.sub("", text))
        if not unicodedata.is_normalized("NFKC", text):
            text = unicodedata.normalize("NFKC", text)
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
    return text.replace("\0", "\\")


def _by_number(escape: re.Match[str]) -> str:
    number = int(escape[1] or escape[2] or escape[3] or escape[4], 16)
    return chr(number) if 0 < number < 0x110000 else ""


def _character(entity: re.Match[str]) -> str:
    return html5.get(entity[0][1:]) or html.unescape(entity[0])
