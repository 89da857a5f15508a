"""A chat request: the caller's JSON, unchanged, and the fields that the router reads."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import orjson

from router.errors import InvalidRequest

Dialect = Literal["chat", "responses", "messages"]
Purpose = Literal["subagent", "background", "compaction"]
"""The purpose that a client declares for a request that is no turn of its user: a turn of an agent
that another one has started, work of the client itself, or a summary of the conversation."""
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

# Rough, and too high rather than too low for code and other languages; only gates read them.
CHARS_PER_TOKEN: Final = 3.5
BYTES_PER_TOKEN: Final = 4
TOKENS_PER_IMAGE: Final = 1000
NO_LIMIT: Final = -1
"""As `max_tokens`: LM Studio's own examples send it, and local servers know what it means."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request in Chat Completions form.

    `body` is parsed once and never changed; unknown fields are kept. A request in another dialect
    keeps its own body in `original`, for a backend that speaks the same dialect.
    """

    body: dict[str, Any]
    dialect: Dialect = "chat"
    original: dict[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case headers that belong to the dialect (anthropic-version, anthropic-beta)."""
    dropped: tuple[str, ...] = ()
    """Names of what `original` asks for and `body` cannot express, such as built-in tools."""
    purpose: Purpose | None = None
    is_private: bool = False
    """It must stay on this machine; set once that is decided."""

    @property
    def model(self) -> str:
        return self.body.get("model") or ""

    @property
    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages

    @property
    def tools(self) -> list[dict[str, Any]]:
        return self.body.get("tools") or []

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True

    @property
    def include_usage(self) -> bool:
        """Return whether the caller asked for the usage chunk at the end of the stream."""
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def max_tokens(self) -> int | None:
        """Return the most tokens that the caller allows for the answer; None for no limit."""
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return limit if isinstance(limit, int) and limit != NO_LIMIT else None


def parse_json(raw: bytes) -> dict[str, Any]:
    """Parse a request body that must be a JSON object.

    Strict: NaN, invalid UTF-8, lone surrogates and nesting too deep to handle are refused.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error.msg}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    try:
        # orjson reads deeper nesting than it writes, and a backend adds a few levels.
        # Counting the brackets first would take longer.
        orjson.dumps([[[[body]]]])
    except TypeError:
        raise InvalidRequest("The body is nested too deeply.") from None
    return body


def checked(body: dict[str, Any]) -> dict[str, Any]:
    """Return the chat body. Raises InvalidRequest if a field that is read has a wrong type."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest(
            "`messages` must be a list with at least one message.", param="messages"
        )
    for i, message in enumerate(messages):
        _check_message(message, f"messages[{i}]")
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("`model` must be a string.", param="model")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("`stream` must be true or false.", param="stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("`stream_options` must be an object.", param="stream_options")
    _check_tools(body.get("tools"))
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (type(limit) is not int or (limit < 1 and limit != NO_LIMIT)):
            raise InvalidRequest(
                f"`{name}` must be a whole number from 1, or {NO_LIMIT} for no limit.", param=name
            )
    return body


def _check_message(message: Any, where: str) -> None:
    if not isinstance(message, dict):
        raise InvalidRequest(f"`{where}` must be an object.", param=where)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        allowed = ", ".join(sorted(ROLES))
        raise InvalidRequest(f"`{where}.role` must be one of {allowed}.", param=f"{where}.role")
    content = message.get("content")
    if content is None or isinstance(content, str):
        pass
    elif isinstance(content, list):
        for j, part in enumerate(content):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                spot = f"{where}.content[{j}]"
                raise InvalidRequest(f"`{spot}` must be an object with a `type`.", param=spot)
    else:
        spot = f"{where}.content"
        raise InvalidRequest(f"`{spot}` must be a string, a list of parts or null.", param=spot)
    calls = message.get("tool_calls")
    if calls is not None and not (
        isinstance(calls, list) and all(isinstance(call, dict) for call in calls)
    ):
        spot = f"{where}.tool_calls"
        raise InvalidRequest(f"`{spot}` must be a list of objects.", param=spot)


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise InvalidRequest("`tools` must be a list.", param="tools")
    for i, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            spot = f"tools[{i}]"
            raise InvalidRequest(f"`{spot}` must be an object with a `type`.", param=spot)
        function = tool.get("function")
        if tool["type"] == "function" and not (
            isinstance(function, dict) and isinstance(function.get("name"), str)
        ):
            spot = f"tools[{i}].function.name"
            raise InvalidRequest(f"`{spot}` must be a string.", param=spot)


def text_of(content: Any) -> str:
    """Return the text of a message's content, a string or parts; parts are joined by newlines."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if part.get("type") in TEXT_PARTS)
    return "\n".join(text for text in texts if isinstance(text, str))


TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})
FETCHED: Final = ("http:", "https:", "ftp:", "//", "gs:", "s3:")
"""How addresses begin whose content has to be fetched over the network."""
IMAGE_PARTS: Final = frozenset({"image_url", "input_image"})
SUMMARY_HEADING: Final = "Summary of the conversation so far:\n\n"
"""Begins a user message that holds the router's own summary of earlier turns."""


def has_images(request: ChatRequest) -> bool:
    """Return whether a message has a picture."""
    return any(
        part.get("type") in IMAGE_PARTS
        for message in request.messages
        if isinstance(content := message.get("content"), list)
        for part in content
    )


def linked_pictures(request: ChatRequest) -> bool:
    """Return whether a message has a picture or file that the backend would have to fetch."""
    return any(
        _is_link(value)
        for message in request.messages
        if isinstance(content := message.get("content"), list)
        for part in content
        for value in part.values()
        if part.get("type") not in TEXT_PARTS
    )


def _is_link(value: Any) -> bool:
    """Return whether a field of a part is an address, or an object that holds one."""
    if isinstance(value, dict):
        return any(isinstance(inner, str) and _is_link(inner) for inner in value.values())
    return isinstance(value, str) and value[:20].strip().lower().startswith(FETCHED)


def estimate_tokens(text: str) -> int:
    """Return an estimate of a text's tokens, too high rather than too low."""
    size = len(text)
    if not text.isascii():
        size_bytes = len(text.encode("utf-8", "surrogatepass"))
        return int(max(size / CHARS_PER_TOKEN, size_bytes / BYTES_PER_TOKEN)) + 1
    return int(size / CHARS_PER_TOKEN) + 1


def message_tokens(message: Mapping[str, Any]) -> int:
    """Estimate the tokens of one message, with its tool calls and pictures."""
    content = message.get("content")
    total = estimate_tokens(text_of(content)) + 4
    if isinstance(content, list):
        for part in content:
            total += TOKENS_PER_IMAGE if part.get("type") in IMAGE_PARTS else 0
    if calls := message.get("tool_calls"):
        total += int(len(orjson.dumps(calls)) / CHARS_PER_TOKEN)
    return total


def size_tokens(request: ChatRequest) -> int:
    """Estimate the tokens of all messages, tool calls, tools and pictures."""
    total = sum([message_tokens(message) for message in request.messages])
    if request.tools:
        total += int(len(orjson.dumps(request.tools)) / CHARS_PER_TOKEN)
    return total


_ROLE: Final = re.compile("[a-z_]{1,40}")
"""The form of a role or an item type. Others are not named: they may hold a secret."""


class Piece(NamedTuple):
    """A part of what a backend could be sent: one message, the headers, or all other fields."""

    where: str
    role: str
    value: Any


def outgoing(request: ChatRequest) -> Iterator[Piece]:
    """Yield all that a backend could be sent, in pieces that are the same from turn to turn.

    A request in another dialect may go out unchanged, and the earlier turns of a response are in
    the chat body alone.
    """
    if request.headers:
        yield Piece("headers", "", dict(request.headers))
    if request.original is not None:
        yield from _pieces(request.original)
    if request.dialect != "messages" or request.original is None:
        yield from _pieces(request.body)


def _pieces(document: Mapping[str, Any]) -> Iterator[Piece]:
    rest = {}
    for name, value in document.items():
        if name in ("messages", "input") and isinstance(value, list):
            for at, item in enumerate(value):
                role = item.get("role") or item.get("type") if isinstance(item, dict) else None
                if not isinstance(role, str) or not _ROLE.fullmatch(role):
                    role = ""
                yield Piece(f"{name}[{at}]", role, item)
        else:
            rest[name] = value
    yield Piece("fields besides the messages", "", rest)
