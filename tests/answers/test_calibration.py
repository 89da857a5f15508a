"""Curves from few labels, and the file that keeps them."""

import random
from pathlib import Path

import pytest

from router.answers.calibration import (
    TYPICAL_SLOPE,
    Calibration,
    Calibrations,
    Curve,
    fit,
)


def drawn(curve: Curve, count: int) -> list[tuple[float, float]]:
    """Scores, and labels as often good as the curve says."""
    dice = random.Random(1)
    scores = [dice.uniform(-6, 10) for _ in range(count)]
    return [(score, float(dice.random() < curve.probability(score))) for score in scores]


@pytest.mark.parametrize("true", [Curve(-1, 0.6), Curve(0.5, 0.25), Curve(2, 1.2)])
def test_many_labels_find_the_curve_that_made_them(true: Curve) -> None:
    found = fit(drawn(true, 5_000))
    assert found.labels == 5_000
    for score in (-4, -1, 0, 2, 6):
        assert found.probability(score) == pytest.approx(true.probability(score), abs=0.05)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1.0, 1.0)],
        [(score, 1.0) for score in (0.0, 3.0, 5.0)],
        [(score, float(score > 0)) for score in (-14.0, -13.0, 13.0, 14.0)] * 20,
        [(score, float(score < 0)) for score in (-9.0, -3.0, 3.0, 9.0)] * 200,
        [(14.0, 0.5)] * 50,
    ],
    ids=["none", "one", "all good", "apart", "the wrong way round", "all the same"],
)
def test_any_labels_give_a_curve_that_does_not_fall(
    points: list[tuple[float, float]],
) -> None:
    found = fit(points)
    values = [found.probability(score) for score in (-14, -1, 0, 1, 14)]
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)


def test_a_few_labels_hardly_move_the_slope() -> None:
    found = fit([(2.0, 1.0), (-2.0, 0.0)])
    assert found.slope == pytest.approx(TYPICAL_SLOPE, abs=0.1)


WORDS = Calibration("m", "words", Curve(0.1, 0.5, 60), 0.7)


def test_a_stored_calibration_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "calibrations.json"
    assert not Calibrations.load(path).knows("m")
    Calibrations().keep(path, WORDS)
    Calibrations.load(path).keep(path, Calibration("m", "check", Curve(0, 1, 50), 0.6))
    Calibrations.load(path).keep(path, Calibration("m", "words", Curve(0, 2, 90), 0.8))
    found = Calibrations.load(path)
    assert found.knows("m")
    assert found.curve("m", "words") == Curve(0, 2, 90)
    assert found.least("m", "words") == 0.8
    assert found.least("m", "check") == 0.6
    assert found.curve("m:q4", "words") is None
    assert found.least("m:q4", "words") is None


@pytest.mark.parametrize("text", ["", "{}", "7", "[7]", '[{"model": "m"}]', "[[]]"])
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibrations.json"
    path.write_text(text)
    if text == "{}":
        assert not Calibrations.load(path).knows("m")
    else:
        with pytest.raises(ValueError, match=r"calibrations\.json"):
            Calibrations.load(path)
