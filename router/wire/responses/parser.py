"""Parser of Responses requests into chat bodies. Source: OpenAI API reference, "Responses"."""

from collections.abc import Callable
from typing import Any, Final

from router.errors import UnknownResponse
from router.request import checked
from router.wire.fields import have, invalid, need, objects
from router.wire.responses.compaction import asks_for_summary
from router.wire.responses.items import ItemsReader
from router.wire.responses.tools import choice_of, tools_of

Recall = Callable[[str], list[Any] | None]
"""Returns the items of the conversation that ended with this response; None if it is not kept."""

_READ: Final = frozenset(
    {"model", "input", "instructions", "previous_response_id", "tools", "tool_choice", "stream"}
    | {"parallel_tool_calls", "max_output_tokens", "temperature", "top_p", "text", "reasoning"}
    | {"user", "safety_identifier", "store", "metadata"}
)
_WITHOUT_EFFECT: Final = frozenset(
    {"include", "stream_options", "prompt_cache_key", "prompt_cache_retention", "client_metadata"}
    | {"service_tier", "max_tool_calls", "generate"}
)
"""Fields about billing, caching and logging at OpenAI; leaving them out is not reported."""
_ELSEWHERE: Final = {
    "conversation": "is kept by OpenAI only; use `previous_response_id` or send all of `input`",
    "prompt": "is kept by OpenAI only; send its text as `instructions`",
}


def chat_of(
    body: dict[str, Any], recall: Recall | None = None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the chat body and the names of what it leaves out. Raises InvalidRequest.

    Reasoning of earlier turns is left out: only the model that wrote it can read it.
    """
    for name, rule in _ELSEWHERE.items():
        if body.get(name) is not None:
            raise invalid(name, rule)
    if have(body.get("background"), bool, "background"):
        raise invalid("background", "is not supported: wait for the answer, or stream it")
    reader = _read(body, recall or _nothing)
    chat: dict[str, Any] = {"messages": reader.messages()}
    if not chat["messages"]:
        raise invalid("input", "must be a text or a list with at least one item")
    if model := have(body.get("model"), str, "model"):
        chat["model"] = model
    limit = have(body.get("max_output_tokens"), int, "max_output_tokens")
    if limit is not None:
        if limit < 1:
            raise invalid("max_output_tokens", "must be a whole number from 1")
        chat["max_completion_tokens"] = limit
    for name in ("temperature", "top_p"):
        if (knob := body.get(name)) is not None:
            if type(knob) not in (int, float):
                raise invalid(name, "must be a number")
            chat[name] = knob
    for name in ("user", "safety_identifier"):
        if value := have(body.get(name), str, name):
            chat[name] = value
    have(body.get("metadata"), dict, "metadata")
    have(body.get("store"), bool, "store")
    if have(body.get("stream"), bool, "stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    reasoning = have(body.get("reasoning"), dict, "reasoning") or {}
    if effort := have(reasoning.get("effort"), str, "reasoning.effort"):
        chat["reasoning_effort"] = effort
    chat |= _text(body)
    tools = tools_of(body)
    chat |= choice_of(body, tools)
    if asks_for_summary(body) and tools.functions:
        chat["tool_choice"] = "none"
    parallel = have(body.get("parallel_tool_calls"), bool, "parallel_tool_calls")
    if parallel is False and tools.functions:
        chat["parallel_tool_calls"] = False
    unread = body.keys() - _READ - _WITHOUT_EFFECT
    dropped = [name for name in body if name in unread and body[name] not in (None, "disabled", 0)]
    return checked(chat), (*dropped, *tools.dropped, *reader.left_out)


def _nothing(response_id: str) -> None:
    return None


def _text(body: dict[str, Any]) -> dict[str, Any]:
    """Return `response_format` and `verbosity` of the chat body."""
    text = have(body.get("text"), dict, "text") or {}
    chat: dict[str, Any] = {}
    if verbosity := have(text.get("verbosity"), str, "text.verbosity"):
        chat["verbosity"] = verbosity
    form = have(text.get("format"), dict, "text.format") or {"type": "text"}
    match form.get("type"):
        case "text":
            pass
        case "json_object":
            chat["response_format"] = {"type": "json_object"}
        case "json_schema":
            need(form.get("name"), str, "text.format.name")
            need(form.get("schema"), dict, "text.format.schema")
            named = {key: value for key, value in form.items() if key != "type"}
            chat["response_format"] = {"type": "json_schema", "json_schema": named}
        case _:
            raise invalid("text.format.type", "must be text, json_schema or json_object")
    return chat


def _read(body: dict[str, Any], recall: Recall) -> ItemsReader:
    reader = ItemsReader()
    if instructions := have(body.get("instructions"), str, "instructions"):
        reader.instruct(instructions)
    if previous := have(body.get("previous_response_id"), str, "previous_response_id"):
        earlier = recall(previous)
        if earlier is None:
            raise UnknownResponse(previous)
        for i, item in enumerate(earlier):
            reader.add(item, f"previous_response_id.input[{i}]")
    for item, where in items_of(body):
        reader.add(item, where)
    return reader


def items_of(body: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the items of `input`, each with its path; a text is one message of the user."""
    given = body.get("input")
    if isinstance(given, str):
        return [({"role": "user", "content": given}, "input")] if given else []
    if given is not None and not isinstance(given, list):
        raise invalid("input", "must be a text or a list of items")
    return [(item, f"input[{i}]") for i, item in enumerate(objects(given, "input"))]
