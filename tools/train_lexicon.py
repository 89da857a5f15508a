"""Learn router/scoring/lexicon.json: what words and counts say about a prompt's difficulty.

    pip install -r requirements-dev.txt -r tools/requirements.txt
    python -m tools.train_lexicon DATA/*.jsonl.gz

DATA is labelled prompts in the format of bench/labelled.py, a file a source. `tools/seeds.txt` has
labelled requests of our own and is always used.

1. A tendency for each word: ridge regression of difficulty on the words of a prompt. Each word is
   also described by a public word vector (GloVe 6B, PDDL), so that words that occur rarely or
   never in DATA get the tendency of their neighbours.
2. Points for each count: boosted one-split trees, monotone in the direction that a person would
   name, added up to one step table a count.
3. Scale and limits: the points of each signal kept inside its range, 50 where `--local` of the
   prompts stay local.

Choices are judged on groups left out, which is also what is printed: rows of a group that the
model has seen overstate by .04 to .14. The same files give the same lexicon, byte for byte.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from bench.labelled import read_rows
from bench.routing import apgr, auroc, curve
from router.classifier import SIGNALS
from router.scoring.lexicon import FILE, VERSION, from_data
from router.scoring.reading import COUNTS
from tools.corpus import Corpus, Floats, Set, corpus_of, folds_of, read_cues, read_seeds
from tools.word_model import VOCABULARY, WordModel, read_vectors, words_of

HERE: Final = Path(__file__).parent
COMMON: Final = 1_500
MAX_BINS: Final = 64
STEP: Final = 0.01
EXPECTED: Final[dict[str, tuple[tuple[float, float], ...]]] = {
    "length": (
        (2.5, 6),
        (3.0, 8),
        (3.6, 10),
        (4.2, 12),
        (4.8, 15),
        (5.5, 18),
        (6.2, 21),
        (7.0, 24),
    ),
    "numbers": ((1.0, 1), (1.6, 2), (2.2, 3)),
    "build": ((1, 10), (2, 14), (3, 16)),
    "payload": ((5.0, 2), (7.0, 4), (9.0, 6)),
    "hard": ((1, 6), (1.5, 11), (2, 17), (3, 22), (4, 26), (6, 30)),
    "expert": ((1, 7), (2, 12), (3, 16), (4, 19), (6, 22)),
    "easy": ((1, -4), (1.5, -6), (2, -8), (3, -11), (4, -13)),
    "fences": ((0.6, 4),),
    "tables": ((0.6, 3), (1.3, 5)),
    "json": ((0.6, 2), (1.3, 4)),
    "lists": ((0.6, 1), (1.3, 3)),
    "latex": ((0.6, 3), (1.6, 6)),
    "identifiers": ((0.6, 5), (1.3, 10)),
    "questions": ((1.0, 2), (1.3, 3), (1.7, 4)),
    "error": ((1, 3), (2, 5)),
    "condition": ((1, 1.5), (2, 3), (3, 4)),
    "logic": ((1, 2), (2, 4), (3, 5)),
    "constraint": ((1, 1.5), (2, 3), (3, 4)),
    "comparison": ((1, 2), (2, 4), (3, 5)),
    "why": ((1, 4), (2, 6), (3, 7)),
    "quantity": ((1, 1), (2, 2), (3, 3)),
    "rigor": ((1, 6), (2, 8)),
    "sequence": ((1, 1), (2, 3), (3, 4)),
}
"""What a person would expect a count to be worth: (from, points). Learning adds to it."""

LEARNED: Final = frozenset(
    {
        "sentence", "payload", "hard_words", "easy_words", "long_words", "rare_words",
        "uncommon_words", "names", "numbers", "numeric_choices", "maths", "latex", "code",
    }
)  # fmt: skip
"""Counts whose points are learned; the others keep the expected ones, learning did not help."""
LIMITS: Final = {"sentence": 8.0, "payload": 4.0, "rare_words": 12.0, "names": 14.0}
"""The most points that learning may add to a count."""
POINTS: Final = 75.0
"""Roughly how many points one standard deviation of difficulty is worth."""
PIVOT: Final = 0.05
"""Share of the prompts whose words count as simple, not as complex."""
MOST_STEPS: Final = 12
INNER_FOLDS: Final = 5
"""Folds for the words' own part when the counts' points are learned on top of it."""


@dataclass
class Model:
    """Coefficients of the words, and the step table of each count."""

    coefficients: Floats
    pivot: float
    typical: float
    tables: dict[str, tuple[list[float], list[float]]]


def with_words(counts: Floats, lexical: Floats, pivot: float) -> Floats:
    """Counts with the words' joint tendency filled in."""
    filled = counts.copy()
    names = list(COUNTS)
    filled[:, names.index("hard_words")] = np.maximum(lexical - pivot, 0)
    filled[:, names.index("easy_words")] = np.maximum(pivot - lexical, 0)
    return filled


def step_points(table: tuple[list[float], list[float]], column: Floats) -> Floats:
    """The points of a table for each value of a column."""
    edges, points = table
    return np.array(points)[np.searchsorted(edges, column, side="right")]


def expected_table(name: str) -> tuple[list[float], list[float]]:
    """A row of EXPECTED as a step table."""
    steps = EXPECTED.get(name, ())
    return [edge for edge, _ in steps], [0.0, *(float(points) for _, points in steps)]


def expected_points(counts: Floats) -> Floats:
    """Points of each prompt before anything is learned."""
    return sum(
        (step_points(expected_table(name), counts[:, i]) for i, name in enumerate(COUNTS)),
        np.zeros(len(counts)),
    )


def joined(
    name: str, learned: tuple[list[float], list[float]], scale: float
) -> tuple[list[float], list[float]]:
    """One table of what was expected and what was learned."""
    expected = expected_table(name)
    edges = sorted({*expected[0], *learned[0]})
    at = np.array([-np.inf, *edges])
    limit = LIMITS.get(name, 100.0)
    points = step_points(expected, at) + (scale * step_points(learned, at)).clip(-limit, limit)
    return edges, [float(p) for p in points]


def fit(corpus: Corpus, words: WordModel, rows: NDArray[np.int64]) -> Model:
    """Learn words and points from some rows."""
    lexical = np.zeros(len(corpus.target))
    inner = folds_of(corpus, INNER_FOLDS, seed=7)
    for fold in range(INNER_FOLDS):
        learn, apply = rows[inner[rows] != fold], rows[inner[rows] == fold]
        if len(apply):
            lexical[apply] = words.columns[apply] @ words.fit(corpus, learn)
    coefficients = words.fit(corpus, rows)
    pivot, typical = (float(q) for q in np.quantile(lexical[rows], [PIVOT, 0.5]))
    boosted = HistGradientBoostingRegressor(
        max_leaf_nodes=2, max_iter=500, learning_rate=0.05, min_samples_leaf=50,
        l2_regularization=20, max_features=0.7, max_bins=MAX_BINS, early_stopping=False,
        monotonic_cst=list(COUNTS.values()), random_state=0,
    )  # fmt: skip
    learned = with_words(corpus.counts[rows], lexical[rows], pivot)
    learned[:, [i for i, name in enumerate(COUNTS) if name not in LEARNED]] = 0
    boosted.fit(
        learned,
        corpus.target[rows] - expected_points(corpus.counts[rows]) / POINTS,
        sample_weight=corpus.weight[rows],
    )
    return Model(coefficients, pivot, typical, tables_of(boosted))


def tables_of(boosted: HistGradientBoostingRegressor) -> dict[str, tuple[list[float], list[float]]]:
    """Add up one-split trees to one step table a count; its easiest step is 0."""
    steps: dict[str, dict[float, float]] = {name: defaultdict(float) for name in COUNTS}
    names = list(COUNTS)
    for (tree,) in boosted._predictors:
        nodes = tree.nodes
        if len(nodes) < 3:
            continue
        root = nodes[0]
        rise = nodes[root["right"]]["value"] - nodes[root["left"]]["value"]
        # A tree sends x <= threshold to the left, a table counts from its edge on.
        edge = max(round(float(root["num_threshold"]), 4) + 1e-4, 1e-4)
        steps[names[root["feature_idx"]]][edge] += rise
    tables = {}
    for name, rises in steps.items():
        edges = sorted(rises)
        while len(edges) > MOST_STEPS:
            least = min(range(len(edges)), key=lambda i: (abs(rises[edges[i]]), i))
            near = least - 1 if least else 1
            rises[edges[near]] += rises.pop(edges[least])
            del edges[least]
        points = np.concatenate([[0.0], np.cumsum([rises[edge] for edge in edges])])
        tables[name] = (edges, [float(p) for p in points])
    return tables


def scores(model: Model, counts: Floats, lexical: Floats, scale: float) -> Floats:
    """Scores as the scorer will give them: every signal kept in its range."""
    filled = with_words(counts, lexical, model.pivot)
    names = list(COUNTS)
    total = np.zeros(len(filled))
    for signal in SIGNALS:
        points = np.zeros(len(filled))
        for name in signal.counts:
            table = joined(name, model.tables[name], scale)
            points += step_points(table, filled[:, names.index(name)])
        total += points.clip(signal.low, signal.high)
    return total.clip(0, 100)


def scale_for(
    model: Model, corpus: Corpus, lexical: Floats, rows: NDArray[np.int64], local: float
) -> float:
    """The scale at which `local` of the prompts stay under 50, weighed as in training."""
    low, high = 0.5, 200.0
    for _ in range(40):
        middle = (low + high) / 2
        cloud = scores(model, corpus.counts[rows], lexical[rows], middle) >= 50
        if np.average(~cloud, weights=corpus.weight[rows]) > local:
            low = middle
        else:
            high = middle
    return high


def left_out(
    corpus: Corpus, words: WordModel, fold: NDArray[np.int64], local: float
) -> tuple[Floats, list[float]]:
    """The score of every row by a model that has not seen its fold, and each model's scale."""
    result = np.zeros(len(corpus.target))
    scales = []
    everything = np.arange(len(corpus.target))
    for k in np.unique(fold):
        learn, apply = everything[fold != k], everything[fold == k]
        model = fit(corpus, words, learn)
        lexical = np.asarray(words.columns @ model.coefficients)
        scales.append(scale_for(model, corpus, lexical, learn, local))
        result[apply] = scores(model, corpus.counts[apply], lexical[apply], scales[-1])
    return result, scales


def report(title: str, sets: Sequence[Set], corpus: Corpus, score: Floats) -> None:
    """Print how well scores rank each set."""
    print(title)
    for i, one in enumerate(sets):
        mine = score[corpus.origin == i]
        once = np.ones((1, len(mine)))
        cloud = mine >= 50
        local = f"local at 50: {np.mean(~cloud):.0%}"
        if one.rows[0].weak is None:
            hard = np.array([bool(row.cloud) for row in one.rows])
            right = f"right {np.mean(cloud == hard):.0%}"
            print(f"  {one.name:18s} AUROC {auroc(mine, hard, once)[0]:.3f}  {right}  {local}")
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
    scale: float,
) -> dict[str, Any]:
    """The file's content: the words, rounded, and the tables, in points."""
    tendency = words.tendency(model.coefficients)
    rest = sorted(set(words.learned) - set(names))
    kept = [*names, *rest]
    return {
        "version": VERSION,
        "pivot": round(model.pivot, 4),
        "typical": round(model.typical, 4),
        "common": COMMON,
        "step": STEP,
        "words": " ".join(kept),
        "weights": [round(tendency[word] / STEP) for word in kept],
        "cues": cues,
        "groups": groups,
        "tables": {
            name: [[round(edge, 4) for edge in edges], [round(p, 2) for p in points]]
            for name, learned in model.tables.items()
            for edges, points in [joined(name, learned, scale)]
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="*", type=Path, help="labelled prompts, .jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--seeds", type=Path, default=HERE / "seeds.txt")
    parser.add_argument("--cues", type=Path, default=HERE / "cues.txt")
    parser.add_argument(
        "--weight", action="append", default=["bfcl_dev=0.5"], metavar="SET=W", help="default 1"
    )
    parser.add_argument("--seeds-weight", type=float, default=0.14)
    parser.add_argument("--local", type=float, default=0.46, help="share of DATA under 50")
    parser.add_argument("--folds", type=int, default=7, help="for the figures; 0: none")
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
            sets.append(Set(name, rows, float(weights.get(name, 1))))
    sets.append(Set("seeds", read_seeds(args.seeds), args.seeds_weight))
    cues, groups = read_cues(args.cues)
    names, vectors = words_of(sets) if args.no_vectors else read_vectors()
    vocabulary = names[:VOCABULARY]
    blank = {
        "words": " ".join(vocabulary),
        "weights": [0] * len(vocabulary),
        "pivot": 0.0,
        "typical": 0.0,
        "common": COMMON,
        "step": STEP,
        "cues": cues,
        "groups": groups,
        "tables": {},
    }
    corpus = corpus_of(sets, from_data(blank))
    words = WordModel(corpus, names, vectors)
    if args.folds:
        fold = folds_of(corpus, args.folds, seed=0)
        score, scales = left_out(corpus, words, fold, args.local)
        report("groups left out:", sets, corpus, score)
        print("  scale, fold by fold:", " ".join(f"{scale:.1f}" for scale in scales))
        if len(sets) > 2:
            score, _ = left_out(corpus, words, corpus.origin, args.local)
            report("files left out:", sets, corpus, score)
    everything = np.arange(len(corpus.target))
    model = fit(corpus, words, everything)
    lexical = np.asarray(words.columns @ model.coefficients)
    scale = scale_for(model, corpus, lexical, everything, args.local)
    report("in sample:", sets, corpus, scores(model, corpus.counts, lexical, scale))
    print(f"  scale: {scale:.1f}")
    data = lexicon_data(model, words, vocabulary, cues, groups, scale)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    args.out.write_text(text + "\n", encoding="utf-8")
    print(f"{args.out.name}: {len(data['weights'])} words, {args.out.stat().st_size / 1024:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
