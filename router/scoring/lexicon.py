"""The scorer's weights: words, cues and the points of each count, read from `lexicon.json`.

The file is data, made by `tools/train_lexicon.py`; nothing in it is code. A user can train one on
prompts of their own and put it in its place.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("lexicon.json")
VERSION: Final = 1
STEM_KEY: Final = 4
"""Letters of the shortest stem; stems are looked up by their first letters, this many."""

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


@dataclass(frozen=True, slots=True)
class Lexicon:
    """Everything learned or written down about words, and what each count is worth."""

    weights: Mapping[str, float]
    """Word to tendency: above 0 where small models fall short, below 0 where they do well."""
    pivot: float
    """The joint tendency of a prompt's words from which they count as hard."""
    typical: float
    """The joint tendency that is assumed where the words are not known: in other languages."""
    common: frozenset[str]
    """The commonest English words."""
    cues: Mapping[str, tuple[Cue, ...]]
    """Words written down by hand."""
    pairs: Mapping[tuple[str, str], tuple[Cue, ...]]
    """Two words next to each other."""
    stems: Mapping[str, tuple[tuple[str, tuple[Cue, ...]], ...]]
    """Beginnings of words, for languages that inflect, by their first letters; longest first."""
    tables: Mapping[str, Table]
    english: frozenset[str]
    """The commonest words of English that no other language here has."""
    foreign: frozenset[str]
    """The commonest words of other languages that English has not."""
    closing: frozenset[str]
    """Thanks, praise and goodbyes."""
    polite: frozenset[str]
    """Words that may stand around those without making them a request."""
    closing_signs: frozenset[str]
    """Thanks in languages without spaces."""


@cache
def load(path: Path = FILE) -> Lexicon:
    """Read a lexicon file; raises ValueError when it was made for another version."""
    data: dict[str, Any] = json.loads(path.read_bytes())
    if data.get("version") != VERSION:
        raise ValueError(f"{path.name} has version {data.get('version')}, not {VERSION}: train it")
    return from_data(data)


def from_data(data: Mapping[str, Any]) -> Lexicon:
    """The lexicon in the form that the scorer looks things up in."""
    words = data["words"].split()
    # 20,000 words share a few hundred numbers: half a megabyte less.
    tendency = {value: value * data["step"] for value in set(data["weights"])}
    cues: dict[str, list[Cue]] = {}
    pairs: dict[tuple[str, str], list[Cue]] = {}
    stems: dict[str, list[Cue]] = {}
    for group, strength, entries in data["cues"]:
        for entry in entries.split():
            if entry.endswith("*"):
                stems.setdefault(entry[:-1], []).append((group, strength))
            elif "_" in entry:
                first, second = entry.split("_")
                pairs.setdefault((first, second), []).append((group, strength))
            else:
                cues.setdefault(entry, []).append((group, strength))
    return Lexicon(
        weights=dict(zip(words, [tendency[value] for value in data["weights"]], strict=True)),
        pivot=data["pivot"],
        typical=data["typical"],
        common=frozenset(words[: data["common"]]),
        cues={key: tuple(value) for key, value in cues.items()},
        pairs={key: tuple(value) for key, value in pairs.items()},
        stems=_by_first_letters(stems),
        tables={
            name: Table(tuple(edges), tuple(points))
            for name, (edges, points) in data["tables"].items()
        },
        **{name: frozenset(entries.split()) for name, entries in data["groups"].items()},
    )


def _by_first_letters(
    stems: Mapping[str, list[Cue]],
) -> dict[str, tuple[tuple[str, tuple[Cue, ...]], ...]]:
    found: dict[str, list[tuple[str, tuple[Cue, ...]]]] = {}
    for stem in sorted(stems, key=len, reverse=True):
        found.setdefault(stem[:STEM_KEY], []).append((stem, tuple(stems[stem])))
    return {first: tuple(several) for first, several in found.items()}
