import pytest

from router.backend import Model
from router.classifier import score_messages
from router.scoring.reach import Label
from router.sides.ability import Ability

SMALL, USUAL = Model("qwen2.5-3b-instruct"), Model("qwen2.5-32b-instruct")
CLOUD = Model("claude-sonnet-4-6")
SCORE = score_messages([{"role": "user", "content": "Why does ice float on water?"}])


def test_the_row_is_part_of_the_total() -> None:
    score = Ability().applied(SCORE, SMALL, CLOUD, has_tools=False)
    assert score.signals["local_model"] > 10
    assert score.total == pytest.approx(SCORE.total + score.signals["local_model"])
    assert SCORE.signals.keys() | {"local_model"} == score.signals.keys()


@pytest.mark.parametrize("local", [USUAL, Model("no-such-thing"), Model(""), None])
def test_the_usual_and_the_unknown_model_add_nothing(local: Model | None) -> None:
    score = Ability().applied(SCORE, local, CLOUD, has_tools=False)
    assert (score.total, score.signals["local_model"]) == (SCORE.total, 0)


@pytest.mark.parametrize(("setting", "added"), [(0.0, 0), (12.5, 12.5), (-20.0, -20)])
def test_a_setting_replaces_the_known_abilities(setting: float, added: float) -> None:
    score = Ability(setting).applied(SCORE, SMALL, CLOUD, has_tools=False)
    assert score.signals["local_model"] == added
    assert score.total == pytest.approx(max(0, SCORE.total + added))


def test_tools_are_a_kind_of_their_own() -> None:
    ability = Ability()
    assert ability.applied(SCORE, SMALL, CLOUD, has_tools=True).kind == "tools"
    assert ability.applied(SCORE, SMALL, CLOUD, has_tools=False).kind == "knowledge"


def test_the_users_ratings_count_more_than_the_table() -> None:
    ability = Ability()
    before = ability.applied(SCORE, SMALL, CLOUD, has_tools=False)
    ability.learn([Label(SMALL.id, "knowledge", 40, good=True)] * 60)
    after = ability.applied(SCORE, SMALL, CLOUD, has_tools=False)
    assert after.signals["local_model"] < before.signals["local_model"]
    reach = ability.reach(SMALL, CLOUD)
    assert reach is not None
    assert reach.source == "measured"
    assert ability.reach(USUAL, CLOUD) != reach
