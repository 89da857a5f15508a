"""Learn router/scoring/lexicon.json: what words and counts tell about the model a prompt needs.

    pip install -r requirements-dev.txt -r tools/requirements.txt
    python -m tools.train_lexicon DATA/*.jsonl.gz

DATA is labelled prompts in the format of bench/labelled.py, a file a set. `tools/seeds.txt` has
further labelled requests and is always used.

1. A tendency for each word: ridge regression of the points a prompt should get on its words, on
   groups of their letters, and on public word vectors (GloVe 6B, PDDL). Words that no data has get
   the tendency of their letters, rare English ones that of their neighbours.
2. Points for each count: step tables, monotone in the direction that a person would name, fitted
   so that the score separates the classes of need at 20, 35 and 50 (point_tables.py).
3. Steps 1 and 2 again with other marks, chosen so that 20, 35 and 50 best separate prompts that
   were left out of the fit.

Figures are printed for groups that were left out. The same files give the same lexicon, byte for
byte.
"""

import argparse
import json
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.labelled import read_rows
from bench.routing import apgr, auroc, curve
from router.scoring.lexicon import BUCKETS, FILE, VERSION, from_data
from router.scoring.reading import COUNTS
from tools.corpus import (
    Corpus,
    Floats,
    Set,
    corpus_of,
    folds_of,
    read_cues,
    read_seeds,
    rows_dealt,
)
from tools.point_tables import MARKS, Points, fit_points
from tools.word_model import VOCABULARY, WordModel, read_vectors, words_of

HERE: Final = Path(__file__).parent
COMMON: Final = 1_500
STEP: Final = 0.1
"""Points that one unit of a stored word weight stands for."""
PIVOT: Final = 0.3
"""Share of the prompts whose words count as simple, not as complex."""
INNER_FOLDS: Final = 4
"""Folds for the words' own part when the counts' points are learned on top of it."""
CLOUD_AT: Final = 50.0
SHIFTS: Final = np.arange(-10.0, 15.1, 0.5)
UNEVEN: Final = 0.1
"""Penalty on the difference between the shares found above and below a mark."""
NEARLY: Final = 0.02
"""Shifts whose value is this close to the best one count as equal."""
MOVED: Final = 0.6
"""Part of the shift that is applied to the marks: with all of it the points become steep and rank
worse. The rest of the cloud mark's shift is added to the base."""


@dataclass
class Model:
    """Coefficients of the words, and the points of each count."""

    coefficients: Floats
    pivot: float
    points: Points


@dataclass(frozen=True)
class Aim:
    """The target of the fit."""

    marks: tuple[float, ...] = tuple(mark for mark, _, _ in MARKS)
    lift: float = 0.0
    """Points that are added to the base after the fit."""


def with_words(counts: Floats, lexical: Floats, pivot: float) -> Floats:
    """Return the counts, including the words' joint tendency."""
    filled = counts.copy()
    names = list(COUNTS)
    filled[:, names.index("hard_words")] = np.maximum(lexical - pivot, 0)
    filled[:, names.index("easy_words")] = np.maximum(pivot - lexical, 0)
    return filled


def fit(corpus: Corpus, words: WordModel, rows: NDArray[np.int64], aim: Aim) -> Model:
    """Return words and points, learned from some rows."""
    lexical = np.zeros(len(corpus.target))
    inner = rows_dealt(corpus, INNER_FOLDS, seed=7)
    for fold in range(INNER_FOLDS):
        learn, apply = rows[inner[rows] != fold], rows[inner[rows] == fold]
        if len(apply):
            lexical[apply] = words.columns[apply] @ words.fit(corpus, learn)
    coefficients = words.fit(corpus, rows)
    pivot = float(np.quantile(lexical[rows], PIVOT))
    counts = with_words(corpus.counts[rows], lexical[rows], pivot)
    points = fit_points(counts, corpus, rows, aim.marks)
    points.base += aim.lift
    return Model(coefficients, pivot, points)


def scores(model: Model, corpus: Corpus, words: WordModel, rows: NDArray[np.int64]) -> Floats:
    """Return the scores of some rows, as the scorer will give them."""
    lexical = np.asarray(words.columns[rows] @ model.coefficients)
    return model.points.scores(with_words(corpus.counts[rows], lexical, model.pivot))


def left_out(corpus: Corpus, words: WordModel, fold: NDArray[np.int64], aim: Aim) -> Floats:
    """Return the score of every row by a model that has not seen its fold."""
    result = np.zeros(len(corpus.target))
    everything = np.arange(len(corpus.target))
    for k in np.unique(fold):
        apply = everything[fold == k]
        model = fit(corpus, words, everything[fold != k], aim)
        result[apply] = scores(model, corpus, words, apply)
    return result


def calibrated(sets: Sequence[Set], corpus: Corpus, several: Sequence[Floats]) -> Aim:
    """Return the aim with which the marks best separate rows that were left out.

    Scores of rows outside the fit are closer together, so the marks that suit the fitted rows are
    too far apart. `several`: scores of left-out rows by different folds; each counts the same. A
    set counts by its weight.
    """
    known = [
        (one.weight, corpus.origin == i)
        for i, one in enumerate(sets)
        if one.rows[0].need is not None
    ]
    if not known:
        return Aim()
    shifts = []
    for mark, lowest, _ in MARKS:
        worth = np.zeros(len(SHIFTS))
        for weight, mine in known:
            above = corpus.need[mine] >= lowest
            for score in several:
                high = score[mine] + SHIFTS[:, None] >= mark
                found, kept = high[:, above].mean(1), 1 - high[:, ~above].mean(1)
                worth += weight * (found + kept - UNEVEN * abs(found - kept))
        shifts.append(float(SHIFTS[worth >= worth.max() - NEARLY].mean()))
    marks = [mark + MOVED * shift for (mark, _, _), shift in zip(MARKS, shifts, strict=True)]
    return Aim(tuple(marks), (1 - MOVED) * shifts[-1])


def report(title: str, sets: Sequence[Set], corpus: Corpus, score: Floats) -> None:
    """Print how well scores rank each set."""
    print(title)
    for i, one in enumerate(sets):
        mine = score[corpus.origin == i]
        once = np.ones((1, len(mine)))
        cloud = mine >= CLOUD_AT
        local = f"local at 50: {np.mean(~cloud):.0%}"
        if one.rows[0].weak is None:
            hard = np.array([bool(row.cloud) for row in one.rows])
            area = auroc(mine, hard, once)[0]
            recalls = f"recalls {np.mean(cloud[hard]):.0%} {np.mean(~cloud[~hard]):.0%}"
            cuts = ""
            if one.rows[0].need is not None:
                need = np.array([row.need for row in one.rows])
                cuts = "  balanced at 20, 35:" + "".join(
                    f" {(np.mean(mine[need >= n] >= c) + np.mean(mine[need < n] < c)) / 2:.0%}"
                    for n, c in ((2, 20), (3, 35))
                )
            print(f"  {one.name:18s} AUROC {area:.3f}  {recalls}  {local}{cuts}")
            continue
        weak, strong = np.array([(row.weak, row.strong) for row in one.rows], float).transpose()
        mixed = weak.mean() + cloud.mean() * (strong.mean() - weak.mean())
        lift = 100 * (np.where(cloud, strong, weak).mean() - mixed)
        area = apgr(*curve(mine, strong - weak, once))[0]
        falls = auroc(mine, weak < weak.mean() - 1e-12, once)[0]
        print(
            f"  {one.name:18s} APGR {area:.3f}  AUROC fail {falls:.3f}  {local}  lift {lift:+.2f}"
        )


def lexicon_data(
    model: Model,
    words: WordModel,
    names: Sequence[str],
    cues: list[list[Any]],
    groups: dict[str, str],
) -> dict[str, Any]:
    """Return the file's content: the rounded words, and the tables in points."""
    tendency = words.tendency(model.coefficients)
    rest = sorted(set(words.learned) - set(names))
    kept = [*names, *rest]
    letters = np.rint(words.letters(model.coefficients) / (STEP / 4)).clip(-128, 127)
    return {
        "version": VERSION,
        "base": round(model.points.base, 2),
        "pivot": round(model.pivot, 4),
        "vocabulary": len(names),
        "common": COMMON,
        "step": STEP,
        "words": " ".join(kept),
        "weights": [round(tendency[word] / STEP) for word in kept],
        "letters": b64encode(letters.astype(np.int8).tobytes()).decode(),
        "scripts": words.scripts,
        "cues": cues,
        "groups": groups,
        "tables": {
            name: [[round(edge, 4) for edge in edges], [round(p, 2) for p in points]]
            for name, (edges, points) in model.points.tables.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="*", type=Path, help="labelled prompts, .jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--seeds", type=Path, default=HERE / "seeds.txt")
    parser.add_argument("--cues", type=Path, default=HERE / "cues")
    parser.add_argument(
        "--weight", action="append", default=[], metavar="SET=W",
        help="default: 1 where the rows have a need, else 0.3",
    )  # fmt: skip
    parser.add_argument("--seeds-weight", type=float, default=0.7)
    parser.add_argument(
        "--folds", type=int, default=8, help="for the marks and the figures; 0: neither"
    )
    parser.add_argument(
        "--no-vectors", action="store_true", help="learn words from DATA alone, without GloVe"
    )
    args = parser.parse_args(arguments)
    # One thread adds up in the same order on every machine.
    with threadpool_limits(limits=1):
        return train(args)


def train(args: argparse.Namespace) -> int:
    """Learn from the files, print the figures, write the lexicon."""
    weights = dict(pair.rsplit("=", 1) for pair in args.weight)
    sets = []
    for path in sorted(args.data):
        name = path.name.split(".")[0]
        try:
            rows = read_rows(path)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        if rows:
            usual = 1.0 if rows[0].need is not None else 0.3
            sets.append(Set(name, rows, float(weights.get(name, usual))))
    sets.append(Set("seeds", read_seeds(args.seeds), args.seeds_weight))
    try:
        cues, groups = read_cues(args.cues)
    except ValueError as error:
        print(f"{args.cues}: {error}", file=sys.stderr)
        return 2
    names, vectors = words_of(sets) if args.no_vectors else read_vectors()
    vocabulary = names[:VOCABULARY]
    blank = {
        "words": " ".join(vocabulary),
        "weights": [0] * len(vocabulary),
        "base": 0.0,
        "pivot": 0.0,
        "vocabulary": len(vocabulary),
        "common": COMMON,
        "step": STEP,
        "letters": b64encode(bytes(BUCKETS)).decode(),
        "scripts": [],
        "cues": cues,
        "groups": groups,
        "tables": {},
    }
    corpus = corpus_of(sets, from_data(blank))
    words = WordModel(corpus, names, vectors)
    aim, folds = Aim(), []
    if args.folds > 1:
        folds = [folds_of(corpus, args.folds, seed=0), rows_dealt(corpus, args.folds, seed=1)]
        aim = calibrated(sets, corpus, [left_out(corpus, words, fold, aim) for fold in folds])
    everything = np.arange(len(corpus.target))
    model = fit(corpus, words, everything, aim)
    for title, fold in zip(("groups left out:", "rows left out:"), folds, strict=False):
        report(title, sets, corpus, left_out(corpus, words, fold, aim))
    report("in sample:", sets, corpus, scores(model, corpus, words, everything))
    print(f"  fitted to {', '.join(f'{mark:.1f}' for mark in aim.marks)}, lifted {aim.lift:.1f}")
    data = lexicon_data(model, words, vocabulary, cues, groups)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    args.out.write_text(text + "\n", encoding="utf-8")
    print(f"{args.out.name}: {len(data['weights'])} words, {args.out.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
