import json
from itertools import pairwise

import pytest

from router.scoring.lexicon import load as load_lexicon
from router.scoring.model_names import table
from router.scoring.reach import (
    FILE,
    MOST_POINTS,
    Facts,
    Kind,
    Label,
    Reach,
    gain,
    kind_of,
    known,
    load,
    points,
    points_of,
    with_labels,
)
from router.scoring.reading import read

LOCAL, CLOUD = "qwen2.5-32b-instruct", "claude-sonnet-4-6"
KINDS: tuple[Kind, ...] = ("knowledge", "mathematics", "code", "tools", "languages", "writing")
SCORES = (0.0, 20.0, 35.0, 50.0, 65.0, 80.0, 100.0)


def reach(name: str) -> Reach:
    found = known(name)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_pair_adds_nothing(kind: Kind) -> None:
    rows = [points(kind, score, reach(LOCAL), reach(CLOUD)) for score in SCORES]
    assert rows == [0.0] * len(SCORES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_model_of_a_family_adds_more(kind: Kind) -> None:
    sizes = ("0.5b", "1.5b", "3b", "7b", "14b", "32b")
    rows = [points(kind, 35, reach(f"qwen2.5-{size}"), reach(CLOUD)) for size in sizes]
    assert all(one >= next_one - 2 for one, next_one in pairwise(rows))
    assert rows[0] > rows[3] + 5
    assert rows[-1] == 0


def test_a_cloud_that_solves_no_more_is_not_worth_it() -> None:
    local, cloud = reach(LOCAL), reach("claude-3-5-sonnet-20240620")
    assert points("mathematics", 70, local, cloud) < -25
    assert points("mathematics", 70, reach("gemma-2-2b-it"), cloud) > 10


def test_a_specialist_is_known_for_what_it_is_made_for() -> None:
    for specialist, skill in (("qwen2.5-coder-32b", 2), ("mathstral-7b", 1)):
        skills = reach(specialist).skills
        plain = reach("qwen2.5-32b" if "coder" in specialist else "mistral-7b-instruct-v0.2").skills
        assert skills[skill] - skills[0] > plain[skill] - plain[0]


@pytest.mark.parametrize(
    "name", ["my-company-bot", "local-model", "qwen", "llama", "moondream", ""]
)
def test_an_unknown_model_adds_nothing(name: str) -> None:
    assert known(name) is None
    assert points("code", 60, known(name), reach(CLOUD)) == 0


def test_an_unknown_cloud_counts_as_the_usual_one() -> None:
    small = reach("qwen2.5-7b")
    assert points("code", 40, small, None) == points("code", 40, small, reach(CLOUD))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["smollm2-135m", "qwen2.5-7b", "llama-3.3-70b", "gpt-oss-120b"])
def test_points_stay_in_their_range_and_rise_with_what_the_cloud_gains(
    kind: Kind, name: str
) -> None:
    for score in SCORES:
        assert -MOST_POINTS <= points(kind, score, reach(name), reach(CLOUD)) <= MOST_POINTS
    rows = [points_of(here / 20, 0.2) for here in range(-20, 21)]
    assert rows == sorted(rows)
    assert points_of(0.04, 0.0) == 0, "a cloud that gains almost nothing is not asked more"
    assert points_of(0.25, 0.5) == 0, "one that gains much is not asked less"


@pytest.mark.parametrize(
    ("name", "facts", "source", "billions"),
    [
        ("qwen2.5-32b-instruct", Facts(), "table", 32.5),
        ("qwen2.5-32b-instruct", Facts(32.8, quantization="Q4_K_M"), "table", 32.5),
        ("qwen2.5-32b-instruct", Facts(7.6), "server", 7.6),
        ("qwen2.5:10.5b", Facts(), "name", 10.5),
        ("assistant", Facts(8.0), "server", 8.0),
        ("assistant", Facts(origin="/models/Qwen2.5-7B-Instruct-Q4_K_M.gguf"), "table", 7.6),
        ("acme-13b", Facts(), "name", 13),
    ],
)
def test_the_source_of_a_models_abilities_is_named(
    name: str, facts: Facts, source: str, billions: float
) -> None:
    found = known(name, facts)
    assert found is not None
    assert (found.source, found.parameters_b) == (source, billions)


def test_very_few_bits_cost_ability() -> None:
    full, four, two = (reach(f"llama3.1:70b-instruct-{q}") for q in ("q8_0", "q4_K_M", "q2_K"))
    assert full.skills == four.skills
    assert all(two.skills[i] < four.skills[i] for i in range(6))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Why is the sky blue?", "knowledge"),
        ("Write a short birthday poem for my aunt.", "writing"),
        ("```python\nprint(1)\n```\nWhat does this print?", "code"),
        ("Write a python function that reverses a string.", "code"),
        ("Solve x^2 + 3*x - 4 = 0 and then 2*x + 5 = 17 for x.", "mathematics"),
        ("Quale è la capitale della Francia e quanti abitanti ha?", "languages"),
        ("法国的首都是哪里?", "languages"),
    ],
)
def test_the_kind_of_a_request_follows_from_its_content(text: str, kind: str) -> None:
    assert kind_of(read(text, load_lexicon())) == kind


def label(*, good: bool, kind: str = "knowledge") -> Label:
    return Label(LOCAL, kind, 40.0, good)


def test_labels_move_an_ability_a_little_at_first_and_more_with_their_number() -> None:
    before = reach(LOCAL)
    one = with_labels(before, [label(good=False)], None)
    many = with_labels(before, [label(good=False)] * 50, None)
    assert one.source == many.source == "measured"
    assert before.skills[0] > one.skills[0] > many.skills[0]
    assert before.skills[0] - one.skills[0] < 0.5
    assert before.skills[2] == many.skills[2], "labels of one kind say nothing of another"


def test_labels_that_are_as_expected_change_nothing_much() -> None:
    before = reach(LOCAL)
    expected = 1 - gain("knowledge", 40.0, before.skills, load().reference[1])
    good = round(expected * 40)
    labels = [label(good=i < good) for i in range(40)]
    after = with_labels(before, labels, None)
    assert after.skills[0] == pytest.approx(before.skills[0], abs=0.1)


def test_labels_of_an_unknown_kind_are_left_out() -> None:
    assert with_labels(reach(LOCAL), [label(good=True, kind="astrology")], None) == reach(LOCAL)


def test_every_model_of_the_table_has_its_abilities() -> None:
    weights = load()
    for _, family in table().families:
        assert len(weights.abilities[family.key]) == len(family.rows), family.key
        assert len(weights.published[family.key]) == len(family.rows), family.key
    assert json.loads(FILE.read_text("utf-8"))["skills"] == list(KINDS)
