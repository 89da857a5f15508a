"""Learn router/scoring/reach.json: models' abilities, and those that prompts of each kind need.

    pip install -r requirements-dev.txt -r tools/requirements.txt
    python -m tools.train_reach DATA/models_*.jsonl.gz

DATA has one prompt a line: `p` or `m` (messages), `t` (tools, optional) and `r`, the quality (0 to
1) of each model's answer by the model's name. Train this again whenever lexicon.json was trained:
scores have moved.

1. Abilities of all models of models.toml (`tools/abilities.py`), without DATA.
2. For each kind, a curve from score to need: logistic regression on which model solved which
   prompt. A kind without DATA (writing, other languages) gets the curve of knowledge, moved so that
   the reference model solves as many prompts.

Printed is `way`: the gain over a router that ignores the models, as a share of the gain of a
threshold tuned for each model. It is given with each set left out of the fit, and with each pair's
models left out.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from router.classifier import score_messages
from router.scoring import reach
from router.scoring.model_names import parse
from router.scoring.reach import BASE_SCORE, FILE, SCORE_UNIT, SKILLS, Curve
from tools.abilities import MAKES, TRAITS, Fitted, fit

Floats = NDArray[np.float64]

REFERENCE: Final = ("qwen2.5-32b-instruct", "claude-sonnet-4-6")
"""The pair that scores are made for: the default settings."""
MIXES: Final[Mapping[str, Mapping[str, float]]] = {
    "knowledge": {"knowledge": 1.0},
    "mathematics": {"mathematics": 0.6, "knowledge": 0.4},
    "code": {"code": 1.0},
    "tools": {"tools": 1.0},
    "languages": {"languages": 0.5, "knowledge": 0.5},
    "writing": {"writing": 0.5, "knowledge": 0.5},
}
EXPECTED: Final = {
    "knowledge": (1.0, 0.0, 1.2),
    "mathematics": (1.0, 0.2, 1.2),
    "code": (1.0, 0.8, 0.8),
    "tools": (1.0, -0.5, 0.5),
}
"""Expected slope, need and steepness of a curve, without DATA."""
LIKE_KNOWLEDGE: Final = ("languages", "writing")
HELD: Final = np.array([60.0, 100.0, 60.0])
"""Weight of the expected values in the fit; a set of DATA counts as SET_WORTH prompts."""
SET_WORTH: Final = 1_000.0
WORTHS: Final = (0.1, 0.2)
"""Assumed prices of a cloud call: the gains in quality from which it pays."""
ODD_LOGITS: Final = 1.2
"""If a model does worse than expected in a set by this much, its answers have the wrong form (or
were checked wrongly). It is left out there."""
TYPICAL_YEARS: Final = 0.0
"""Assumed age of a model of unknown family, in years from the middle of 2024."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt as the scorer reads it, and the quality of each model's answer."""

    origin: str
    score: float
    kind: reach.Kind
    solved: Mapping[str, float]


Abilities = Callable[[str], tuple[float, ...] | None]


def read_prompts(path: Path) -> list[Prompt]:
    """Return the prompts of a file with their scores."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    prompts = []
    for row in rows:
        asked = row.get("m") or [{"role": "user", "content": row["p"]}]
        scored = score_messages(asked)
        kind: reach.Kind = "tools" if row.get("t") else scored.kind
        prompts.append(Prompt(path.name, scored.total, kind, row["r"]))
    return prompts


def as_data(fitted: Fitted) -> dict[str, Any]:
    """Return the content of the file without the curves."""
    abilities: dict[str, list[list[float]]] = {}
    published: dict[str, list[int]] = {}
    for model in fitted.models:
        abilities.setdefault(model.family, []).append(_rounded(model.abilities))
        published.setdefault(model.family, []).append(int(bool(model.figures)))
    weights = dict(zip(TRAITS, fitted.weights, strict=True))
    typical = weights["one"] + TYPICAL_YEARS * weights["years"]
    return {
        "skills": list(SKILLS),
        "abilities": abilities,
        "published": published,
        "size": {"at_8b": _rounded(typical), "per_log_size": _rounded(weights["log_size"])},
        "made_for": {make: _rounded(weights[make]) for make in MAKES},
    }


def fit_curves(
    prompts: Sequence[Prompt], abilities: Abilities, without: Collection[str] = ()
) -> dict[str, Curve]:
    """Return the curve of each kind. `without` names models to leave out."""
    left_out = {(prompt.origin, model) for prompt in prompts for model in without}
    curves = _fitted(prompts, abilities, left_out)
    return _fitted(prompts, abilities, left_out | _odd(prompts, abilities, curves))


def _fitted(
    prompts: Sequence[Prompt], abilities: Abilities, left_out: Collection[tuple[str, str]]
) -> dict[str, Curve]:
    curves = {}
    for kind, expected in EXPECTED.items():
        rows = [
            (_mixed(kind, ability), (p.score - BASE_SCORE) / SCORE_UNIT, solved, weight)
            for p, weight in _weighted(prompts)
            if p.kind == kind
            for model, solved in p.solved.items()
            if (p.origin, model) not in left_out and (ability := abilities(model)) is not None
        ]
        slope, need, steep = _curve(np.array(rows), np.array(expected)) if rows else expected
        curves[kind] = Curve(_mix(kind), round(slope, 3), round(need, 3), round(steep, 3))
    usual = abilities(REFERENCE[0])
    assert usual is not None
    base = curves["knowledge"]
    for kind in LIKE_KNOWLEDGE:
        need = base.need + _mixed(kind, usual) - _mixed("knowledge", usual)
        curves[kind] = Curve(_mix(kind), base.slope, round(need, 3), base.steep)
    return curves


def _odd(
    prompts: Sequence[Prompt], abilities: Abilities, curves: Mapping[str, Curve]
) -> set[tuple[str, str]]:
    """Return pairs of a set and a model whose answers there did much worse than expected."""
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for prompt in prompts:
        for model, solved in prompt.solved.items():
            if (ability := abilities(model)) is not None:
                chance = curves[prompt.kind].chance(_mixed(prompt.kind, ability), prompt.score)
                seen.setdefault((prompt.origin, model), []).append((solved, chance))
    odd = set()
    for key, both in seen.items():
        solved, expected = (min(max(float(x), 0.01), 0.99) for x in np.mean(both, axis=0))
        if log(expected / (1 - expected)) - log(solved / (1 - solved)) > ODD_LOGITS:
            odd.add(key)
    return odd


def _weighted(prompts: Sequence[Prompt]) -> list[tuple[Prompt, float]]:
    sizes: dict[str, int] = {}
    for prompt in prompts:
        sizes[prompt.origin] = sizes.get(prompt.origin, 0) + 1
    return [(p, SET_WORTH / sizes[p.origin] / len(p.solved)) for p in prompts]


def _curve(rows: Floats, expected: Floats) -> tuple[float, float, float]:
    ability, score, solved, weight = rows.T

    def loss(values: Floats) -> float:
        slope, need, steep = values
        chance = 1 / (1 + np.exp(-slope * (ability - need - steep * score)))
        fits = solved * np.log(chance + 1e-9) + (1 - solved) * np.log(1 - chance + 1e-9)
        return float((HELD * (values - expected) ** 2).sum() - (weight * fits).sum())

    slope, need, steep = minimize(loss, expected).x
    return float(slope), float(need), float(steep)


def points(curve: Curve, score: float, pair: Sequence[float], usual: Sequence[float]) -> float:
    """Return the points for the abilities of a pair, compared with the reference pair's."""
    local, cloud, usual_local, usual_cloud = (curve.chance(x, score) for x in (*pair, *usual))
    return reach.points_of(cloud - local, usual_cloud - usual_local)


@dataclass(frozen=True, slots=True)
class Won:
    """Utility of one pair of models: quality less the price of cloud calls.

    `blind`: without the points for the models. `aware`: with them. `best`: with the best threshold.
    """

    blind: float
    aware: float
    best: float


def judge(
    prompts: Sequence[Prompt],
    local: str,
    cloud: str,
    curves: Mapping[str, Curve],
    abilities: Abilities,
) -> Won:
    """Return the utilities over all prompts that both models have answered."""
    both = [p for p in prompts if local in p.solved and cloud in p.solved]
    score = np.array([p.score for p in both])
    mine = np.array([p.solved[local] for p in both])
    theirs = np.array([p.solved[cloud] for p in both])
    pair, usual = (local, cloud), REFERENCE
    mixed = {
        (kind, model): _mixed(kind, known)
        for kind in curves
        for model in (*pair, *usual)
        if (known := abilities(model)) is not None
    }
    aware = np.array(
        [
            p.score
            + points(
                curves[p.kind],
                p.score,
                [mixed[p.kind, model] for model in pair],
                [mixed[p.kind, model] for model in usual],
            )
            for p in both
        ]
    )

    def utility(goes: NDArray[np.bool_], worth: float) -> float:
        return float(np.where(goes, theirs, mine).mean() - worth * goes.mean())

    won = [
        (
            utility(score >= BASE_SCORE, worth),
            utility(aware >= BASE_SCORE, worth),
            max(utility(score >= threshold, worth) for threshold in range(102)),
        )
        for worth in WORTHS
    ]
    return Won(*np.mean(won, axis=0))


def way(won: Sequence[Won]) -> float:
    """Return the gain of `aware` as a share of the gain of `best`."""
    blind, aware, best = np.mean([(w.blind, w.aware, w.best) for w in won], axis=0)
    return float((aware - blind) / (best - blind))


def pairs_of(prompts: Sequence[Prompt], abilities: Abilities) -> list[tuple[str, str]]:
    """Return pairs of each model of known size with the best model of the set."""
    quality: dict[str, list[float]] = {}
    for prompt in prompts:
        for model, solved in prompt.solved.items():
            quality.setdefault(model, []).append(solved)
    able = [model for model in quality if abilities(model) is not None]
    best = max(able, key=lambda model: float(np.mean(quality[model])))
    return [(model, best) for model in able if model != best and parse(model).parameters_b]


def _rounded(values: Sequence[float] | Floats) -> list[float]:
    return [round(float(value), 2) for value in values]


def _mix(kind: str) -> tuple[float, ...]:
    return tuple([MIXES[kind].get(skill, 0.0) for skill in SKILLS])


def _mixed(kind: str, skills: Sequence[float]) -> float:
    return sum(share * ability for share, ability in zip(_mix(kind), skills, strict=True))


def main() -> None:
    """Train, print the figures on left-out data, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=FILE)
    options = parser.parse_args()
    data = as_data(fit())

    def abilities(model: str) -> tuple[float, ...] | None:
        row = parse(model).row
        return None if row is None else tuple(data["abilities"][row.family][row.index])

    sets = {path.name: read_prompts(path) for path in options.data}
    everything = [prompt for prompts in sets.values() for prompt in prompts]
    curves = fit_curves(everything, abilities)
    for kind, curve in curves.items():
        count = sum(prompt.kind == kind for prompt in everything)
        print(f"{kind:12} slope {curve.slope:5} need {curve.need:6} steep {curve.steep:5}  {count}")
    report(sets, curves, abilities)
    data["curves"] = {
        kind: {"mix": curve.mix, "slope": curve.slope, "need": curve.need, "steep": curve.steep}
        for kind, curve in curves.items()
    }
    data["reference"] = [abilities(model) for model in REFERENCE]
    options.out.write_text(_pretty(data), encoding="utf-8")
    print(f"wrote {options.out}", file=sys.stderr)


def report(
    sets: Mapping[str, Sequence[Prompt]], curves: Mapping[str, Curve], abilities: Abilities
) -> None:
    """Print `way` of each set: as fitted, with the set left out, with the models left out."""
    everything = [prompt for prompts in sets.values() for prompt in prompts]
    for name, prompts in sets.items():
        pairs = pairs_of(prompts, abilities)
        others = [prompt for prompt in everything if prompt.origin != name]
        apart = fit_curves(others, abilities) if others else curves
        seen = [judge(prompts, *pair, curves, abilities) for pair in pairs]
        unseen = [judge(prompts, *pair, apart, abilities) for pair in pairs]
        alone = [
            judge(prompts, *pair, fit_curves(everything, abilities, pair), abilities)
            for pair in pairs
        ]
        print(
            f"{name}: {len(pairs)} pairs, way {way(seen):.2f};"
            f" set left out {way(unseen):.2f}, models left out {way(alone):.2f}"
        )


def _pretty(data: Mapping[str, Any]) -> str:
    """Return JSON with one family or curve a line."""
    lines = []
    for name, value in data.items():
        if isinstance(value, dict):
            inner = [f"  {json.dumps(key)}: {json.dumps(part)}" for key, part in value.items()]
            lines.append(f'"{name}": {{\n' + ",\n".join(inner) + "\n}")
        else:
            lines.append(f'"{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
