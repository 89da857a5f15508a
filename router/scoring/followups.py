"""What a turn owes to the conversation before it.

"Continue", "yes, do it" and "why?" ask for as much as what they refer to; "thanks!" asks for
nothing, whatever came before. A short turn therefore inherits part of the need of the turns
before it, the shorter the more; the need fades from turn to turn. A turn that is hard in itself
inherits nothing: going up is free.
"""

from typing import Final

from router.scoring.cues import WORD
from router.scoring.lexicon import Lexicon

FADE: Final = 0.93
"""What each human turn that only goes on leaves of the conversation's need."""
SHORT: Final = 3
"""A turn of up to this many words says nothing on its own."""
LONG: Final = 30
"""A turn of this many words or more stands on its own."""
CLOSING_CAP: Final = 20.0
"""The score that "thanks!" and its like cannot exceed."""
CLOSING_CHARS: Final = 120
SPACELESS_CLOSING_CHARS: Final = 16
"""Longer than this, thanks are only the beginning of a turn."""
EASY_SHARE: Final = 0.3
"""How much of its share a short turn inherits that asks for something easy ("in Italian")."""


def is_closing(text: str, lexicon: Lexicon) -> bool:
    """Is this turn nothing but thanks, praise or goodbye?"""
    if len(text) > CLOSING_CHARS or "?" in text or "\uff1f" in text:
        return False
    words = set(WORD.findall(text.lower()))
    if words & lexicon.closing:
        return words <= lexicon.closing | lexicon.polite
    spaceless = not text.isascii() and len(text) <= SPACELESS_CLOSING_CHARS
    return spaceless and any(sign in text for sign in lexicon.closing_signs)


def inherited_share(n_words: int, easy: bool) -> float:
    """The part of the conversation's need that a turn of this many words inherits, 0 to 1."""
    if n_words <= SHORT:
        share = 1.0
    elif n_words >= LONG:
        share = 0.0
    else:
        share = (LONG - n_words) / (LONG - SHORT)
    return share * EASY_SHARE if easy else share


def points(text: str, own: float, n_words: int, easy: bool, need: float, lexicon: Lexicon) -> float:
    """Points that the conversation adds to a turn's own sum; below 0 only for a closing."""
    if is_closing(text, lexicon):
        return min(0.0, CLOSING_CAP - own)
    return max(0.0, inherited_share(n_words, easy) * (need - own))


def need_after(text: str, total: float, n_words: int, need: float, lexicon: Lexicon) -> float:
    """The need that a turn leaves behind: its own, unless it was too short to change the topic."""
    if n_words <= SHORT or is_closing(text, lexicon):
        return total if total > need else FADE * need
    return total
