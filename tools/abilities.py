"""Fits models' abilities by skill to the published figures of models.toml (item response theory).

Each benchmark measures one skill: logit(figure) = offset + slope x ability of the model in it. A
model's abilities are those expected for its size, date and make, plus a general shift, plus a shift
for each skill with figures. A model without figures gets the expected abilities and a part of the
mean shift of its family.
"""

import math
import tomllib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from router.scoring.model_names import TABLE
from router.scoring.reach import SKILLS

Floats = NDArray[np.float64]

BENCHMARKS: Final = {
    "mmlu_pro": "knowledge", "mmlu": "knowledge", "gpqa": "knowledge",
    "math": "mathematics", "math500": "mathematics", "aime25": "mathematics",
    "gsm8k": "mathematics",
    "humaneval": "code", "mbpp": "code", "lcb": "code",
    "bfcl": "tools", "bfcl3": "tools", "tau": "tools",
    "mgsm": "languages", "mmmlu": "languages",
    "ifeval": "writing", "arena": "writing",
}  # fmt: skip
"""Each benchmark's skill. The first of a skill has offset 0 and slope 1, which sets the scale."""
ANCHORS: Final = frozenset({"mmlu_pro", "math", "humaneval", "bfcl", "mgsm", "ifeval"})
MAKES: Final = ("code", "mathematics", "reasoning", "vision", "tools", "medicine")
TRAITS: Final = ("one", "log_size", "years", "cloud", "tune", *MAKES)
"""The inputs of an expectation: 1, ln(size / 8B), years since the middle of 2024, and the make."""

FIGURE_NOISE: Final = 0.35
GENERAL: Final = 0.6
SPECIAL: Final = 0.4
"""Standard deviations, in logits: of a figure, of a model's general shift, and of one skill's."""
FAMILY_SHARE: Final = 0.7
"""Part of its family's shift that a model without figures gets."""
ROUNDS: Final = 40
OLDEST_YEARS: Final = -2.0

# What to expect before any figure is seen, and how many models' worth that counts.
EXPECTED: Final[dict[tuple[str, str], float]] = {
    **{(skill, "log_size"): 0.6 for skill in SKILLS},
    **{(skill, "years"): 0.8 for skill in SKILLS},
    ("tools", "years"): 1.0,
    ("code", "code"): 0.5,
    ("mathematics", "mathematics"): 0.8,
    ("tools", "tools"): 0.8,
    **{(skill, "code"): -0.5 for skill in ("knowledge", "languages", "writing")},
    **{(skill, "mathematics"): -0.3 for skill in ("knowledge", "languages", "writing")},
}
WORTH: Final = {"one": 0.01, "log_size": 0.3, "years": 0.3, "cloud": 0.01, "tune": 4.0}
MAKE_WORTH: Final = 6.0
TOOLS_YEARS_WORTH: Final = 1.5


@dataclass
class Model:
    """One row of the table."""

    family: str
    index: int
    traits: Floats
    figures: dict[str, float]
    like: str
    size: float
    abilities: Floats = field(default_factory=lambda: np.zeros(len(SKILLS)))


@dataclass
class Fitted:
    """All models with their abilities, and the weights of the traits, a column a skill."""

    models: list[Model]
    weights: Floats


def fit() -> Fitted:
    """Fit the abilities of all models of the table."""
    models = read_models()
    with_figures = [model for model in models if model.figures]
    offsets = dict.fromkeys(BENCHMARKS, 0.0)
    slopes = dict.fromkeys(BENCHMARKS, 1.0)
    weights = np.zeros((len(TRAITS), len(SKILLS)))
    for _ in range(ROUNDS):
        for model in with_figures:
            model.abilities = _abilities(model, model.traits @ weights, offsets, slopes)
        for name in BENCHMARKS.keys() - ANCHORS:
            offsets[name], slopes[name] = _line(name, with_figures)
        weights = _weights(with_figures)
    _estimate_others(models, weights)
    return Fitted(models, weights)


def read_models() -> list[Model]:
    """Read the table's rows with their traits."""
    models = []
    for family in tomllib.loads(TABLE.read_text("utf-8"))["family"]:
        key = family.get("name") or family["names"][0]
        for index, row in enumerate(family["models"]):
            figures = {name: _logit(value) for name, value in row.get("figures", {}).items()}
            traits, size = _traits(family, row), float(row.get("b", 0))
            models.append(Model(key, index, traits, figures, row.get("like", ""), size))
    return models


def _traits(family: dict[str, Any], row: dict[str, Any]) -> Floats:
    size = float(row.get("b", 0))
    effective = math.sqrt(size * float(row.get("active", size)))
    year, month = map(int, row.get("released", family["released"]).split("-"))
    make = "reasoning" if row.get("word") == "thinking" else family.get("made_for", "")
    return np.array(
        [
            1.0,
            math.log(effective / 8) if effective else 0.0,
            max(year + month / 12 - 2024.5, OLDEST_YEARS),
            float(not effective),
            float(family.get("tune", False)),
            *(float(make == one) for one in MAKES),
        ]
    )


def _logit(percent: float) -> float:
    share = min(max(percent, 1.5), 98.5) / 100
    return math.log(share / (1 - share))


def _abilities(
    model: Model, expected: Floats, offsets: dict[str, float], slopes: dict[str, float]
) -> Floats:
    """Return a model's abilities: the expected ones plus shifts, which are drawn towards 0."""
    left = np.diag([GENERAL**-2, *[SPECIAL**-2] * len(SKILLS)])
    right = np.zeros(len(SKILLS) + 1)
    for name, logit in model.figures.items():
        skill = SKILLS.index(BENCHMARKS[name])
        weight = (slopes[name] / FIGURE_NOISE) ** 2
        seen = (logit - offsets[name]) / slopes[name] - expected[skill]
        both = [0, skill + 1]
        right[both] += weight * seen
        left[np.ix_(both, both)] += weight
    shifts = np.linalg.solve(left, right)
    return np.asarray(expected + shifts[0] + shifts[1:])


def _line(name: str, models: list[Model]) -> tuple[float, float]:
    """Return offset and slope of a benchmark, given the abilities."""
    skill = SKILLS.index(BENCHMARKS[name])
    seen = [
        (model.abilities[skill], model.figures[name]) for model in models if name in model.figures
    ]
    ability, logit = np.array(seen).T
    design = np.stack([np.ones_like(ability), ability], 1)
    ridge = np.diag([0.1, 8.0])
    prior = np.array([0.0, 1.0])
    offset, slope = np.linalg.solve(design.T @ design + ridge, design.T @ logit + ridge @ prior)
    return float(offset), max(float(slope), 0.3)


def _weights(models: list[Model]) -> Floats:
    """Return the weight of each trait for each skill, given the abilities."""
    traits = np.array([model.traits for model in models])
    columns = []
    for k, skill in enumerate(SKILLS):
        own = {name for name, measured in BENCHMARKS.items() if measured == skill}
        trust = np.array([1.15 if own & model.figures.keys() else 0.15 for model in models])
        worth = [WORTH.get(trait, MAKE_WORTH) for trait in TRAITS]
        if skill == "tools":
            worth[TRAITS.index("years")] = TOOLS_YEARS_WORTH
        prior = np.array([EXPECTED.get((skill, trait), 0.0) for trait in TRAITS])
        ability = np.array([model.abilities[k] for model in models])
        left = traits.T @ (traits * trust[:, None]) + np.diag(worth)
        columns.append(np.linalg.solve(left, traits.T @ (ability * trust) + np.diag(worth) @ prior))
    return np.array(columns).T


def _estimate_others(models: list[Model], weights: Floats) -> None:
    shifts: dict[str, list[Floats]] = {}
    for model in models:
        if model.figures:
            shifts.setdefault(model.family, []).append(model.abilities - model.traits @ weights)
    for model in models:
        if not model.figures:
            shift = np.mean(shifts.get(model.family, [np.zeros(len(SKILLS))]), axis=0)
            model.abilities = model.traits @ weights + FAMILY_SHARE * shift
    for model in models:
        if model.like:
            model.abilities = _named(model.like, models).abilities


def _named(like: str, models: list[Model]) -> Model:
    """Return the model of `family` or `family/size` whose size is nearest."""
    family, _, size = like.partition("/")
    own = [model for model in models if model.family == family]
    return min(own, key=lambda model: abs(model.size - float(size or 0)))
