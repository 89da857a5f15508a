"""Finds cues in a text: words, listed by hand, that tell what kind of task it asks for."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from router.scoring.lexicon import STEM_KEY, Lexicon

OPENING_WORDS: Final = 10
OPENING_SIGNS: Final = 16
"""A cue in the first OPENING_WORDS words or OPENING_SIGNS characters counts double: most requests
begin with the task."""
MOST_SIGNS: Final = 600
"""Most characters of text without spaces that are read."""
GREETS: Final = 2.0
"""Strength of those easy cues that are greetings and thanks."""
EASY_TASKS: Final = frozenset({"easy", "rewrite", "digest"})
"""Counts whose cues name a task that is easy for any text."""
HARD_TASKS: Final = frozenset({"hard", "expert"})
"""Counts whose cues name a task that is not."""

# Letters of all scripts with the marks that belong to them (Python's \w leaves Hindi's out).
_LETTER: Final = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff\u2c00-\u2dff"
    "\u3040-\ud7ff\uf900-\ufdff\ufe70-\ufefc"
)
WORD: Final = re.compile(f"[{_LETTER}]+(?:['-][{_LETTER}]+)*")
NO_SPACES: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]+")


class Found(NamedTuple):
    """A cue in a text."""

    word: str
    facet: str
    strength: float
    early: bool
    """It is in the opening, where it counts double."""

    @property
    def is_easy_task(self) -> bool:
        """Return whether it names an easy task; greetings and thanks do not."""
        return self.facet in EASY_TASKS and (self.facet != "easy" or self.strength < GREETS)


def names_any(words: Sequence[str], entries: frozenset[str]) -> bool:
    """Return whether one of the words, or two in a row, joined with "_", is an entry."""
    return not entries.isdisjoint(words) or not entries.isdisjoint(map("_".join, pairwise(words)))


def cues_in(
    words: list[str], distinct: set[str], usual: set[str] | None, runs: list[str], lexicon: Lexicon
) -> list[Found]:
    """Return each cue of a text once. `usual`: its known English words; None if not English."""
    opening = set(words[:OPENING_WORDS])
    found: list[Found] = []
    for word in distinct & lexicon.cues.keys():
        early = word in opening
        found += [Found(word, name, strength, early) for name, strength in lexicon.cues[word]]
    pairs = lexicon.pairs
    opening_pairs = set(pairwise(words[: OPENING_WORDS + 1]))
    for pair in set(pairwise(words)) & pairs.keys():
        early = pair in opening_pairs
        found += [Found(" ".join(pair), name, strength, early) for name, strength in pairs[pair]]
    if usual is None or len(usual) < 0.7 * len(distinct):
        stems = lexicon.stems
        for word in distinct.difference(usual or ()):
            for stem, cue in stems.get(word[:STEM_KEY], ()):
                if word.startswith(stem):
                    early = word in opening
                    found += [Found(word, name, strength, early) for name, strength in cue]
                    break
    if runs:
        found += _sign_cues(runs, distinct, lexicon)
    return found


def _sign_cues(runs: list[str], distinct: set[str], lexicon: Lexicon) -> list[Found]:
    """Return the cues in text without spaces, at their first place."""
    at: dict[str, int] = {}
    passed = 0
    by_pair = lexicon.sign_cues
    for run in runs:
        run = run[: MOST_SIGNS - passed]
        for i, pair in enumerate(map("".join, pairwise(run))):
            for signs in by_pair.get(pair, ()):
                if signs not in at and run.startswith(signs, i):
                    at[signs] = passed + i
        passed += len(run)
        if passed >= MOST_SIGNS:
            break
    return [
        Found(signs, name, strength, first < OPENING_SIGNS)
        for signs, first in at.items()
        if signs not in distinct
        for name, strength in lexicon.cues[signs]
    ]
