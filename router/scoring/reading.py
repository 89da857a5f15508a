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
OPENING_WORDS: Final = 10
OPENING_SIGNS: Final = 16
"""Where a cue counts double: a request mostly says first what it wants."""
SIGN_RUNS: Final = (2, 3, 4)
"""Lengths of cues in text without spaces."""
MOST_SIGNS: Final = 600
"""Characters without spaces that are read, of each run."""
MOST_UNKNOWN: Final = 120
"""Words that are not in the lexicon and are read by their letters."""
TASK: Final = 120
"""How many characters into a text the colon of "translate this into French:" may stand."""

FACETS: Final = {
    "fact": -1, "rewrite": -1, "digest": -1, "chat": -1, "home": -1, "brainstorm": -1,
    "advice": -1, "short_text": -1, "code_small": -1, "step": -1,
    "long_text": 1, "code_build": 1, "debug": 1, "debug_hard": 1, "design": 1, "proof": 1,
    "science": 1, "legal": 1, "medical": 1, "finance": 1, "my_case": 1, "rare": 1, "analysis": 1,
    "reason": 1, "code_word": 1, "school_maths": 1, "role": 1,
}  # fmt: skip
"""Kinds of tasks that cues tell, and whether one speaks for a hard request (1), an easy one (-1) or
either (0). `tools/cues/` has their words."""

COUNTS: Final = {
    "length": 1, "sentence": 1, "payload": 0, "asked_size": 1,
    "vocabulary": 1, "hard_words": 1, "hard": 1, "build": 1, "expert": 1, "long_words": 1, "rare_words": 1,
    "uncommon_words": 1, "names": 1, "easy_words": -1, "easy": -1,
    "numbers": 1, "numeric_choices": 1, "maths": 1, "latex": 1, "code": 1, "identifiers": 1,
    "fences": 1, "lists": 1, "tables": 1, "json": 1,
    "questions": 1, "error": 1,
    "condition": 1, "logic": 1, "constraint": 1, "comparison": 1, "why": 1, "quantity": 1,
    "sequence": 1, "rigor": 1,
} | FACETS  # fmt: skip
"""What is counted, and whether more of it speaks for a hard prompt (1), an easy one (-1) or
either (0)."""

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
_SIZE: Final = re.compile(
    r"(\d[\d.,]{0,8})\s?[-\u2013]?\s?(words?|w\u00f6rter\w*|mots|palabras|palavras|parole|s\u0142\u00f3w|"
    r"\u0441\u043b\u043e\u0432\w*|\u5b57|\u6587\u5b57|\uc790|pages?|seiten|p\u00e1ginas|pagine|\u0441\u0442\u0440\u0430\u043d\u0438\u0446\w*|\u9875|\u9801|"
    r"chapters?|kapitel\w*|chapitres?|cap\u00edtulos|\u7ae0|files?|dateien|fichiers|archivos|\u6587\u4ef6|\u0444\u0430\u0439\u043b\w*)"
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
    words: list[str]
    """Distinct words of the instruction, lower-case and sorted; in text without spaces, pairs of
    signs."""
    cues: list[tuple[str, str, float]]
    """(word, count, strength) of every cue found."""
    known: list[str]
    """The words that the lexicon has a tendency for."""
    n_spelled: int
    """The other words, as far as their letters tell a tendency."""
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
    runs = [] if low.isascii() else [run[:MOST_SIGNS] for run in _NO_SPACES.findall(low)]
    pieces = distinct
    if runs:
        pieces = {word for word in distinct if not _NO_SPACES.match(word)}
        pieces.update([run[i : i + 2] for run in runs for i in range(len(run) - 1)])
    known = [word for word in pieces if word in weights]
    foreign = len(distinct & lexicon.foreign)
    english = 2 * len(known) >= len(distinct) > 0 and (
        not foreign or foreign < len(distinct & lexicon.english)
    )
    cues = _cues(words, distinct, known if english else [], runs, lexicon)
    counts = dict.fromkeys(COUNTS, 0.0)
    for _, name, strength in cues:
        counts[name] += strength
        if name == "hard" and strength >= 2:
            counts["rigor"] += 1

    size = len(ask)
    spaceless = sum(map(len, runs))
    n_words += spaceless // 2
    counts["length"] = log(1 + (size + 3 * spaceless) / 4)
    counts["payload"] = log(1 + len(payload) / 4)
    counts["asked_size"] = _asked_size(low)
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
    counts["vocabulary"] = log(1 + len(pieces))
    spelled: list[float] = []
    if len(known) < len(pieces):
        unknown = sorted(pieces.difference(known))[:MOST_UNKNOWN]
        spelled = [w for word in unknown if (w := lexicon.spelled(word)) is not None]
    # fsum: the words of a set come in another order in each process.
    tendency = fsum([weights[word] for word in known]) + fsum(spelled)
    above = tendency / sqrt(len(pieces) or 1) - lexicon.pivot
    counts["hard_words" if above > 0 else "easy_words"] = abs(above)
    forms = _structure(ask, options, n_words, counts)
    return Reading(
        counts=counts,
        words=sorted(pieces),
        cues=cues,
        known=known,
        n_spelled=len(spelled),
        n_words=n_words,
        forms=forms,
    )


def _cues(
    words: list[str], distinct: set[str], known: list[str], runs: list[str], lexicon: Lexicon
) -> list[tuple[str, str, float]]:
    """Return every cue in a text once; the cues of its opening count double."""
    opening = set(words[:OPENING_WORDS])
    found: list[tuple[str, str, float]] = []
    for word in distinct & lexicon.cues.keys():
        times = 2 if word in opening else 1
        found += [(word, name, times * strength) for name, strength in lexicon.cues[word]]
    pairs = lexicon.pairs
    opening_pairs = set(pairwise(words[: OPENING_WORDS + 1]))
    for pair in set(pairwise(words)) & pairs.keys():
        times = 2 if pair in opening_pairs else 1
        found += [(" ".join(pair), name, times * strength) for name, strength in pairs[pair]]
    if len(known) < 0.7 * len(distinct):
        stems = lexicon.stems
        for word in distinct.difference(known):
            for stem, cue in stems.get(word[:STEM_KEY], ()):
                if word.startswith(stem):
                    times = 2 if word in opening else 1
                    found += [(word, name, times * strength) for name, strength in cue]
                    break
    if runs:
        found += _sign_cues(runs, distinct, lexicon)
    return found


def _sign_cues(
    runs: list[str], distinct: set[str], lexicon: Lexicon
) -> list[tuple[str, str, float]]:
    """Return the cues in text without spaces."""
    at: dict[str, int] = {}
    passed = 0
    for run in runs:
        for size in SIGN_RUNS:
            for i in range(len(run) - size + 1):
                at.setdefault(run[i : i + size], passed + i)
        passed += len(run)
    return [
        (signs, name, strength * (2 if at[signs] < OPENING_SIGNS else 1))
        for signs in at.keys() & lexicon.cues.keys() - distinct
        for name, strength in lexicon.cues[signs]
    ]


def _asked_size(low: str) -> float:
    """Return the log of the size that is asked for: "2,500 words", "10 files"."""
    sizes = [found[1].replace(",", "").replace(".", "") for found in _SIZE.finditer(low)]
    return log(1 + max([float(size[:6]) for size in sizes if size], default=0.0))


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
    runs = [] if low.isascii() else [run[:MOST_SIGNS] for run in _NO_SPACES.findall(low)]
    for _, name, found in _cues(words, set(words), [], runs, lexicon):
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
