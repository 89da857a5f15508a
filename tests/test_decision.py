"""decide(): every rule, in its order of precedence."""

from dataclasses import replace
from typing import Any

import pytest

from router.backend import Model, Status, Target
from router.classifier import Score
from router.decision import Ask, Decision, Policy, Side, decide
from router.errors import BackendUnfit, NoBackend, Private

MODEL = Model("qwen", loaded=True, context_tokens=8192, vision=False, tools=True)
LOCAL = Side("local", "local", Status("ready", MODEL, (MODEL,)))
CLOUD = Side("cloud", "claude", Status("ready", Model("claude-sonnet")))
OFF = Side("cloud", "", Status("unconfigured", detail="Set ANTHROPIC_API_KEY."))
LOCAL_DOWN = Side("local", "local", Status("down", detail="Start LM Studio."))
CLOUD_DOWN = Side("cloud", "claude", Status("down", Model("claude-sonnet"), detail="No network."))
POLICY = Policy()


def score(
    total: float, *, tokens: int = 20, confidence: float = 0.9, conversation: float = 0
) -> Score:
    return Score(
        total=total,
        signals={"token_count": total - conversation, "conversation": conversation},
        confidence=confidence,
        tokens=tokens,
    )


def ask(total: float = 10, **facts: Any) -> Ask:
    return Ask(score(total), **facts)


EASY, HARD = ask(10), ask(90)
COLD = Side("local", "local", Status("cold", MODEL, (MODEL,)))


@pytest.mark.parametrize(
    ("asked", "local", "cloud", "target", "reason"),
    [
        (EASY, LOCAL, CLOUD, "local", "simple"),
        (HARD, LOCAL, CLOUD, "cloud", "complex"),
        (ask(50), LOCAL, CLOUD, "cloud", "complex"),
        (ask(49.9), LOCAL, CLOUD, "local", "simple"),
        (Ask(score(5, confidence=0)), LOCAL, CLOUD, "local", "no_signal"),
        (Ask(score(60, conversation=40)), LOCAL, CLOUD, "cloud", "inherited"),
        (ask(40, last_target="cloud", size_tokens=5000), LOCAL, CLOUD, "cloud", "inherited"),
        (ask(20, last_target="cloud", size_tokens=5000), LOCAL, CLOUD, "local", "simple"),
        (ask(40, last_target="cloud", size_tokens=100), LOCAL, CLOUD, "local", "simple"),
        (ask(5, escalated=True), LOCAL, CLOUD, "cloud", "inherited"),
        (replace(HARD, force="local"), LOCAL, CLOUD, "local", "forced"),
        (replace(EASY, force="cloud"), LOCAL, CLOUD, "cloud", "forced"),
        (replace(HARD, private="a key"), LOCAL, CLOUD, "local", "private"),
        (replace(HARD, background="title"), LOCAL, CLOUD, "local", "background"),
        (replace(EASY, has_images=True), LOCAL, CLOUD, "cloud", "vision"),
        (replace(EASY, size_tokens=8000), LOCAL, CLOUD, "cloud", "context"),
        (Ask(score(10, tokens=3001)), LOCAL, CLOUD, "cloud", "too_long"),
        (EASY, COLD, CLOUD, "cloud", "local_cold"),
        (EASY, COLD, OFF, "local", "simple"),
        (EASY, replace(LOCAL, full=True), CLOUD, "cloud", "local_busy"),
        (EASY, replace(LOCAL, full=True), OFF, "local", "simple"),
        (EASY, LOCAL_DOWN, CLOUD, "cloud", "local_down"),
        (EASY, replace(LOCAL, blocked=True), CLOUD, "cloud", "local_down"),
        (HARD, LOCAL, OFF, "local", "cloud_unconfigured"),
        (HARD, LOCAL, CLOUD_DOWN, "local", "cloud_down"),
        (replace(HARD, force="local"), LOCAL_DOWN, CLOUD, "local", "forced"),
    ],
)
def test_each_rule_decides(
    asked: Ask, local: Side, cloud: Side, target: Target, reason: str
) -> None:
    if asked.force and not local.usable:
        local = replace(local, status=replace(local.status, model=MODEL))
    decision = decide(asked, local, cloud, POLICY)
    assert (decision.first.target, decision.reason) == (target, reason)


def test_a_model_that_is_not_trained_for_tools_is_only_the_second_choice() -> None:
    untrained = replace(MODEL, tools=False)
    local = replace(LOCAL, status=Status("ready", untrained, (untrained,)))
    decision = decide(replace(EASY, has_tools=True), local, CLOUD, POLICY)
    assert decision.reason == "tools"
    assert [c.target for c in decision.candidates] == ["cloud", "local"]


def test_the_other_side_is_the_second_choice() -> None:
    assert targets(decide(EASY, LOCAL, CLOUD, POLICY)) == ["local", "cloud"]
    assert targets(decide(HARD, LOCAL, CLOUD, POLICY)) == ["cloud", "local"]


def test_what_is_private_or_forced_has_no_second_choice() -> None:
    assert targets(decide(replace(EASY, private="a key"), LOCAL, CLOUD, POLICY)) == ["local"]
    assert targets(decide(replace(EASY, force="local"), LOCAL, CLOUD, POLICY)) == ["local"]


def test_a_local_model_that_cannot_take_the_request_is_no_second_choice() -> None:
    assert targets(decide(replace(EASY, has_images=True), LOCAL, CLOUD, POLICY)) == ["cloud"]


def test_what_is_private_is_refused_when_forced_to_the_cloud() -> None:
    with pytest.raises(Private, match="PRIVACY=off"):
        decide(replace(EASY, private="a key", force="cloud"), LOCAL, CLOUD, POLICY)


@pytest.mark.parametrize("local", [LOCAL_DOWN, replace(LOCAL, blocked=True)])
def test_what_is_private_waits_for_the_local_side(local: Side) -> None:
    with pytest.raises(NoBackend, match="stay on this machine"):
        decide(replace(EASY, private="a key"), local, CLOUD, POLICY)


def test_a_side_that_was_forced_but_is_not_configured_says_so() -> None:
    with pytest.raises(NoBackend, match="ANTHROPIC_API_KEY"):
        decide(replace(EASY, force="cloud"), LOCAL, OFF, POLICY)


def test_nobody_there_names_what_to_start_and_what_to_set() -> None:
    with pytest.raises(NoBackend, match=r"Start LM Studio\. Set ANTHROPIC_API_KEY\."):
        decide(EASY, LOCAL_DOWN, OFF, POLICY)


def test_too_long_for_the_only_side_is_the_error_that_clients_shorten_a_conversation_on() -> None:
    with pytest.raises(BackendUnfit) as caught:
        decide(replace(EASY, size_tokens=9000), LOCAL, OFF, POLICY)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")


def test_a_spent_budget_keeps_prompts_local_and_says_so() -> None:
    decision = decide(HARD, LOCAL, CLOUD, POLICY, broke=True)
    assert (targets(decision), decision.reason) == (["local"], "budget")
    assert decide(EASY, LOCAL, CLOUD, POLICY, broke=True).reason == "simple"
    forced = decide(replace(HARD, force="cloud"), LOCAL, CLOUD, POLICY, broke=True)
    assert targets(forced) == ["cloud"]


def test_a_spent_budget_and_a_model_that_cannot_exclude_both_sides() -> None:
    with pytest.raises(NoBackend, match=r"takes no pictures\. .*BUDGET"):
        decide(replace(EASY, has_images=True), LOCAL, CLOUD, POLICY, broke=True)


def test_the_answer_gets_room_in_the_context() -> None:
    fits = ask(10, size_tokens=3000, max_tokens=4000)
    assert decide(fits, LOCAL, CLOUD, POLICY).reason == "simple"
    assert decide(replace(fits, size_tokens=4000), LOCAL, CLOUD, POLICY).reason == "context"


def test_an_unknown_ability_is_no_obstacle() -> None:
    plain = Model("m")
    local = replace(LOCAL, status=Status("ready", plain, (plain,)))
    big = replace(EASY, has_images=True, has_tools=True, size_tokens=100_000)
    assert decide(big, local, CLOUD, POLICY).reason == "simple"


def test_waiting_for_a_cold_model_is_a_choice() -> None:
    assert decide(EASY, COLD, CLOUD, Policy(cold_local="wait")).first.target == "local"


def test_unsure_prompts_go_where_the_user_wants_them() -> None:
    unsure = Ask(score(5, confidence=0))
    assert decide(unsure, LOCAL, CLOUD, Policy(unsure_target="cloud")).first.target == "cloud"


def targets(decision: Decision) -> list[Target]:
    return [candidate.target for candidate in decision.candidates]
