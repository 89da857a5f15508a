"""Fits step tables of points, so that the score separates the classes of need at fixed marks.

The loss is that of an ordinal regression with fixed cuts: a prompt should score above a mark if,
and only if, it needs a class above it. Each signal stays in its range while the tables are fitted,
so the points are distributed over the signals as the ranges allow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from router.classifier import BASE_SIGNAL, SIGNALS
from router.scoring.reading import COUNTS
from tools.corpus import Corpus, Floats

MARKS: Final = ((20.0, 2, 0.6), (35.0, 3, 0.8), (50.0, 4, 1.6))
"""Rows of a score, the lowest need that should reach it, and the weight of the mark."""
SPREAD: Final = 9.0
"""Width of a mark in points, from clearly below to clearly above it."""
MOST_STEPS: Final = 12
STEPS: Final = 700
RATE: Final = 0.25
PENALTY: Final = 0.0006
LEAK: Final = 0.05
"""Part of the gradient that is kept if a signal is at the end of its range."""
FIRST_BASE: Final = 12.0
MOST_POINTS: Final = {"payload": 9.0}
"""The most that some counts may add: the size of what was pasted says little."""
LEAST_POINTS: Final = {
    "legal": 14.0, "medical": 6.0, "finance": 6.0, "constraint": 12.0, "sequence": 4.0,
    "comparison": 1.0, "asked_size": 6.0, "length": 6.0, "vocabulary": 6.0, "uncommon_words": 6.0,
    "numbers": 8.0, "maths": 4.0, "code": 2.0, "lists": 2.0, "questions": 1.0, "error": 2.0,
    "fences": 1.0, "tables": 1.0, "json": 1.0, "latex": 1.0,
}  # fmt: skip
"""The least that some counts add at their highest. A few sources hold most of these counts, so a
fit without those sources would give them no points. The values were chosen on left-out sources."""
FIRST_EDGE: Final = 0.5

Tables = dict[str, tuple[list[float], list[float]]]


@dataclass
class Points:
    """A step table for each count, and the points that every request starts with."""

    tables: Tables
    base: float

    def scores(self, counts: Floats) -> Floats:
        """Return the scores of rows of counts, with each signal limited to its range."""
        names = list(COUNTS)
        result = np.zeros(len(counts))
        for signal in SIGNALS:
            points = np.full(len(counts), self.base if signal.name == BASE_SIGNAL else 0.0)
            for name in signal.counts:
                edges, steps = self.tables[name]
                column = counts[:, names.index(name)]
                points += np.array(steps)[np.searchsorted(edges, column, side="right")]
            result += points.clip(signal.low, signal.high)
        return result.clip(0, 100)


def edges_of(column: Floats) -> list[float]:
    """Return the values at which a count's points may change; a count of 0 has no points."""
    above = column[column > 0]
    if len(above) < 30:
        return []
    cuts = np.quantile(above, np.linspace(0, 1, MOST_STEPS + 1)[:-1])
    return sorted({round(float(cut), 4) for cut in cuts})


def fit_points(
    counts: Floats, corpus: Corpus, rows: NDArray[np.int64], marks: Sequence[float]
) -> Points:
    """Fit the tables to some rows. `marks` replace the scores of MARKS.

    `counts` are those of the rows, including the words' tendency.
    """
    names = list(COUNTS)
    edges = {name: edges_of(counts[:, i]) for i, name in enumerate(names)}
    for name in LEAST_POINTS:
        edges[name] = edges[name] or [FIRST_EDGE]
    blocks, signs, slices, at = [], [], [], 0
    capped: list[tuple[slice, float]] = []
    least: dict[int, float] = {}
    for signal in SIGNALS:
        first = at
        for name in signal.counts:
            column = counts[:, names.index(name)]
            blocks += [column >= edge for edge in edges[name]]
            signs += [COUNTS[name]] * len(edges[name])
            if name in LEAST_POINTS:
                rise = LEAST_POINTS[name] / len(edges[name])
                least |= dict.fromkeys(range(at, at + len(edges[name])), rise)
            if name in MOST_POINTS:
                capped.append((slice(at, at + len(edges[name])), MOST_POINTS[name]))
            at += len(edges[name])
        slices.append(slice(first, at))
    reached = np.column_stack(blocks).astype(np.float32)
    sign = np.array(signs)
    steps, base = _descend(reached, sign, slices, capped, least, _slope_of(corpus, rows, marks))
    tables: Tables = {}
    at = 0
    for signal in SIGNALS:
        for name in signal.counts:
            rises = steps[at : at + len(edges[name])]
            tables[name] = (edges[name], [0.0, *(float(p) for p in np.cumsum(rises))])
            at += len(edges[name])
    return Points(tables, base)


def _descend(
    reached: NDArray[np.float32],
    sign: NDArray[np.int64],
    slices: list[slice],
    capped: list[tuple[slice, float]],
    least: dict[int, float],
    slope: Callable[[Floats], Floats],
) -> tuple[Floats, float]:
    """Return the rise at each edge and the base, found with Adam over all rows at once."""
    theta = np.zeros(reached.shape[1] + 1)
    theta[-1] = FIRST_BASE
    free = np.append(sign, 0)
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    for step in range(1, STEPS + 1):
        total = np.zeros(len(reached))
        passes = []
        for signal, part in zip(SIGNALS, slices, strict=True):
            raw = reached[:, part] @ theta[part].astype(np.float32)
            if signal.name == BASE_SIGNAL:
                raw = raw + theta[-1]
            total += raw.clip(signal.low, signal.high)
            passes.append(np.where((raw < signal.low) | (raw > signal.high), LEAK, 1.0))
        pull = slope(total)
        gradient = np.zeros_like(theta)
        for signal, part, passed in zip(SIGNALS, slices, passes, strict=True):
            flow = (pull * passed).astype(np.float32)
            gradient[part] = flow @ reached[:, part]
            if signal.name == BASE_SIGNAL:
                gradient[-1] = flow.sum()
        gradient[:-1] += PENALTY * theta[:-1]
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        rate = RATE * (1 if step < 0.7 * STEPS else 0.3)
        theta -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-7)
        theta[free > 0] = theta[free > 0].clip(0, None)
        theta[free < 0] = theta[free < 0].clip(None, 0)
        for edge, rise in least.items():
            theta[edge] = max(theta[edge], rise)
        for part, most in capped:
            theta[part] *= most / max(most, theta[part].sum())
    return theta[:-1], float(theta[-1])


def _slope_of(
    corpus: Corpus, rows: NDArray[np.int64], scores: Sequence[float]
) -> Callable[[Floats], Floats]:
    """Return a function that returns the slope of the loss at given scores."""
    need, weight, target = corpus.need[rows], corpus.weight[rows], corpus.target[rows]
    measured = need == 0
    marks = []
    for mark, (_, lowest, share) in zip(scores, MARKS, strict=True):
        counted = need > 0
        if lowest < 4:
            counted = counted & ~corpus.by_hand[rows]  # only for the cloud or not
        above = counted & (need >= lowest)
        below = counted & ~above
        pull = np.zeros(len(rows))
        pull[above] = weight[above] / weight[above].sum()
        pull[below] = weight[below] / weight[below].sum()
        marks.append((mark, np.where(above, -1.0, 1.0), share * pull))
    towards = np.where(measured, weight, 0.0) / max(weight.sum(), 1e-9)

    def slope(total: Floats) -> Floats:
        result = towards * (total - target) / SPREAD
        for mark, side, pull in marks:
            result += pull * side / (1 + np.exp(-side * (total - mark) / SPREAD))
        return np.asarray(result)

    return slope
