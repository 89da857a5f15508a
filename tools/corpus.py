"""What the lexicon is learned from: labelled prompts, as the scorer reads them, and cues."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.labelled import Row
from router.scoring.lexicon import Lexicon
from router.scoring.reading import COUNTS, read
from router.scoring.turns import human_turns

Floats = NDArray[np.float64]

GAIN: Final = 0.1
"""How much it counts that strong models do better, next to small ones falling short."""


@dataclass
class Set:
    """One file: rows that are comparable with each other."""

    name: str
    rows: list[Row]
    weight: float
    difficulty: Floats = field(init=False)
    """Of each row, standardised: how far small models fall short, and how much strong ones gain."""

    def __post_init__(self) -> None:
        hard = standardised([row.cloud if row.weak is None else 1 - row.weak for row in self.rows])
        gain = standardised([(row.strong or 0) - (row.weak or 0) for row in self.rows])
        by_hand = self.rows[0].weak is None
        self.difficulty = hard if by_hand else (1 - GAIN) * hard + GAIN * gain


def standardised(values: Sequence[float | None]) -> Floats:
    column = np.array(values, float)
    return np.asarray((column - column.mean()) / (column.std() or 1.0))


def read_seeds(path: Path) -> list[Row]:
    """Our own labelled requests: `L text` and `C text` under `## group` headings."""
    rows, group = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line[:2] in ("L ", "C "):
            asked = [{"role": "user", "content": line[2:].replace("\\n", "\n")}]
            rows.append(Row(asked, group, cloud=line[0] == "C"))
    return rows


def read_cues(path: Path) -> tuple[list[list[Any]], dict[str, str]]:
    """The hand-made list: [count, strength, "entry entry ..."] sections, and named groups."""
    sections: list[list[Any]] = []
    groups: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name, _, strength = line.strip("[] ").partition(" ")
            words: list[str] = groups.setdefault(name, []) if not strength else []
            if strength:
                sections.append([name, float(strength), words])
        elif line.strip() and not line.startswith("#"):
            words += line.split()
    return (
        [[name, strength, " ".join(dict.fromkeys(words))] for name, strength, words in sections],
        {name: " ".join(dict.fromkeys(words)) for name, words in groups.items()},
    )


@dataclass
class Corpus:
    """All sets as one: what was read in each prompt, its difficulty, weight and group."""

    counts: Floats
    words: list[list[str]]
    target: Floats
    weight: Floats
    group: NDArray[np.str_]
    origin: NDArray[np.int64]
    """Index of the set that a row belongs to."""


def corpus_of(sets: Sequence[Set], lexicon: Lexicon) -> Corpus:
    """Read every prompt the way the scorer will."""
    counts, words = [], []
    for row in (row for one in sets for row in one.rows):
        reading = read(last_words(row), lexicon)
        counts.append([reading.counts[name] for name in COUNTS])
        words.append(sorted(reading.words))
    weight = np.concatenate([np.full(len(s.rows), s.weight / len(s.rows)) for s in sets])
    return Corpus(
        counts=np.array(counts),
        words=words,
        target=np.concatenate([s.difficulty for s in sets]),
        weight=weight / weight.mean(),
        group=np.array([f"{s.name}/{row.group}" for s in sets for row in s.rows]),
        origin=np.concatenate([np.full(len(s.rows), i) for i, s in enumerate(sets)]),
    )


def last_words(row: Row) -> str:
    """What is scored of a row: its last human turn."""
    turns = human_turns(row.messages)
    return turns[-1].text if turns else ""


def folds_of(corpus: Corpus, folds: int, seed: int) -> NDArray[np.int64]:
    """Deal each set's groups to the folds, so that a group is always left out as a whole."""
    fold = np.zeros(len(corpus.group), np.int64)
    for origin in np.unique(corpus.origin):
        groups = sorted(set(corpus.group[corpus.origin == origin]))
        np.random.default_rng(seed + int(origin)).shuffle(groups)
        for i, group in enumerate(groups):
            fold[corpus.group == group] = i % folds
    return fold
