"""Finds the places of a text that can hold keys: 14 or more letters, digits, `_` and `-`."""

import re
from typing import Final, NamedTuple

Run = tuple[int, int]
"""The start and the end of a run."""
SHORTEST_RUN: Final = 14

_RUN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_MASK: Final = bytes(ord("x") if byte in _RUN_BYTES else ord(" ") for byte in range(256))
_LONG: Final = b"x" * SHORTEST_RUN
_DATA: Final = re.compile(rb"[A-Za-z0-9+/]{512,}+={0,2}")
_KINDS: Final = bytes(
    ord("9" if 48 <= byte <= 57 else "A" if 65 <= byte <= 90 else "-" if byte in b"_-" else "a")
    for byte in range(256)
)
_LONGEST_NAME: Final = 36
_LONGEST_KEY: Final = 64
"""Of small letters. Between these lengths there are few runs, and keys such as `hf_...`."""
_WORD_CHARS: Final = 8
"""Names have fewer changes of case than one in so many characters."""
_AWS_ID: Final = b"A" * 20
"""The kinds of the characters of an id without digits."""
_HEX: Final = b"0123456789abcdefABCDEF"
_UUID: Final = 36
_DIGESTS: Final = {
    name + mark: size
    for name, size in {b"sha1": 28, b"sha256": 44, b"sha384": 64, b"sha512": 88, b"h1": 44}.items()
    for mark in (b"-", b"=", b":")
}
"""Length of a file's digest in base64, by the text before it."""
_DIGEST_SIZES: Final = frozenset({32, 40, 64, 96, 128})
_TEXT_IN_HEX: Final = re.compile(rb"(?:[2-7][0-9A-Fa-f]|0[9ADad]){13}")
_DIGEST_NAMES: Final = (b"sha512-", b"h1:", b"sha256-", b"sha384-")
"""Names of digests that may hold `+` and `/`."""
_LONGEST_DIGEST: Final = 95
_S: Final = ord("s")
_WHEEL: Final = b".whl"
"""Ends the names of files with long names, of which lock files of Python have thousands."""
_DOT: Final = ord(".")
_COLON: Final = ord(":")
_LINE_END: Final = ord("\n")
STARTS_VALUE: Final = frozenset(b"=:\"'` >,(")
"""Characters before a value that has a name."""

_BEFORE: Final = 48
_BEHIND: Final = 8


class Text(NamedTuple):
    """A text, and where in it keys can be."""

    data: bytes
    runs: list[Run]
    gaps: list[Run]
    """The data of pictures and files, which is skipped."""
    uneven: list[Run]
    """The runs with a digit or a capital."""
    unlike_words: list[Run]
    """The uneven runs with digits, or of a kind that few names are of."""
    likely: list[Run]
    """The runs that can be keys: with digits, or with a `_` or `-` and letters of both cases, as
    few names are, or very long. Only ids of AWS (`AKIA...`) may be none of this."""
    hexadecimal: list[Run]
    """The runs of hexadecimal digits and the UUIDs, which are keys only if their name says so."""
    near: bytes
    """The likely runs with the text next to them."""
    beside: bytes
    """The likely and the hexadecimal runs with the text next to them."""
    kinds: bytes
    """By place: `9` for a digit, `A` for a capital, `-` for a mark, `a` for anything else."""

    @classmethod
    def of(cls, data: bytes) -> "Text":
        """Read a text."""
        runs, gaps = runs_in(data)
        kinds = data.translate(_KINDS)
        uneven, unlike_words, likely, hexadecimal = _sorted_out(runs, data, kinds)
        near = _with_neighbours(likely, data)
        beside = near
        if hexadecimal:
            beside = _with_neighbours([*likely, *hexadecimal], data)
        return cls(data, runs, gaps, uneven, unlike_words, likely, hexadecimal, near, beside, kinds)


def _sorted_out(runs: list[Run], data: bytes, kinds: bytes) -> tuple[list[Run], ...]:
    """Return the uneven runs, those unlike words, the likely ones, and hexadecimal values."""
    find, count = kinds.find, kinds.count
    uneven: list[Run] = []
    unlike_words: list[Run] = []
    likely: list[Run] = []
    hexadecimal: list[Run] = []
    digest_end = 0
    for run in runs:
        start, end = run
        if find(b"9", start, end) < 0:
            if find(b"A", start, end) >= 0:
                uneven.append(run)
                if find(b"-", start, end) >= 0 and find(b"a", start, end) >= 0:
                    unlike_words.append(run)
                    likely.append(run)
                    continue
                if find(_AWS_ID, start, end) >= 0:
                    likely.append(run)
                changes = count(b"aA", start, end) + count(b"a-A", start, end)
                if changes * _WORD_CHARS >= end - start:
                    unlike_words.append(run)
            elif _LONGEST_NAME < end - start < _LONGEST_KEY:
                likely.append(run)
            continue
        uneven.append(run)
        unlike_words.append(run)
        if start < digest_end or data.startswith(_WHEEL, end):
            continue
        before = data[start - 1] if start else _LINE_END
        if data[start] == _S or before in b":=" or (before in b"+/" and find(b"-", start, end) < 0):
            digest_end = _digest_end(data, start)
            if start < digest_end:
                continue
        if not data[start:end].strip(_HEX) or (end - start == _UUID and _is_uuid(data[start:end])):
            if before in STARTS_VALUE:
                hexadecimal.append(run)
            elif before == _DOT:
                likely.append(run)
        else:
            likely.append(run)
    return uneven, unlike_words, likely, hexadecimal


def _is_uuid(run: bytes) -> bool:
    return run[8::5][:4] == b"----" and not run.replace(b"-", b"").strip(_HEX)


def _digest_end(data: bytes, start: int) -> int:
    """Return the end of the file's digest that this run belongs to; 0 if there is none."""
    before = data[start - 1]
    if data[start] == _S:
        name = data[start : start + 7]
        return start + len(name) + _DIGESTS[name] if name in _DIGESTS else 0
    if before in b"+/":
        for name in _DIGEST_NAMES:
            at = data.rfind(name, max(0, start - _LONGEST_DIGEST), start)
            if at >= 0:
                return at + len(name) + _DIGESTS[name]
        return 0
    size = _DIGESTS.get(data[start - 7 : start]) or _DIGESTS.get(data[start - 3 : start])
    return start + size if size else 0


def _with_neighbours(runs: list[Run], data: bytes) -> bytes:
    """Return the runs with the text next to them; the whole text if that is not much more."""
    if len(runs) * (_BEFORE + _BEHIND + SHORTEST_RUN) >= len(data) / 2:
        return data
    return b"\n".join([data[max(0, start - _BEFORE) : end + _BEHIND] for start, end in runs])


def runs_in(text: bytes) -> tuple[list[Run], list[Run]]:
    """Find the runs, and the data of pictures and files: 512 or more base64 characters.

    Lists of files have thousands of digests. Behind another one of its size, a digest is no run.
    """
    mask = text.translate(_MASK)
    find = mask.find
    runs: list[Run] = []
    data: list[Run] = []
    last_digest = 0
    start = find(_LONG)
    while start >= 0:
        end = find(b" ", start + SHORTEST_RUN)
        if end < 0:
            end = len(mask)
        elif text[end] in b"+/" and (match := _DATA.match(text, start)):
            end = match.end()
            data.append((start, end))
            start = find(_LONG, end)
            continue
        size = end - start
        if size not in _DIGEST_SIZES or text[start:end].translate(None, _HEX):
            last_digest = 0
        elif size == last_digest and _is_listed(text, start):
            start = find(_LONG, end)
            continue
        else:
            last_digest = size
        runs.append((start, end))
        start = find(_LONG, end)
    return runs, data


def _is_listed(text: bytes, start: int) -> bool:
    """Return whether this is a digest in a list: no value of a name, and no text in hexadecimal."""
    before = text[start - 1]
    if before == _COLON:
        if text[start - 7 : start] not in _DIGESTS:
            return False
    elif before in STARTS_VALUE or before == _DOT:
        return False
    return not _TEXT_IN_HEX.match(text, start)
