"""Anthropic Messages as a caller's dialect: parser of requests, errors, and token counts.

`messages_blocks.py` reads the conversation, `messages_encoder.py` writes the answer. Source:
Anthropic API reference, "Messages".
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from router.errors import RouterError
from router.request import ChatRequest, checked
from router.wire import sse
from router.wire.anthropic.messages_blocks import MessagesReader
from router.wire.anthropic.messages_encoder import complete, stream
from router.wire.fields import have, invalid, need, objects, parse_body

__all__ = [
    "ID_PREFIX",
    "KEEPALIVE",
    "complete",
    "counting_request",
    "error_body",
    "error_event",
    "parse",
    "stream",
    "without_billing_line",
]

ID_PREFIX: Final = "msg_"
KEEPALIVE: Final = sse.event({"type": "ping"}, "ping")

PASSED_ON: Final = frozenset({"anthropic-version", "anthropic-beta"})
"""Headers of a caller that Claude gets; a header of another name may hold anything."""

_READ: Final = frozenset(
    {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stop_sequences"}
    | {"stream", "temperature", "top_p", "top_k", "thinking", "output_config", "output_format"}
    | {"metadata", "cache_control"}
)
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Local servers have no effort above high and refuse unknown values."""
_BILLING_LINE: Final = re.compile(r"x-anthropic-billing-header:[^\n]*\n*")
_ERROR_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def parse(raw: bytes, headers: Mapping[str, str] | None = None) -> ChatRequest:
    """Return the request in chat form, with its own body and the headers that are passed on.

    Thinking of earlier turns is left out: only the model that wrote it can read it, and that one
    gets the original. So is any block that cannot be put into words; the original keeps it.
    Raises InvalidRequest, naming the field.
    """
    body = parse_body(raw)
    need(body.get("max_tokens"), int, "max_tokens")
    return counting_request(body, headers)


def counting_request(body: dict[str, Any], headers: Mapping[str, str] | None = None) -> ChatRequest:
    """Return the request of a body without `max_tokens`, to count its tokens.

    Raises InvalidRequest.
    """
    kept = {k.lower(): v for k, v in (headers or {}).items() if k.lower() in PASSED_ON}
    for name, value in kept.items():
        if not (value.isascii() and value.isprintable()):
            raise invalid(name, "may have printable ASCII characters only")
    chat, dropped = _chat(body)
    return ChatRequest(chat, "messages", body, kept, dropped)


def without_billing_line(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body without the line that Claude Code puts before its system prompt.

    The line differs in every request, so a local server would never find the prompt in its cache.
    """
    system = body.get("system")
    if isinstance(system, str):
        line = _BILLING_LINE.match(system)
        return {**body, "system": system[line.end() :]} if line else body
    if not isinstance(system, list):
        return body
    blocks = []
    for block in system:
        text = block.get("text") if isinstance(block, dict) else None
        if isinstance(text, str) and (line := _BILLING_LINE.match(text)):
            block = {**block, "text": text[line.end() :]}
        if not isinstance(block, dict) or block.get("text") != "":
            blocks.append(block)
    return {**body, "system": blocks}


def error_body(error: RouterError) -> dict[str, Any]:
    """Return the error in Anthropic's shape."""
    other = "api_error" if error.status >= 500 else "invalid_request_error"
    message = error.message
    if error.code == "context_length_exceeded" and "prompt is too long" not in message.lower():
        message = f"prompt is too long: {message}"  # the words at which Claude Code compacts
    detail = {"type": _ERROR_TYPES.get(error.status, other), "message": message}
    return {"type": "error", "error": detail, "request_id": error.request_id}


def error_event(error: RouterError) -> bytes:
    """Return a failure in mid-stream, the last event."""
    return sse.event(error_body(error), "error")


def _chat(body: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the chat body and the names of what it leaves out."""
    reader = MessagesReader()
    system = without_billing_line(body).get("system")
    chat: dict[str, Any] = {"messages": reader.read(system, body.get("messages"))}
    dropped = [name for name in body if name not in _READ]
    if model := have(body.get("model"), str, "model"):
        chat["model"] = model
    limit = have(body.get("max_tokens"), int, "max_tokens")
    if limit is not None:
        if limit < 0:
            raise invalid("max_tokens", "must be a whole number from 0")
        chat["max_tokens"] = max(1, limit)  # 0 asks Claude to cache the prompt only
    if stop := have(body.get("stop_sequences"), list, "stop_sequences"):
        chat["stop"] = [need(text, str, f"stop_sequences[{i}]") for i, text in enumerate(stop)]
    for name in ("temperature", "top_p", "top_k"):
        if (knob := body.get(name)) is not None:
            if type(knob) not in (int, float):
                raise invalid(name, "must be a number")
            chat[name] = knob
    if have(body.get("stream"), bool, "stream"):
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    metadata = have(body.get("metadata"), dict, "metadata") or {}
    if user := have(metadata.get("user_id"), str, "metadata.user_id"):
        chat["user"] = user
    output = have(body.get("output_config"), dict, "output_config") or {}
    chat |= _effort(body, output)
    answer = output.get("format") or body.get("output_format")
    if form := have(answer, dict, "output_config.format"):
        schema = need(form.get("schema"), dict, "output_config.format.schema")
        named = {"name": "answer", "schema": schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
    tools, unknown = _tools(body)
    if tools:
        chat["tools"] = tools
    functions = [tool["function"]["name"] for tool in tools]
    chat |= _tool_choice(body, functions, [name.removeprefix("tools.") for name in unknown])
    return checked(chat), (*dropped, *unknown, *reader.left_out)


def _effort(body: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    thinking = have(body.get("thinking"), dict, "thinking") or {}
    if thinking.get("type") == "disabled":
        return {"reasoning_effort": "none"}
    effort = have(output.get("effort"), str, "output_config.effort")
    if effort in _EFFORTS:
        return {"reasoning_effort": _EFFORTS[effort]}
    budget = have(thinking.get("budget_tokens"), int, "thinking.budget_tokens")
    if budget is None:
        return {}
    return {"reasoning_effort": "low" if budget < 4096 else "medium" if budget < 16384 else "high"}


def _tools(body: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the functions, and the names of tools that only Anthropic has."""
    functions, unknown = [], []
    for i, tool in enumerate(objects(body.get("tools"), "tools")):
        where = f"tools[{i}]"
        kind = have(tool.get("type"), str, f"{where}.type")
        if kind not in (None, "custom"):
            unknown.append(f"tools.{tool.get('name') or kind}")
            continue
        function: dict[str, Any] = {"name": need(tool.get("name"), str, f"{where}.name")}
        if description := have(tool.get("description"), str, f"{where}.description"):
            function["description"] = description
        function["parameters"] = need(tool.get("input_schema"), dict, f"{where}.input_schema")
        if tool.get("strict") is True:
            function["strict"] = True
        functions.append({"type": "function", "function": function})
    return functions, unknown


def _tool_choice(body: dict[str, Any], functions: list[str], unknown: list[str]) -> dict[str, Any]:
    """Return `tool_choice`; it may force a tool that only Claude has (`unknown`)."""
    choice = have(body.get("tool_choice"), dict, "tool_choice")
    if choice is None:
        return {}
    chosen: dict[str, Any] = {}
    if choice.get("disable_parallel_tool_use") is True and functions:
        chosen["parallel_tool_calls"] = False
    match choice.get("type"):
        case "auto" | "none" as kind:
            return chosen | ({"tool_choice": kind} if functions else {})
        case "any":
            if not functions and not unknown:
                raise invalid("tool_choice", "is `any`, but there is no tool")
            return chosen | {"tool_choice": "required"}
        case "tool":
            name = need(choice.get("name"), str, "tool_choice.name")
            if name not in functions and name not in unknown:
                raise invalid("tool_choice.name", f"names `{name}`, which is none of the tools")
            return chosen | {"tool_choice": {"type": "function", "function": {"name": name}}}
    raise invalid("tool_choice.type", "must be auto, any, tool or none")
