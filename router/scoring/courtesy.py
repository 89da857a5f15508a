"""Takes greetings, thanks and small talk from the ends of a turn: they say nothing of the task.

"Hi, hope you are well. Prove that ... Thanks in advance!" asks for a proof.
"""

from typing import Final

from router.scoring.cues import WORD
from router.scoring.lexicon import Lexicon

LONGEST: Final = 120
"""Longer clauses, in characters, are no courtesies."""
MOST: Final = 4
"""Most clauses that are taken from either end."""
LEAST_WORDS: Final = 4
"""A greeting without a comma is only taken off a request of this many words. In a shorter one it
may be what is asked about: "hello in Spanish"."""

_ENDS: Final = ".!?\n\u3002\uff01\uff1f\u061f"
_STOPS: Final = _ENDS + ",;\uff0c\u3001\u060c"
_COLONS: Final = ":\uff1a"
_AROUND: Final = _STOPS + _COLONS + " \t\r()*-\u2013\u2014\u00a1\u00bf"


def without_courtesy(text: str, lexicon: Lexicon) -> str:
    """Return a turn without the courtesies at its ends; as it is if it has nothing else."""
    start = _end_of_greetings(text[: (MOST + 1) * LONGEST], lexicon)
    tail = text[max(start, len(text) - (MOST + 1) * LONGEST) :]
    end = len(text) - len(tail) + _start_of_closings(tail, lexicon)
    if (start or end < len(text)) and WORD.search(text, start, end):
        return text[start:end]
    return text


def _end_of_greetings(head: str, lexicon: Lexicon) -> int:
    """Return the number of characters at the beginning of a turn that only greet."""
    at = 0
    for _ in range(MOST):
        rest = head[at:].lstrip(_AROUND)
        clause = rest[:LONGEST]
        stops = [stop for sign in _STOPS + _COLONS if (stop := clause.find(sign)) >= 0]
        if not stops or not _is_courtesy(clause[: min(stops)], lexicon, greeted=at > 0):
            break
        rest = rest[min(stops) :].lstrip(_AROUND)
        at = len(head) - len(rest)
    first, _, others = head[at:].partition(" ")
    if first.lower() in lexicon.greeting and len(others.split()) >= LEAST_WORDS:
        return len(head) - len(others)
    return at


def _start_of_closings(tail: str, lexicon: Lexicon) -> int:
    """Return where the thanks at the end of a turn begin; its length if there are none."""
    end = len(tail)
    for _ in range(MOST):
        rest = tail[:end].rstrip(_AROUND)
        stop = max([rest.rfind(sign) for sign in _STOPS])
        clause = rest[stop + 1 :]
        if stop < 0 or len(clause) > LONGEST or _is_given(rest):
            return end
        if not _is_courtesy(clause, lexicon):
            break
        end = stop + 1
    others, _, last = tail[:end].rpartition(" ")
    if last.strip(_AROUND).lower() in lexicon.closing and len(others.split()) >= LEAST_WORDS:
        return len(others)
    return end


def _is_given(text: str) -> bool:
    """Return whether the end of a text follows a colon, as in "Translate: thanks, bye"."""
    sentence = max([text.rfind(sign) for sign in _ENDS])
    return any(text.rfind(sign) > sentence for sign in _COLONS)


def _is_courtesy(clause: str, lexicon: Lexicon, *, greeted: bool = False) -> bool:
    """Return whether a clause has a word that marks courtesies, and no other content.

    `greeted`: it follows a greeting, so small talk ("how are you?") is enough.
    """
    words = set(WORD.findall(clause.lower().replace("\u2019", "'")))
    content = words - lexicon.greeting - lexicon.closing
    if len(content) == len(words) and (not greeted or words.isdisjoint(lexicon.small_talk)):
        return False
    return not content - lexicon.small_talk - lexicon.polite - lexicon.function
