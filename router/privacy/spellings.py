"""Reads a text in its plain spelling, and in the one that it is written in.

In most texts only a few lines have escapes or unusual characters. They are found with one search
for each mark that an escape begins with, and only they are converted (normalize.py).
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from router.privacy.hidden import hidden_in, unquoted
from router.privacy.key_shapes import places
from router.privacy.normalize import is_variant, normalize, other_characters
from router.privacy.runs import Run, Text

MOST_LAYERS: Final = 3
"""Layers of base64 that are undone: a login within a file of Docker within a Kubernetes secret."""

_ESCAPES: Final = (
    (b"\\", re.compile(rb"\\[\\\"/'nrt_uUxeE0-3]")),
    (b"%", re.compile(rb"%[u0-9A-Fa-f][0-9A-Fa-f]")),
    (b"&", re.compile(rb"&(?:#[0-9xX]|[A-Za-z][A-Za-z0-9]{1,31};)")),
    (b"^", re.compile(rb"\^\[")),
)
"""What an escape begins with, and a pattern that finds all of its kind and little else."""
_CONTROLS: Final = tuple(bytes([code]) for code in (*range(9), *range(14, 32), 127))
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_BYTES_A_PLACE: Final = 64
"""With more than one place to convert in so many bytes, the whole text is converted."""
_LEAST_PART: Final = 3
"""If the lines to convert are more than one part of so many, the whole text is converted."""
_FEW: Final = 100
"""Up to so many marks are looked at one by one, which is faster than a search for escapes."""
_CHUNK: Final = 256
"""Bytes of a text that are searched for variants of characters at a time."""
_MOST_VARIANTS: Final = 16
"""With more kinds of variants, the whole text is converted."""
_APART: Final = b"\n\v\n"
"""Stands between lines of different places. Nothing is undone across the end of a line."""


class Spellings(NamedTuple):
    """A text in UTF-8: in its plain spelling, and as it is written."""

    plain: bytes
    written: bytes
    """The lines that are written in another way than in `plain`; empty if there are none."""

    @classmethod
    def of(cls, text: str) -> "Spellings":
        """Read a text."""
        data = _as_bytes(text)
        lines = _lines_to_convert(data, text.isascii())
        if not lines:
            return cls(data, b"")
        pieces = [data[start:end] for start, end in lines]
        plain = _as_bytes(normalize(_as_text(_APART.join(pieces)))).split(_APART)
        if len(plain) != len(lines):  # the separator itself was written as an escape
            lines, pieces, plain = [(0, len(data))], [data], [_as_bytes(normalize(text))]
        changed = [old for old, new in zip(pieces, plain, strict=True) if old != new]
        return cls(_replaced(data, lines, plain), _APART.join(changed))


def readings(plain: bytes) -> Iterator[Text]:
    """Yield a text in its plain spelling, then its decoded and its joined parts."""
    read = Text.of(plain)
    yield read
    hidden = b"\n\n".join(filter(None, (unquoted(plain), hidden_in(read))))
    for _ in range(MOST_LAYERS):
        if not hidden:
            return
        read = Text.of(Spellings.of(_as_text(hidden)).plain)
        yield read
        hidden = hidden_in(read)


def _as_bytes(text: str) -> bytes:
    """Return the text in UTF-8, with halves of surrogate pairs, which a request may hold."""
    return text.encode("utf-8", "surrogatepass")


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _lines_to_convert(data: bytes, is_ascii: bool) -> list[Run]:
    """Return the lines that may not be in plain spelling; all as one if they are many."""
    whole = [(0, len(data))]
    most = len(data) // _BYTES_A_PLACE
    ends: list[int] = []
    for mark, pattern in _ESCAPES:
        few = list(islice(places(data, mark), _FEW))
        if len(few) < _FEW:
            ends += [at + 1 for at in few if pattern.match(data, at)]
        else:
            ends += [found.end() for found in islice(pattern.finditer(data), most + 1)]
    if any(control in data for control in _CONTROLS):
        ends += [found.end() for found in islice(_CONTROL.finditer(data), most + 1)]
    if not is_ascii:
        variants = _variants(data)
        if variants is None:
            return whole
        ends += islice(variants, most + 1)
    if len(ends) > most:
        return whole
    lines = _lines_around(sorted(ends), data)
    size = sum(end - start for start, end in lines)
    return whole if size * _LEAST_PART > len(data) else lines


def _variants(data: bytes) -> Iterator[int] | None:
    """Return where there are variants of characters; None if they are of many kinds."""
    # Most of a text is ASCII. Each chunk has all of the last character that begins in it.
    chunks = [
        (at, chunk)
        for at in range(0, len(data), _CHUNK)
        if not (chunk := data[at : at + _CHUNK + 3]).isascii()
    ]
    others = other_characters(b" ".join([chunk for _, chunk in chunks]))
    variants = [_as_bytes(one) for one in others if is_variant(one)]
    if len(variants) > _MOST_VARIANTS:
        return None
    return (
        start + at + 1
        for start, chunk in chunks
        for variant in variants
        if variant in chunk
        for at in places(chunk, variant)
    )


def _lines_around(ends: list[int], data: bytes) -> list[Run]:
    """Return the lines in which something ends at these places; neighbouring lines as one."""
    lines: list[Run] = []
    start, end = 0, -1
    for at in ends:
        if at <= end:
            continue
        begin = data.rfind(b"\n", 0, at - 1) + 1
        if begin != end + 1:
            lines.append((start, end))
            start = begin
        end = data.find(b"\n", at)
        if end < 0:
            end = len(data)
    lines.append((start, end))
    return [line for line in lines if line[1] >= 0]


def _replaced(data: bytes, places: list[Run], by: list[bytes]) -> bytes:
    parts, done = [], 0
    for (start, end), new in zip(places, by, strict=True):
        parts += [data[done:start], new]
        done = end
    return b"".join([*parts, data[done:]])
