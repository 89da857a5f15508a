"""Measures where prompts go, and what that costs in quality: `make bench-routing`.

    python -m bench.routing [DATA ...]     files or folders, in the format of bench/labelled.py

Without DATA it reads the prompts of this repository, labelled by hand (bench/prompts.jsonl). For
data with measured quality it prints what share can stay local at which quality, compared with a
random router. For labels it also prints how well the length of the prompt alone ranks. In brackets:
95 % of the bootstrap resamples.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.labelled import Row, read_rows
from router.classifier import score_messages
from router.scoring.turns import human_turns

Floats = NDArray[np.float64]

OWN: Final = Path(__file__).with_name("prompts.jsonl")
THRESHOLD: Final = 50
THRESHOLDS: Final = (30, 40, 50, 60, 70)
MARKS: Final = ((20, 2), (35, 3), (50, 4))
"""Pairs of a score and the smallest class of model whose prompts should reach it."""
KEPT: Final = (0.99, 0.98, 0.95, 0.90, 0.80)
"""Shares of the strong side's quality."""
RESAMPLES: Final = 500
PUBLISHED: Final = (
    ("MT Bench", 0.610, 0.802),
    ("MMLU", 0.524, 0.603),
    ("GSM8K", 0.475, 0.622),
)
"""RouteLLM's best router by set: its APGR if trained on Chatbot Arena alone, and with similar data.
Source: Ong et al., arXiv 2406.18665v4, tables 1 to 3; matrix factorisation, BERT, causal LLM and
similarity-weighted ranking between GPT-4 and Mixtral 8x7B."""


def resamples(rows: int) -> Floats:
    """Return how often each row is drawn: a line a resample, the first with each row once."""
    dice = np.random.default_rng(0)
    drawn = [np.bincount(dice.integers(0, rows, rows), minlength=rows) for _ in range(RESAMPLES)]
    return np.vstack([np.ones(rows), *drawn])


def auroc(score: Floats, positive: NDArray[np.bool_], drawn: Floats) -> Floats:
    """Return P(a positive row scores above another row) for each resample; ties count half."""
    _, block = np.unique(score, return_inverse=True)
    hits, others = (by_block(drawn * mask, block) for mask in (positive, ~positive))
    below = np.cumsum(others, 1) - others
    pairs = hits.sum(1) * others.sum(1)
    wins: Floats = (hits * (below + others / 2)).sum(1)
    return wins / np.where(pairs > 0, pairs, np.nan)


def by_block(values: Floats, block: NDArray[np.int64]) -> Floats:
    """Return the sums of the columns of each block, in the order of the blocks' numbers."""
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1))
    return np.add.reduceat(values[:, order], starts, axis=1)


def curve(score: Floats, gain: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """Return the shares of cloud calls and of the gain, while the threshold falls to 0."""
    _, block = np.unique(-score, return_inverse=True)
    calls, gains = (np.cumsum(by_block(drawn * v, block), 1) for v in (np.ones_like(gain), gain))
    start = np.zeros((len(drawn), 1))
    return np.hstack([start, calls / calls[:, -1:]]), np.hstack([start, gains / gains[:, -1:]])


def apgr(calls: Floats, gains: Floats) -> Floats:
    """Return the area under the curve (RouteLLM's APGR); .5 for a random router."""
    return np.asarray(np.trapezoid(gains, calls, axis=1))


def stays_local(calls: Floats, gains: Floats, recovered: Floats) -> Floats:
    """Return the largest share that may stay local while this part of the gap is recovered."""
    enough = gains >= recovered[:, None] - 1e-12
    at = np.where(enough.any(1), enough.argmax(1), -1)
    line = np.arange(len(calls))
    before = np.maximum(at - 1, 0)
    step = gains[line, at] - gains[line, before]
    part = np.where(step > 0, (recovered - gains[line, before]) / np.where(step > 0, step, 1), 0)
    sent: Floats = calls[line, before] + part.clip(0, 1) * (calls[line, at] - calls[line, before])
    return 1 - sent


def shown(values: Floats, percent: bool = True) -> str:
    """Return the value of all rows and the interval of the resamples, as text."""
    scale, digits = (100, 1) if percent else (1, 3)
    low, high = np.nanquantile(values[1:], [0.025, 0.975]) * scale
    return f"{values[0] * scale:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def share(mask: NDArray[np.bool_], drawn: Floats, of: NDArray[np.bool_] | None = None) -> Floats:
    """Return the share of rows, or of the rows in `of`, that are in the mask."""
    base = drawn if of is None else drawn * of
    return np.asarray((base @ mask) / base.sum(1))


def by_hand(rows: Sequence[Row], score: Floats) -> None:
    """Print how many prompts go where a person would send them."""
    drawn = resamples(len(rows))
    hard = np.array([bool(row.cloud) for row in rows])
    cloud = score >= THRESHOLD
    recalls = share(cloud, drawn, hard), share(~cloud, drawn, ~hard)
    print(f"  right            {shown(share(cloud == hard, drawn))} %")
    print(f"  hard to cloud    {shown(recalls[0])} %")
    print(f"  easy stays       {shown(recalls[1])} %")
    print(f"  balanced         {shown((recalls[0] + recalls[1]) / 2)} %      (random: 50)")
    print(f"  AUROC            {shown(auroc(score, hard, drawn), percent=False)}  (random: .5)")
    size = np.array([float(len(last_words(row))) for row in rows])
    print(f"  AUROC of length  {shown(auroc(size, hard, drawn), percent=False)}")
    if all(row.need is not None for row in rows):
        need = np.array([row.need for row in rows])
        for mark, lowest in MARKS:
            high, above = score >= mark, need >= lowest
            balanced = (share(high, drawn, above) + share(~high, drawn, ~above)) / 2
            print(f"  needs {lowest} from {mark}    {shown(balanced)} % balanced")
    print("  threshold   stays local   easy stays   hard to cloud")
    for threshold in THRESHOLDS:
        high = score >= threshold
        parts = (~high).mean(), (~high)[~hard].mean(), high[hard].mean()
        print(f"  {threshold:9}   {parts[0]:10.0%}   {parts[1]:10.0%}   {parts[2]:13.0%}")


def by_quality(rows: Sequence[Row], score: Floats) -> None:
    """Print what quality is kept, and what share may stay local for that."""
    drawn = resamples(len(rows))
    weak = np.array([row.weak for row in rows], float)
    strong = np.array([row.strong for row in rows], float)
    total = drawn.sum(1)
    lowest, highest = drawn @ weak / total, drawn @ strong / total
    print(f"  quality: local {weak.mean():.3f}, cloud {strong.mean():.3f}")
    falls = auroc(score, weak < weak.mean() - 1e-12, drawn)
    print(f"  AUROC, local falls short   {shown(falls, percent=False)}  (random: .5)")
    if (highest <= lowest).any():
        print("  the strong side is not reliably better here: there is no gap to recover")
        return
    calls, gains = curve(score, strong - weak, drawn)
    print(f"  APGR                       {shown(apgr(calls, gains), percent=False)}  (random: .5)")
    cloud = score >= THRESHOLD
    kept = drawn @ np.where(cloud, strong, weak) / total
    sent = share(cloud, drawn)
    lift = kept - (lowest + sent * (highest - lowest))
    print(f"  at {THRESHOLD}: {shown(1 - sent)} % stay local, {shown(kept / highest)} % of the")
    print(f"    cloud's quality is kept, {shown(lift)} points above a random router of that share")
    print("  quality kept   stays local          random")
    for target in KEPT:
        recovered = (target * highest - lowest) / (highest - lowest)
        if recovered[0] > 0:
            local = stays_local(calls, gains, recovered)
            print(f"  {target:12.0%}   {shown(local):20} {100 * (1 - recovered[0]):.1f}")


def last_words(row: Row) -> str:
    """Return the last human turn of a row, which is what is scored."""
    turns = human_turns(row.messages)
    return turns[-1].text if turns else ""


def measured(rows: Sequence[Row]) -> tuple[Floats, list[float]]:
    """Return the score of each row, and the microseconds of CPU that it took."""
    score_messages(rows[0].messages)  # reads the lexicon
    scores, took = [], []
    for row in rows:
        began = time.process_time_ns()
        scores.append(score_messages(row.messages).total)
        took.append((time.process_time_ns() - began) / 1000)
    return np.array(scores), took


def files(given: Sequence[Path]) -> list[Path]:
    """Return the files, with each folder replaced by the .jsonl and .jsonl.gz files in it."""
    found: list[Path] = []
    for path in given:
        inside = [*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")] if path.is_dir() else [path]
        found += sorted(inside)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="*", type=Path, help="files or folders")
    paths = files(parser.parse_args(arguments).data) or [OWN]
    for path in paths:
        try:
            rows = read_rows(path)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        if not rows:
            print(f"{path.name}: no labelled prompts in it, left out\n")
            continue
        scores, took = measured(rows)
        p99 = statistics.quantiles(took, n=100)[98] if len(took) > 1 else took[0]
        print(f"{path.name}: {len(rows)} prompts, {np.median(took):.0f} us each (p99 {p99:.0f})")
        report: Callable[[Sequence[Row], Floats], None] = (
            by_hand if rows[0].weak is None else by_quality
        )
        report(rows, scores)
        print()
    print("published, on sets of their own: RouteLLM's best router (arXiv 2406.18665, tables 1-3)")
    print("  APGR        general data   data like the set's   random")
    for name, general, like in PUBLISHED:
        print(f"  {name:10}  {general:12.3f}   {like:19.3f}     .500")
    return 0


if __name__ == "__main__":
    sys.exit(main())
