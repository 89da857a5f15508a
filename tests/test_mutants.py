"""The mutants of `make mutate` fit the code: each changes one text that is there once."""

from tools.mutate import load, misfits

LEAST = 150


def test_every_mutant_fits_the_code() -> None:
    assert misfits(load()) == [], "change its row in tests/mutants/ with the code"


def test_there_are_enough_of_them() -> None:
    mutants = load()
    assert len(mutants) >= LEAST
    assert len({(one.file, one.old, one.new) for one in mutants}) == len(mutants)
    assert [one for one in mutants if one.old == one.new] == []
