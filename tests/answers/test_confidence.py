"""The signals of token probabilities and self-checks, in log-odds."""

import math

import pytest

from router.answers.confidence import (
    MOST_LOG_ODDS,
    check_score,
    confidence,
    log_odds,
    without_thoughts,
)


def score(*logprobs: float) -> float:
    found = confidence(logprobs)
    assert found is not None
    return found.score


def test_an_answer_of_one_token_has_that_tokens_odds() -> None:
    assert score(math.log(0.5)) == pytest.approx(0)
    assert score(math.log(0.9)) == pytest.approx(math.log(9))


def test_the_figures_are_the_plain_ones() -> None:
    found = confidence([-0.5, -2.0, 0.0, -0.5], first=[math.log(0.5), math.log(0.5)])
    assert found is not None
    assert (found.tokens, found.worst, found.total, found.mean) == (4, -2.0, -3.0, -0.75)
    assert found.first_entropy == pytest.approx(math.log(2))
    assert found.score == pytest.approx(log_odds((-2.0 - 3.0 / 2) / 2))


def test_one_doubtful_word_lowers_the_score_and_length_alone_hardly_does() -> None:
    sure = [-0.01] * 20
    assert score(*sure) > score(*sure[:-1], -3.0)
    assert score(*sure) - score(*sure * 4) < 1
    assert score(*[-0.4] * 30) < score(*[-0.1] * 30)


def test_no_tokens_say_nothing() -> None:
    assert confidence([]) is None


@pytest.mark.parametrize("strange", [-math.inf, -9999.0, math.nan, 0.0, 1.0])
def test_strange_values_leave_the_score_finite(strange: float) -> None:
    assert math.isfinite(score(strange, -0.5))


@pytest.mark.parametrize(
    ("p_yes", "odds"),
    [(0.5, 0.0), (0.8, math.log(4)), (0.0, -MOST_LOG_ODDS), (1.0, MOST_LOG_ODDS)],
)
def test_a_self_check_has_the_odds_of_its_yes(p_yes: float, odds: float) -> None:
    assert check_score(p_yes) == pytest.approx(odds)


@pytest.mark.parametrize(
    ("tokens", "answer"),
    [
        (["Par", "is"], ["Par", "is"]),
        (["<think>", "Hm", "</think>", "\n\n", "Par", "is"], ["Par", "is"]),
        (["<th", "ink>Hm", "</think>\n\n", "Paris"], ["Paris"]),
        (["[THINK]", "Hm", "[/THINK]", "Paris"], ["Paris"]),
        (["<|channel|>", "analysis", "Hm", "<|channel|>", "final", "<|message|>", "42"], ["42"]),
        (["<think>", "Hm"], []),
        (["<think>", "Hm", "</think>"], []),
        ([], []),
    ],
)
def test_thoughts_are_left_out(tokens: list[str], answer: list[str]) -> None:
    left = without_thoughts([(token, -1.0) for token in tokens])
    assert [token for token, _ in left] == answer
