"""Rules of Claude's Messages API, beyond the types of its fields."""

import re
from typing import Any

from anthropic.types.message_create_params import MessageCreateParams

from tests.support.published import validator
from tests.support.sdk_types import misfit

Params = dict[str, Any]
ID = re.compile(r"[a-zA-Z0-9_-]+")
TOOL = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def assert_acceptable(params: Params) -> None:
    """Fails where the API would answer 400.

    Source: Anthropic API reference, "Messages", "Tool use", "Structured outputs", "Errors".
    """
    assert misfit(params, MessageCreateParams) is None
    validator("anthropic", "CreateMessageParams").validate(params)
    assert params["max_tokens"] >= 1
    turns = params["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    for turn in turns:
        assert turn["content"]
    texts = [b["text"] for b in _all_blocks(params) if b["type"] == "text"]
    assert all(text.strip() for text in texts)
    _check_tool_turns(turns)
    _check_tools(params)
    marked = [b for b in (*params.get("tools", ()), *_all_blocks(params)) if "cache_control" in b]
    assert len(marked) + ("cache_control" in params) <= 4


def _all_blocks(params: Params) -> list[Params]:
    found = list(params.get("system", []))
    for turn in params["messages"]:
        for block in turn["content"]:
            inner = block.get("content")
            found += [block, *(inner if isinstance(inner, list) else [])]
    return found


def _check_tool_turns(turns: list[Params]) -> None:
    ids: list[str] = []
    open_calls: list[str] = []
    for turn in turns:
        kinds = [block["type"] for block in turn["content"]]
        if turn["role"] == "assistant":
            assert set(kinds) <= {"text", "tool_use", "thinking", "redacted_thinking"}
            calls = [b for b in turn["content"] if b["type"] == "tool_use"]
            open_calls = [call["id"] for call in calls]
            ids += open_calls
        else:
            assert set(kinds) <= {"text", "image", "document", "tool_result"}
            results = [b for b in turn["content"] if b["type"] == "tool_result"]
            assert [result["tool_use_id"] for result in results] == open_calls
            assert kinds[: len(results)] == ["tool_result"] * len(results)
            open_calls = []
    assert len(ids) == len(set(ids))
    assert all(map(ID.fullmatch, ids))


def _check_tools(params: Params) -> None:
    tools = params.get("tools", [])
    names = [tool["name"] for tool in tools]
    used = [b for b in _all_blocks(params) if b["type"] == "tool_use"]
    assert all(map(TOOL.fullmatch, names + [block["name"] for block in used]))
    assert tools or not used
    for tool in tools:
        assert tool["input_schema"]["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf"} & tool["input_schema"].keys()
    choice = params.get("tool_choice", {})
    assert tools or not choice
    if choice.get("type") == "tool":
        assert choice["name"] in names
    if choice.get("type") in ("any", "tool"):
        assert params.get("thinking", {"type": "disabled"})["type"] == "disabled"
    for schema in [t["input_schema"] for t in tools if t.get("strict")] + [
        f["schema"] for f in [params.get("output_config", {}).get("format")] if f
    ]:
        _check_closed(schema)


def _check_closed(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _check_closed(item)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            assert schema["additionalProperties"] is False
        for name, item in schema.items():
            if name not in ("enum", "const"):
                _check_closed(item)
