"""Turns a signal into the probability that a local answer is good enough (Platt scaling).

A curve has two parameters and belongs to one model and one signal. There are few labels to fit it
to, so its slope is drawn weakly towards a typical one. A stronger pull would help models like those
that the typical slope was measured on a little, and harm others much.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from router.answers.confidence import Signal

SURE_LABELS: Final = 200
"""Least number of labels that show whether a calibration works."""
TYPICAL_SLOPE: Final = 0.5
"""Measured were .6 to .7 for `words` and .3 for `check` (Llama 3.2 3B and 3.1 8B on MMLU and
TriviaQA)."""
SLOPE_PRECISION: Final = 5.0
INTERCEPT_PRECISION: Final = 0.05
STEPS: Final = 40
CLOSE_ENOUGH: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Curve:
    """The probability that an answer is good enough, as a logistic curve over a signal."""

    intercept: float
    slope: float
    labels: int = 0
    """Number of labels that it was fitted to."""

    def probability(self, score: float) -> float:
        """Return the probability, 0 to 1, for a signal's score."""
        return _logistic(self.intercept + self.slope * score)


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve for one model and signal, and the probability below which the cloud starts over."""

    model: str
    """The id at the server. Another quantization needs another calibration."""
    signal: Signal
    curve: Curve
    least: float


class Calibrations:
    """The calibrations of all models, kept in one JSON file. Holds no text."""

    def __init__(self, found: Iterable[Calibration] = ()) -> None:
        self._found = {(one.model, one.signal): one for one in found}

    def __iter__(self) -> Iterator[Calibration]:
        return iter(self._found.values())

    @classmethod
    def load(cls, path: Path) -> "Calibrations":
        """Return the calibrations of a file; none without a file. Raises OSError, ValueError."""
        if not path.exists():
            return cls()
        try:
            return cls([_read(one) for one in orjson.loads(path.read_bytes())])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no calibrations ({error!r}).") from None

    def keep(self, path: Path, calibration: Calibration) -> None:
        """Add a calibration, replacing that of its model and signal, and write the file."""
        self._found[calibration.model, calibration.signal] = calibration
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        found = [asdict(one) for one in self._found.values()]
        beside.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        beside.replace(path)

    def knows(self, model: str) -> bool:
        """Return whether there is a calibration for this model."""
        return any(known == model for known, _ in self._found)

    def curve(self, model: str, signal: Signal) -> Curve | None:
        """Return the curve; None if there is none."""
        found = self._found.get((model, signal))
        return found.curve if found is not None else None

    def least(self, model: str, signal: Signal) -> float | None:
        """Return the probability below which the cloud starts over; None without a curve."""
        found = self._found.get((model, signal))
        return found.least if found is not None else None


def _read(found: Mapping[str, Any]) -> Calibration:
    signal: Signal = "check" if found["signal"] == "check" else "words"
    shape = found["curve"]
    curve = Curve(float(shape["intercept"]), float(shape["slope"]), int(shape["labels"]))
    return Calibration(str(found["model"]), signal, curve, float(found["least"]))


def fit(points: Sequence[tuple[float, float]]) -> Curve:
    """Return the curve for labelled scores: pairs of a score and a label from 0 (bad) to 1 (good).

    It uses Newton's method on the penalised likelihood. The loss is convex, so halving the step
    makes it converge from anywhere. The slope is never negative: a surer model is not worse.
    """
    targets = _smoothed([label for _, label in points])
    scores = [score for score, _ in points]
    at = 0.0, TYPICAL_SLOPE
    loss = _loss(at, scores, targets)
    for _ in range(STEPS):
        step = _newton(at, scores, targets)
        size = 1.0
        while True:
            tried = at[0] + size * step[0], max(0.0, at[1] + size * step[1])
            new = _loss(tried, scores, targets)
            if new <= loss or size < CLOSE_ENOUGH:
                break
            size /= 2
        gained, at, loss = loss - new, tried, new
        if gained < CLOSE_ENOUGH:
            break
    return Curve(*at, labels=len(points))


def _smoothed(labels: Sequence[float]) -> list[float]:
    """Return the labels moved slightly towards the middle, as Platt does when they are few."""
    good = sum(labels)
    high, low = (good + 1) / (good + 2), 1 / (len(labels) - good + 2)
    return [low + label * (high - low) for label in labels]


def _loss(at: tuple[float, float], scores: Sequence[float], targets: Sequence[float]) -> float:
    intercept, slope = at
    loss = (
        INTERCEPT_PRECISION * intercept**2 / 2 + SLOPE_PRECISION * (slope - TYPICAL_SLOPE) ** 2 / 2
    )
    for score, target in zip(scores, targets, strict=True):
        odds = intercept + slope * score
        loss += max(odds, 0.0) + math.log1p(math.exp(-abs(odds))) - target * odds
    return loss


def _newton(
    at: tuple[float, float], scores: Sequence[float], targets: Sequence[float]
) -> tuple[float, float]:
    intercept, slope = at
    down_i, down_s = INTERCEPT_PRECISION * intercept, SLOPE_PRECISION * (slope - TYPICAL_SLOPE)
    ii, si, ss = INTERCEPT_PRECISION, 0.0, SLOPE_PRECISION
    for score, target in zip(scores, targets, strict=True):
        p = _logistic(intercept + slope * score)
        weight = p * (1 - p)
        down_i += p - target
        down_s += (p - target) * score
        ii += weight
        si += weight * score
        ss += weight * score * score
    determinant = ii * ss - si * si
    return (si * down_s - ss * down_i) / determinant, (si * down_i - ii * down_s) / determinant


def _logistic(odds: float) -> float:
    if odds >= 0:
        return 1 / (1 + math.exp(-odds))
    return math.exp(odds) / (1 + math.exp(odds))
