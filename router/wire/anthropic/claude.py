"""Chat Completions to Claude's Messages, and back: `encode` and `decode`.

`claude_turns.py` has the conversation, `claude_parts.py` the content of a message,
`claude_schema.py` JSON Schemas, `claude_cache.py` the marks for Claude's cache, `claude_model.py`
the abilities of models, `claude_decoder.py` answers and errors, `claude_relay.py` requests in
Claude's own format. Source: Anthropic API reference, "Messages", version 2026-10-21; OpenAI API
reference, "Chat Completions".
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from router.request import ChatRequest
from router.wire import sampling
from router.wire.anthropic.claude_cache import Block, automatic_mark
from router.wire.anthropic.claude_decoder import ClaudeDecoder, decode, decode_whole, message_of
from router.wire.anthropic.claude_failures import failure
from router.wire.anthropic.claude_model import EFFORTS, Abilities
from router.wire.anthropic.claude_parts import text_block, unfit
from router.wire.anthropic.claude_relay import ClaudeTally, passed_on
from router.wire.anthropic.claude_schema import (
    expressible,
    input_schema,
    plain_schema,
    strict_schema,
)
from router.wire.anthropic.claude_turns import DEMAND, ClaudeTurns, Recall, tool_name
from router.wire.anthropic.claude_usage import usage_of
from router.wire.fields import invalid
from router.wire.tool_names import full_names

__all__ = [
    "DEMAND",
    "UNKNOWN",
    "ClaudeDecoder",
    "ClaudeRequest",
    "ClaudeTally",
    "asks_for_abilities",
    "decode",
    "decode_whole",
    "encode",
    "failure",
    "forgetting",
    "message_of",
    "passed_on",
    "usage_of",
]

UNKNOWN: Final = Abilities()
_READ: Final = frozenset(
    [
        *("max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice"),
        *("parallel_tool_calls", "response_format", "reasoning_effort"),
        *("user", "safety_identifier", "prompt_cache_options"),
    ]
)
_DEPENDENT: Final = frozenset({"reasoning_effort", "response_format", "tool_choice"})
"""Fields whose encoding depends on the abilities of the model."""
_NO_THINKING: Final = {"type": "disabled"}
_OPAQUE: Final = re.compile(r"(?=.*[a-zA-Z])[\w-]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClaudeRequest:
    """A request as Claude accepts it."""

    params: dict[str, Any]
    dropped: tuple[str, ...] = ()
    """The caller's fields that Claude does not support."""
    names: Mapping[str, str] | None = None
    """The caller's tool name for each name that may come back, where they differ."""
    demand: str = ""
    """The text after the user's words that demands a tool call."""


def encode(
    request: ChatRequest,
    model: str,
    *,
    max_tokens: int,
    abilities: Abilities = UNKNOWN,
    recall: Recall | None = None,
    plain: bool = False,
) -> ClaudeRequest:
    """Return the parameters of a Messages request, without `stream`.

    `max_tokens` applies if the caller sets no limit. `recall` returns what this model gave with a
    call of its own. `plain`: simplify schemas, after Claude has refused one. Raises BackendUnfit,
    naming the part that Claude cannot express. The same conversation, longer by a turn, begins
    with the same bytes, as prompt caching requires.
    """
    body = request.body
    sampling.check(request, "Claude", unfit)
    dropped = sampling.left_out(request, _READ)
    if plain:
        abilities = replace(abilities, structured=False)
    tools = [_tool(tool, i, abilities, dropped) for i, tool in enumerate(request.tools)]
    tools, choice, demand = _chosen(body, tools, abilities, dropped)
    forced = choice.get("type") in ("any", "tool")
    effort, thinking = _effort(body.get("reasoning_effort"), abilities, forced=forced)
    if body.get("reasoning_effort") is not None and effort is None and thinking is None:
        dropped.append("reasoning_effort")
    if recall is None or thinking == _NO_THINKING:
        recall = forgetting
    turns = ClaudeTurns(abilities, recall)
    for i, message in enumerate(request.messages):
        turns.add(message, f"messages[{i}]")
    messages = turns.finished(demand)
    if not messages:
        raise unfit("There is no text in the messages, and Claude needs some.", "messages")

    if not tools and turns.tools_used:
        # Claude wants the tools of a history defined, also where none may be called any more.
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in turns.tools_used]
        choice = {"type": "none"}
    if plain:
        tools = [tool | {"input_schema": plain_schema(tool["input_schema"])} for tool in tools]
    output, instruction = _format(body.get("response_format"), abilities)
    if instruction:
        turns.system += text_block(instruction)
        dropped.append("response_format")
    limit = request.max_tokens or max_tokens
    stop = _stop(body.get("stop"), dropped)
    output |= {"effort": effort} if effort else {}
    said = (block for turn in messages for block in turn["content"])
    optional: dict[str, Any] = {
        "system": turns.system,
        "tools": tools,
        "tool_choice": choice,
        "stop_sequences": stop,
        "output_config": output,
        "thinking": thinking,
        "metadata": _metadata(body),
        "cache_control": automatic_mark(body, (*tools, *turns.system, *said)),
    }
    params = {
        "model": model,
        "max_tokens": min(limit, abilities.max_tokens or limit),
        **{name: value for name, value in optional.items() if value},
        "messages": messages,
    }
    return ClaudeRequest(params, tuple(dict.fromkeys(dropped)), _renamed(request), demand)


def _renamed(request: ChatRequest) -> dict[str, str]:
    """Return the caller's tool names by the names that may come back.

    These are substitutes for names that Claude refuses, and short forms that a model may use.
    """
    names = [tool["function"]["name"] for tool in request.tools]
    return full_names(names) | {sent: name for name in names if (sent := tool_name(name)) != name}


def asks_for_abilities(request: ChatRequest) -> bool:
    """Return whether the encoding of the request depends on the abilities of the model."""
    return not _DEPENDENT.isdisjoint(request.body)


def forgetting(call_id: str) -> None:
    """Return nothing: a recall without memory."""


def _chosen(
    body: Mapping[str, Any], tools: list[Block], abilities: Abilities, dropped: list[str]
) -> tuple[list[Block], dict[str, Any], str]:
    """Return the tools that may be called, the tool choice, and a demand in words.

    The demand replaces a forced choice for models that refuse one.
    """
    wanted, name, allowed = _choice(body.get("tool_choice"))
    if not tools:
        if wanted in ("any", "tool"):
            raise invalid("tool_choice", "needs `tools` to choose from")
        return [], {}, ""
    if allowed is not None:
        tools = [tool for tool in tools if tool["name"] in allowed]
    if not tools or (name and name not in {tool["name"] for tool in tools}):
        raise unfit("`tool_choice` names a tool that is not among `tools`.", "tool_choice")
    demand = ""
    choice: dict[str, Any] = {}
    if wanted in ("any", "tool") and abilities.forced_choice is False:
        which = f"the tool `{name}`" if name else "one of your tools"
        demand = f"Call {which} now; do not answer with text alone."
        wanted = "auto"
        dropped.append("tool_choice")
    elif name:
        choice = {"name": name}
    single = body.get("parallel_tool_calls") is False and wanted != "none"
    if wanted != "auto" or single:
        choice = {"type": wanted, **choice}
    if single:
        choice["disable_parallel_tool_use"] = True
    return tools, choice, demand


def _tool(tool: dict[str, Any], i: int, abilities: Abilities, dropped: list[str]) -> Block:
    if tool["type"] != "function":
        kind = tool["type"]
        raise unfit(f"Claude has no tool of type {kind!r}: use functions.", f"tools[{i}].type")
    function = tool["function"]
    schema = input_schema(function.get("parameters"))
    made: Block = {"name": tool_name(function["name"])}
    if isinstance(description := function.get("description"), str) and description:
        made["description"] = description
    if function.get("strict") is True:
        simple = not {"$ref", "enum", "const"} & schema.keys()
        if abilities.structured is not False and simple and expressible(schema):
            schema = strict_schema(schema)
            made["strict"] = True
        else:
            dropped.append("tools.strict")
    made["input_schema"] = schema
    if isinstance(mark := tool.get("cache_control"), dict):
        made["cache_control"] = mark
    return made


def _choice(choice: Any) -> tuple[str, str, set[str] | None]:
    """Return Claude's word for a tool choice, the forced tool, the allowed tools (None: all)."""
    match choice:
        case None | "auto":
            return "auto", "", None
        case "none":
            return "none", "", None
        case "required":
            return "any", "", None
        case {"type": "function", "function": {"name": str(name)}} if name:
            return "tool", tool_name(name), None
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*allowed]}}:
            names = {
                tool_name(tool["function"]["name"])
                for tool in allowed
                if isinstance(tool, dict)
                and isinstance(function := tool.get("function"), dict)
                and isinstance(function.get("name"), str)
            }
            return "any" if mode == "required" else "auto", "", names
        case _:
            raise unfit("Claude has no such tool choice.", "tool_choice")


def _format(wanted: Any, abilities: Abilities) -> tuple[dict[str, Any], str]:
    """Return the output format, or an instruction for the model if it has none."""
    match wanted:
        case None | {"type": "text"}:
            return {}, ""
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as about}:
            if isinstance(about.get("description"), str):
                schema = {"description": about["description"], **schema}
            if abilities.structured is not False and expressible(schema):
                return {"format": {"type": "json_schema", "schema": strict_schema(schema)}}, ""
            return {}, f"{_JSON_ONLY} It must match this JSON Schema:\n{_dumped(schema)}"
        case {"type": "json_object" | "json_schema"}:
            return {}, _JSON_ONLY
        case _:
            raise unfit("Claude has no such response format.", "response_format.type")


_JSON_ONLY: Final = (
    "Answer with one JSON object and nothing else: no words around it and no code fence."
)


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()


def _effort(
    wanted: Any, abilities: Abilities, *, forced: bool
) -> tuple[str | None, dict[str, Any] | None]:
    """Return the effort level and the thinking mode. Thoughts are shown if the model has any.

    `forced`: a tool must be called. Claude refuses that while it thinks, so thinking is off then.
    """
    shown = {"type": "adaptive", "display": "summarized"}
    always = shown if abilities.thinking_off is False else None
    if wanted in ("none", "minimal"):
        if abilities.thinking_off:
            return None, _NO_THINKING
        if abilities.between_tools:
            return None, {"type": "between_tools"}
        return abilities.nearest_effort("low"), always
    thinking = always
    if abilities.adaptive_thinking and forced and abilities.thinking_off:
        thinking = _NO_THINKING
    elif abilities.adaptive_thinking and not forced and wanted in EFFORTS:
        thinking = shown
    if wanted not in EFFORTS:
        return None, thinking
    if thinking == _NO_THINKING and wanted in ("xhigh", "max"):
        wanted = "high"  # the most there is without thinking
    return abilities.nearest_effort(wanted), thinking


def _stop(stop: Any, dropped: list[str]) -> list[str]:
    given = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    kept = [text for text in given if isinstance(text, str) and text.strip()]
    if len(kept) < len(given):
        dropped.append("stop")  # Claude refuses sequences of white space
    return kept


def _metadata(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the user of the request: a digest of an id that may be a name or an address."""
    user = body.get("user") or body.get("safety_identifier")
    if not isinstance(user, str):
        return {}
    if not _OPAQUE.fullmatch(user):
        user = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()
    return {"user_id": user}
