"""The scorer's weights: words, cues and the points of each count, read from `lexicon.json`.

The file is written by `tools/train_lexicon.py` and has no code. Users can train one on their own
prompts and replace it.
"""

import json
from array import array
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import fsum, sqrt
from pathlib import Path
from typing import Any, Final
from zlib import crc32

FILE: Final = Path(__file__).with_name("lexicon.json")
VERSION: Final = 2
BUCKETS: Final = 1 << 14
"""Number of buckets into which groups of letters are hashed; several groups share one."""
MOST_LETTERS: Final = 16
"""Most letters of a word that are read."""
STEM_KEY: Final = 4
"""Length of the shortest stem. Stems are looked up by this many first letters."""

SPACELESS_FROM: Final = "\u0e00"
"""The first character of scripts without spaces. A few later scripts do have spaces."""

Cue = tuple[str, float]
"""The count that a cue belongs to, and its strength there."""


@dataclass(frozen=True, slots=True)
class Table:
    """Points of one count: `points[i]` for counts from `edges[i - 1]` to below `edges[i]`."""

    edges: tuple[float, ...]
    points: tuple[float, ...]
    for_none: float = field(init=False)
    """Points of a count of 0, the most frequent one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "for_none", self.at(0.0))

    def at(self, count: float) -> float:
        return self.points[bisect_right(self.edges, count)]


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """All learned and hand-made data about words, and the points of each count."""

    weights: Mapping[str, float]
    """Tendency of English words: above 0 if small models fail on prompts with the word, below 0 if
    they do well. Words that are not listed are rare."""
    learned: Mapping[str, float]
    """The same for other words of the training data: rare ones, and other languages."""
    base: float
    """Points that every request starts with."""
    pivot: float
    """A prompt's words count as hard if their joint tendency is above it."""
    letters: Sequence[float]
    """Tendency of each group of letters, by bucket, for words that are not in `weights`."""
    scripts: frozenset[int]
    """Unicode blocks of 128 characters for which letters' tendencies were learned."""
    common: frozenset[str]
    """The most common English words."""
    cues: Mapping[str, tuple[Cue, ...]]
    """Words that were listed by hand."""
    sign_cues: Mapping[str, tuple[str, ...]]
    """Cues in scripts without spaces, by their first two characters."""
    pairs: Mapping[tuple[str, str], tuple[Cue, ...]]
    """Cues of two words in a row."""
    stems: Mapping[str, tuple[tuple[str, tuple[Cue, ...]], ...]]
    """Cues that are beginnings of words, by their first letters; the longest first."""
    tables: Mapping[str, Table]
    english: frozenset[str]
    """The most common English words that are in no other language here."""
    foreign: frozenset[str]
    """The most common words of other languages that are not English."""
    function: frozenset[str]
    """Words without meaning of their own, in many languages: "the", "avec", "если"."""
    given: frozenset[str]
    """Words that, with a colon, introduce a pasted text: "Text", "Passage"."""
    small_steps: frozenset[str]
    """Easy steps of an agent, whatever came before: "commit", "run"."""
    closing: frozenset[str]
    """Thanks, praise and goodbyes."""
    polite: frozenset[str]
    """Polite words that do not turn those into a request."""
    closing_signs: frozenset[str]
    """Thanks in languages without spaces."""
    greeting: frozenset[str]
    """Words that mark a greeting or small talk before a request: "hi", "hope", "sorry"."""
    small_talk: frozenset[str]
    """Words that stand in such clauses: "doing", "well", "advance"."""
    pointing: frozenset[str]
    """Words by which a request means the text next to it: "this", "above"."""
    not_it: frozenset[str]
    """Words that show that a line is no request about a text: "don't", "sorry", "first"."""
    goes_on: frozenset[str]
    """Words by which a request continues the one before it: "then", "finally", "your"."""
    between: frozenset[str]
    """Words between "write" and "app" after which no app is asked for: "about", "our", "slogan"."""
    asks: frozenset[str]
    """Words that ask about a program, not for one: "what", "explain"."""
    work: frozenset[str]
    """Verbs with which a sentence asks for more than an easy task: "find", "compare"."""
    wants: frozenset[str]
    """Words with which a sentence asks its reader for something: "please", "need"."""
    demand: frozenset[str]
    """Words that ask for more than an easy task does: "solve", "and_explain"."""

    def tendency(self, word: str) -> float | None:
        """Return a word's tendency, by itself or by its letters."""
        known = self.by_itself(word)
        return self.spelled(word) if known is None else known

    def by_itself(self, word: str) -> float | None:
        """Return the tendency of a word that has one of its own."""
        known = self.weights.get(word)
        return self.learned.get(word) if known is None else known

    def spelled(self, word: str) -> float | None:
        """Return a word's tendency by its letters; None in a script without data."""
        if ord(word[0]) >> 7 not in self.scripts:
            return None
        buckets = letter_buckets(word)
        letters = self.letters
        return fsum([letters[bucket] for bucket in buckets]) / sqrt(len(buckets))


def letter_buckets(word: str) -> list[int]:
    """Return the buckets of a word's groups of three and four letters, with marks at its ends.

    A pair of characters from text without spaces is one group.
    """
    if len(word) == 2 and word[0] >= SPACELESS_FROM:
        return [crc32(word.encode("utf-16-le", "surrogatepass")) % BUCKETS]
    marked = f"<{word[:MOST_LETTERS]}>".encode("utf-16-le", "surrogatepass")
    size = len(marked)
    return [
        crc32(marked[i : i + width]) % BUCKETS
        for width in (6, 8)
        for i in range(0, size - width + 1, 2)
    ] or [crc32(marked) % BUCKETS]


@cache
def load(path: Path = FILE) -> Lexicon:
    """Return the lexicon of a file. Raises ValueError if it has another version."""
    data: dict[str, Any] = json.loads(path.read_bytes())
    if data.get("version") != VERSION:
        raise ValueError(f"{path.name} has version {data.get('version')}, not {VERSION}: train it")
    return from_data(data)


def from_data(data: Mapping[str, Any]) -> Lexicon:
    """Return the lexicon, prepared for the scorer's lookups."""
    words = data["words"].split()
    shared = {word: word for word in words}  # the cues use these strings: saves half a megabyte
    # 20,000 words share a few hundred number objects, which saves half a megabyte.
    tendency = {value: value * data["step"] for value in set(data["weights"])}
    weights = [tendency[value] for value in data["weights"]]
    usual = data["vocabulary"]
    cues: dict[str, tuple[Cue, ...]] = {}
    pairs: dict[tuple[str, str], tuple[Cue, ...]] = {}
    stems: dict[str, tuple[Cue, ...]] = {}
    same: dict[tuple[Cue, ...], tuple[Cue, ...]] = {}  # 10,000 entries share a few hundred values

    def add(found: dict[Any, tuple[Cue, ...]], key: Any, cue: Cue) -> None:
        value = (*found.get(key, ()), cue)
        found[key] = same.setdefault(value, value)

    for group, strength, entries in data["cues"]:
        cue = (group, strength)
        for entry in entries.split():
            if entry.endswith("*"):
                add(stems, entry[:-1], cue)
            elif "_" in entry:
                first, second = entry.split("_")
                add(pairs, (shared.get(first, first), shared.get(second, second)), cue)
            else:
                add(cues, shared.get(entry, entry), cue)
    groups = {name: frozenset(entries.split()) for name, entries in data["groups"].items()}
    groups["function"] |= groups["english"] | groups["foreign"]
    return Lexicon(
        weights=dict(zip(words[:usual], weights[:usual], strict=True)),
        learned=dict(zip(words[usual:], weights[usual:], strict=True)),
        base=data["base"],
        pivot=data["pivot"],
        letters=_numbers(data["letters"], data["step"]),
        scripts=frozenset(data["scripts"]),
        common=frozenset(words[: data["common"]]),
        cues=cues,
        sign_cues=_by_first_signs(cues),
        pairs=pairs,
        stems=_by_first_letters(stems),
        tables={
            name: Table(tuple(edges), tuple(points))
            for name, (edges, points) in data["tables"].items()
        },
        **groups,
    )


def _numbers(encoded: str, step: float) -> Sequence[float]:
    """Decode base64 of signed bytes, each worth a quarter of `step`."""
    return array("f", [value * step / 4 for value in array("b", b64decode(encoded))])


def _by_first_signs(cues: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for cue in cues:
        if len(cue) > 1 and cue[0] >= SPACELESS_FROM:
            found.setdefault(cue[:2], []).append(cue)
    return {pair: tuple(several) for pair, several in found.items()}


def _by_first_letters(
    stems: Mapping[str, tuple[Cue, ...]],
) -> dict[str, tuple[tuple[str, tuple[Cue, ...]], ...]]:
    found: dict[str, list[tuple[str, tuple[Cue, ...]]]] = {}
    for stem in sorted(stems, key=len, reverse=True):
        found.setdefault(stem[:STEM_KEY], []).append((stem, stems[stem]))
    return {first: tuple(several) for first, several in found.items()}
