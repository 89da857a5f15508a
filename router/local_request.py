"""What a local server is sent: the caller's body in the form that this kind of server takes.

Only what is known to be refused is changed; the caller's own body is never touched.
"""

from itertools import takewhile
from typing import Any

from router.errors import BackendUnfit
from router.request import ChatRequest, text_of


def check_fit(request: ChatRequest, name: str) -> None:
    """Raises BackendUnfit on a part that no local server reads, and on a tool that none can run."""
    if _forces_what_is_left_out(request):
        raise BackendUnfit(
            f"`tool_choice` forces a tool that the {name} server cannot run.",
            backend=name,
            param="tool_choice",
        )
    for i, message in enumerate(request.messages):
        content = message.get("content")
        if not isinstance(content, list):
            continue
        for j, part in enumerate(content):
            if part["type"] == "file":
                spot = f"messages[{i}].content[{j}]"
                raise BackendUnfit(
                    f"`{spot}`: the {name} server reads no files.", backend=name, param=spot
                )


def _forces_what_is_left_out(request: ChatRequest) -> bool:
    left_out = [name for name in request.dropped if name.startswith("tools.")]
    match request.body.get("tool_choice"):
        case {"function": {"name": str(name)}}:
            return f"tools.{name}" in left_out
        case "required":
            return bool(left_out) and not request.tools
    return False


def adapted(request: ChatRequest, model: str, server: str) -> dict[str, Any]:
    """The chat body for this model on a server of this kind ("" while it is not known)."""
    body = {**request.body, "model": model}
    if request.stream:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if "max_completion_tokens" in body and "max_tokens" not in body:
        body["max_tokens"] = body["max_completion_tokens"]
    body["messages"] = _one_system_message(
        [
            {**message, "role": "system"} if message["role"] == "developer" else message
            for message in request.messages
        ]
    )
    if server == "lmstudio":
        _adapt_to_lm_studio(body)
    if server == "ollama" and "gpt-oss" not in model:
        # Ollama refuses it for models that do not think; Claude Code and Codex always send it.
        body.pop("reasoning_effort", None)
    return body


def _one_system_message(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those in front become one: many chat templates refuse a second."""
    front = [*takewhile(lambda message: message["role"] == "system", messages)]
    if len(front) < 2:
        return messages
    text = "\n\n".join(text_of(message.get("content")) for message in front)
    return [{**front[0], "content": text}, *messages[len(front) :]]


def _adapt_to_lm_studio(body: dict[str, Any]) -> None:
    """LM Studio takes `tool_choice` as a string only, and no `json_object`."""
    match body.get("tool_choice"):
        case {"function": {"name": str(name)}}:
            body["tool_choice"] = "required"
            body["tools"] = _tools_named(body, [name])
        case {"allowed_tools": {"mode": mode, "tools": [*allowed]}}:
            names = [name for name in map(_function_name, allowed) if name]
            body["tool_choice"] = "required" if mode == "required" else "auto"
            body["tools"] = _tools_named(body, names)
    response_format = body.get("response_format")
    if isinstance(response_format, dict) and response_format.get("type") == "json_object":
        schema = {"name": "object", "schema": {"type": "object"}}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}


def _tools_named(body: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    return [tool for tool in body.get("tools") or () if _function_name(tool) in names]


def _function_name(tool: Any) -> str:
    match tool:
        case {"function": {"name": str(name)}}:
            return name
    return ""
