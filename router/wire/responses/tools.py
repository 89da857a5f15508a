"""The tools of a Responses caller as chat functions, and the names of calls to them.

Functions stay as they are. The name of a function in a namespace is preceded by the namespace.
Custom tools, which take free text, become functions of one string. Tools that only OpenAI runs
(web search, code interpreter…) are left out and reported.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from router.wire.fields import have, invalid, need, objects

INPUT: Final = "input"
"""The only argument of a function that stands for a custom tool."""
_BRING_TOOLS: Final = ("additional_tools", "tool_search_output")
"""Types of items that add tools."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the caller knows it."""

    kind: Literal["function", "custom"]
    name: str
    namespace: str = ""

    @property
    def chat_name(self) -> str:
        """Return its name in the chat body."""
        return chat_name(self.name, self.namespace)


@dataclass(slots=True)
class Tools:
    """The caller's tools, by the names they have in the chat body, and what was left out."""

    by_chat_name: dict[str, Tool]
    definitions: dict[str, dict[str, Any]]
    dropped: list[str]

    @property
    def functions(self) -> list[dict[str, Any]]:
        """Return the tools as the chat body has them."""
        return [{"type": "function", "function": made} for made in self.definitions.values()]


def chat_name(name: str, namespace: str | None) -> str:
    """Return the name of a tool in the chat body."""
    return f"{namespace}__{name}" if namespace else name


def tools_of(body: dict[str, Any]) -> Tools:
    """Return the tools of `tools` and those that items of `input` add.

    Raises InvalidRequest for a tool that does not match its type.
    """
    tools = Tools({}, {}, [])
    _add_all(tools, body.get("tools"), "tools")
    items = body.get("input")
    for i, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict) and item.get("type") in _BRING_TOOLS:
            _add_all(tools, item.get("tools"), f"input[{i}].tools")
    return tools


def _add_all(tools: Tools, given: Any, where: str, namespace: str = "") -> None:
    for i, tool in enumerate(objects(given, where)):
        _add(tools, tool, f"{where}[{i}]", namespace)


def _add(tools: Tools, tool: dict[str, Any], where: str, namespace: str) -> None:
    kind = need(tool.get("type"), str, f"{where}.type")
    if kind == "namespace" and not namespace:
        namespace = need(tool.get("name"), str, f"{where}.name")
        _add_all(tools, tool.get("tools"), f"{where}.tools", namespace)
        return
    if kind not in ("function", "custom"):
        tools.dropped.append(f"tools.{kind}")
        return
    name = need(tool.get("name"), str, f"{where}.name")
    known = Tool("function" if kind == "function" else "custom", name, namespace)
    function: dict[str, Any] = {"name": known.chat_name}
    description = have(tool.get("description"), str, f"{where}.description") or ""
    if kind == "function":
        parameters = have(tool.get("parameters"), dict, f"{where}.parameters")
        function["parameters"] = parameters or {"type": "object", "properties": {}}
        if tool.get("strict") is True:
            function["strict"] = True
    else:
        description = f"{description}\n\n{_format(tool, where)}".strip()
        free_text = {"type": "string", "description": "The whole input of the tool, as free text."}
        function["parameters"] = {
            "type": "object",
            "properties": {INPUT: free_text},
            "required": [INPUT],
            "additionalProperties": False,
        }
    if description:
        function["description"] = description
    tools.definitions[known.chat_name] = function
    tools.by_chat_name[known.chat_name] = known


def _format(tool: dict[str, Any], where: str) -> str:
    form = have(tool.get("format"), dict, f"{where}.format") or {}
    if form.get("type") != "grammar":
        return ""
    definition = need(form.get("definition"), str, f"{where}.format.definition")
    return f"The input must follow this {form.get('syntax')} grammar:\n{definition}"


def choice_of(body: dict[str, Any], tools: Tools) -> dict[str, Any]:
    """Return `tools` and `tool_choice` of the chat body.

    Raises InvalidRequest for a choice that cannot be forced.
    """
    functions = tools.functions
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = objects(choice.get("tools"), "tool_choice.tools")
        names = {chat_name(str(tool.get("name")), tool.get("namespace")) for tool in allowed}
        functions = [tool for tool in functions if tool["function"]["name"] in names]
        choice = choice.get("mode")
    if choice is None:
        return {"tools": functions} if functions else {}
    if choice in ("auto", "none"):
        return {"tools": functions, "tool_choice": choice} if functions else {}
    if choice == "required":
        if not functions:
            raise invalid("tool_choice", "is `required`, but there is no tool that the caller runs")
        return {"tools": functions, "tool_choice": choice}
    if not isinstance(choice, dict):
        raise invalid("tool_choice", "must be none, auto, required or an object")
    kind = need(choice.get("type"), str, "tool_choice.type")
    if kind not in ("function", "custom"):
        raise invalid("tool_choice", f"forces `{kind}`, a tool that cannot be run here")
    name = need(choice.get("name"), str, "tool_choice.name")
    full = chat_name(name, have(choice.get("namespace"), str, "tool_choice.namespace"))
    if full not in tools.by_chat_name:
        raise invalid("tool_choice.name", f"names `{name}`, which is none of the tools")
    forced = {"type": "function", "function": {"name": full}}
    return {"tools": functions, "tool_choice": forced}


def custom_arguments(text: str) -> str:
    """Return the arguments of the function that stands for a custom tool."""
    return orjson.dumps({INPUT: text}).decode()


def custom_input(arguments: str) -> str:
    """Return the free text in a call's arguments; other arguments are returned unchanged."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = given.get(INPUT) if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments
