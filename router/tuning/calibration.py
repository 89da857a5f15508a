"""Calibrates the local model's confidence in its answers by the results of a comparison.

A label of the judge tells whether an answer was as good as the cloud's. With LEAST_LABELS labels a
curve is fitted for each signal. A signal counts as working with SURE_LABELS labels, and only if it
ranks the answers better than the prompt score does.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from router.answers.calibration import SURE_LABELS, Calibration, fit
from router.answers.confidence import Signal
from router.tuning.judge import Compared

LEAST_LABELS: Final = 50
LEAST_OF_EITHER: Final = 5
"""Good and bad answers that a curve needs."""
CHANCE: Final = 0.5
RESAMPLES: Final = 400
FOLDS: Final = 5
BINS: Final = 10

Points = Sequence[tuple[float, float]]
"""Pairs of a value and a label: 1.0 for an answer that was as good, else 0.0."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The chance that a good answer has a higher value than a bad one (AUROC), and its 95 %
    interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Finding:
    """The quality of one signal on the compared prompts."""

    calibration: Calibration
    by_signal: Ranking
    by_score: Ranking
    error: float
    """Expected calibration error, on labels that the curve was not fitted to."""
    stays_by_signal: float
    """Share of the prompts, 0 to 1, that may stay local while enough of the answers are as good."""
    stays_by_score: float

    @property
    def labels(self) -> int:
        """Return the number of labels."""
        return self.calibration.curve.labels

    @property
    def works(self) -> bool:
        """Return whether it ranks the answers better than the prompt score, beyond chance."""
        return self.labels >= SURE_LABELS and self.by_signal.low > max(self.by_score.value, CHANCE)


def findings(results: Sequence[Compared], model: str, quality: float) -> list[Finding]:
    """Return a finding for each signal with enough labels. `quality`: the wanted share, 0 to 1."""
    signals: dict[Signal, Callable[[Compared], float | None]] = {
        "words": lambda result: result.words,
        "check": lambda result: result.check,
    }
    found = []
    for signal, of in signals.items():
        rated = [(value, one) for one in results if (value := of(one)) is not None]
        points = [(value, float(one.as_good)) for value, one in rated]
        good = sum(label for _, label in points)
        if len(points) >= LEAST_LABELS and LEAST_OF_EITHER <= good <= len(points) - LEAST_OF_EITHER:
            # Simple prompts first, as the most certain answers are.
            prompts = [(-one.score, float(one.as_good)) for _, one in rated]
            found.append(_finding(signal, points, prompts, model, quality))
    return found


def _finding(
    signal: Signal, points: Points, prompts: Points, model: str, quality: float
) -> Finding:
    curve = fit(points)
    cut, share = _kept(points, quality)
    return Finding(
        Calibration(model, signal, curve, curve.probability(cut)),
        ranking(points),
        ranking(prompts),
        calibration_error(points),
        share,
        _kept(prompts, quality)[1],
    )


def ranking(points: Points) -> Ranking:
    """Return how well the values rank the labels, with a bootstrap interval of 95 %."""
    dice = random.Random(0)
    drawn = sorted(_auroc(dice.choices(points, k=len(points))) for _ in range(RESAMPLES))
    return Ranking(_auroc(points), drawn[RESAMPLES // 40], drawn[-RESAMPLES // 40 - 1])


def _auroc(points: Points) -> float:
    """Return the chance that a good one has the higher value; ties count half."""
    ordered = sorted(points)
    good = sum(label for _, label in points)
    wins = below = 0.0
    at = 0
    while at < len(ordered):
        end = at
        while end < len(ordered) and ordered[end][0] == ordered[at][0]:
            end += 1
        here = sum(label for _, label in ordered[at:end])
        wins += here * (below + (end - at - here) / 2)
        below += end - at - here
        at = end
    pairs = good * (len(points) - good)
    return wins / pairs if pairs else 0.5


def calibration_error(points: Points) -> float:
    """Return the expected calibration error of curves fitted to the other labels."""
    shuffled = [*points]
    random.Random(0).shuffle(shuffled)
    gaps = [0.0] * BINS
    for fold in range(FOLDS):
        curve = fit([p for at, p in enumerate(shuffled) if at % FOLDS != fold])
        for score, label in shuffled[fold::FOLDS]:
            said = curve.probability(score)
            gaps[min(int(said * BINS), BINS - 1)] += said - label
    return sum(map(abs, gaps)) / len(points)


def _kept(points: Points, quality: float) -> tuple[float, float]:
    """Return the lowest value down to which enough answers are good, and the share above it.

    Without such a value: one above all, and 0.
    """
    ordered = sorted(points, reverse=True)
    best, good = 0, 0.0
    for count, (value, label) in enumerate(ordered, 1):
        good += label
        is_tied = count < len(ordered) and ordered[count][0] == value
        if not is_tied and good >= quality * count:
            best = count
    if not best:
        return ordered[0][0] + 1, 0.0
    if best == len(ordered):
        return ordered[-1][0], 1.0
    return (ordered[best - 1][0] + ordered[best][0]) / 2, best / len(ordered)
