"""Anthropic Messages, from the server's side: a request as a chat body; failures; token counts.

`messages_answer.py` is the way back. Source: Anthropic API reference, "Messages".
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from router.errors import RouterError
from router.request import ChatRequest, checked, parse_json, size_tokens
from router.wire import sse
from router.wire.anthropic.messages_encoder import complete, stream
from router.wire.fields import have, invalid, need, objects
from router.wire.transcript import Part, Transcript, call, file_part, image_part, text_part

__all__ = [
    "ID_PREFIX",
    "KEEPALIVE",
    "complete",
    "count_tokens",
    "error_body",
    "error_event",
    "parse",
    "stream",
    "without_billing_line",
]

ID_PREFIX: Final = "msg_"
KEEPALIVE: Final = sse.event({"type": "ping"}, "ping")

_READ: Final = frozenset(
    {"model", "messages", "max_tokens", "system", "tools", "tool_choice", "stop_sequences"}
    | {"stream", "temperature", "top_p", "top_k", "thinking", "output_config", "output_format"}
    | {"metadata", "cache_control"}
)
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""Local servers know no effort above high, and refuse what they do not know."""
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
    """The request in chat form; its own body and its anthropic-* headers stay with it.

    Thinking of earlier turns is left out: it can only be read by the model that thought it, and
    that one gets the original. Raises InvalidRequest, naming the field.
    """
    body = parse_json(raw)
    need(body.get("max_tokens"), int, "max_tokens")
    kept = {k.lower(): v for k, v in (headers or {}).items() if k.lower().startswith("anthropic-")}
    chat, dropped = _chat(body)
    return ChatRequest(chat, "messages", body, kept, dropped)


def count_tokens(body: dict[str, Any]) -> int:
    """An estimate of the prompt's tokens, on the high side. Raises InvalidRequest."""
    chat, _ = _chat(body)
    return size_tokens(ChatRequest(chat))


def without_billing_line(body: dict[str, Any]) -> dict[str, Any]:
    """The body without the line that Claude Code puts in front of its system prompt.

    It says something else in every request, so a local server would never find the prompt in its
    cache.
    """
    system = body.get("system")
    if isinstance(system, str):
        return {**body, "system": _BILLING_LINE.sub("", system, count=1)}
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
    """A failure in Anthropic's shape."""
    other = "api_error" if error.status >= 500 else "invalid_request_error"
    message = error.message
    if error.code == "context_length_exceeded" and "prompt is too long" not in message.lower():
        message = f"prompt is too long: {message}"  # the words at which Claude Code compacts
    detail = {"type": _ERROR_TYPES.get(error.status, other), "message": message}
    return {"type": "error", "error": detail, "request_id": None}


def error_event(error: RouterError) -> bytes:
    """A failure in mid-stream; it is the last event."""
    return sse.event(error_body(error), "error")


def _chat(body: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The chat body, and the names of what it cannot say."""
    chat: dict[str, Any] = {"messages": _messages(body)}
    dropped = [name for name in body if name not in _READ]
    if model := have(body.get("model"), str, "model"):
        chat["model"] = model
    if limit := have(body.get("max_tokens"), int, "max_tokens"):
        if limit < 0:
            raise invalid("max_tokens", "must be a whole number from 1")
        chat["max_tokens"] = limit
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
    return checked(chat), (*dropped, *unknown)


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
    """Functions, and the names of tools that only Anthropic has."""
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
    """`tool_choice`; it may force one of the tools that only Claude can be handed (`unknown`)."""
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


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    transcript = Transcript()
    system = without_billing_line(body).get("system")
    transcript.system(_system_text(system, "system"))
    messages = objects(body.get("messages"), "messages")
    if not messages:
        raise invalid("messages", "must be a list with at least one message")
    for i, message in enumerate(messages):
        where = f"messages[{i}]"
        content = message.get("content")
        if isinstance(content, str):
            blocks = [text_part(content)]
        elif isinstance(content, list):
            blocks = objects(content, f"{where}.content")
        else:
            raise invalid(f"{where}.content", "must be a string or a list of blocks")
        match message.get("role"):
            case "user":
                _add_user(transcript, blocks, where)
            case "assistant":
                _add_assistant(transcript, blocks, where)
            case "system":
                transcript.system(_system_text(content, f"{where}.content"))
            case _:
                raise invalid(f"{where}.role", "must be user, assistant or system")
    return transcript.messages()


def _system_text(system: Any, where: str) -> str:
    if system is None or isinstance(system, str):
        return system or ""
    blocks = objects(system, where)
    texts = [need(block.get("text"), str, f"{where}[{i}].text") for i, block in enumerate(blocks)]
    return "\n\n".join(texts)


def _add_user(transcript: Transcript, blocks: list[dict[str, Any]], where: str) -> None:
    others: list[tuple[dict[str, Any], str]] = []
    for i, block in enumerate(blocks):
        spot = f"{where}.content[{i}]"
        if block.get("type") != "tool_result":
            others.append((block, spot))
            continue
        id = need(block.get("tool_use_id"), str, f"{spot}.tool_use_id")
        parts = _parts(block.get("content"), f"{spot}.content")
        if block.get("is_error") is True:
            said = "".join(part.get("text", "") for part in parts)
            if not said.lower().startswith("error"):
                parts.insert(0, text_part("Error:"))
        transcript.tool(id, parts)
    for block, spot in others:
        if block.get("type") == "mid_conv_system":
            transcript.system(_system_text(block.get("content"), f"{spot}.content"))
        else:
            transcript.user(_part(block, spot))


def _add_assistant(transcript: Transcript, blocks: list[dict[str, Any]], where: str) -> None:
    texts, calls = [], []
    for i, block in enumerate(blocks):
        spot = f"{where}.content[{i}]"
        match block.get("type"):
            case "tool_use":
                id = need(block.get("id"), str, f"{spot}.id")
                name = need(block.get("name"), str, f"{spot}.name")
                input = need(block.get("input"), dict, f"{spot}.input")
                calls.append(call(id, name, orjson.dumps(input).decode()))
            case "thinking" | "redacted_thinking" | "server_tool_use" | "mcp_tool_use":
                pass
            case "text":
                texts.append(need(block.get("text"), str, f"{spot}.text"))
            case _:  # what a tool of Anthropic's found
                texts += _words(block)
    transcript.assistant("\n\n".join(filter(None, texts)), calls)


def _parts(content: Any, where: str) -> list[Part]:
    """Content of a tool result or a document, as parts."""
    if content is None or isinstance(content, str):
        return [text_part(content)] if content else []
    blocks = objects(content, where)
    return [part for i, block in enumerate(blocks) for part in _part(block, f"{where}[{i}]")]


def _part(block: dict[str, Any], where: str) -> list[Part]:
    match block.get("type"):
        case "text":
            text = need(block.get("text"), str, f"{where}.text")
            return [text_part(text)] if text else []
        case "image" | "document" as kind:
            source = need(block.get("source"), dict, f"{where}.source")
            title = have(block.get("title"), str, f"{where}.title")
            return _sourced(kind, source, title, f"{where}.source")
        case "container_upload":
            return [file_part(file_id=need(block.get("file_id"), str, f"{where}.file_id"))]
        case str() as kind:
            if words := _words(block):
                return [text_part("\n".join(words))]
            raise invalid(where, f"has a type that is not known here: {kind}")
    raise invalid(f"{where}.type", "must be a string")


def _sourced(kind: str, source: dict[str, Any], title: str | None, where: str) -> list[Part]:
    match source.get("type"):
        case "base64":
            media_type = need(source.get("media_type"), str, f"{where}.media_type")
            data = need(source.get("data"), str, f"{where}.data")
            uri = f"data:{media_type};base64,{data}"
            if kind == "image":
                return [image_part(uri)]
            return [file_part(filename=title or "document.pdf", file_data=uri)]
        case "url":
            url = need(source.get("url"), str, f"{where}.url")
            return (
                [image_part(url)] if kind == "image" else [file_part(filename=title, file_url=url)]
            )
        case "file":
            return [file_part(file_id=need(source.get("file_id"), str, f"{where}.file_id"))]
        case "text":
            data = need(source.get("data"), str, f"{where}.data")
            return [text_part(f"{title}\n\n{data}" if title else data)]
        case "content":
            head = [text_part(title)] if title else []
            return head + _parts(source.get("content"), f"{where}.content")
    raise invalid(f"{where}.type", "must be base64, url, file, text or content")


def _words(block: Any) -> list[str]:
    """The readable strings in a block of whatever kind: search results, output of code…"""
    if isinstance(block, list):
        return [word for item in block for word in _words(item)]
    if not isinstance(block, dict):
        return []
    words = []
    for key, value in block.items():
        if key in ("title", "url", "source", "text", "stdout", "stderr") and isinstance(value, str):
            words.append(value)
        elif key in ("content", "source"):
            words += [value] if isinstance(value, str) else _words(value)
    return [word for word in words if word]
