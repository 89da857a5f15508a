"""Reading one human turn: which words, cues and forms are in it, counted for the scorer.

A pasted document is told apart from the instruction about it: the instruction is counted in full,
the document by its size alone. What is quoted ("what does 'implement' mean") is text, not a
request, and its words do not count.

Everything is bounded and linear: at most `HEAD` + `TAIL` characters are looked at, no pattern has
a nested quantifier or an open `.*`, and words are looked up in tables, never searched for.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, log, sqrt
from typing import Final

from router.scoring.lexicon import STEM_KEY, Lexicon

HEAD: Final = 2_000
TAIL: Final = 1_000
LONG: Final = 2_500
"""Characters from which a text is taken for an instruction with a document."""
ASK: Final = 700
"""Characters of the longest paragraph that is taken for an instruction."""
DOCUMENT: Final = 500
"""Characters from which a text is a document already if something easy is asked about it."""
CLEARLY: Final = 1.5
"""Strength of a cue that tells an easy task from the text it is about, however short that is."""
GREETS: Final = 2.0
"""Strength of the easy cues that are greetings and thanks."""
PLAIN: Final = 30
"""Words under which numbers, with no other form around them, are values to copy: "radius 5"."""
TASK: Final = 120
"""How many characters into a text the colon of "translate this into French:" may stand."""

COUNTS: Final = {
    "length": 1, "sentence": 1, "payload": 1,
    "hard_words": 1, "hard": 1, "build": 1, "expert": 1, "long_words": 1, "rare_words": 1,
    "uncommon_words": 1, "names": 1, "easy_words": -1, "easy": -1,
    "numbers": 1, "numeric_choices": 1, "maths": 1, "latex": 1, "code": 1, "identifiers": 1,
    "fences": 1, "lists": 1, "tables": 1, "json": 1,
    "questions": 1, "error": 1,
    "condition": 1, "logic": 1, "constraint": 1, "comparison": 1, "why": 1, "quantity": 1,
    "sequence": 1, "rigor": 1,
}  # fmt: skip
"""What is counted, and whether more of it speaks for a hard prompt (1) or an easy one (-1)."""

# Letters of all scripts with the marks that belong to them (Python's \w leaves Hindi's out).
_LETTER: Final = (
    "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u1fff\u2c00-\u2dff"
    "\u3040-\ud7ff\uf900-\ufdff\ufe70-\ufefc"
)
WORD: Final = re.compile(f"[{_LETTER}]+(?:['-][{_LETTER}]+)*")
_NO_SPACES: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]+")
_NUMBER: Final = re.compile(r"\d[\d.,]*")
_MATHS: Final = re.compile(
    "[=+*/^<>%|~\u00b1\u00b2\u00b3\u00d7\u00f7\u03b1-\u03c9\u2070-\u209f\u2190-\u22ff]"
)
_LATEX: Final = re.compile(r"\\[a-zA-Z]+")
_CODE: Final = re.compile(r"[{}();\[\]]")
_IDENTIFIER: Final = re.compile(
    r"`[^`\n]{1,80}`|(?<![A-Za-z])(?:[a-z]{1,30}[A-Z]|[A-Za-z]{1,30}_[A-Za-z])[A-Za-z0-9_]{0,60}"
)
_NAME: Final = re.compile(r"(?<=[a-z,;'\u2019] )[A-Z][a-z]+")
_ITEM: Final = re.compile(r"^[ \t]{0,8}(?:[-*\u2022]|\d{1,3}[.)])[ \t]", re.MULTILINE)
_OPTION: Final = re.compile(r"^[ \t]{0,8}\(?[A-J][.):][ \t][^\n]{0,2000}", re.MULTILINE)
_NUMERIC: Final = re.compile(r"[ \t]{0,8}\(?[A-J][.):][ \t][^0-9]{0,40}\d")
_ROW: Final = re.compile(r"^[ \t]{0,8}\|", re.MULTILINE)
_KEY: Final = re.compile(r'["\']\s{0,3}:')
_SENTENCE: Final = re.compile(r"[.!?](?=[ \t])|[.!?]{0,3}[\n\u3002\uff01\uff1f]+")
_COLON: Final = re.compile(r":\s|:$|\n|\uff1a")
_BLANK: Final = re.compile(r"\n[ \t]{0,8}\n")
_QUOTED: Final = re.compile(
    "(?<![\\w])'[^'\n]{1,400}'(?!\\w)|\"[^\"\n]{1,400}\"|\u201c[^\u201d\n]{1,400}\u201d"
    "|\u2018[^\u2019\n]{1,400}\u2019|\u00ab[^\u00bb\n]{1,400}\u00bb|\u300c[^\u300d\n]{1,400}\u300d"
)

# Where most words are not in the lexicon (other languages), being rare or long says nothing.
_TYPICAL: Final = {"long_words": 0.08, "rare_words": 0.06, "uncommon_words": 0.4}


@dataclass(slots=True)
class Reading:
    """What was found in one turn."""

    counts: dict[str, float]
    words: set[str]
    """Distinct words of the instruction, lower-case; in text without spaces, pairs of signs."""
    cues: list[tuple[str, str, float]]
    """(word, count, strength) of every cue found."""
    known: list[str]
    """The words that the lexicon has a tendency for."""
    n_words: int
    forms: float
    """How much structure there is: the sum of the log counts."""

    @property
    def asks_easy(self) -> bool:
        """Does it ask for something easy, and for nothing hard? Greetings and thanks do not ask."""
        easy = sum(
            [strength for _, name, strength in self.cues if name == "easy" and strength < GREETS]
        )
        return easy >= 1 and self.counts["hard"] + self.counts["expert"] < easy


def read(text: str, lexicon: Lexicon) -> Reading:
    """Count everything that the signals are made of."""
    ask, payload = split(text, lexicon)
    ask, options = _options_apart(ask)
    bare = ask
    if "'" in ask or '"' in ask or not ask.isascii():
        bare = _QUOTED.sub(" ", ask)
    low = bare.lower().replace("\u2019", "'")
    words = WORD.findall(low)
    n_words = len(words)
    distinct = set(words)
    weights = lexicon.weights
    known = [word for word in distinct if word in weights]
    foreign = len(distinct & lexicon.foreign)
    english = 2 * len(known) >= len(distinct) > 0 and (
        not foreign or foreign < len(distinct & lexicon.english)
    )
    cues = _cues(words, distinct, known if english else [], low, lexicon)
    counts = dict.fromkeys(COUNTS, 0.0)
    for _, name, strength in cues:
        counts[name] += strength
        if name == "hard" and strength >= 2:
            counts["rigor"] += 1

    size = len(ask)
    spaceless = 0
    if not low.isascii():
        spaceless = sum(map(len, _NO_SPACES.findall(low)))
        n_words += spaceless // 2
    counts["length"] = log(1 + (size + 3 * spaceless) / 4)
    counts["payload"] = log(1 + len(payload) / 4)
    if n_words:
        sentences = len(_SENTENCE.findall(ask.strip(" .!?\n"))) + 1
        counts["sentence"] = min(n_words / sentences, 60.0)
        if english:
            counts["long_words"] = sum([len(word) > 8 for word in words]) / len(words)
            counts["rare_words"] = 1 - len(known) / len(distinct)
            counts["uncommon_words"] = 1 - len(distinct & lexicon.common) / len(distinct)
            names = [name for name in _NAME.findall(bare) if name.lower() not in lexicon.common]
            counts["names"] = len(names) / n_words
        else:
            counts.update(_TYPICAL)
    lexical = lexicon.typical
    if english:
        # fsum: the words of a set come in another order in each process.
        lexical = fsum([weights[word] for word in known]) / sqrt(len(distinct))
    above = lexical - lexicon.pivot
    counts["hard_words" if above > 0 else "easy_words"] = abs(above)
    forms = _structure(ask, options, n_words, counts)
    return Reading(
        counts=counts,
        words=distinct,
        cues=cues,
        known=known,
        n_words=n_words,
        forms=forms,
    )


def _cues(
    words: list[str], distinct: set[str], known: list[str], low: str, lexicon: Lexicon
) -> list[tuple[str, str, float]]:
    """Every cue in a text, each once."""
    found = [
        (word, name, strength)
        for word in distinct & lexicon.cues.keys()
        for name, strength in lexicon.cues[word]
    ]
    pairs = lexicon.pairs
    found += [
        (" ".join(pair), name, strength)
        for pair in set(pairwise(words)) & pairs.keys()
        for name, strength in pairs[pair]
    ]
    if len(known) < 0.7 * len(distinct):
        stems = lexicon.stems
        for word in distinct.difference(known):
            for stem, cue in stems.get(word[:STEM_KEY], ()):
                if word.startswith(stem):
                    found += [(word, name, strength) for name, strength in cue]
                    break
    if not low.isascii():
        signs = {run[i : i + 2] for run in _NO_SPACES.findall(low) for i in range(len(run) - 1)}
        found += [
            (pair, name, strength)
            for pair in signs & lexicon.cues.keys() - distinct
            for name, strength in lexicon.cues[pair]
        ]
    return found


def _options_apart(ask: str) -> tuple[str, list[str]]:
    """A question, and the answers that are offered with it: those are given, not asked for."""
    if "\n" in ask and len(options := _OPTION.findall(ask)) > 1:
        question = _OPTION.sub("", ask).strip()
        if question and options[0].lstrip(" \t(")[0] == "A":
            return question, options
    return ask, []


def _structure(text: str, options: list[str], n_words: int, counts: dict[str, float]) -> float:
    """Count the forms in a text: log counts, so that the tenth bracket adds little."""
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


def split(text: str, lexicon: Lexicon) -> tuple[str, str]:
    """A turn's instruction, and what was pasted or given with it."""
    if found := _COLON.search(text, 0, TASK):
        easy, _ = _asks_for(text[: found.start()], lexicon)
        # After a colon comes a text; after a line break there may also be a second request.
        if easy >= CLEARLY and (found[0] != "\n" or not _asks_for(text[:ASK], lexicon)[1]):
            return text[: found.end()], text[found.end() :]
    if len(text) < DOCUMENT:
        return text, ""
    head, tail = text[:HEAD], text[-TAIL:]
    ask = "\n".join(part for part in (_first_paragraph(head), _last_paragraph(tail)) if part)
    if len(text) > LONG:
        return ask or head[:ASK] + "\n" + tail[-ASK // 2 :], text
    easy, _ = _asks_for(ask, lexicon)
    return (ask, text) if easy else (text, "")


def _asks_for(ask: str, lexicon: Lexicon) -> tuple[float, bool]:
    """How clearly something easy is asked for (0: it is not), and whether something hard is."""
    low = ask.lower()
    words = WORD.findall(low)
    strength = {"easy": 0.0, "hard": 0.0, "expert": 0.0}
    for _, name, found in _cues(words, set(words), [], low, lexicon):
        if name in strength and (name != "easy" or found < GREETS):
            strength[name] = max(strength[name], found)
    hard = strength["hard"] + strength["expert"] > 0
    return (0.0 if hard else strength["easy"]), hard


def _first_paragraph(head: str) -> str:
    found = _BLANK.search(head)
    return head[: found.start()] if found and found.start() <= ASK else ""


def _last_paragraph(tail: str) -> str:
    cut = tail.rfind("\n\n")
    last = tail[cut:].strip() if cut >= 0 else ""
    if 0 < len(last) <= ASK and "```" not in last and ("?" in last or len(last) < 300):
        return last
    return ""
