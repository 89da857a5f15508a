"""Chat requests as Messages requests: each row of the mapping."""

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest

from router.errors import BackendUnfit, InvalidRequest
from router.wire.anthropic import claude
from router.wire.anthropic.claude_model import Abilities, abilities
from tests.support.claude_rules import assert_acceptable
from tests.support.claude_words import (
    ALL,
    ALWAYS_THINKING,
    BETWEEN_TOOLS,
    CLOCK,
    MODEL,
    PICTURE,
    RESULT,
    THOUGHT,
    WEATHER,
    allowed,
    assistant,
    call,
    dropped,
    encoded,
    named,
    request,
    result,
    system,
    text,
    turns,
    user,
)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [CLOCK], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": named("x")}, "tool_choice"),
        ({"tools": [CLOCK], "tool_choice": allowed("auto", "x")}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"messages": [user(" ")]}, "messages"),
        ({"messages": [system([{"type": "input_audio"}]), user("a")]}, "messages[0].content[0]"),
        ({"messages": [assistant(None, audio={"id": "x"}), user("a")]}, "messages[0].audio"),
        ({"messages": [assistant([PICTURE]), user("a")]}, "messages[0]"),
        ({"messages": [system([PICTURE]), user("a")]}, "messages[0]"),
    ],
)
def test_requests_that_claude_cannot_express_are_unfit(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BackendUnfit) as raised:
        encoded(request(**fields))
    assert raised.value.param == param
    assert raised.value.status == 400


# Tools


def test_tools() -> None:
    assert encoded(request(tools=[WEATHER, CLOCK]))["tools"] == [
        {
            "name": "weather",
            "description": "Now.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": named("clock")}, {"type": "tool", "name": "clock"}),
        ({"tool_choice": allowed("auto", "weather", "clock")}, None),
        ({"tool_choice": allowed("required", "weather", "clock")}, {"type": "any"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": named("clock")},
            {"type": "tool", "name": "clock", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_tool_choice(fields: dict[str, Any], wanted: Any) -> None:
    params = encoded(request(tools=[WEATHER, CLOCK], **fields), abilities=ALL)
    assert params.get("tool_choice") == wanted
    assert [tool["name"] for tool in params["tools"]] == ["weather", "clock"]


def test_tools_that_are_not_allowed_are_not_shown() -> None:
    params = encoded(request(tools=[WEATHER, CLOCK], tool_choice=allowed("required", "clock")))
    assert [tool["name"] for tool in params["tools"]] == ["clock"]
    assert params["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_tool_choice_without_tools_is_nothing(choice: str) -> None:
    assert "tool_choice" not in encoded(request(tool_choice=choice))


@pytest.mark.parametrize("choice", ["required", named("clock")])
def test_a_forced_choice_needs_tools(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        encoded(request(tool_choice=choice))
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("required", "Call one of your tools now; do not answer with text alone."),
        (named("clock"), "Call the tool `clock` now; do not answer with text alone."),
    ],
)
def test_a_model_that_refuses_forced_tools_gets_the_demand_in_words(choice: Any, told: str) -> None:
    asked = request(system("s"), user("q"), tools=[WEATHER, CLOCK], tool_choice=choice)
    params = encoded(asked, abilities=ALWAYS_THINKING)
    assert "tool_choice" not in params
    assert params["messages"] == [user(text("q", told))]
    assert params["system"] == text("s")
    sent = claude.encode(asked, MODEL, max_tokens=1, abilities=ALWAYS_THINKING)
    assert (sent.demand, sent.dropped) == (told, ("tool_choice",))


@pytest.mark.parametrize(
    ("can", "wanted", "effort", "thinking"),
    [
        (ALL, None, None, {"type": "disabled"}),
        (ALL, "high", "high", {"type": "disabled"}),
        (ALL, "max", "high", {"type": "disabled"}),
        (ALL, "none", None, {"type": "disabled"}),
        (replace(ALL, thinking_off=None), "high", "high", None),
        (replace(ALL, adaptive_thinking=False), "high", "high", None),
        (Abilities(), None, None, None),
    ],
)
def test_a_forced_choice_is_worth_more_than_thinking(
    can: Abilities, wanted: Any, effort: Any, thinking: Any
) -> None:
    asked = request(tools=[CLOCK], tool_choice="required", reasoning_effort=wanted)
    params = encoded(asked, abilities=can)
    assert params["tool_choice"] == {"type": "any"}
    assert params.get("output_config", {}).get("effort") == effort
    assert params.get("thinking") == thinking


def test_names_that_claude_refuses_are_substituted_and_mapped_back() -> None:
    tools = [named("files.read"), named("files:read"), named("x" * 200), named("fine-1")]
    asked = request(tools=tools, tool_choice=named("files.read"))
    params = encoded(asked)
    ours = [tool["name"] for tool in params["tools"]]
    assert len(set(ours)) == 4
    assert ours[3] == "fine-1"
    assert params["tool_choice"] == {"type": "tool", "name": ours[0]}
    assert claude.encode(asked, MODEL, max_tokens=1).names == dict(
        zip(ours, ["files.read", "files:read", "x" * 200], strict=False)
    )


# Parameters


def test_the_least_that_is_sent() -> None:
    assert encoded(request(user("Hi"))) == {
        "model": MODEL,
        "max_tokens": 8192,
        "cache_control": {"type": "ephemeral"},
        "messages": [user(text("Hi"))],
    }


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, 8192),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": -1}, 8192),
        ({"max_completion_tokens": 7}, 7),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_tokens": 100_000}, 64_000),
    ],
)
def test_the_answers_limit(fields: dict[str, Any], wanted: int) -> None:
    assert encoded(request(**fields), abilities=ALL)["max_tokens"] == wanted


def test_the_default_limit_is_clamped_too() -> None:
    assert encoded(request(), abilities=Abilities(max_tokens=4096))["max_tokens"] == 4096


@pytest.mark.parametrize(
    ("stop", "wanted", "left_out"),
    [
        (None, None, ()),
        ("END", ["END"], ()),
        (["a", "b"], ["a", "b"], ()),
        (["a", "\n"], ["a"], ("stop",)),
        ("\n\n", None, ("stop",)),
        ([], None, ()),
    ],
)
def test_stop(stop: Any, wanted: Any, left_out: tuple[str, ...]) -> None:
    assert encoded(request(stop=stop)).get("stop_sequences") == wanted
    assert dropped(stop=stop) == left_out


@pytest.mark.parametrize("field", ["user", "safety_identifier"])
def test_the_user_of_a_request_is_passed_on(field: str) -> None:
    assert encoded(request(**{field: "user-17_a"}))["metadata"] == {"user_id": "user-17_a"}


@pytest.mark.parametrize("user", ["ann@example.com", "+49 170 1234567", "0170123", "Ann Lee"])
def test_people_are_named_by_a_digest(user: str) -> None:
    sent = encoded(request(user=user))["metadata"]["user_id"]
    assert re.fullmatch("[0-9a-f]{64}", sent)
    assert encoded(request(user=user))["metadata"]["user_id"] == sent


@pytest.mark.parametrize(
    ("wanted", "can", "effort", "thinking"),
    [
        (None, ALL, None, None),
        ("none", ALL, None, {"type": "disabled"}),
        ("minimal", ALL, None, {"type": "disabled"}),
        ("low", ALL, "low", {"type": "adaptive", "display": "summarized"}),
        ("medium", ALL, "medium", {"type": "adaptive", "display": "summarized"}),
        ("xhigh", ALL, "high", {"type": "adaptive", "display": "summarized"}),
        ("max", ALL, "max", {"type": "adaptive", "display": "summarized"}),
        (None, ALWAYS_THINKING, None, {"type": "adaptive", "display": "summarized"}),
        ("none", ALWAYS_THINKING, "low", {"type": "adaptive", "display": "summarized"}),
        ("xhigh", ALWAYS_THINKING, "xhigh", {"type": "adaptive", "display": "summarized"}),
        ("low", Abilities(efforts=("medium", "high")), "medium", None),
        ("none", BETWEEN_TOOLS, None, {"type": "between_tools"}),
        ("low", BETWEEN_TOOLS, "low", {"type": "adaptive", "display": "summarized"}),
    ],
)
def test_reasoning_effort(wanted: Any, can: Abilities, effort: Any, thinking: Any) -> None:
    sent = claude.encode(request(reasoning_effort=wanted), MODEL, max_tokens=9, abilities=can)
    assert_acceptable(sent.params)
    assert sent.params.get("output_config", {}).get("effort") == effort
    assert sent.params.get("thinking") == thinking
    assert sent.dropped == ()


@pytest.mark.parametrize("can", [Abilities(), Abilities(efforts=())])
def test_effort_that_a_model_does_not_have_is_reported_as_left_out(can: Abilities) -> None:
    asked = request(reasoning_effort="high")
    assert claude.encode(asked, MODEL, max_tokens=9, abilities=can).dropped == ("reasoning_effort",)


def test_tuning_parameters_are_left_out_and_named() -> None:
    knobs = {
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "logit_bias": {"1": 2},
        "logprobs": True,
        "top_logprobs": 3,
        "prediction": {"type": "content", "content": "x"},
        "verbosity": "low",
        "service_tier": "flex",
        "store": True,
        "metadata": {"a": "b"},
        "web_search_options": {"x": 1},
        "min_p": 0.1,
    }
    assert set(dropped(**knobs)) == knobs.keys()
    assert not knobs.keys() - {"metadata"} & encoded(request(**knobs)).keys()


def test_fields_that_say_nothing_are_not_named() -> None:
    nothing = {
        "temperature": 1,
        "top_p": 1.0,
        "n": 1,
        "seed": None,
        "logprobs": False,
        "frequency_penalty": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "store": False,
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "logit_bias": {},
    }
    assert dropped(**nothing) == ()


def test_names_of_speakers_are_left_out_and_reported() -> None:
    assert dropped(messages=[{"role": "user", "content": "a", "name": "ann"}]) == ("messages.name",)


def test_only_field_names_that_fit_into_a_header_are_repeated() -> None:
    assert dropped(**{"x\r\ny": 1, "é": 1, "": 1, "a" * 65: 1, "ok_1": 1}) == ("ok_1",)


# Caching


@pytest.mark.parametrize("can", [Abilities(), ALL, ALWAYS_THINKING])
def test_the_prefix_is_the_same_bytes_from_turn_to_turn(can: Abilities) -> None:
    """The same holds after a demand in words to call a tool, which only the first turn has."""
    history: list[dict[str, Any]] = [system("You are kind."), user("What is the weather?")]
    kept: dict[str, Any] = {}
    fields = {"tools": [WEATHER, CLOCK], "response_format": {"type": "json_object"}, "user": "u"}
    before: bytes | None = None
    for step in range(4):
        choice = "required" if step == 0 and can.forced_choice is False else "auto"
        asked = request(*history, **fields, tool_choice=choice)
        sent = claude.encode(asked, MODEL, max_tokens=9, abilities=can, recall=kept.get)
        assert_acceptable(sent.params)
        head = {name: value for name, value in sent.params.items() if name != "messages"}
        prefix = orjson.dumps([head, sent.params["messages"]])[:-2]  # without "]]"
        if before is not None:
            assert prefix.startswith(before)
        before = prefix
        assert bool(sent.demand) == (choice == "required")
        kept[f"toolu_{step}"] = {
            "before": [THOUGHT, *text(f"Step {step}.")],
            claude.DEMAND: sent.demand,
        }
        history += [
            assistant(f"Step {step}.", call(f"toolu_{step}", arguments=f'{{"city": "Ulm{step}"}}')),
            result(f"toolu_{step}", f"Rain {step}."),
            system("Mind the time.", "developer"),
        ]


def test_a_callers_own_cache_marks_are_kept_and_no_other_is_set() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    asked = request(system([{"type": "text", "text": "s", "cache_control": mark}]), user("q"))
    params = encoded(asked)
    assert params["system"] == [{"type": "text", "text": "s", "cache_control": mark}]
    assert "cache_control" not in params


HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}


def breakpoint_part(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, "prompt_cache_breakpoint": {"mode": "explicit", **more}}


@pytest.mark.parametrize(
    ("parts", "options", "marked", "automatic"),
    [
        (0, None, "", SHORT),
        (0, {"ttl": "30m"}, "", HOUR),
        (0, {"mode": "explicit"}, "", None),
        (2, None, "01", SHORT),
        (2, {"mode": "implicit"}, "01", SHORT),
        (2, {"mode": "explicit", "ttl": "30m"}, "01", None),
        (5, None, "234", SHORT),  # Claude takes four in all: the latest
        (5, {"mode": "explicit"}, "1234", None),
    ],
)
def test_openais_cache_breakpoints_are_claudes(
    parts: int, options: Any, marked: str, automatic: Any
) -> None:
    said = [breakpoint_part(str(i), ttl="30m") for i in range(parts)]
    params = encoded(request(user([*said, *text("q")]), prompt_cache_options=options))
    blocks = params["messages"][0]["content"]
    assert "".join(b["text"] for b in blocks if b.get("cache_control") == HOUR) == marked
    assert params.get("cache_control") == automatic
    assert dropped(prompt_cache_options=options) == ()


def test_a_mark_inside_a_tools_result_is_set_on_the_whole_of_it() -> None:
    content = [breakpoint_part("one"), *text("two")]
    messages = turns(user("q"), assistant(None, call("a")), result("a", content))
    assert messages[2][1] == [RESULT | {"content": text("one", "two"), "cache_control": HOUR}]


# Answers of the Models API


def test_abilities_are_read_from_the_models_api() -> None:
    def can(yes: bool = True) -> dict[str, Any]:
        return {"supported": yes}

    info = {
        "id": MODEL,
        "max_tokens": 128_000,
        "max_input_tokens": 1_000_000,
        "capabilities": {
            "image_input": can(),
            "pdf_input": can(False),
            "structured_outputs": can(),
            "effort": {"supported": True, "low": can(), "high": can(), "max": can(False)},
            "thinking": {
                "types": {"adaptive": can(), "disabled": can(False), "between_tools": can()}
            },
        },
    }
    assert abilities(info) == Abilities(
        max_tokens=128_000,
        max_input_tokens=1_000_000,
        images=True,
        pdfs=False,
        structured=True,
        efforts=("low", "high"),
        adaptive_thinking=True,
        thinking_off=False,
        between_tools=True,
        forced_choice=False,
    )
    assert abilities({"id": MODEL, "max_tokens": None, "capabilities": None}) == Abilities()
    assert (
        abilities({"capabilities": {"effort": 1, "thinking": []}, "max_tokens": "9"}) == Abilities()
    )
