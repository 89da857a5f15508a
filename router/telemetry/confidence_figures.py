"""The effect of LOCAL_CONFIDENCE on the answers in the journal, by model and signal."""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from router.answers.calibration import SURE_LABELS, Calibration
from router.answers.confidence import Signal
from router.answers.trust import SHORT_TOKENS, Truster
from router.telemetry.journal import DAY_S, Journal
from router.telemetry.journal_store import rows_or_none

BINS: Final = 20
MOST_ANSWERS: Final = 20_000
"""Latest answers that are counted."""


@dataclass(slots=True)
class _Answer:
    """A local answer, and one figure from its model's probabilities."""

    model: str
    signal: Signal
    value: float
    started_over: bool
    """The cloud answered instead (LOCAL_CONFIDENCE=on)."""
    may_be_refused: bool
    cost_usd: float | None
    """The price of the cloud's answer; an estimate if the cloud was not asked."""


@dataclass(slots=True)
class _Tally:
    """The answers of one model by one signal."""

    seen: list[int] = field(default_factory=lambda: [0] * BINS)
    """By the model's own certainty, in equal steps from 0 to 1."""
    looked_at: int = 0
    unsure: int = 0
    cost_usd: float = 0
    unpriced: int = 0

    def add(self, answer: _Answer, calibration: Calibration) -> None:
        certainty = 1 / (1 + math.exp(-answer.value))
        self.seen[min(int(certainty * BINS), BINS - 1)] += 1
        if not answer.may_be_refused:
            return
        self.looked_at += 1
        unsure = calibration.curve.probability(answer.value) < calibration.least
        if answer.started_over or unsure:
            self.unsure += 1
            self.unpriced += answer.cost_usd is None
            self.cost_usd += answer.cost_usd or 0


def confidence_json(journal: Journal, truster: Truster, days: float, now: float) -> dict[str, Any]:
    """Return the calibrations, and their effect on the answers of the last `days`.

        {"mode": "off" | "shadow" | "on", "days", "answers": those with probabilities,
         "from_score", "to_score": prompts that are looked at score from the one to below the other,
         "uncalibrated": {model: answers without a calibration},
         "calibrations": [{"model", "signal": "words" | "check", "labels", "sure", "intercept",
             "slope", "least", "seen": [BINS counts], "looked_at", "unsure", "cost_usd",
             "unpriced"}]}

    `unsure` answers started over on the cloud, or would have done so; `cost_usd` is what that cost
    or would have cost. `sure`: the labels suffice to say whether it works. Reads the file, so call
    it in a thread.
    """
    calibrations = {(one.model, one.signal): one for one in truster.calibrations}
    tallies = {key: _Tally() for key in calibrations}
    uncalibrated: Counter[str] = Counter()
    answers = _answers(journal, truster, now - days * DAY_S)
    for answer in answers:
        key = answer.model, answer.signal
        if key in calibrations:
            tallies[key].add(answer, calibrations[key])
        else:
            uncalibrated[answer.model] += 1
    lowest, threshold = truster.band
    return {
        "mode": truster.mode,
        "days": days,
        "answers": len(answers),
        "from_score": lowest,
        "to_score": threshold,
        "uncalibrated": uncalibrated,
        "calibrations": [
            _calibration_json(one) | asdict(tallies[key]) for key, one in calibrations.items()
        ],
    }


def _calibration_json(one: Calibration) -> dict[str, Any]:
    return {
        "model": one.model,
        "signal": one.signal,
        "labels": one.curve.labels,
        "sure": one.curve.labels >= SURE_LABELS,
        "intercept": one.curve.intercept,
        "slope": one.curve.slope,
        "least": one.least,
    }


def _answers(journal: Journal, truster: Truster, since: float) -> list[_Answer]:
    rows = rows_or_none(journal.store, journal.store.sql.confidence, since, MOST_ANSWERS)
    return [answer for row in rows if (answer := _answer(row, truster)) is not None]


def _answer(row: tuple[Any, ...], truster: Truster) -> _Answer | None:
    model, target, score, stream, is_kept, figures, attempts, cost_usd = row
    found = orjson.loads(figures)
    signal: Signal = "check" if "check" in found else "words"
    if signal not in found:
        return None
    started_over = target != "local"
    if started_over:
        refused = [one for one in orjson.loads(attempts) if one["error"] == "UnsureAnswer"]
        if not refused:
            return None
        model = refused[0]["model"]
    lowest, threshold = truster.band
    is_held = not stream or found.get("tokens", 0) <= SHORT_TOKENS
    may_be_refused = is_held and not is_kept and lowest <= score < threshold
    return _Answer(model, signal, found[signal], started_over, may_be_refused, cost_usd)
