"""Replays the journal at another threshold. No model is asked.

Only requests that were decided by score change sides with the threshold; those that were forced,
private, too long, or had only one side stay. Times and prices of requests that change sides are
estimates: the other side's median speed, and the ledger's estimate of the cloud's price.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from router.backend import Target
from router.classifier import UNSURE_BELOW
from router.decision import SWITCH_DOWN_MARGIN
from router.telemetry.journal import DAY_S
from router.telemetry.journal_store import JournalStore

BY_SCORE: Final = frozenset({"simple", "complex", "inherited", "no_signal"})
"""Reasons of requests whose side depends on the threshold."""
THRESHOLDS: Final = range(101)


@dataclass(frozen=True, slots=True)
class Past:
    """One answered request, with its time and cost on both sides."""

    target: Target
    local_from: float
    """The lowest threshold at which it stays local; -inf: always, inf: never."""
    cloud_usd: float | None
    local_ms: float | None
    cloud_ms: float | None
    feedback: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a threshold."""

    threshold: float
    local_share: float
    """0 to 1."""
    usd_per_day: float
    mean_ms: float | None
    """Mean time to the end of the answer."""
    bad_avoided: int
    """Local answers rated bad that the cloud would have given."""
    good_moved: int
    """Local answers rated good that the cloud would have given, at a price."""


class Replay:
    """The requests of some days, to be decided again at any threshold."""

    def __init__(self, past: Sequence[Past], days: float) -> None:
        self.past = past
        self.days = days
        """Days from the first request until now, at least 1."""

    @property
    def unpriced(self) -> int:
        """Return the number of requests of unknown cloud price; they count as free."""
        return sum(one.cloud_usd is None for one in self.past)

    @property
    def is_priced(self) -> bool:
        """Return whether the price of any request in the cloud is known."""
        return self.unpriced < len(self.past)

    @property
    def bad(self) -> int:
        """Return the number of local answers rated bad."""
        return sum(one.target == "local" and one.feedback == "bad" for one in self.past)

    def at(self, threshold: float) -> Outcome:
        """Return what this threshold would have led to."""
        cloud = [one for one in self.past if threshold < one.local_from]
        local_ms = (one.local_ms for one in self.past if threshold >= one.local_from)
        times = [ms for ms in (*local_ms, *(one.cloud_ms for one in cloud)) if ms is not None]
        moved = [one.feedback for one in cloud if one.target == "local"]
        return Outcome(
            threshold=threshold,
            local_share=1 - len(cloud) / len(self.past) if self.past else 0.0,
            usd_per_day=sum(one.cloud_usd or 0.0 for one in cloud) / self.days,
            mean_ms=sum(times) / len(times) if times else None,
            bad_avoided=moved.count("bad"),
            good_moved=moved.count("good"),
        )

    def recommend(
        self, local_share: float | None = None, usd_per_day: float | None = None
    ) -> Outcome | None:
        """Return the lowest threshold with at least this share local and at most this cost.

        Lower ones send more to the cloud. None when no threshold does, or a cost is given and no
        price is known.
        """
        if usd_per_day is not None and not self.is_priced:
            return None

        def fits(threshold: float) -> bool:
            outcome = self.at(threshold)
            return (local_share is None or outcome.local_share >= local_share) and (
                usd_per_day is None or outcome.usd_per_day <= usd_per_day
            )

        # A higher threshold keeps more local and costs less.
        lowest = bisect_left(THRESHOLDS, True, key=fits)
        return self.at(THRESHOLDS[lowest]) if lowest < len(THRESHOLDS) else None


def read(store: JournalStore, since: float, now: float, unsure_target: Target) -> Replay:
    """Read the requests since then. Raises StoreError when there is no journal."""
    rows = [_Row(*row) for row in store.rows(store.sql.replayed, since)]
    speeds: dict[str, _Speed] = {side: _speed(rows, side) for side in ("local", "cloud")}
    past = [_past(row, speeds, unsure_target) for row in rows]
    return Replay(past, max(1.0, (now - rows[0].time) / DAY_S) if rows else 1.0)


@dataclass(frozen=True, slots=True)
class _Row:
    time: float
    target: Target
    reason: str
    score: float
    confidence: float
    threshold: float
    first_byte_ms: float | None
    total_ms: float | None
    completion_tokens: int | None
    cost_usd: float | None
    saved_usd: float | None
    feedback: str | None


@dataclass(frozen=True, slots=True)
class _Speed:
    """Median speed of a side; None if it has no answers."""

    first_byte_ms: float | None
    ms_per_token: float | None

    def ms(self, tokens: int | None) -> float | None:
        if self.first_byte_ms is None or self.ms_per_token is None or tokens is None:
            return None
        return self.first_byte_ms + tokens * self.ms_per_token


def _speed(rows: Iterable[_Row], target: str) -> _Speed:
    first: list[float] = []
    each: list[float] = []
    for row in rows:
        if row.target == target and row.first_byte_ms is not None and row.total_ms is not None:
            first.append(row.first_byte_ms)
            if row.completion_tokens:
                each.append((row.total_ms - row.first_byte_ms) / row.completion_tokens)
    return _Speed(median(first) if first else None, median(each) if each else None)


def _past(row: _Row, speeds: dict[str, _Speed], unsure_target: Target) -> Past:
    here = row.target == "local"
    estimated = speeds["cloud" if here else "local"].ms(row.completion_tokens)
    return Past(
        target=row.target,
        local_from=_local_from(row, unsure_target),
        cloud_usd=row.saved_usd if here else row.cost_usd,
        local_ms=row.total_ms if here else estimated,
        cloud_ms=estimated if here else row.total_ms,
        feedback=row.feedback,
    )


def _local_from(row: _Row, unsure_target: Target) -> float:
    if row.reason not in BY_SCORE:
        return -math.inf if row.target == "local" else math.inf
    if row.confidence < UNSURE_BELOW and unsure_target == "cloud":
        return math.inf
    if row.reason == "inherited" and row.score < row.threshold:
        return row.score + SWITCH_DOWN_MARGIN  # the cloud's cache was warm
    return math.nextafter(row.score, math.inf)
