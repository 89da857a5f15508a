"""Measures what the local model's probabilities tell about its answers.

    python -m bench.answers FILE [--labels N] [--json OUT]

FILE has one JSON object a line, gzipped or not:

    id, g, model     identifier, group (task or subject), local model
    p, answer        the prompt, and what the local model answered
    tokens           log-probabilities of the answer's tokens; or
    p_yes            probability that the model, asked itself, calls its answer right
    w, s             quality, 0 to 1, of the local answer and of the cloud's

For each model, group and signal it prints how well the signal ranks the answers, compared with the
score of the prompt: AUROC for the local answers that fall short; APGR (the part of the quality gap
that is recovered, averaged over all shares of cloud calls); the share that stays local at 95 % and
98 % of the cloud's quality; and the calibration error with N labels of the model and signal, the
mean of many draws. Only the calibration is fitted to the file. In brackets: 95 % of the bootstrap
resamples (of the draws, for the calibration error). The summary is the mean over models, groups and
signals. Exit status: 0, or 2 for a file that cannot be used.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import nan
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.routing import Floats, apgr, auroc, curve, resamples, shown, stays_local
from router.answers.calibration import fit
from router.answers.confidence import Signal, check_score, confidence
from router.classifier import score_messages

KEPT: Final = (0.95, 0.98)
"""Shares of the cloud's quality."""
LEAST_ROWS: Final = 60
"""Smaller groups of a model are merged."""
DRAWS: Final = 40
"""How often labels are drawn for a calibration."""
BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One answer of a local model, with its signal as the router computes it."""

    model: str
    group: str
    signal: Signal
    score: float
    """The value of the signal."""
    prompt: str
    weak: float
    strong: float


@dataclass(frozen=True, slots=True)
class Cell:
    """The figures of one model, group and signal. Arrays: all rows first, then the resamples."""

    name: tuple[str, str, Signal]
    rows: int
    auroc: tuple[Floats, Floats]
    """By the signal, and by the prompt score."""
    apgr: tuple[Floats, Floats]
    local: dict[float, tuple[Floats, Floats]]
    has_gap: bool
    """The cloud is reliably better, so there is a gap to recover."""


def read_rows(path: Path) -> list[Row]:
    """Return the rows that have a signal. Raises OSError, and ValueError naming the line."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = _row(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"{path.name}, line {number}: {reason}") from None
            rows += [row] if row else []
    return rows


def _row(data: dict[str, Any]) -> Row | None:
    signal: Signal
    if tokens := data.get("tokens"):
        said = confidence(map(float, tokens))
        assert said is not None
        signal, score = "words", said.score
    elif (p_yes := data.get("p_yes")) is not None:
        signal, score = "check", check_score(float(p_yes))
    else:
        return None
    quality = [float(np.mean(data[name])) for name in ("w", "s")]
    return Row(str(data["model"]), str(data["g"]), signal, score, str(data["p"]), *quality)


@cache
def prompt_score(prompt: str) -> float:
    """Return the router's score of a prompt."""
    return score_messages([{"role": "user", "content": prompt}]).total


def in_cells(rows: Iterable[Row]) -> dict[tuple[str, str, Signal], list[Row]]:
    """Return the rows by model, group and signal; small groups of a model are merged."""
    cells: dict[tuple[str, str, Signal], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.model, row.group, row.signal), []).append(row)
    joined: dict[tuple[str, str, Signal], list[Row]] = {}
    for (model, group, signal), found in sorted(cells.items()):
        name = group if len(found) >= LEAST_ROWS else "(small groups)"
        joined.setdefault((model, name, signal), []).extend(found)
    return joined


def measured(name: tuple[str, str, Signal], rows: Sequence[Row]) -> Cell:
    """Return how well the signal and the prompt score rank these answers."""
    drawn = resamples(len(rows))
    weak, strong = np.array([row.weak for row in rows]), np.array([row.strong for row in rows])
    total = drawn.sum(1)
    lowest, highest = drawn @ weak / total, drawn @ strong / total
    # Unsure answers and hard prompts go to the cloud first.
    unsure = np.array([-row.score for row in rows])
    hard = np.array([prompt_score(row.prompt) for row in rows])
    short = weak < weak.mean() - 1e-12
    has_gap = bool(np.quantile(highest - lowest, 0.025) > 0)
    with np.errstate(all="ignore"):  # without a gap there is nothing to divide
        curves = [curve(order, strong - weak, drawn) for order in (unsure, hard)]
        local = {kept: _stay(curves, _needed(kept, lowest, highest)) for kept in KEPT}
        ranked = auroc(unsure, short, drawn), auroc(hard, short, drawn)
        area = apgr(*curves[0]), apgr(*curves[1])
    return Cell(name, len(rows), ranked, area, local, has_gap)


def _stay(curves: Sequence[tuple[Floats, Floats]], needed: Floats) -> tuple[Floats, Floats]:
    one, two = (stays_local(*one, needed) for one in curves)
    return one, two


def _needed(kept: float, lowest: Floats, highest: Floats) -> Floats:
    """Return the part of the gap to recover, for this share of the cloud's quality."""
    part: Floats = np.maximum((kept * highest - lowest) / (highest - lowest), 0)
    return part


def calibration_errors(rows: Sequence[Row], labels: int) -> list[float]:
    """Return the error on the rest of the rows for each draw of labels, with the router's fit."""
    dice = np.random.default_rng(0)
    labels = min(labels, len(rows) // 2)
    good = np.array([row.weak for row in rows])
    errors = []
    for _ in range(DRAWS):
        order = dice.permutation(len(rows))
        points = [(rows[i].score, rows[i].weak) for i in order[:labels]]
        fitted = fit(points)
        rest = order[labels:]
        said = np.array([fitted.probability(rows[i].score) for i in rest])
        errors.append(calibration_error(said, good[rest]))
    return errors


def calibration_error(said: Floats, good: Floats) -> float:
    """Return the expected calibration error of the probabilities `said`."""
    bins: NDArray[np.int64] = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, said - good, BINS)
    return float(np.abs(gaps).sum() / len(said))


def by_model(rows: Iterable[Row]) -> dict[tuple[str, Signal], list[Row]]:
    """Return the rows by model and signal, the scope of one calibration."""
    found: dict[tuple[str, Signal], list[Row]] = {}
    for row in rows:
        found.setdefault((row.model, row.signal), []).append(row)
    return dict(sorted(found.items()))


def report(cell: Cell, errors: Sequence[float], labels: int) -> None:
    """Print the figures of one cell."""
    print(f"{' '.join(cell.name)}: {cell.rows} answers")
    print("                               by confidence             by prompt score")
    lines: list[tuple[str, tuple[Floats, Floats], bool]] = [
        ("AUROC, local falls short", cell.auroc, False)
    ]
    if cell.has_gap:
        lines.append(("APGR", cell.apgr, False))
        lines += [(f"local at {kept:.0%} quality, %", cell.local[kept], True) for kept in KEPT]
    for name, (one, two), percent in lines:
        print(f"  {name:27}  {shown(one, percent):24}  {shown(two, percent)}")
    if not cell.has_gap:
        print("  the cloud is not reliably better here: there is no gap to recover")
    low, high = np.quantile(errors, [0.025, 0.975])
    print(f"  calibration error, {labels} labels   {fmean(errors):.3f} [{low:.3f}, {high:.3f}]\n")


def as_json(cell: Cell, errors: Sequence[float]) -> dict[str, Any]:
    """Return the figures of one cell as JSON: value, low and high of each."""

    def pair(values: tuple[Floats, Floats]) -> dict[str, list[float]]:
        return dict(zip(("confidence", "score"), map(interval, values), strict=True))

    model, group, signal = cell.name
    return {
        "model": model,
        "group": group,
        "signal": signal,
        "rows": cell.rows,
        "auroc": pair(cell.auroc),
        "ece": fmean(errors),
        **(
            {
                "apgr": pair(cell.apgr),
                "apgr_gain": interval(cell.apgr[0] - cell.apgr[1]),
                "local_share": {f"{kept:g}": pair(cell.local[kept]) for kept in KEPT},
            }
            if cell.has_gap
            else {}
        ),
    }


def interval(values: Floats) -> list[float]:
    """Return the value of all rows, and the ends of the interval of the resamples."""
    return [float(values[0]), *map(float, np.nanquantile(values[1:], [0.025, 0.975]))]


def summary(cells: Sequence[Cell], errors: Sequence[float]) -> dict[str, Any]:
    """Return the means over all cells with a gap (nan without one), and over all calibrations."""
    areas = [cell.apgr for cell in cells if cell.has_gap]
    found: dict[str, Any] = {"confidence": nan, "score": nan, "gain": [nan] * 3}
    if areas:
        ours, scores = (np.mean([area[which] for area in areas], axis=0) for which in (0, 1))
        found = {
            "confidence": float(ours[0]),
            "score": float(scores[0]),
            "gain": interval(ours - scores),
        }
    return found | {"ece": fmean(errors)}


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="JSON lines, gzipped or not")
    parser.add_argument("--labels", type=int, default=50, help="for a calibration (default: 50)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure a file; returns the exit status."""
    options = parsed(arguments)
    try:
        rows = read_rows(options.file)
        if options.labels < 2:
            raise ValueError("--labels must be at least 2")
        if len(rows) < LEAST_ROWS:
            raise ValueError(f"{len(rows)} rows with tokens or p_yes are too few to measure by")
    except (OSError, ValueError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 2
    cells = [measured(name, found) for name, found in in_cells(rows).items()]
    errors = {
        key: calibration_errors(found, options.labels) for key, found in by_model(rows).items()
    }
    for cell in cells:
        model, _, signal = cell.name
        report(cell, errors[model, signal], options.labels)
    total = summary(cells, [fmean(found) for found in errors.values()])
    if options.json is not None:
        measured_cells = [as_json(cell, errors[cell.name[0], cell.name[2]]) for cell in cells]
        options.json.write_text(json.dumps({"cells": measured_cells, "summary": total}, indent=1))
    gain, low, high = total["gain"]
    print(
        f"SUMMARY apgr confidence {total['confidence']:.3f} score {total['score']:.3f}"
        f" gain {gain:.3f} [{low:.3f}, {high:.3f}]  ece {total['ece']:.3f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
