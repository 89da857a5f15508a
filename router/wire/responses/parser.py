"""Parser of Responses requests into chat bodies. Source: OpenAI API reference, "Responses"."""

from collections.abc import Callable
from typing import Any, Final

import orjson

from router.errors import InvalidRequest
from router.request import checked
from router.wire.fields import have, invalid, need, objects
from router.wire.responses.tools import chat_name, choice_of, custom_arguments, tools_of
from router.wire.transcript import Part, Transcript, call, file_part, image_part, text_part

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
    chat: dict[str, Any] = {"messages": _messages(body, recall or _nothing)}
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
    parallel = have(body.get("parallel_tool_calls"), bool, "parallel_tool_calls")
    if parallel is False and tools.functions:
        chat["parallel_tool_calls"] = False
    unread = body.keys() - _READ - _WITHOUT_EFFECT
    dropped = [name for name in body if name in unread and body[name] not in (None, "disabled", 0)]
    return checked(chat), (*dropped, *tools.dropped)


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


def _messages(body: dict[str, Any], recall: Recall) -> list[dict[str, Any]]:
    transcript = Transcript()
    if instructions := have(body.get("instructions"), str, "instructions"):
        transcript.system(instructions)
    if previous := have(body.get("previous_response_id"), str, "previous_response_id"):
        earlier = recall(previous)
        if earlier is None:
            raise InvalidRequest(
                f"The response `{previous}` of `previous_response_id` is not kept here, or no"
                " longer: send the whole conversation in `input`.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        for i, item in enumerate(earlier):
            _add(transcript, item, f"previous_response_id.input[{i}]")
    for item, where in items_of(body):
        _add(transcript, item, where)
    messages = transcript.messages()
    if not messages:
        raise invalid("input", "must be a text or a list with at least one item")
    return messages


def items_of(body: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return the items of `input`, each with its path; a text is one message of the user."""
    given = body.get("input")
    if isinstance(given, str):
        return [({"role": "user", "content": given}, "input")] if given else []
    if given is not None and not isinstance(given, list):
        raise invalid("input", "must be a text or a list of items")
    return [(item, f"input[{i}]") for i, item in enumerate(objects(given, "input"))]


def _add(transcript: Transcript, item: dict[str, Any], where: str) -> None:
    kind = have(item.get("type"), str, f"{where}.type") or "message"
    match kind:
        case "message":
            _add_message(transcript, item, where)
        case "reasoning" | "additional_tools":
            pass
        case "function_call":
            namespace = have(item.get("namespace"), str, f"{where}.namespace")
            name = chat_name(need(item.get("name"), str, f"{where}.name"), namespace)
            given = item.get("arguments", 0)  # null means no arguments
            arguments = "" if given is None else need(given, str, f"{where}.arguments")
            transcript.assistant(calls=[call(_call_id(item, where), name, arguments)])
        case "custom_tool_call":
            namespace = have(item.get("namespace"), str, f"{where}.namespace")
            name = chat_name(need(item.get("name"), str, f"{where}.name"), namespace)
            arguments = custom_arguments(need(item.get("input"), str, f"{where}.input"))
            transcript.assistant(calls=[call(_call_id(item, where), name, arguments)])
        case _ if kind.endswith("_call_output"):
            transcript.tool(_call_id(item, where), _output(item, where))
        case _ if kind.endswith("_call"):
            if "call_id" in item:  # a tool of another kind that the caller ran
                said = {key: item[key] for key in item.keys() - _LABELS}
                arguments = orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
                name = kind.removesuffix("_call")
                transcript.assistant(calls=[call(_call_id(item, where), name, arguments)])
        case "item_reference":
            raise invalid(where, "refers to an item that is not kept here; send the item itself")
        case _:
            raise invalid(f"{where}.type", f"is `{kind}`, which is not known here")


_LABELS: Final = frozenset({"type", "id", "call_id", "status", "created_by"})


def _call_id(item: dict[str, Any], where: str) -> str:
    return need(item.get("call_id"), str, f"{where}.call_id")


def _output(item: dict[str, Any], where: str) -> list[Part]:
    output = item.get("output")
    if isinstance(output, str):
        return [text_part(output)]
    if isinstance(output, list) and all(
        isinstance(part, dict) and str(part.get("type")).startswith("input_") for part in output
    ):
        return _parts(output, f"{where}.output")
    return [text_part(orjson.dumps(output).decode())]


def _add_message(transcript: Transcript, item: dict[str, Any], where: str) -> None:
    content = item.get("content")
    if isinstance(content, str):
        parts = [text_part(content)] if content else []
    elif isinstance(content, list):
        parts = _parts(content, f"{where}.content")
    else:
        raise invalid(f"{where}.content", "must be a string or a list of parts")
    texts = [part["text"] for part in parts if part["type"] == "text"]
    match item.get("role"):
        case "user":
            transcript.user(parts)
        case "assistant":
            transcript.assistant("".join(texts))
        case "system" | "developer":
            transcript.system("\n\n".join(texts))
        case _:
            raise invalid(f"{where}.role", "must be user, assistant, system or developer")


def _parts(content: list[Any], where: str) -> list[Part]:
    parts = []
    for i, part in enumerate(objects(content, where)):
        spot = f"{where}[{i}]"
        match part.get("type"):
            case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
                if text := need(part.get("text"), str, f"{spot}.text"):
                    parts.append(text_part(text))
            case "refusal":
                parts.append(text_part(need(part.get("refusal"), str, f"{spot}.refusal")))
            case "input_image":
                parts.append(_image(part, spot))
            case "input_file":
                names = ("filename", "file_data", "file_id", "file_url")
                given = {name: have(part.get(name), str, f"{spot}.{name}") for name in names}
                parts.append(file_part(**given))
            case "input_audio":
                audio = need(part.get("input_audio"), dict, f"{spot}.input_audio")
                parts.append({"type": "input_audio", "input_audio": audio})
            case kind:
                raise invalid(f"{spot}.type", f"is `{kind}`, which is not known here")
    return parts


def _image(part: dict[str, Any], where: str) -> Part:
    if file_id := have(part.get("file_id"), str, f"{where}.file_id"):
        return file_part(file_id=file_id)
    url = need(part.get("image_url"), str, f"{where}.image_url")
    return image_part(url, have(part.get("detail"), str, f"{where}.detail"))
