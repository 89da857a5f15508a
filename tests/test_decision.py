"""decide(): every rule, in its order of precedence."""

from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest

from router.backend import Model, Status, Target
from router.classifier import Score
from router.deciding.facts import Ask, Decision, Policy, Side
from router.decision import decide
from router.errors import BackendUnfit, NoBackend, Private, RouterError
from router.local.servers import fix_command

MODEL = Model(
    "qwen", loaded=True, context_tokens=8192, max_context_tokens=32768, vision=False, tools=True
)
SEEING = Model("gemma", loaded=False, vision=True, tools=True)
LOCAL = Side(
    "local",
    "local",
    Status("ready", MODEL, (MODEL, SEEING), "lmstudio"),
    enlarge=partial(fix_command, "lmstudio"),
)
CLOUD = Side("cloud", "claude", Status("ready", Model("claude-sonnet")))
OFF = Side("cloud", "", Status("unconfigured", detail="Set ANTHROPIC_API_KEY."))
LOCAL_DOWN = Side("local", "local", Status("down", detail="Start LM Studio."))
CLOUD_DOWN = Side("cloud", "claude", Status("down", detail="No network."))
COLD = replace(LOCAL, status=replace(LOCAL.status, state="cold"))
BUSY = replace(LOCAL, full=True)
POLICY = Policy(patience_s=60)


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


def able(**abilities: Any) -> Side:
    """The local side with a model that can do this."""
    model = replace(MODEL, **abilities)
    return replace(LOCAL, status=replace(LOCAL.status, model=model, models=(model, SEEING)))


def with_small() -> Side:
    """The local side with a second model, of less context."""
    small = replace(MODEL, id="small", context_tokens=4096)
    return replace(LOCAL, status=replace(LOCAL.status, models=(MODEL, small)))


FALLBACKS = ("local_down", "cloud_down", "cloud_unconfigured", "escalated")
"""Reasons of an answer from the side that was not preferred."""
WITHOUT_A_GATE = ("inherited", "no_signal", "complex", "simple", "stalled", *FALLBACKS)

EASY, HARD = ask(10), ask(90)
PRIVATE = replace(HARD, private="a key")
PICTURE = replace(EASY, has_images=True)
TOO_BIG = replace(EASY, size_tokens=8000)
TOOLS = replace(EASY, has_tools=True)
TITLE = replace(HARD, background="title")
COMPACTION = replace(HARD, score=score(90, tokens=3001), purpose="compaction")
SUBAGENT = replace(HARD, purpose="subagent")


@pytest.mark.parametrize(
    ("asked", "local", "cloud", "target", "reason"),
    [
        # private goes before everything
        (PRIVATE, LOCAL, CLOUD, "local", "private"),
        (replace(PRIVATE, force="local"), LOCAL, CLOUD, "local", "private"),
        (replace(PRIVATE, background="title"), LOCAL, CLOUD, "local", "private"),
        (replace(PRIVATE, escalated=True), LOCAL, CLOUD, "local", "private"),
        (replace(PRIVATE, has_tools=True), able(tools=False), CLOUD, "local", "private"),
        (PRIVATE, COLD, CLOUD, "local", "private"),
        (PRIVATE, BUSY, CLOUD, "local", "private"),
        # forced goes before all the rest
        (replace(HARD, force="local"), LOCAL, CLOUD, "local", "forced"),
        (replace(EASY, force="cloud"), LOCAL, CLOUD, "cloud", "forced"),
        (replace(EASY, force="cloud"), LOCAL_DOWN, CLOUD, "cloud", "forced"),
        (replace(TITLE, force="cloud"), LOCAL, CLOUD, "cloud", "forced"),
        (replace(PICTURE, force="local"), LOCAL, CLOUD, "local", "forced"),
        (replace(TOO_BIG, force="local"), LOCAL, CLOUD, "local", "forced"),
        (replace(HARD, force="local"), COLD, CLOUD, "local", "forced"),
        (replace(HARD, force="local"), BUSY, CLOUD, "local", "forced"),
        (replace(HARD, force="local"), replace(LOCAL, blocked=True), CLOUD, "local", "forced"),
        # background stays here, if it fits
        (TITLE, LOCAL, CLOUD, "local", "background"),
        (TITLE, COLD, CLOUD, "local", "background"),
        (TITLE, BUSY, CLOUD, "local", "background"),
        (replace(TITLE, score=score(90, tokens=3001)), LOCAL, CLOUD, "local", "background"),
        (replace(TITLE, escalated=True), LOCAL, CLOUD, "local", "background"),
        (replace(TITLE, size_tokens=8000), LOCAL, CLOUD, "cloud", "context"),
        (TITLE, LOCAL_DOWN, CLOUD, "cloud", "local_down"),
        # what the model that is loaded cannot do
        (PICTURE, LOCAL, CLOUD, "cloud", "vision"),
        (PICTURE, able(vision=True), CLOUD, "local", "simple"),
        (TOOLS, able(tools=False), CLOUD, "cloud", "tools"),
        (TOOLS, LOCAL, CLOUD, "local", "simple"),
        (TOO_BIG, LOCAL, CLOUD, "cloud", "context"),
        (TOO_BIG, able(context_tokens=32768), CLOUD, "local", "simple"),
        (TOO_BIG, able(context_tokens=None), CLOUD, "local", "simple"),
        (replace(EASY, size_tokens=33_000), able(context_tokens=None), CLOUD, "cloud", "context"),
        (replace(PICTURE, size_tokens=8000), LOCAL, CLOUD, "cloud", "vision"),
        (replace(TOOLS, size_tokens=8000), able(tools=False), CLOUD, "cloud", "tools"),
        (replace(PICTURE, score=score(10, tokens=3001)), LOCAL, CLOUD, "cloud", "vision"),
        (replace(TOO_BIG, score=score(90)), LOCAL, CLOUD, "cloud", "context"),
        # a summary goes where the conversation is, whatever its own prompt scores
        (COMPACTION, LOCAL, CLOUD, "local", "compaction"),
        (replace(COMPACTION, last_target="local"), LOCAL, CLOUD, "local", "compaction"),
        (replace(COMPACTION, last_target="cloud"), LOCAL, CLOUD, "cloud", "compaction"),
        (replace(COMPACTION, escalated=True), LOCAL, CLOUD, "cloud", "compaction"),
        (replace(COMPACTION, stalled=True), LOCAL, CLOUD, "cloud", "stalled"),
        (replace(COMPACTION, size_tokens=8000), LOCAL, CLOUD, "cloud", "context"),
        (replace(COMPACTION, first_word_s=61), LOCAL, CLOUD, "cloud", "slow"),
        (replace(COMPACTION, first_word_s=61), LOCAL, OFF, "local", "compaction"),
        (COMPACTION, COLD, CLOUD, "cloud", "local_cold"),
        (COMPACTION, LOCAL_DOWN, CLOUD, "cloud", "local_down"),
        (replace(COMPACTION, private="a key"), LOCAL, CLOUD, "local", "private"),
        (replace(COMPACTION, force="cloud"), LOCAL, CLOUD, "cloud", "forced"),
        # SUBAGENTS=auto
        (replace(EASY, purpose="subagent"), LOCAL, CLOUD, "local", "simple"),
        (replace(HARD, purpose="subagent"), LOCAL, CLOUD, "cloud", "complex"),
        # the user's own cap
        (Ask(score(10, tokens=3001)), LOCAL, CLOUD, "cloud", "too_long"),
        (Ask(score(90, tokens=3001)), LOCAL, CLOUD, "cloud", "too_long"),
        (Ask(score(10, tokens=3000)), LOCAL, CLOUD, "local", "simple"),
        (Ask(score(10, tokens=3001)), COLD, CLOUD, "cloud", "too_long"),
        (Ask(score(10, tokens=3001)), LOCAL, OFF, "local", "cloud_unconfigured"),
        # local would be right, but not now
        (EASY, COLD, CLOUD, "cloud", "local_cold"),
        (HARD, COLD, CLOUD, "cloud", "complex"),
        (EASY, COLD, OFF, "local", "simple"),
        (EASY, COLD, CLOUD_DOWN, "local", "simple"),
        (EASY, BUSY, CLOUD, "cloud", "local_busy"),
        (HARD, BUSY, CLOUD, "cloud", "complex"),
        (EASY, BUSY, OFF, "local", "simple"),
        (EASY, replace(COLD, full=True), CLOUD, "cloud", "local_cold"),
        # local would be right, but takes too long
        (ask(first_word_s=61), LOCAL, CLOUD, "cloud", "slow"),
        (ask(first_word_s=61), BUSY, CLOUD, "cloud", "slow"),
        (ask(first_word_s=60), LOCAL, CLOUD, "local", "simple"),
        (ask(first_word_s=61), LOCAL, OFF, "local", "simple"),
        (ask(first_word_s=61), LOCAL, CLOUD_DOWN, "local", "simple"),
        (ask(90, first_word_s=61), LOCAL, CLOUD, "cloud", "complex"),
        (replace(TITLE, first_word_s=61), LOCAL, CLOUD, "local", "background"),
        (replace(PRIVATE, first_word_s=61), LOCAL, CLOUD, "local", "private"),
        (ask(first_word_s=61, force="local"), LOCAL, CLOUD, "local", "forced"),
        (replace(PICTURE, first_word_s=61), LOCAL, CLOUD, "cloud", "vision"),
        # the conversation
        (Ask(score(60, conversation=40)), LOCAL, CLOUD, "cloud", "inherited"),
        (Ask(score(90, conversation=45)), LOCAL, CLOUD, "cloud", "inherited"),
        (Ask(score(90, conversation=30)), LOCAL, CLOUD, "cloud", "complex"),
        (ask(40, last_target="cloud", size_tokens=5000), LOCAL, CLOUD, "cloud", "inherited"),
        (ask(20, last_target="cloud", size_tokens=5000), LOCAL, CLOUD, "local", "simple"),
        (ask(40, last_target="cloud", size_tokens=100), LOCAL, CLOUD, "local", "simple"),
        (ask(40, last_target="local", size_tokens=5000), LOCAL, CLOUD, "local", "simple"),
        (ask(5, last_target="cloud", in_tool_loop=True), LOCAL, CLOUD, "cloud", "inherited"),
        (ask(5, last_target="local", in_tool_loop=True), LOCAL, CLOUD, "local", "simple"),
        (ask(90, last_target="local", in_tool_loop=True), LOCAL, CLOUD, "cloud", "complex"),
        (ask(5, escalated=True), LOCAL, CLOUD, "cloud", "inherited"),
        (ask(5, escalated=True), LOCAL, OFF, "local", "cloud_unconfigured"),
        # an agent that goes in circles
        (ask(5, stalled=True), LOCAL, CLOUD, "cloud", "stalled"),
        (Ask(score(5, confidence=0), stalled=True), LOCAL, CLOUD, "cloud", "stalled"),
        (ask(90, stalled=True), LOCAL, CLOUD, "cloud", "complex"),
        (ask(5, stalled=True, escalated=True), LOCAL, CLOUD, "cloud", "inherited"),
        (ask(5, stalled=True), COLD, CLOUD, "cloud", "local_cold"),
        (ask(5, stalled=True), LOCAL, OFF, "local", "simple"),
        (ask(5, stalled=True), LOCAL, CLOUD_DOWN, "local", "simple"),
        (replace(TITLE, stalled=True), LOCAL, CLOUD, "local", "background"),
        (replace(PRIVATE, stalled=True), LOCAL, CLOUD, "local", "private"),
        (ask(5, stalled=True, force="local"), LOCAL, CLOUD, "local", "forced"),
        # the score
        (Ask(score(5, confidence=0)), LOCAL, CLOUD, "local", "no_signal"),
        (Ask(score(60, confidence=0)), LOCAL, CLOUD, "cloud", "complex"),
        (EASY, LOCAL, CLOUD, "local", "simple"),
        (HARD, LOCAL, CLOUD, "cloud", "complex"),
        (ask(50), LOCAL, CLOUD, "cloud", "complex"),
        (ask(49.9), LOCAL, CLOUD, "local", "simple"),
        # the side that should answer cannot
        (EASY, LOCAL_DOWN, CLOUD, "cloud", "local_down"),
        (EASY, replace(LOCAL, blocked=True), CLOUD, "cloud", "local_down"),
        (HARD, LOCAL, OFF, "local", "cloud_unconfigured"),
        (HARD, LOCAL, CLOUD_DOWN, "local", "cloud_down"),
        (HARD, LOCAL, replace(CLOUD, blocked=True), "local", "cloud_down"),
        (TOOLS, able(tools=False), OFF, "local", "cloud_unconfigured"),
        # one that failed a moment ago is better than none
        (EASY, replace(LOCAL, blocked=True), OFF, "local", "simple"),
        (EASY, replace(LOCAL, blocked=True), CLOUD_DOWN, "local", "simple"),
        (HARD, LOCAL_DOWN, replace(CLOUD, blocked=True), "cloud", "complex"),
        (PRIVATE, replace(LOCAL, blocked=True), CLOUD, "local", "private"),
        (PICTURE, LOCAL, replace(CLOUD, blocked=True), "cloud", "vision"),
    ],
)
def test_each_rule_decides_in_its_place(
    asked: Ask, local: Side, cloud: Side, target: Target, reason: str
) -> None:
    decision = decide(asked, local, cloud, POLICY)
    assert (decision.first.target, decision.reason) == (target, reason)
    assert decision.would_fall_back == (reason in FALLBACKS)


@pytest.mark.parametrize(
    ("asked", "local", "target", "reason"),
    [
        (HARD, LOCAL, "local", "budget"),
        (EASY, LOCAL, "local", "simple"),
        (EASY, COLD, "local", "budget"),
        (EASY, BUSY, "local", "budget"),
        (TITLE, LOCAL, "local", "background"),
        (Ask(score(10, tokens=3001)), LOCAL, "local", "budget"),
        (TOOLS, able(tools=False), "local", "budget"),
        (ask(5, escalated=True), LOCAL, "local", "budget"),
        (PRIVATE, LOCAL, "local", "private"),
        (replace(HARD, force="cloud"), LOCAL, "cloud", "forced"),
    ],
)
def test_a_spent_budget_keeps_unforced_requests_local(
    asked: Ask, local: Side, target: Target, reason: str
) -> None:
    decision = decide(asked, local, CLOUD, POLICY, broke=True)
    assert (targets(decision), decision.reason) == ([target], reason)


def test_the_other_side_is_the_second_choice() -> None:
    assert targets(decide(EASY, LOCAL, CLOUD, POLICY)) == ["local", "cloud"]
    assert targets(decide(HARD, LOCAL, CLOUD, POLICY)) == ["cloud", "local"]
    assert targets(decide(TOOLS, able(tools=False), CLOUD, POLICY)) == ["cloud", "local"]
    assert targets(decide(TITLE, LOCAL, CLOUD, POLICY)) == ["local", "cloud"]


def test_private_and_forced_requests_have_no_second_choice() -> None:
    assert targets(decide(PRIVATE, LOCAL, CLOUD, POLICY)) == ["local"]
    for side in ("local", "cloud"):
        assert targets(decide(replace(EASY, force=side), LOCAL, CLOUD, POLICY)) == [side]


def test_a_local_model_that_cannot_take_the_request_is_no_second_choice() -> None:
    assert targets(decide(PICTURE, LOCAL, CLOUD, POLICY)) == ["cloud"]
    assert targets(decide(TOO_BIG, LOCAL, CLOUD, POLICY)) == ["cloud"]


def test_a_named_model_is_asked_and_judged_by_its_own_abilities() -> None:
    named = replace(PRIVATE, has_images=True, force="local", force_model="gemma")
    decision = decide(named, LOCAL, CLOUD, POLICY)
    assert (decision.first.model, decision.reason) == ("gemma", "private")


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        (EASY, ""),
        (TOO_BIG, "lms unload qwen && lms load qwen --context-length 12288"),
        (replace(EASY, size_tokens=100_000), ""),
        (PICTURE, "LOCAL_MODEL=gemma"),
    ],
)
def test_a_request_that_does_not_fit_says_what_would_make_it_fit(asked: Ask, fix: str) -> None:
    assert decide(asked, LOCAL, CLOUD, POLICY).fix == fix


# --- no side can answer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "local", "cloud", "broke", "error", "says"),
    [
        (replace(PRIVATE, force="cloud"), LOCAL, CLOUD, False, Private, r"a key.*PRIVACY=off"),
        (PRIVATE, LOCAL_DOWN, CLOUD, False, NoBackend, r"Start LM.*a key.*PRIVACY=off"),
        (
            replace(PRIVATE, has_images=True),
            *(LOCAL, CLOUD, False, NoBackend),
            r"qwen takes no pictures.*LOCAL_MODEL=gemma.*a key.*PRIVACY=off",
        ),
        (
            replace(PRIVATE, size_tokens=9000),
            *(LOCAL, CLOUD, False, NoBackend),
            r"about 10924 tokens; qwen has room for 8192.*lms load.*a key.*PRIVACY=off",
        ),
        (
            replace(PRIVATE, size_tokens=9000, force="local", force_model="small"),
            *(with_small(), CLOUD, False, NoBackend),
            r"small has room for 4096.*lms load small",
        ),
        (replace(EASY, force="cloud"), LOCAL, OFF, False, NoBackend, "ANTHROPIC_API_KEY"),
        (replace(EASY, force="cloud"), LOCAL, CLOUD_DOWN, False, NoBackend, "No network"),
        (replace(EASY, force="local"), LOCAL_DOWN, CLOUD, False, NoBackend, "Start LM Studio"),
        (
            replace(EASY, force="local", force_model="qwen"),
            *(LOCAL_DOWN, CLOUD, False, NoBackend, "Start LM Studio"),
        ),
        (EASY, LOCAL_DOWN, OFF, False, NoBackend, r"Start LM Studio\. Set ANTHROPIC_API_KEY\."),
        (TITLE, LOCAL_DOWN, CLOUD, True, NoBackend, r"Start LM Studio\. .*BUDGET"),
        (PICTURE, LOCAL, OFF, False, NoBackend, r"no pictures.*ANTHROPIC_API_KEY"),
        (PICTURE, LOCAL, CLOUD_DOWN, False, NoBackend, r"no pictures.*No network"),
        (PICTURE, LOCAL, CLOUD, True, NoBackend, r"no pictures.*BUDGET"),
        (TOO_BIG, LOCAL, CLOUD, True, NoBackend, r"room for 8192.*BUDGET"),
        (TOO_BIG, LOCAL, OFF, False, BackendUnfit, r"lms load qwen.*ANTHROPIC_API_KEY"),
        (
            TOO_BIG,
            replace(LOCAL, backend="embedded"),
            *(OFF, False, BackendUnfit, r"Start a local server.*ANTHROPIC_API_KEY"),
        ),
        (TOO_BIG, LOCAL_DOWN, OFF, False, NoBackend, r"Start LM Studio\. Set ANTHROPIC_API_KEY\."),
    ],
)
def test_when_no_side_can_answer_the_error_says_why_and_what_to_do(
    asked: Ask, local: Side, cloud: Side, broke: bool, error: type[RouterError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        decide(asked, local, cloud, POLICY, broke=broke)
    assert caught.value.status == {Private: 409, NoBackend: 503, BackendUnfit: 400}[error]


def test_too_long_for_the_only_side_is_the_error_that_clients_shorten_a_conversation_on() -> None:
    with pytest.raises(BackendUnfit) as caught:
        decide(replace(EASY, size_tokens=9000), LOCAL, OFF, POLICY)
    assert caught.value.code == "context_length_exceeded"


# --- the user's settings -------------------------------------------------------------------------


def test_the_answer_gets_room_in_the_context() -> None:
    fits = ask(10, size_tokens=3000, max_tokens=4000)
    assert decide(fits, LOCAL, CLOUD, POLICY).reason == "simple"
    assert decide(replace(fits, size_tokens=4000), LOCAL, CLOUD, POLICY).reason == "context"


def test_a_request_that_fills_the_context_exactly_fits() -> None:
    room = replace(ask(10, size_tokens=3000, max_tokens=1000))
    exact = able(context_tokens=room.needed_tokens)
    assert decide(room, exact, CLOUD, POLICY).reason == "simple"
    short = able(context_tokens=room.needed_tokens - 1)
    assert decide(room, short, CLOUD, POLICY).reason == "context"


def test_an_unknown_ability_excludes_nothing() -> None:
    plain = Model("m")
    local = replace(LOCAL, status=Status("ready", plain, (plain,)))
    big = replace(EASY, has_images=True, has_tools=True, size_tokens=100_000)
    assert decide(big, local, CLOUD, POLICY).reason == "simple"


def test_waiting_for_a_cold_model_is_a_choice() -> None:
    assert decide(EASY, COLD, CLOUD, Policy(cold_local="wait")).first.target == "local"


def test_unsure_prompts_go_where_the_user_wants_them() -> None:
    unsure = Ask(score(5, confidence=0))
    assert decide(unsure, LOCAL, CLOUD, Policy(unsure_target="cloud")).first.target == "cloud"


@pytest.mark.parametrize(
    ("side", "asked", "local", "cloud", "target", "reason"),
    [
        ("local", SUBAGENT, LOCAL, CLOUD, "local", "subagent"),
        ("local", SUBAGENT, BUSY, CLOUD, "local", "subagent"),
        ("local", SUBAGENT, COLD, CLOUD, "local", "subagent"),
        ("local", replace(SUBAGENT, first_word_s=61), LOCAL, CLOUD, "local", "subagent"),
        ("local", replace(SUBAGENT, size_tokens=8000), LOCAL, CLOUD, "cloud", "context"),
        ("local", replace(SUBAGENT, has_tools=True), able(tools=False), CLOUD, "cloud", "tools"),
        ("local", SUBAGENT, LOCAL_DOWN, CLOUD, "cloud", "local_down"),
        ("local", replace(SUBAGENT, force="cloud"), LOCAL, CLOUD, "cloud", "forced"),
        ("local", HARD, LOCAL, CLOUD, "cloud", "complex"),
        ("cloud", replace(EASY, purpose="subagent"), LOCAL, CLOUD, "cloud", "subagent"),
        ("cloud", SUBAGENT, LOCAL, OFF, "local", "cloud_unconfigured"),
        ("cloud", replace(SUBAGENT, private="a key"), LOCAL, CLOUD, "local", "private"),
        ("cloud", EASY, LOCAL, CLOUD, "local", "simple"),
    ],
)
def test_subagents_go_where_the_user_wants_them_if_they_can(
    side: Any, asked: Ask, local: Side, cloud: Side, target: Target, reason: str
) -> None:
    decision = decide(asked, local, cloud, Policy(patience_s=60, subagents=side))
    assert (decision.first.target, decision.reason) == (target, reason)


# --- all of it at once ---------------------------------------------------------------------------

LOCALS = [LOCAL, able(tools=False, vision=True), COLD, BUSY, LOCAL_DOWN]
LOCALS += [replace(LOCAL, blocked=True)]
CLOUDS = [CLOUD, OFF, CLOUD_DOWN, replace(CLOUD, blocked=True)]
FACTS: dict[str, tuple[Any, ...]] = {
    "score": (score(10), score(90), score(10, tokens=3001), score(5, confidence=0)),
    "size_tokens": (100, 5000, 9000),
    "has_images": (False, True),
    "has_tools": (False, True),
    "force": (None, "local", "cloud"),
    "private": (None, "a key"),
    "background": (None, "title"),
    "last_target": (None, "cloud"),
    "escalated": (False, True),
    "stalled": (False, True),
    "purpose": (None, "compaction", "subagent"),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("local", LOCALS)
@pytest.mark.parametrize("cloud", CLOUDS)
def test_no_combination_of_facts_passes_a_gate(local: Side, cloud: Side) -> None:
    met, refused = set(), []
    for values in product(*FACTS.values()):
        asked = Ask(**dict(zip(FACTS, values, strict=True)))
        for broke in (False, True):
            try:
                decision = decide(asked, local, cloud, POLICY, broke=broke)
            except RouterError as error:
                refused.append(error.message)
                continue
            met.add(decision.reason)
            asks = targets(decision)
            assert len(set(asks)) == len(asks) > 0
            assert all(candidate.model for candidate in decision.candidates)
            assert not asked.private or asks == ["local"]
            assert asked.private or not asked.force or asks == [asked.force]
            if not asked.force:
                model = local.status.model
                assert "cloud" not in asks or not broke
                assert "local" not in asks or not asked.has_images or (model and model.vision)
                assert "local" not in asks or asked.size_tokens < 9000
                assert local.up or "local" not in asks
            assert decision.reason in (*decision.gates, *WITHOUT_A_GATE)
    assert bool(met) == (local.up or cloud.up)
    assert all(message.endswith(".") and "None" not in message for message in refused)


def targets(decision: Decision) -> list[Target]:
    return [candidate.target for candidate in decision.candidates]


@pytest.mark.parametrize("first_word_s", [None, 0.5, 10_000])
def test_without_patience_a_slow_model_is_waited_for(first_word_s: float | None) -> None:
    decision = decide(ask(first_word_s=first_word_s), LOCAL, CLOUD, Policy())
    assert (decision.reason, decision.gates) == ("simple", ())
