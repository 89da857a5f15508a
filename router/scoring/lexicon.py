"""The scorer's weights: words, cues and the points of each count, read from `lexicon.json`.

The file is data, made by `tools/train_lexicon.py`; nothing in it is code. A user can train one on
prompts of their own and put it in its place.
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
from sys import intern
from typing import Any, Final
from zlib import crc32

FILE: Final = Path(__file__).with_name("lexicon.json")
VERSION: Final = 2
BUCKETS: Final = 1 << 14
"""Numbers that stand for groups of letters; several groups share one."""
MOST_LETTERS: Final = 16
"""Letters of a word that are read."""
STEM_KEY: Final = 4
"""Letters of the shortest stem; stems are looked up by their first letters, this many."""

SPACELESS_FROM: Final = "\u0e00"
"""The first character of scripts without spaces; a few that have them stand between."""

Cue = tuple[str, float]
"""The count that a cue belongs to, and its strength there."""


@dataclass(frozen=True, slots=True)
class Table:
    """Points of one count: `points[i]` from `edges[i - 1]` on; `points` is one longer."""

    edges: tuple[float, ...]
    points: tuple[float, ...]
    for_none: float = field(init=False)
    """Points of a count of 0, which most are."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "for_none", self.at(0.0))

    def at(self, count: float) -> float:
        return self.points[bisect_right(self.edges, count)]


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Everything learned or written down about words, and what each count is worth."""

    weights: Mapping[str, float]
    """English word to tendency: above 0 where small models fall short, below 0 where they do well;
    a word that is not in it is rare."""
    learned: Mapping[str, float]
    """The same for the other words that the data have: rare ones, and those of other languages."""
    base: float
    """Points that every request starts with."""
    pivot: float
    """The joint tendency of a prompt's words from which they count as hard."""
    letters: Sequence[float]
    """Tendency of each group of letters, by bucket, for words that are not in `weights`."""
    scripts: frozenset[int]
    """Blocks of 128 characters that the letters' tendencies were learned from."""
    common: frozenset[str]
    """The commonest English words."""
    cues: Mapping[str, tuple[Cue, ...]]
    """Words written down by hand."""
    sign_cues: Mapping[str, tuple[str, ...]]
    """Those of text without spaces, by their first two signs."""
    pairs: Mapping[tuple[str, str], tuple[Cue, ...]]
    """Two words next to each other."""
    stems: Mapping[str, tuple[tuple[str, tuple[Cue, ...]], ...]]
    """Beginnings of words, for languages that inflect, by their first letters; longest first."""
    tables: Mapping[str, Table]
    english: frozenset[str]
    """The commonest words of English that no other language here has."""
    foreign: frozenset[str]
    """The commonest words of other languages that English has not."""
    function: frozenset[str]
    """Words of many languages that say nothing by themselves: "the", "avec", "если"."""
    given: frozenset[str]
    """What stands with a colon before a text that is given: "Text", "Passage"."""
    small_steps: frozenset[str]
    """Steps of an agent that take little, whatever they follow: "commit", "run"."""
    closing: frozenset[str]
    """Thanks, praise and goodbyes."""
    polite: frozenset[str]
    """Words that may stand around those without making them a request."""
    closing_signs: frozenset[str]
    """Thanks in languages without spaces."""

    def tendency(self, word: str) -> float | None:
        """Return a word's tendency, by itself or by its letters."""
        known = self.by_itself(word)
        return self.spelled(word) if known is None else known

    def by_itself(self, word: str) -> float | None:
        """Return the tendency of a word that has one of its own."""
        known = self.weights.get(word)
        return self.learned.get(word) if known is None else known

    def spelled(self, word: str) -> float | None:
        """Return the tendency that a word's letters tell; None in a script without data."""
        if ord(word[0]) >> 7 not in self.scripts:
            return None
        buckets = letter_buckets(word)
        letters = self.letters
        return fsum([letters[bucket] for bucket in buckets]) / sqrt(len(buckets))


def letter_buckets(word: str) -> list[int]:
    """Return the buckets of a word's groups of three and four letters, its ends marked.

    A pair of signs, as text without spaces is cut into, is one group.
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
    """Read a lexicon file; raises ValueError when it was made for another version."""
    data: dict[str, Any] = json.loads(path.read_bytes())
    if data.get("version") != VERSION:
        raise ValueError(f"{path.name} has version {data.get('version')}, not {VERSION}: train it")
    return from_data(data)


def from_data(data: Mapping[str, Any]) -> Lexicon:
    """Return the lexicon in the form that the scorer looks things up in."""
    words = [intern(word) for word in data["words"].split()]
    # 20,000 words share a few hundred numbers: half a megabyte less.
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
                add(pairs, (intern(first), intern(second)), cue)
            else:
                add(cues, intern(entry), cue)
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
