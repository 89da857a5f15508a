"""Both clouds with requests of OpenAI clients: by the client's types, and recorded ones."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BackendUnfit, InvalidRequest
from router.request import ChatRequest
from router.wire.anthropic import claude, messages
from router.wire.anthropic.claude_model import Abilities
from router.wire.chat import completions
from router.wire.gemini import generate_content
from router.wire.responses import responses
from tests.support import claude_rules
from tests.support.claude_words import ALL, ALWAYS_THINKING
from tests.support.clients import recorded, recorded_for
from tests.support.gemini_rules import assert_wellformed
from tests.support.gemini_words import NEW
from tests.support.openai_bodies import FIELDS, PDF, PNG, bodies

GEMINIS = [NEW, "gemini-3-pro-preview", "gemini-2.5-pro", "gemini-2.0-flash"]
ABILITIES = {"unknown": Abilities(), "all": ALL, "always thinking": ALWAYS_THINKING}


def to_claude(request: ChatRequest, can: Abilities) -> claude.ClaudeRequest:
    sent = claude.encode(request, "claude-x", max_tokens=99, abilities=can)
    claude_rules.assert_acceptable(sent.params)
    return sent


def to_gemini(
    request: ChatRequest, model: str, *, strict: bool = False
) -> generate_content.GeminiRequest:
    urls = generate_content.picture_urls(request)
    fetched = dict.fromkeys(urls, (b"\x89PNG\r\n\x1a\n", "image/png"))
    sent = generate_content.encode(request, model, pictures=fetched, strict=strict)
    assert_wellformed(sent.body)
    return sent


def asked(**body: Any) -> ChatRequest:
    return completions.parse(orjson.dumps({"messages": [{"role": "user", "content": "q"}]} | body))


# Any body that the client's types allow


@given(bodies(), st.sampled_from([*ABILITIES.values()]))
def test_whatever_the_client_can_say_reaches_claude_or_is_named(
    body: dict[str, Any], can: Abilities
) -> None:
    reaches_or_is_named(body, lambda request: to_claude(request, can).dropped)


@given(bodies(), st.sampled_from(GEMINIS), st.booleans())
def test_whatever_the_client_can_say_reaches_gemini_or_is_named(
    body: dict[str, Any], model: str, strict: bool
) -> None:
    reaches_or_is_named(body, lambda request: to_gemini(request, model, strict=strict).dropped)


def reaches_or_is_named(
    body: dict[str, Any], encode: Callable[[ChatRequest], tuple[str, ...]]
) -> None:
    request = completions.parse(orjson.dumps(body))
    before = orjson.dumps(request.body)
    try:
        named = encode(request)
    except (BackendUnfit, InvalidRequest) as error:
        named = (error.param or "nothing",)
    assert all(name.split("[")[0].split(".")[0] in body for name in named)
    assert orjson.dumps(request.body) == before


# Each parameter of the client

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
PERSON = {"type": "object", "properties": {"name": {"type": "string"}}}
SAID: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "look"},
    "functions": [{"name": "look"}],
    "logit_bias": {"17": -100},
    "logprobs": True,
    "max_completion_tokens": 77,
    "max_tokens": 77,
    "metadata": {"a": "b"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni-moderation-latest"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "high",
    "response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": PERSON}},
    "safety_identifier": "u1",
    "seed": 7,
    "service_tier": "flex",
    "stop": ["END"],
    "store": True,
    "temperature": 0.3,
    "tool_choice": "required",
    "tools": [LOOK],
    "top_logprobs": 3,
    "top_p": 0.5,
    "user": "u1",
    "verbosity": "low",
    "web_search_options": {},
}
GO_TOGETHER: dict[str, dict[str, Any]] = {
    "function_call": {"functions": [{"name": "look"}]},
    "parallel_tool_calls": {"tools": [LOOK]},
    "tool_choice": {"tools": [LOOK]},
    "top_logprobs": {"logprobs": True},
}
"""Fields that a parameter needs to have an effect."""
ELSEWHERE = {"model", "messages", "stream", "stream_options"}
"""Fields that the router itself reads."""


def test_every_parameter_of_the_client_is_tried() -> None:
    assert FIELDS.keys() == SAID.keys() | ELSEWHERE


@pytest.mark.parametrize("can", ABILITIES)
@pytest.mark.parametrize("name", SAID)
def test_every_parameter_is_honoured_by_claude_or_named(name: str, can: str) -> None:
    def encode(request: ChatRequest) -> tuple[Any, tuple[str, ...]]:
        sent = to_claude(request, ABILITIES[can])
        return sent.params, sent.dropped

    is_honoured_or_named(name, encode)


@pytest.mark.parametrize("model", GEMINIS)
@pytest.mark.parametrize("name", SAID)
def test_every_parameter_is_honoured_by_gemini_or_named(name: str, model: str) -> None:
    def encode(request: ChatRequest) -> tuple[Any, tuple[str, ...]]:
        sent = to_gemini(request, model)
        return sent.body, sent.dropped

    is_honoured_or_named(name, encode)


def is_honoured_or_named(
    name: str, encode: Callable[[ChatRequest], tuple[Any, tuple[str, ...]]]
) -> None:
    others = GO_TOGETHER.get(name, {})
    try:
        before, _ = encode(asked(**others))
        after, named = encode(asked(**others, **{name: SAID[name]}))
    except (BackendUnfit, InvalidRequest) as error:
        before = after = None
        named = (name,) if error.param in (name, *others) else ()
    assert before != after or name in named


# Each kind of content part

PARTS: dict[str, Any] = {
    "text": {"type": "text", "text": "hello"},
    "picture": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "picture on the web": {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    "file": {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
    "audio": {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
    "file kept at OpenAI": {"type": "file", "file": {"file_id": "file-1"}},
}
CANNOT = {"claude": {"audio", "file kept at OpenAI"}, "gemini": {"file kept at OpenAI"}}


@pytest.mark.parametrize("cloud", CANNOT)
@pytest.mark.parametrize("kind", PARTS)
def test_a_part_is_sent_on_or_makes_the_cloud_unfit(kind: str, cloud: str) -> None:
    request = asked(messages=[{"role": "user", "content": [PARTS["text"], PARTS[kind]]}])
    if kind in CANNOT[cloud]:
        with pytest.raises(BackendUnfit) as caught:
            to_gemini(request, NEW) if cloud == "gemini" else to_claude(request, ALL)
        assert caught.value.param == "messages[0].content[1]"
    elif cloud == "gemini":
        assert len(to_gemini(request, NEW).body["contents"][0]["parts"]) == 2
    else:
        assert len(to_claude(request, ALL).params["messages"][0]["content"]) == 2


# Recorded requests of real clients, at each route

PARSERS: dict[str, Any] = {
    "/v1/chat/completions": completions,
    "/v1/messages": messages,
    "/v1/responses": responses,
}


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path in PARSERS for name in recorded_for(path)]
)
def test_recorded_requests_of_real_clients_reach_both_clouds(path: str, name: str) -> None:
    request = PARSERS[path].parse(orjson.dumps(recorded(name)["body"]), {})
    for can in ABILITIES.values():
        to_claude(request, can)
    for model in GEMINIS:
        to_gemini(request, model)
        to_gemini(request, model, strict=True)
