"""Detects texts in which a model repeats itself without end."""

from typing import Final

ANCHOR_CHARS: Final = 48
"""Length of the text's end whose last earlier occurrence gives the length of one repetition."""
LEAST_TIMES: Final = 5
LEAST_CHARS: Final = 240
"""Shorter repetitions occur in tables, drawings and verses."""
LONGEST_UNIT_CHARS: Final = 2_000
ENDED_TIMES: Final = 24
ENDED_CHARS: Final = 1_200
"""If the model ended its answer by itself, a loop is unlikely. Then the repetition must reach the
smaller of these two lengths."""


def ends_in_a_loop(text: str, asked: str = "", *, ended: bool = False) -> bool:
    """Return whether the text ends with one passage, with words in it, repeated many times.

    `ended`: the model ended the text by itself. A passage that stands in `asked`, the caller's
    words, is no loop. Reads a bounded part of the end, in linear time.
    """
    if len(text) < LEAST_CHARS:
        return False
    tail = text.rstrip()[-LEAST_TIMES * LONGEST_UNIT_CHARS - ANCHOR_CHARS :]
    anchor = tail[-ANCHOR_CHARS:]
    before = tail.rfind(anchor, 0, len(tail) - 1)
    if before < 0:
        return False
    unit_chars = len(tail) - len(anchor) - before
    loop_chars = max(unit_chars * LEAST_TIMES, LEAST_CHARS)
    if ended:
        loop_chars = max(loop_chars, min(unit_chars * ENDED_TIMES, ENDED_CHARS))
    if loop_chars > len(tail):
        return False
    loop = tail[-loop_chars:]
    if loop[unit_chars:] != loop[:-unit_chars]:
        return False
    unit = loop[:unit_chars]
    return any(map(str.isalpha, unit)) and not _contains(asked, unit)


def _contains(asked: str, unit: str) -> bool:
    """Return whether `asked` contains the passage, wherever in it the loop begins."""
    parts = [part for part in unit.split("\n") if part.strip()] or [unit]
    longest = max(parts, key=len).strip(" .,;:!?\"'*-0123456789")
    words = asked.casefold()
    half = longest[: max(len(longest) // 2, 1)], longest[len(longest) // 2 :]
    return any(piece.strip().casefold() in words for piece in half)
