"""Where in a text keys can be: runs of 16 or more letters, digits, `_` and `-`."""

import re
from typing import Final, NamedTuple

Run = tuple[int, int]
"""Where a run begins and ends."""
SHORTEST_RUN: Final = 16

_RUN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_MASK: Final = bytes(ord("x") if byte in _RUN_BYTES else ord(" ") for byte in range(256))
_LONG: Final = b"x" * SHORTEST_RUN
_DATA: Final = re.compile(rb"[A-Za-z0-9+/]{512,}+={0,2}")


_KINDS: Final = bytes(
    ord("9" if 48 <= byte <= 57 else "A" if 65 <= byte <= 90 else "-" if byte in b"_-" else "a")
    for byte in range(256)
)
_CAPITAL_A: Final = ord("A")


_BEFORE: Final = 48
_BEHIND: Final = 8


class Text(NamedTuple):
    """A text, and where in it keys can be."""

    data: bytes
    runs: list[Run]
    gaps: list[Run]
    """The data of pictures and files, which is skipped."""
    likely: list[Run]
    """The runs that can be keys: with digits, or with a `_` or `-` and capitals, as few names are.
    Only ids of AWS (`AKIA...`) may have neither."""
    near: bytes
    """The likely runs with what stands beside them."""
    kinds: bytes
    """By place: `9` for a digit, `A` for a capital, `-` for a mark, `a` for anything else."""

    @classmethod
    def of(cls, data: bytes) -> "Text":
        """Read a text."""
        runs, gaps = runs_in(data)
        kinds = data.translate(_KINDS)
        find = kinds.find
        likely = [
            (start, end)
            for start, end in runs
            if find(b"9", start, end) >= 0
            or data[start] == _CAPITAL_A
            or (find(b"-", start, end) >= 0 and find(b"A", start, end) >= 0)
        ]
        near = data
        if len(likely) * (_BEFORE + _BEHIND + SHORTEST_RUN) < len(data) / 2:
            near = b"\n".join(
                [data[max(0, start - _BEFORE) : end + _BEHIND] for start, end in likely]
            )
        return cls(data, runs, gaps, likely, near, kinds)


def runs_in(text: bytes) -> tuple[list[Run], list[Run]]:
    """Find the runs, and the data of pictures and files: 512 or more base64 characters."""
    mask = text.translate(_MASK)
    find = mask.find
    runs: list[Run] = []
    data: list[Run] = []
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
        runs.append((start, end))
        start = find(_LONG, end)
    return runs, data
