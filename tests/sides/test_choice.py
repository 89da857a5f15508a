import pytest

from router.backend import Model
from router.sides.choice import smallest_that_suffices

SMALL, MIDDLE, LARGE = Model("small-1b"), Model("middle-8b"), Model("large-70b")
SIZES = {SMALL: 1.0, MIDDLE: 8.0, LARGE: 70.0, Model("mystery"): None}
ALL = [LARGE, SMALL, Model("mystery"), MIDDLE]


@pytest.mark.parametrize(
    ("able", "background", "last", "expected"),
    [
        ({SMALL, MIDDLE, LARGE}, False, "", SMALL),
        ({MIDDLE, LARGE}, False, "", MIDDLE),
        (set(), False, "", LARGE),
        ({LARGE}, True, "", SMALL),
        ({SMALL, MIDDLE, LARGE}, False, "large-70b", LARGE),
        ({MIDDLE, LARGE}, False, "small-1b", MIDDLE),
        ({MIDDLE, LARGE}, False, "gone-13b", MIDDLE),
    ],
)
def test_the_smallest_that_suffices_answers(
    able: set[Model], background: bool, last: str, expected: Model
) -> None:
    chosen = smallest_that_suffices(
        ALL, SIZES.get, lambda model: model in able, background=background, last=last
    )
    assert chosen == expected


@pytest.mark.parametrize("models", [[], [LARGE], [LARGE, Model("mystery")]])
def test_nothing_is_chosen_from_fewer_than_two_models(models: list[Model]) -> None:
    assert smallest_that_suffices(models, SIZES.get, lambda model: True) is None
