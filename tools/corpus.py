"""Reads labelled prompts as the scorer does, and the hand-made cues."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bench.labelled import Row
from bench.routing import last_words
from router.scoring.lexicon import STEM_KEY, Lexicon
from router.scoring.reading import COUNTS, read

Floats = NDArray[np.float64]

NEED_POINTS: Final = {1: 5.0, 2: 27.0, 3: 43.0, 4: 68.0}
"""Points that a prompt should get, by the class of model that it needs (tools/RUBRIC.md)."""
BY_HAND_POINTS: Final = {False: 22.0, True: 64.0}
"""Points of a prompt, by whether a person would send it to the cloud."""
PAIR_POINTS: Final = (42.0, 9.0)
"""Mean and standard deviation of the points if only the quality of answers is known."""
UNSURE_WEIGHT: Final = 0.5
GAIN: Final = 0.1
"""Weight of the strong models' gain; the rest is the weight of the small models' shortfall."""


@dataclass
class Set:
    """One file: rows that are comparable with each other."""

    name: str
    rows: list[Row]
    weight: float
    points: Floats = field(init=False)
    """The score that each row should get."""

    def __post_init__(self) -> None:
        first = self.rows[0]
        if first.need is not None:
            self.points = np.array([NEED_POINTS[row.need or 2] for row in self.rows])
        elif first.weak is None:
            self.points = np.array([BY_HAND_POINTS[bool(row.cloud)] for row in self.rows])
        else:
            hard = standardised([1 - (row.weak or 0) for row in self.rows])
            gain = standardised([(row.strong or 0) - (row.weak or 0) for row in self.rows])
            mean, spread = PAIR_POINTS
            self.points = mean + spread * ((1 - GAIN) * hard + GAIN * gain)

    @property
    def row_weights(self) -> Floats:
        """Return the weight of each row; they add up to the weight of the set."""
        sure = np.array([1.0 if row.sure else UNSURE_WEIGHT for row in self.rows])
        return np.asarray(sure * self.weight / sure.sum())


def standardised(values: Sequence[float]) -> Floats:
    column = np.array(values, float)
    return np.asarray((column - column.mean()) / (column.std() or 1.0))


def read_seeds(path: Path) -> list[Row]:
    """Return the requests of a seed file: `3 text` under `## group` headings, with the need."""
    rows, group = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        need, _, text = line.partition(" ")
        if need == "##":
            group = text
        elif need in {"1", "2", "3", "4"}:
            asked = [{"role": "user", "content": text.replace("\\n", "\n")}]
            rows.append(Row(asked, group, cloud=need == "4", need=int(need)))
    return rows


def read_cues(folder: Path) -> tuple[list[list[Any]], dict[str, str]]:
    """Read the hand-made lists: [count, strength, "entry entry ..."] sections, named groups.

    Each file of the folder has some languages; what they say of one section adds up. Raises
    ValueError with the file and line of an entry that could never be found.
    """
    sections: dict[tuple[str, float], list[str]] = {}
    groups: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.txt")):
        words: list[str] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("["):
                name, _, strength = line.strip("[] ").partition(" ")
                words = (
                    sections.setdefault((name, float(strength)), [])
                    if strength
                    else groups.setdefault(name, [])
                )
            elif line.strip() and not line.startswith("#"):
                for entry in line.split():
                    if wrong := wrong_with(entry):
                        raise ValueError(f"{path.name}, line {number}: {entry!r} {wrong}")
                words += line.split()
    return (
        [
            [name, strength, " ".join(dict.fromkeys(words))]
            for (name, strength), words in sections.items()
        ],
        {name: " ".join(dict.fromkeys(words)) for name, words in groups.items()},
    )


def wrong_with(entry: str) -> str:
    """Return why an entry of a cue file could never be found; empty if it could."""
    if entry.endswith("*") and len(entry) <= STEM_KEY:
        return f"is too short: a stem needs {STEM_KEY} letters before the *"
    if entry.count("_") > 1:
        return "has more than two words: join two words with one _, or use two entries"
    if "_" in entry and ("*" in entry or not all(entry.split("_"))):
        return "must be two whole words joined with one _"
    if entry != entry.lower():
        return "must be in lower case"
    return ""


@dataclass
class Corpus:
    """All sets together: the counts of each prompt, its points, weight and group."""

    counts: Floats
    words: list[list[str]]
    target: Floats
    weight: Floats
    group: NDArray[np.str_]
    """The source of a row: a repository, a subject, or the name of a list."""
    origin: NDArray[np.int64]
    """Index of the set that a row belongs to."""
    need: NDArray[np.int64]
    """Class of model, 1 to 4. If only the side is known: 1 for local, 4 for cloud; else 0."""
    by_hand: NDArray[np.bool_]
    """Only the side is known, not the class of model."""


def corpus_of(sets: Sequence[Set], lexicon: Lexicon) -> Corpus:
    """Return the counts of every prompt, as the scorer will count them."""
    counts, words = [], []
    for row in (row for one in sets for row in one.rows):
        reading = read(last_words(row), lexicon)
        counts.append([reading.counts[name] for name in COUNTS])
        words.append(sorted(reading.words))
    weight = np.concatenate([one.row_weights for one in sets])
    return Corpus(
        counts=np.array(counts),
        words=words,
        target=np.concatenate([s.points for s in sets]),
        weight=weight / weight.mean(),
        group=np.array([group_of(s, row) for s in sets for row in s.rows]),
        origin=np.concatenate([np.full(len(s.rows), i) for i, s in enumerate(sets)]),
        need=np.array([need_of(row) for s in sets for row in s.rows]),
        by_hand=np.array([row.need is None and row.weak is None for s in sets for row in s.rows]),
    )


def need_of(row: Row) -> int:
    """Return the class of model that a row needs; 0 if only the quality of answers is known."""
    if row.need is not None:
        return row.need
    return 0 if row.weak is not None else 4 if row.cloud else 1


def group_of(one: Set, row: Row) -> str:
    """Return the name of a row's source, or of its subject within a set."""
    return row.group if row.need is not None else f"{one.name}/{row.group}"


def folds_of(corpus: Corpus, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each row, the same for all rows of a group.

    A group's fold depends on its name alone, so figures stay comparable when data are added.
    """
    return np.array([crc32(f"{seed} {group}".encode()) % folds for group in corpus.group])


def rows_dealt(corpus: Corpus, folds: int, seed: int) -> NDArray[np.int64]:
    """Return a random fold for each row, whatever its group."""
    return np.random.default_rng(seed).integers(0, folds, len(corpus.group))
