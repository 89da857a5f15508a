"""The built-in model's server over HTTP, with real tokens."""

from typing import Any

import httpx2
import orjson
import pytest

from router.backend import Relayed, TimeLimits
from router.local_client import LocalBackend
from router.request import ChatRequest

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
}
ASKED = {"role": "user", "content": "What is the weather in Rome?"}


def chat(url: str, **body: Any) -> httpx2.Response:
    return httpx2.post(
        f"{url}/v1/chat/completions", json={"max_tokens": 8, **body}, timeout=60, trust_env=False
    )


def test_it_answers_with_words(model_url: str) -> None:
    answer = chat(model_url, messages=[{"role": "user", "content": "Say hello."}]).json()
    assert answer["choices"][0]["message"]["content"].strip()
    assert 0 < answer["usage"]["completion_tokens"] <= 8


def test_a_caller_without_a_system_prompt_gets_a_short_one(model_url: str) -> None:
    def prompt(*messages: dict[str, str]) -> str:
        text: str = httpx2.post(
            f"{model_url}/apply-template", json={"messages": messages}, trust_env=False
        ).json()["prompt"]
        return text

    user = {"role": "user", "content": "Hi"}
    assert "helpful AI assistant" in prompt(user)
    assert "helpful AI assistant" not in prompt({"role": "system", "content": "Be rude."}, user)


def test_its_context_is_a_modest_one_that_it_reports(model_url: str) -> None:
    models = httpx2.get(f"{model_url}/v1/models", trust_env=False).json()
    assert models["data"][0]["meta"]["n_ctx"] == 4096


def test_it_speaks_claude_too(model_url: str) -> None:
    answer = httpx2.post(
        f"{model_url}/v1/messages",
        json={"max_tokens": 8, "messages": [{"role": "user", "content": "Say hello."}]},
        timeout=60,
        trust_env=False,
    ).json()
    assert answer["type"] == "message"
    assert answer["content"][0]["text"].strip()


def test_an_answer_follows_a_json_schema(model_url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["small", "large"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    answer = chat(
        model_url,
        max_tokens=60,
        messages=[{"role": "user", "content": "Is an ant small or large?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
    ).json()
    assert "".join(answer["choices"][0]["message"]["content"].split()) in (
        '{"size":"small"}',
        '{"size":"large"}',
    )


async def test_an_answer_in_json_mode_is_a_json_object(model_url: str) -> None:
    limits = TimeLimits(first_byte_s=120, idle_s=60)
    backend = LocalBackend(f"{model_url}/v1", "any", limits=limits)
    assert (await backend.probe()).server == "llama.cpp"
    words = {"role": "user", "content": "Say hello in JSON."}
    body = {"messages": [words], "response_format": {"type": "json_object"}, "max_tokens": 12}
    reply = await backend.open(ChatRequest(body), "any")
    assert isinstance(reply, Relayed)
    answer = orjson.loads(b"".join([chunk async for chunk in reply.chunks]))
    await backend.aclose()
    assert answer["choices"][0]["message"]["content"].lstrip().startswith("{")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"messages": [ASKED], "tools": [TOOL]}),
        (200, {"messages": [ASKED], "tools": [TOOL], "tool_choice": "required"}),
        (
            200,
            {
                "messages": [
                    ASKED,
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
                ],
                "tools": [TOOL],
            },
        ),
        (200, {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}),
        (400, {"messages": [{"role": "user", "content": "word " * 5000}]}),
        (400, {"messages": [{"role": "user"}]}),
    ],
    ids=["tools", "tool required", "tool result", "parts", "too long", "no content"],
)
def test_it_goes_on_answering_after_any_malformed_request(
    model_url: str, status: int, body: dict[str, Any]
) -> None:
    assert chat(model_url, **body).status_code == status
    assert httpx2.get(f"{model_url}/health", trust_env=False).json() == {"status": "ok"}


def test_a_page_of_another_origin_is_not_let_in(model_url: str) -> None:
    answer = httpx2.get(
        f"{model_url}/v1/models", headers={"Origin": "http://elsewhere.example"}, trust_env=False
    )
    assert answer.headers.get("access-control-allow-origin", "") == ""
