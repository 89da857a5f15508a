"""Counts the words, cues and forms of one human turn for the scorer.

The instruction is counted in full, a pasted document only by its size. Quoted words ("what does
'implement' mean") are no request and do not count.

The work is bounded and linear: at most `HEAD` + `TAIL` characters are read, no pattern has a nested
quantifier or an open `.*`, and words are looked up in tables.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, log, sqrt
from typing import Final

from router.scoring.courtesy import without_courtesy
from router.scoring.cues import MOST_SIGNS, NO_SPACES, WORD, Found, cues_in
from router.scoring.instruction import split
from router.scoring.lexicon import SPACELESS_FROM, Lexicon

PLAIN: Final = 30
"""In a shorter text without other forms, numbers do not count: they are values ("radius 5")."""
GOING_ON: Final = frozenset({"step", "why"})
"""Counts whose cues only refer to earlier turns."""
MOST_REFERRING: Final = 8
"""Longer turns, in words, have content of their own."""
MOST_ASKING: Final = 3
"""Words at the beginning of a turn by which it asks about something."""
FARTHEST: Final = 5
"""Most words from "write" to the program that is to be written."""
MOST_UNKNOWN: Final = 120
"""Most words outside the lexicon that are judged by their letters."""

FACETS: Final = {
    "fact": -1, "rewrite": -1, "digest": -1, "chat": -1, "home": -1, "brainstorm": -1,
    "advice": -1, "short_text": -1, "code_small": -1, "step": -1, "on_text": -1,
    "long_text": 1, "makes": 1, "whole": 1, "code_build": 1, "debug": 1, "debug_hard": 1,
    "design": 1, "proof": 1, "science": 1, "legal": 1, "medical": 1, "finance": 1, "my_case": 1,
    "rare": 1, "analysis": 1, "reason": 1, "code_word": 1, "school_maths": 1, "role": 1,
}  # fmt: skip
"""Kinds of tasks that cues show. 1: a sign of a hard request, -1: of an easy one, 0: of neither.
The words are in `tools/cues/`."""

COUNTS: Final = {
    "length": 1, "sentence": 1, "payload": 1, "asked_size": 1,
    "vocabulary": 1, "hard_words": 1, "hard": 1, "build": 1, "expert": 1, "long_words": 1,
    "rare_words": 1, "uncommon_words": 1, "names": 1, "easy_words": -1, "easy": -1,
    "numbers": 1, "numeric_choices": 1, "maths": 1, "latex": 1, "code": 1, "identifiers": 1,
    "fences": 1, "lists": 1, "tables": 1, "json": 1,
    "questions": 1, "error": 1,
    "condition": 1, "logic": 1, "constraint": 1, "comparison": 1, "why": 1, "quantity": 1,
    "sequence": 1, "rigor": 1,
} | FACETS  # fmt: skip
"""All counts. 1: more of it is a sign of a hard prompt, -1: of an easy one, 0: of neither."""

_NUMBER: Final = re.compile(r"\d[\d.,]*")
_MATHS: Final = re.compile(
    "[=+*/^<>%|~\u00b1\u00b2\u00b3\u00d7\u00f7\u2070-\u209f\u2190-\u22ff]"
    # A Greek letter by itself, except omicron and eta, which are Greek words.
    "|(?<![\u0370-\u03ff\u1f00-\u1fff])[\u03b1-\u03b6\u03b8-\u03be\u03c0-\u03c9]"
    "(?![\u0370-\u03ff\u1f00-\u1fff])"
)
_LATEX: Final = re.compile(r"\\[a-zA-Z]+")
_CODE: Final = re.compile(r"[{}();\[\]]")
_IDENTIFIER: Final = re.compile(
    r"`[^`\n]{1,80}`|(?<![A-Za-z])(?:[a-z]{1,30}[A-Z]|[A-Za-z]{1,30}_[A-Za-z])[A-Za-z0-9_]{0,60}"
)
_SIZE: Final = re.compile(
    r"(\d[\d.,]{0,8})\s?[-\u2013]?\s?(?:words?|w\u00f6rter\w*|mots|palabras|palavras|parole|"
    r"s\u0142\u00f3w|\u0441\u043b\u043e\u0432\w*|\u5b57|\u6587\u5b57|\uc790|pages?|seiten|"
    r"p\u00e1ginas|pagine|\u0441\u0442\u0440\u0430\u043d\u0438\u0446\w*|\u9875|\u9801|"
    r"chapters?|kapitel\w*|chapitres?|cap\u00edtulos|\u7ae0|files?|dateien|fichiers|archivos|"
    r"\u6587\u4ef6|\u0444\u0430\u0439\u043b\w*)"
)
_NAME: Final = re.compile(r"(?<=[a-z,;'\u2019] )[A-Z][a-z]+")
_ITEM: Final = re.compile(r"^[ \t]{0,8}(?:[-*\u2022]|\d{1,3}[.)])[ \t]", re.MULTILINE)
_OPTION: Final = re.compile(r"^[ \t]{0,8}\(?[A-J][.):][ \t][^\n]{0,2000}", re.MULTILINE)
_NUMERIC: Final = re.compile(r"[ \t]{0,8}\(?[A-J][.):][ \t][^0-9]{0,40}\d")
_ROW: Final = re.compile(r"^[ \t]{0,8}\|", re.MULTILINE)
_KEY: Final = re.compile(r'["\']\s{0,3}:')
_SENTENCE: Final = re.compile(r"[.!?](?=[ \t])|[.!?]{0,3}[\n\u3002\uff01\uff1f]+")
_QUOTED: Final = re.compile(
    "(?<![\\w])'[^'\n]{1,400}'(?!\\w)|\"[^\"\n]{1,400}\"|\u201c[^\u201d\n]{1,400}\u201d"
    "|\u2018[^\u2019\n]{1,400}\u2019|\u00ab[^\u00bb\n]{1,400}\u00bb|\u300c[^\u300d\n]{1,400}\u300d"
)

# Values for other languages, where rare and long words cannot be counted.
_TYPICAL: Final = {"long_words": 0.08, "rare_words": 0.06, "uncommon_words": 0.4}


@dataclass(slots=True)
class Reading:
    """The counts of one turn."""

    counts: dict[str, float]
    words: set[str]
    """Distinct words of the instruction, lower-case and without function words. For text without
    spaces, pairs of characters."""
    cues: list[Found]
    known: dict[str, float]
    """The words that have a tendency in the lexicon, with its value."""
    n_spelled: int
    """Number of the other words whose letters give a tendency."""
    unread: float
    """The share of the words in scripts without data, 0 to 1."""
    is_english: bool
    refers: bool
    """The turn only refers to earlier ones: "continue", "yes, do it", "why?"."""
    is_small_step: bool
    """The turn is a few words with a small step of an agent in them: "commit and push"."""
    n_words: int
    forms: float
    """The amount of structure: the sum of the log counts of forms."""

    @property
    def asks_easy(self) -> bool:
        """Return whether it asks for a small step, or for something easy and nothing hard.

        Greetings do not count.
        """
        if self.is_small_step:
            return True
        easy = sum([one.strength for one in self.cues if one.is_easy_task])
        return easy >= 1 and self.counts["hard"] + self.counts["expert"] < easy


def read(text: str, lexicon: Lexicon) -> Reading:
    """Return all counts of a turn."""
    text = without_courtesy(text, lexicon)
    ask, shown = split(text, lexicon)
    pasted = len(text) - len(ask)
    ask, options = _options_apart(ask)
    if shown is None:
        shown = ask
    bare = ask
    if "'" in ask or '"' in ask or not ask.isascii():
        bare = _QUOTED.sub(" ", ask)
    low = bare.lower().replace("\u2019", "'")
    words = WORD.findall(low)
    n_words = len(words)
    distinct = set(words)
    runs = [] if low.isascii() else NO_SPACES.findall(low)
    usual = distinct & lexicon.weights.keys()
    common = len(usual & lexicon.common)
    english = _is_english(distinct, len(usual), common, lexicon)
    cues = cues_in(words, distinct, usual if english else None, runs, lexicon)
    pieces = _pieces(distinct, runs) if runs else distinct
    pieces = pieces - lexicon.function
    known = {word: w for word in pieces if (w := lexicon.by_itself(word)) is not None}
    counts = dict.fromkeys(COUNTS, 0.0)
    for _, name, strength, early in cues:
        counts[name] += 2 * strength if early else strength
        if name == "hard" and strength >= 2:
            counts["rigor"] += 1
    if counts["whole"] and not _asks_for_a_program(words, cues, counts, lexicon):
        counts["whole"] = 0.0

    size = len(ask)
    spaceless = sum(map(len, runs))
    n_words += spaceless // 2
    counts["length"] = log(1 + (size + 3 * spaceless) / 4)
    counts["payload"] = log(1 + max(pasted, 0) / 4)
    counts["asked_size"] = _asked_size(low)
    if n_words:
        sentences = len(_SENTENCE.findall(ask.strip(" .!?\n\u3002\uff01\uff1f"))) + 1
        counts["sentence"] = min(n_words / sentences, 60.0)
        if english:
            counts["long_words"] = sum([len(word) > 8 for word in words]) / len(words)
            counts["rare_words"] = 1 - len(usual) / len(distinct)
            counts["uncommon_words"] = 1 - common / len(distinct)
            names = {name.lower() for name in _NAME.findall(bare)} - lexicon.common
            # A word that is a cue ("Python") is no rare name.
            counts["names"] = sum([name not in lexicon.cues for name in names]) / n_words
        else:
            counts.update(_TYPICAL)
    counts["vocabulary"] = log(1 + len(pieces))
    spelled: list[float] = []
    unread = 0.0
    if len(known) < len(pieces):
        unknown = sorted(pieces.difference(known))[:MOST_UNKNOWN]
        spelled = [w for word in unknown if (w := lexicon.spelled(word)) is not None]
        unread = (1 - len(spelled) / len(unknown)) * (1 - len(known) / len(pieces))
    # fsum, because a set has another order in each process.
    tendency = fsum(known.values()) + fsum(spelled)
    above = tendency / sqrt(len(pieces) or 1) - lexicon.pivot
    counts["hard_words" if above > 0 else "easy_words"] = abs(above)
    forms = _structure(shown, options, n_words, counts)
    is_short = n_words <= MOST_REFERRING
    return Reading(
        counts=counts,
        words=pieces,
        cues=cues,
        known=known,
        n_spelled=len(spelled),
        unread=unread,
        is_english=english,
        refers=is_short and _refers(pieces, cues, lexicon),
        is_small_step=is_short and not pieces.isdisjoint(lexicon.small_steps),
        n_words=n_words,
        forms=forms,
    )


def _asks_for_a_program(
    words: list[str], cues: list[Found], counts: dict[str, float], lexicon: Lexicon
) -> bool:
    """Return whether a program is to be made, not only named: "write a compiler"."""
    if counts["fact"] or not lexicon.asks.isdisjoint(words[:MOST_ASKING]):
        return False
    verbs, programs = (
        [
            words.index(first)
            for cue in cues
            if cue.facet == facet and (first := cue.word.split()[0]) in words
        ]
        for facet in ("makes", "whole")
    )
    if not (verbs and programs):
        # Text without spaces has no words.
        return bool(counts["makes"]) and not counts["short_text"]
    return any(
        abs(program - verb) <= FARTHEST
        and lexicon.between.isdisjoint(words[min(verb, program) : max(verb, program)])
        for verb in verbs
        for program in programs
    )


def _pieces(distinct: set[str], runs: list[str]) -> set[str]:
    """Return the words, and for text without spaces the pairs of characters."""
    pieces = {word for word in distinct if not NO_SPACES.match(word)}
    left = MOST_SIGNS
    for run in runs:
        if left <= 0:
            break
        run = run[:left]
        left -= len(run)
        pieces.update(map("".join, pairwise(run)))
    return pieces


def _is_english(distinct: set[str], n_usual: int, n_common: int, lexicon: Lexicon) -> bool:
    """Return whether most words are English, its commonest ones outnumbering foreign ones."""
    if 2 * n_usual < len(distinct) or 3 * n_common < len(distinct) or not distinct:
        return False
    foreign = len(distinct & lexicon.foreign)
    return not foreign or foreign < len(distinct & lexicon.english)


def _refers(pieces: set[str], cues: list[Found], lexicon: Lexicon) -> bool:
    """Return whether every word only continues, asks why, or is polite."""
    going_on = {part for one in cues if one.facet in GOING_ON for part in one.word.split()}
    rest = pieces - going_on - lexicon.polite - lexicon.closing
    if rest:
        # Without spaces, a piece may lie across two words. Its characters are checked instead.
        signs = {sign for word in going_on if word[0] >= SPACELESS_FROM for sign in word}
        rest = {piece for piece in rest if not signs.union(lexicon.function).issuperset(piece)}
    return not rest and pieces.isdisjoint(lexicon.small_steps)


def _asked_size(low: str) -> float:
    """Return the log of the size that is asked for ("2,500 words", "10 files"), 0 for none."""
    sizes = [found[1].replace(",", "").replace(".", "") for found in _SIZE.finditer(low)]
    return log(1 + max([float(size[:6]) for size in sizes if size], default=0.0))


def _options_apart(ask: str) -> tuple[str, list[str]]:
    """Return a question without its multiple-choice answers, and those answers."""
    if "\n" in ask and len(options := _OPTION.findall(ask)) > 1:
        question = _OPTION.sub("", ask).strip()
        if question and options[0].lstrip(" \t(")[0] == "A":
            return question, options
    return ask, []


def _structure(text: str, options: list[str], n_words: int, counts: dict[str, float]) -> float:
    """Add the log counts of the forms in a text to `counts`; return their sum."""
    before = sum(counts.values())
    counts["questions"] = log(1 + text.count("?") + text.count("\uff1f"))
    if options:
        counts["numeric_choices"] = log(1 + sum([bool(_NUMERIC.match(line)) for line in options]))
    counts["maths"] = log(1 + len(_MATHS.findall(text)))
    if "\\" in text:
        counts["latex"] = log(1 + len(_LATEX.findall(text)))
    code = len(_CODE.findall(text))
    counts["code"] = log(1 + code)
    if n_words >= PLAIN or code or counts["maths"] or counts["numeric_choices"] or counts["latex"]:
        counts["numbers"] = log(1 + len(_NUMBER.findall(text)))
    counts["identifiers"] = log(1 + len(set(_IDENTIFIER.findall(text))))
    if "\n" in text:
        counts["lists"] = log(1 + len(_ITEM.findall(text)))
        if "|" in text:
            counts["tables"] = log(1 + len(_ROW.findall(text)))
    if ":" in text and code:
        counts["json"] = log(1 + len(_KEY.findall(text)))
    if "```" in text:
        counts["fences"] = log(1 + text.count("```"))
    return sum(counts.values()) - before
