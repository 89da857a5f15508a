"""The form of a chat request for each kind of local server."""

from typing import Any

import pytest

from router.errors import BackendUnfit
from router.local.quirks import adapted, check_fit
from router.request import ChatRequest

SERVERS = ["lmstudio", "llama.cpp", "ollama", "vllm", "openai", ""]
A, B = ({"type": "function", "function": {"name": name, "parameters": {}}} for name in "ab")
NAMED_B = {"type": "function", "function": {"name": "b"}}


def request(**fields: Any) -> ChatRequest:
    return ChatRequest({"messages": [{"role": "user", "content": "Hi"}], **fields})


def sent(server: str, **fields: Any) -> dict[str, Any]:
    asked = request(**fields)
    before = repr(asked.body)
    body = adapted(asked, "m", server)
    assert repr(asked.body) == before
    return body


@pytest.mark.parametrize("server", SERVERS)
def test_a_forced_tool_is_sent_alone_to_servers_that_cannot_force_by_name(server: str) -> None:
    body = sent(server, tools=[A, B], tool_choice=NAMED_B)
    if server in ("lmstudio", "llama.cpp", "ollama"):
        assert (body["tools"], body["tool_choice"]) == ([B], "required")
    else:
        assert (body["tools"], body["tool_choice"]) == ([A, B], NAMED_B)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_tools_that_are_allowed_are_shown(server: str, mode: str) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [NAMED_B]}}
    body = sent(server, tools=[A, B], tool_choice=choice)
    assert (body["tools"], body["tool_choice"]) == ([B], mode)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("choice", ["auto", "none", "required", None, {"odd": 1}])
def test_any_other_choice_is_the_servers_business(server: str, choice: Any) -> None:
    body = sent(server, tools=[A, B], tool_choice=choice)
    assert (body["tools"], body["tool_choice"]) == ([A, B], choice)


@pytest.mark.parametrize("server", SERVERS)
def test_a_schema_replaces_json_object_for_servers_that_ignore_it(server: str) -> None:
    wanted = sent(server, response_format={"type": "json_object"})["response_format"]
    if server in ("lmstudio", "llama.cpp"):
        assert wanted["type"] == "json_schema"
        assert wanted["json_schema"]["schema"] == {"type": "object"}
    else:
        assert wanted == {"type": "json_object"}


@pytest.mark.parametrize("server", SERVERS)
def test_several_answers_are_not_asked_of_a_server_that_gives_one(server: str) -> None:
    check_fit(request(n=1), "local", server)
    if server in ("lmstudio", "ollama"):
        with pytest.raises(BackendUnfit) as caught:
            check_fit(request(n=2), "local", server)
        assert caught.value.param == "n"
    else:
        check_fit(request(n=2), "local", server)


def test_instructions_in_front_become_one_system_message() -> None:
    messages = [
        {"role": "system", "content": "Be kind.", "name": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "It is noon."},
    ]
    body = sent("", messages=messages)
    assert body["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe brief.", "name": "a"},
        *messages[2:],
    ]


def test_a_single_system_message_stays_unchanged() -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "Be kind."}]}
    hi = {"role": "user", "content": "Hi"}
    assert sent("", messages=[system, hi])["messages"] == [system, hi]


@pytest.mark.parametrize(
    ("server", "model", "kept"),
    [("ollama", "qwen3", False), ("ollama", "gpt-oss:20b", True), ("lmstudio", "qwen3", True)],
)
def test_ollama_gets_reasoning_effort_only_for_models_that_accept_it(
    server: str, model: str, kept: bool
) -> None:
    body = adapted(request(reasoning_effort="high"), model, server)
    assert ("reasoning_effort" in body) is kept


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ({"max_completion_tokens": 5}, (5, 5)),
        ({"max_tokens": 7}, (7, None)),
        ({"max_tokens": 7, "max_completion_tokens": 5}, (7, 5)),
    ],
)
def test_the_limit_of_tokens_is_sent_by_its_old_name_too(
    given: dict[str, int], limits: tuple[int | None, int | None]
) -> None:
    body = sent("", **given)
    assert (body.get("max_tokens"), body.get("max_completion_tokens")) == limits


def test_a_stream_is_always_asked_for_its_usage() -> None:
    assert sent("", stream=True)["stream_options"] == {"include_usage": True}
    given = {"include_usage": False, "other": 1}
    assert sent("", stream=True, stream_options=given)["stream_options"] == {
        "include_usage": True,
        "other": 1,
    }
    assert "stream_options" not in sent("")


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("choice", "dropped", "fits"),
    [
        ({"function": {"name": "web_search"}}, ("tools.web_search",), False),
        ({"function": {"name": "other"}}, ("tools.web_search",), True),
        ("required", ("tools.web_search",), False),
        ("required", (), True),
        ("auto", ("tools.web_search",), True),
    ],
)
def test_a_forced_tool_that_was_left_out_makes_the_server_unfit(
    server: str, choice: Any, dropped: tuple[str, ...], fits: bool
) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "tool_choice": choice}
    asked = ChatRequest(body, dropped=dropped)
    if fits:
        check_fit(asked, "local", server)
    else:
        with pytest.raises(BackendUnfit) as caught:
            check_fit(asked, "local", server)
        assert caught.value.param == "tool_choice"


def test_a_file_is_named_by_its_place() -> None:
    parts = [{"type": "text", "text": "Read:"}, {"type": "file", "file": {}}]
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}]
    with pytest.raises(BackendUnfit) as caught:
        check_fit(ChatRequest({"messages": messages}), "local", "lmstudio")
    assert caught.value.param == "messages[1].content[1]"
