"""Changes to a chat body for the kind of local server that gets it.

Only parts that the server is known to refuse or ignore are changed, in a copy of the body.
"""

from itertools import takewhile
from typing import Any, Final

from router.errors import BackendUnfit
from router.request import ChatRequest, text_of

_CHOOSE_BY_WORD: Final = frozenset({"lmstudio", "llama.cpp", "ollama"})
"""`tool_choice` must be a word: LM Studio refuses an object, the others ignore it."""
_JSON_BY_SCHEMA: Final = frozenset({"lmstudio", "llama.cpp"})
"""LM Studio refuses `json_object`; llama.cpp accepts it without constraining the model."""
OPENAI_CLOUD: Final = "openai-cloud"
"""A cloud that takes requests as OpenAI documents them."""
_ONE_ANSWER: Final = frozenset({"lmstudio", "ollama"})
"""They ignore `n`."""


def check_fit(request: ChatRequest, name: str, server: str) -> None:
    """Raise BackendUnfit for parts that this server does not read and tools that it cannot run."""
    if server in _ONE_ANSWER and request.body.get("n") not in (None, 1):
        raise BackendUnfit(
            f"The {name} server gives one answer at a time: `n` must be 1.", backend=name, param="n"
        )
    if _forces_what_is_left_out(request):
        raise BackendUnfit(
            f"`tool_choice` forces a tool that the {name} server cannot run.",
            backend=name,
            param="tool_choice",
        )
    if server == OPENAI_CLOUD:
        return
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
    """Return the chat body for this model on a server of this kind ("" if it is unknown)."""
    body = {**request.body, "model": model}
    if request.stream:
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    if server == OPENAI_CLOUD:
        return body
    if "max_completion_tokens" in body and "max_tokens" not in body:
        body["max_tokens"] = body["max_completion_tokens"]
    body["messages"] = _one_system_message(
        [
            {**message, "role": "system"} if message["role"] == "developer" else message
            for message in request.messages
        ]
    )
    _adapt_choice(body, server)
    _adapt_format(body, server)
    if server == "ollama" and "gpt-oss" not in model:
        # Ollama refuses it for models without thinking; Claude Code and Codex always send it.
        body.pop("reasoning_effort", None)
    return body


def _one_system_message(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the system messages at the start: many chat templates refuse a second one."""
    front = [*takewhile(lambda message: message["role"] == "system", messages)]
    if len(front) < 2:
        return messages
    text = "\n\n".join(text_of(message.get("content")) for message in front)
    return [{**front[0], "content": text}, *messages[len(front) :]]


def _adapt_choice(body: dict[str, Any], server: str) -> None:
    """Offer only the tools that may be called, if the server does not understand the choice."""
    match body.get("tool_choice"):
        case {"allowed_tools": {"mode": mode, "tools": [*allowed]}}:
            names = {_function_name(tool) for tool in allowed}
            body["tool_choice"] = "required" if mode == "required" else "auto"
        case {"function": {"name": str(name)}} if server in _CHOOSE_BY_WORD:
            names = {name}
            body["tool_choice"] = "required"
        case _:
            return
    body["tools"] = [tool for tool in body.get("tools") or () if _function_name(tool) in names]


def _function_name(tool: Any) -> str:
    match tool:
        case {"function": {"name": str(name)}}:
            return name
    return ""


def _adapt_format(body: dict[str, Any], server: str) -> None:
    match body.get("response_format"):
        case {"type": "json_object"} if server in _JSON_BY_SCHEMA:
            schema = {"name": "object", "schema": {"type": "object"}}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
