"""What a turn owes to the conversation before it.

"Continue", "yes, do it" and "why?" say nothing of their own: they ask for as much as what they
refer to. "Thanks!" asks for nothing, whatever came before. A short turn that says something ("and
for odd n?", "run the tests") inherits a part of the need, the shorter the more; most such turns are
smaller than what they follow. The need fades from turn to turn. A turn that is hard in itself
inherits nothing: going up is free.
"""

from typing import Final, NamedTuple

from router.scoring.cues import WORD
from router.scoring.lexicon import Lexicon

FADE: Final = 0.93
"""What each human turn that only goes on leaves of the conversation's need."""
SHORT: Final = 3
"""A turn of up to this many words inherits the most of those that say something of their own."""
LONG: Final = 20
"""A turn of this many words or more stands on its own."""
CLOSING_CAP: Final = 20.0
"""The score that "thanks!" and its like cannot exceed."""
CLOSING_CHARS: Final = 120
SPACELESS_CLOSING_CHARS: Final = 16
"""Longer than this, thanks are only the beginning of a turn."""
EASY_SHARE: Final = 0.3
"""How much of its share a short turn inherits that asks for something easy ("in Italian")."""
OWN_SHARE: Final = 0.4
"""The most that a turn inherits that says something of its own."""


class FollowUp(NamedTuple):
    """A turn, as far as it matters to what it inherits."""

    text: str
    own: float
    """The sum of its own signals."""
    n_words: int
    refers: bool
    """Does it say nothing of its own?"""
    easy: bool
    """Does it ask for something easy?"""


def is_closing(text: str, lexicon: Lexicon) -> bool:
    """Is this turn nothing but thanks, praise or goodbye?"""
    if len(text) > CLOSING_CHARS or "?" in text or "\uff1f" in text:
        return False
    words = set(WORD.findall(text.lower()))
    if words & lexicon.closing:
        return words <= lexicon.closing | lexicon.polite
    spaceless = not text.isascii() and len(text) <= SPACELESS_CLOSING_CHARS
    return spaceless and any(sign in text for sign in lexicon.closing_signs)


def inherited_share(n_words: int, *, refers: bool, easy: bool) -> float:
    """Return the part of the conversation's need that a turn inherits, 0 to 1."""
    if refers:
        return 1.0
    share = OWN_SHARE * min(max((LONG - n_words) / (LONG - SHORT), 0.0), 1.0)
    return share * EASY_SHARE if easy else share


def points(turn: FollowUp, need: float, lexicon: Lexicon) -> float:
    """Return what the conversation adds to a turn's own sum; below 0 only for a closing."""
    if is_closing(turn.text, lexicon):
        return min(0.0, CLOSING_CAP - turn.own)
    share = inherited_share(turn.n_words, refers=turn.refers, easy=turn.easy)
    return max(0.0, share * (need - turn.own))


def need_after(turn: FollowUp, total: float, need: float, lexicon: Lexicon) -> float:
    """Return the need that a turn leaves behind: its own, unless it only goes on."""
    if turn.refers or turn.n_words <= SHORT or is_closing(turn.text, lexicon):
        return total if total > need else FADE * need
    return total
