"""Learn router/scoring/lexicon.json: what words and counts say about the model a prompt needs.

    pip install -r requirements-dev.txt -r tools/requirements.txt
    python -m tools.train_lexicon DATA/*.jsonl.gz

DATA is labelled prompts in the format of bench/labelled.py, a file a set. `tools/seeds.txt` has
labelled requests of our own and is always used.

1. A tendency for each word: ridge regression of the points a prompt should get on its words, on
   groups of their letters, and on public word vectors (GloVe 6B, PDDL). Words that no data has get
   the tendency of their letters, rare English ones that of their neighbours.
2. Points for each count: step tables, monotone in the direction that a person would name, fitted
   so that the score parts the classes of need at 20, 35 and 50 (point_tables.py).
3. A shift of all points, so that 50 parts best the prompts that the model has not seen.

Figures are printed for groups left out. The same files give the same lexicon, byte for byte.
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
from tools.point_tables import Points, fit_points
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


@dataclass
class Model:
    """Coefficients of the words, and the points of each count."""

    coefficients: Floats
    pivot: float
    points: Points


def with_words(counts: Floats, lexical: Floats, pivot: float) -> Floats:
    """Return the counts with the words' joint tendency filled in."""
    filled = counts.copy()
    names = list(COUNTS)
    filled[:, names.index("hard_words")] = np.maximum(lexical - pivot, 0)
    filled[:, names.index("easy_words")] = np.maximum(pivot - lexical, 0)
    return filled


def fit(corpus: Corpus, words: WordModel, rows: NDArray[np.int64]) -> Model:
    """Learn words and points from some rows."""
    lexical = np.zeros(len(corpus.target))
    inner = rows_dealt(corpus, INNER_FOLDS, seed=7)
    for fold in range(INNER_FOLDS):
        learn, apply = rows[inner[rows] != fold], rows[inner[rows] == fold]
        if len(apply):
            lexical[apply] = words.columns[apply] @ words.fit(corpus, learn)
    coefficients = words.fit(corpus, rows)
    pivot = float(np.quantile(lexical[rows], PIVOT))
    counts = with_words(corpus.counts[rows], lexical[rows], pivot)
    return Model(coefficients, pivot, fit_points(counts, corpus, rows))


def scores(model: Model, corpus: Corpus, words: WordModel, rows: NDArray[np.int64]) -> Floats:
    """Return the scores of some rows, as the scorer will give them."""
    lexical = np.asarray(words.columns[rows] @ model.coefficients)
    return model.points.scores(with_words(corpus.counts[rows], lexical, model.pivot))


def left_out(corpus: Corpus, words: WordModel, fold: NDArray[np.int64]) -> Floats:
    """Return the score of every row by a model that has not seen its fold."""
    result = np.zeros(len(corpus.target))
    everything = np.arange(len(corpus.target))
    for k in np.unique(fold):
        apply = everything[fold == k]
        model = fit(corpus, words, everything[fold != k])
        result[apply] = scores(model, corpus, words, apply)
    return result


def shift_of(corpus: Corpus, score: Floats) -> float:
    """Return the points that put the best cut for the cloud at 50 on rows that were left out.

    On rows that it has seen a model parts the classes better than on new ones, so its own cut is
    too high for them.
    """
    known = (corpus.need > 0) & ~corpus.by_hand
    cloud, score = corpus.need[known] == 4, score[known]
    shifts = np.arange(-10, 15.1, 0.5)
    worth = [np.mean(score[cloud] + s >= 50) + np.mean(score[~cloud] + s < 50) for s in shifts]
    best = np.flatnonzero(np.array(worth) >= max(worth) - 0.01)
    return float(shifts[best].mean())


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
    """Return the file's content: the words, rounded, and the tables, in points."""
    tendency = words.tendency(model.coefficients)
    rest = sorted(set(words.learned) - set(names))
    kept = [*names, *rest]
    letters = np.rint(words.letters(model.coefficients) / (STEP / 4)).clip(-128, 127)
    return {
        "version": VERSION,
        "base": round(model.points.base, 2),
        "pivot": round(model.pivot, 4),
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
        help="default: 1 where the rows have a need, else 0.15",
    )  # fmt: skip
    parser.add_argument("--seeds-weight", type=float, default=0.3)
    parser.add_argument("--folds", type=int, default=5, help="for calibration and figures")
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
            usual = 1.0 if rows[0].need is not None else 0.15
            sets.append(Set(name, rows, float(weights.get(name, usual))))
    sets.append(Set("seeds", read_seeds(args.seeds), args.seeds_weight))
    cues, groups = read_cues(args.cues)
    names, vectors = words_of(sets) if args.no_vectors else read_vectors()
    vocabulary = names[:VOCABULARY]
    blank = {
        "words": " ".join(vocabulary),
        "weights": [0] * len(vocabulary),
        "base": 0.0,
        "pivot": 0.0,
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
    groups_out = left_out(corpus, words, folds_of(corpus, args.folds, seed=0))
    rows_out = left_out(corpus, words, rows_dealt(corpus, args.folds, seed=1))
    shift = shift_of(corpus, (groups_out + rows_out) / 2)
    everything = np.arange(len(corpus.target))
    model = fit(corpus, words, everything)
    model.points.base += shift
    report("groups left out:", sets, corpus, groups_out + shift)
    report("rows left out:", sets, corpus, rows_out + shift)
    report("in sample:", sets, corpus, scores(model, corpus, words, everything))
    print(f"  shift {shift:.1f}")
    data = lexicon_data(model, words, vocabulary, cues, groups)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    args.out.write_text(text + "\n", encoding="utf-8")
    print(f"{args.out.name}: {len(data['weights'])} words, {args.out.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
