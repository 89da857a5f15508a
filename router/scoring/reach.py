"""Computes how many points the loaded local model adds to a score, compared with the cloud.

Each model has an ability in each skill, from published figures or estimated from its size (see
`tools/abilities.py`). The kind of a request tells which skills it needs, its score how much of
them. The cloud's gain is P(cloud solves it) - P(local solves it). Scores are made for a reference
pair of models, so the points are the difference to the gain of that pair:

    points = POINTS_PER_GAIN x (gain of this pair - gain of the reference pair)

A gain below LITTLE moves no request to the cloud, and one above PLENTY keeps none local. With the
reference pair the points are always 0. The weights come from `reach.json`, which
`tools/train_reach.py` writes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import exp, log
from pathlib import Path
from typing import Any, Final, Literal

from router.scoring.model_names import ModelName, parse
from router.scoring.reading import Reading

FILE: Final = Path(__file__).with_name("reach.json")
SKILLS: Final = ("knowledge", "mathematics", "code", "tools", "languages", "writing")
Kind = Literal["knowledge", "mathematics", "code", "tools", "languages", "writing"]
"""The kind of a request, named after its main skill."""
Source = Literal["measured", "table", "server", "name"]
"""Where a model's abilities come from: the user's own prompts, published figures, or its size and
family as the server or its name tells them."""

POINTS_PER_GAIN: Final = 200.0
MOST_POINTS: Final = 60.0
LITTLE: Final = 0.05
PLENTY: Final = 0.2
"""Around .15, from where a cloud call is worth its price."""
EASY_SCORES: Final = (10.0, 25.0)
"""Points for a weaker model do not count up to the first score (any model can answer a greeting)
and count in full from the second one on."""
BASE_SCORE: Final = 50.0
SCORE_UNIT: Final = 25.0
"""A prompt's need grows by `Curve.steep` logits with each 25 points of its score."""
FEW_BITS: Final = {1: -1.2, 2: -0.5, 3: -0.15}
"""By bits of a weight: how much ability a quantized model loses, in logits. An estimate."""
LABELS_FOR_HALF: Final = 10
"""This many labels of a kind weigh as much as the ability that was known before."""
MOST_MEASURED: Final = 1.5
"""Most logits by which labels can change an ability."""

ASKS: Final = frozenset({"what", "who", "whose", "when", "where", "which", "why"})
CODE_WORDS: Final = frozenset(
    {
        "function", "python", "code", "program", "class", "method", "array", "string", "script",
        "sql", "query", "java", "javascript", "implement", "algorithm", "regex", "bug", "compile",
        "lists", "tuple", "tuples", "integer", "integers", "elements", "substring", "dictionary",
        "arrays", "strings", "loop", "api", "bash", "html", "css", "rust", "typescript", "docker",
        "table", "tables", "select", "column", "columns", "database", "schema",
    }
)  # fmt: skip
MATHS_WORDS: Final = frozenset(
    {
        "prove", "proof", "theorem", "integral", "derivative", "equation", "equations", "prime",
        "matrix", "polynomial", "probability", "triangle", "sum", "odd", "even", "divisible",
        "vector", "angle", "radius", "fraction", "percent", "calculate", "compute", "solve",
        "product", "perimeter", "diameter", "remainder", "digits", "positive", "numbers",
    }
)  # fmt: skip
"""Two of these words make a request one of the kind code, or mathematics."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How likely a prompt of one kind is solved: logit = slope x (ability - need)."""

    mix: tuple[float, ...]
    """The share of each skill."""
    slope: float
    need: float
    """The ability that solves half of the prompts with score 50."""
    steep: float

    def chance(self, ability: float, score: float) -> float:
        """Return the chance that a model solves a prompt of this score."""
        need = self.need + self.steep * (score - BASE_SCORE) / SCORE_UNIT
        return 1 / (1 + exp(-self.slope * (ability - need)))


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of `reach.json`. Abilities are logits, one for each skill."""

    abilities: Mapping[str, tuple[tuple[float, ...], ...]]
    """By family the abilities of its models, in the order of models.toml."""
    published: Mapping[str, tuple[bool, ...]]
    """By family, for each model, whether it has published figures of its own."""
    size: Mapping[str, tuple[float, ...]]
    """`at_8b`: abilities of a model of 8 billion parameters; `per_log_size`: their change with the
    log of the size. For models of unknown family."""
    made_for: Mapping[str, tuple[float, ...]]
    """By purpose ("code", …): how much that changes the abilities."""
    curves: Mapping[str, Curve]
    reference: tuple[tuple[float, ...], tuple[float, ...]]
    """Abilities of the reference pair: the local model and the cloud."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Details that a server reports of a model; None and "" for those that it does not."""

    parameters_b: float | None = None
    active_b: float | None = None
    quantization: str = ""
    origin: str = ""
    """The repository or file that it was loaded from."""


NO_FACTS: Final = Facts()


@dataclass(frozen=True, slots=True)
class Reach:
    """A known model and its abilities."""

    model: str
    family: str
    """Empty where only the size is known."""
    parameters_b: float | None
    active_b: float | None
    source: Source
    skills: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Label:
    """Whether a local model's answer to one of the user's prompts was good enough."""

    model: str
    kind: str
    score: float
    """The score without the points for the model."""
    good: bool


@cache
def load(path: Path = FILE) -> Weights:
    """Read the weights."""
    data: dict[str, Any] = json.loads(path.read_bytes())
    tuples = {name: tuple(map(tuple, rows)) for name, rows in data["abilities"].items()}
    local, cloud = data["reference"]
    return Weights(
        abilities=tuples,
        published={name: tuple(map(bool, flags)) for name, flags in data["published"].items()},
        size={name: tuple(values) for name, values in data["size"].items()},
        made_for={name: tuple(values) for name, values in data["made_for"].items()},
        curves={
            kind: Curve(tuple(c["mix"]), c["slope"], c["need"], c["steep"])
            for kind, c in data["curves"].items()
        },
        reference=(tuple(local), tuple(cloud)),
    )


def kind_of(reading: Reading) -> Kind:
    """Return the kind of a turn, by its counts and words."""
    counts, words = reading.counts, set(reading.words)
    if counts["fences"] or counts["identifiers"] >= 1.3 or len(words & CODE_WORDS) > 1:
        return "code"
    figures = counts["numeric_choices"] + counts["latex"] + counts["maths"]
    if figures + counts["numbers"] / 2 >= 1.4 or len(words & MATHS_WORDS) > 1:
        return "mathematics"
    if words and not reading.is_english:
        return "languages"
    return "knowledge" if counts["questions"] or words & ASKS else "writing"


@lru_cache(maxsize=1_000)
def known(model: str, facts: Facts = NO_FACTS) -> Reach | None:
    """Return a model's abilities; None if neither its family nor its size is known."""
    name = parse(model)
    if name.family is None and facts.origin:
        name = parse(facts.origin)
    told = facts.parameters_b
    row = name.row
    if row is not None and told and row.b and not 0.7 < told / row.b < 1.4:
        row = None  # its size shows that it is another model
    size = told or name.parameters_b
    weights = load()
    source: Source = "server" if told else "name"
    if row is not None:
        skills = weights.abilities[row.family][row.index]
        if weights.published[row.family][row.index]:
            source = "table"
    elif size is not None:
        skills = _estimated(name, size, weights)
    else:
        return None
    bits = parse(facts.quantization).bits or name.bits
    lost = FEW_BITS.get(bits or 0, 0.0)
    active = facts.active_b or (name.active_b if row is not None or not told else None)
    return Reach(
        model,
        name.shown,
        row.b or None if row is not None else size,
        active or size,
        source,
        tuple([ability + lost for ability in skills]),
    )


def _estimated(name: ModelName, size_b: float, weights: Weights) -> tuple[float, ...]:
    """Estimate the abilities of a model from the nearest in its family, else from its size."""
    sized = [row for row in name.family.rows if row.b] if name.family is not None else []
    if name.family is not None and sized:
        near = min(sized, key=lambda row: abs(log(row.b / size_b)))
        base, base_b = weights.abilities[near.family][near.index], near.b
        own = name.family.made_for
    else:
        base, base_b, own = weights.size["at_8b"], 8.0, ""
    steps = log(size_b / base_b)
    none = (0.0,) * len(SKILLS)
    gains = weights.made_for.get(name.made_for, none) if name.made_for != own else none
    slopes = weights.size["per_log_size"]
    return tuple([b + s * steps + g for b, s, g in zip(base, slopes, gains, strict=True)])


def gain(kind: Kind, score: float, local: tuple[float, ...], cloud: tuple[float, ...]) -> float:
    """Return P(cloud solves such a prompt) - P(local model solves it): -1 to 1."""
    curve = load().curves[kind]
    better, alone = _ability(kind, cloud), _ability(kind, local)
    return curve.chance(better, score) - curve.chance(alone, score)


@lru_cache(maxsize=1_000)
def _ability(kind: Kind, skills: tuple[float, ...]) -> float:
    """Return the ability for a kind of request: the weighted mean of the skills."""
    return _mixed(skills, load().curves[kind])


def points(kind: Kind, score: float, local: Reach | None, cloud: Reach | None) -> float:
    """Return the points for a request of this kind and score; 0 for an unknown local model.

    An unknown cloud counts as that of the reference pair.
    """
    if local is None:
        return 0.0
    usual_local, usual_cloud = load().reference
    here = gain(kind, score, local.skills, cloud.skills if cloud is not None else usual_cloud)
    row = points_of(here, gain(kind, score, usual_local, usual_cloud))
    return round(row * _share_at(score) if row > 0 else row, 2)


def _share_at(score: float) -> float:
    """Return the share, 0 to 1, that counts of the points for a weaker model."""
    low, high = EASY_SCORES
    return min(max((score - low) / (high - low), 0.0), 1.0)


def points_of(here: float, usual: float) -> float:
    """Return the points for the gain of this pair (`here`) and of the reference (`usual`)."""
    most = min(POINTS_PER_GAIN * max(here - LITTLE, 0.0), MOST_POINTS)
    least = max(POINTS_PER_GAIN * min(here - PLENTY, 0.0), -MOST_POINTS)
    return min(max(POINTS_PER_GAIN * (here - usual), least), most)


def _mixed(skills: tuple[float, ...], curve: Curve) -> float:
    return sum([share * ability for share, ability in zip(curve.mix, skills, strict=True)])


def with_labels(reach: Reach, labels: Iterable[Label], cloud: Reach | None) -> Reach:
    """Return the model with its abilities corrected by labels of its answers, kind by kind.

    Few labels change little: see LABELS_FOR_HALF.
    """
    reference_cloud = load().reference[1]
    against = cloud.skills if cloud is not None else reference_cloud
    by_kind: dict[str, list[Label]] = {}
    for label in labels:
        if label.kind in load().curves:
            by_kind.setdefault(label.kind, []).append(label)
    skills = list(reach.skills)
    for kind, seen in by_kind.items():
        curve = load().curves[kind]
        ability = _mixed(reach.skills, curve)
        better = [curve.chance(_mixed(against, curve), one.score) for one in seen]
        alone = [curve.chance(ability, one.score) for one in seen]
        # An answer is good if the cloud's would not have been better.
        expected = sum([1 - max(b - a, 0) for b, a in zip(better, alone, strict=True)])
        per_logit = sum([curve.slope * a * (1 - a) for a in alone]) or 1.0
        trust = len(seen) / (len(seen) + LABELS_FOR_HALF)
        moved = trust * (sum(one.good for one in seen) - expected) / per_logit
        moved = min(max(moved, -MOST_MEASURED), MOST_MEASURED)
        for i, share in enumerate(curve.mix):
            skills[i] += moved * share
    return replace(reach, source="measured", skills=tuple(skills)) if by_kind else reach
