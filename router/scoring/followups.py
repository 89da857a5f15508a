"""Computes the points that a turn inherits from the conversation before it.

The need of a conversation is a score of 0 to 100: that of the human's earlier turns, and of the
answer that the turn follows, which tells what the work has become. "Continue", "yes, do it" and
"why?" only refer to what was said, so they inherit all of the need. "Thanks!" needs nothing. A turn
with content of its own ("and for odd n?", "run the tests") gets a part of the difference between
the need and ORDINARY: the shorter the turn, the larger the part. Below ORDINARY it loses points,
unless it scores HARD or more. Above it, no turn rises over the need. The need fades from turn to
turn.
"""

from itertools import pairwise
from typing import Final, NamedTuple

from router.scoring.cues import WORD, names_any
from router.scoring.lexicon import Lexicon
from router.scoring.turns import ANSWER_CHARS

FADE: Final = 0.93
"""Factor on the conversation's need for each turn that only refers to earlier ones."""
SHORT: Final = 3
"""Among turns with content of their own, those of up to this many words inherit the most."""
LONG: Final = 100
"""A turn of this many words or more inherits nothing."""
ANSWER_SHARE: Final = 0.5
"""Weight of the answer before a turn in the need; less if it is shorter than ANSWER_CHARS."""
CLOSING_CAP: Final = 20.0
"""Highest score of a turn such as "thanks!"."""
CLOSING_CHARS: Final = 120
SPACELESS_CLOSING_CHARS: Final = 16
"""Longer turns are more than thanks, in scripts with spaces and without."""
EASY_SHARE: Final = 0.3
"""Factor on the share of a short turn that asks for something easy ("in Italian")."""
OWN_SHARE: Final = 0.8
"""The largest share that a turn with content of its own inherits."""
ORDINARY: Final = 42.0
"""The need of a conversation that says nothing about such a turn; a higher one adds points to it, a
lower one takes points away."""
MOST_BELOW: Final = 15.0
"""The most that a lower need counts below the ordinary one."""
HARD: Final = 50.0
"""A turn of this score or more loses no points."""


class FollowUp(NamedTuple):
    """The facts of a turn that decide how much it inherits."""

    text: str
    own: float
    """The sum of the turn's own signals."""
    n_words: int
    refers: bool
    """The turn only refers to earlier ones."""
    easy: bool
    """The turn asks for something easy."""


def is_closing(text: str, lexicon: Lexicon) -> bool:
    """Return whether this turn is only thanks, praise or goodbye."""
    if len(text) > CLOSING_CHARS or "?" in text or "\uff1f" in text:
        return False
    words = WORD.findall(text.lower().replace("\u2019", "'"))
    spaceless = not text.isascii() and len(text) <= SPACELESS_CLOSING_CHARS
    signs = [sign for sign in lexicon.closing_signs if sign in text] if spaceless else []
    if not signs and not names_any(words, lexicon.closing):
        return False
    others = set(words) - lexicon.closing - lexicon.polite - lexicon.function
    if any(not any(sign in word for sign in signs) for word in others):
        return False
    # "Great, do it" goes on.
    pairs = lexicon.pairs
    return all(name != "step" for pair in pairwise(words) for name, _ in pairs.get(pair, ()))


def inherited_share(n_words: int, *, refers: bool, easy: bool) -> float:
    """Return the part of the conversation's need that a turn inherits, 0 to 1."""
    if refers:
        return 1.0
    share = OWN_SHARE * min(max((LONG - n_words) / (LONG - SHORT), 0.0), 1.0)
    return share * EASY_SHARE if easy else share


def with_answer(need: float, answer: str, score: float) -> float:
    """Return the need of a conversation, mixed with the score of the answer before the turn.

    `answer`: the beginning of that answer; `score`: the score of this text as a request.
    """
    return need + ANSWER_SHARE * len(answer) / ANSWER_CHARS * (score - need)


def points(turn: FollowUp, need: float, lexicon: Lexicon) -> float:
    """Return the points that a turn inherits; negative for thanks and in an easy conversation."""
    if is_closing(turn.text, lexicon):
        return min(0.0, CLOSING_CAP - turn.own)
    share = inherited_share(turn.n_words, refers=turn.refers, easy=turn.easy)
    missing = max(0.0, need - turn.own)
    if turn.refers:
        return missing
    if need < ORDINARY:
        return 0.0 if turn.own >= HARD else share * max(need - ORDINARY, -MOST_BELOW)
    return min(share * (need - ORDINARY), missing)


def need_after(turn: FollowUp, total: float, need: float, lexicon: Lexicon) -> float:
    """Return the conversation's need after a turn: the turn's own, unless it only refers back."""
    if turn.refers or turn.n_words <= SHORT or is_closing(turn.text, lexicon):
        return total if total > need else FADE * need
    return total
