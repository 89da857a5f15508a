"""Local servers' own endpoints for dialects other than Chat Completions.

If the server has an endpoint for the caller's dialect, the request and the answer can pass
unchanged. But most of these endpoints are younger than /chat/completions and silently ignore parts
of a request. The table lists what each endpoint reads. A request with other parts is translated.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.backend import Chained, Items, Relayed, Reply, Translated, primed
from router.events import Batch
from router.request import ChatRequest, Dialect
from router.wire.anthropic import claude, messages_relay
from router.wire.anthropic.messages import without_billing_line
from router.wire.anthropic.messages_encoder import shows_thoughts

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A local server's endpoint for a dialect, and the requests that it reads in full."""

    server: str
    dialect: Dialect
    reads: Callable[[Body], bool] | None
    """Returns whether the endpoint reads every part of a request. None: it is never used."""
    why: str
    """The findings, with their source and date."""


def _llama_cpp_reads(body: Body) -> bool:
    """Return whether llama.cpp reads every part of a Messages request."""
    thinking = body.get("thinking") or {}
    choice = body.get("tool_choice") or {}
    roles = [message.get("role") for message in body["messages"]]
    system = body.get("system") or ()
    return (
        body.keys() <= _FIELDS
        and (isinstance(system, str) or all(block.get("type") == "text" for block in system))
        # This endpoint thinks even if thinking is disabled; the chat endpoint does not.
        and thinking.get("type") in (None, "enabled", "adaptive")
        and thinking.keys() <= {"type", "budget_tokens"}
        and choice in ({}, {"type": "auto"}, {"type": "any"})
        and all(tool.keys() <= _TOOL_FIELDS for tool in body.get("tools") or ())
        and all(tool.get("type") in (None, "custom") for tool in body.get("tools") or ())
        # Chat templates may refuse any other order.
        and all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))
        and all(_reads_content(message["content"]) for message in body["messages"])
    )


def _reads_content(content: Any) -> bool:
    if isinstance(content, str):
        return True
    for block in content:
        match block:
            case {"type": "tool_result", "is_error": True}:
                return False
            case {"type": "tool_result", "content": list(parts)}:
                if any(part.get("type") != "text" for part in parts):
                    return False
            case {"type": "image", "source": {"type": "file"}}:
                return False
            case {"type": "text" | "image" | "thinking" | "tool_use" | "tool_result"}:
                pass
            case _:
                return False
    return True


_FIELDS: Final = frozenset(
    {"model", "max_tokens", "messages", "system", "stream", "stop_sequences", "temperature"}
    | {"top_p", "top_k", "tools", "tool_choice", "thinking", "metadata", "cache_control"}
)
_TOOL_FIELDS: Final = frozenset({"type", "name", "description", "input_schema", "cache_control"})

ENDPOINTS: Final = (
    Endpoint(
        "llama.cpp",
        "messages",
        _llama_cpp_reads,
        "Earlier thoughts reach the model. Ignored: documents, output_config, is_error, the"
        " name in tool_choice; system messages of mid-conversation go to the template as they are."
        " Tried with build 11549 (October 2026); tools/server/server-chat.cpp.",
    ),
    Endpoint(
        "llama.cpp",
        "responses",
        None,
        "Events without sequence_number and output_index; an answer cut off is `completed`; custom"
        " and namespaced tools are left out, previous_response_id and reasoning without content"
        " refused. Tried with build 11549.",
    ),
    Endpoint(
        "lmstudio",
        "messages",
        None,
        "The prompt's cache starts over on this endpoint and not on the chat one"
        " (lmstudio-ai/mlx-engine#327, seen with 0.4.21).",
    ),
    Endpoint(
        "lmstudio",
        "responses",
        None,
        "Ignores json_schema (lmstudio-ai/lmstudio-bug-tracker#2403).",
    ),
    Endpoint(
        "ollama",
        "messages",
        None,
        "Runs web_search itself, at ollama.com; ignores documents, output_config.format and"
        " is_error. anthropic/anthropic.go of August 2026; not tried.",
    ),
    Endpoint(
        "ollama",
        "responses",
        None,
        "Runs web_search itself, at ollama.com; an answer cut off is `completed`; refuses items"
        " that it does not know. openai/responses.go of August 2026; not tried.",
    ),
    Endpoint(
        "vllm",
        "messages",
        None,
        "Signs thoughts with a random text, for which Claude refuses the conversation later;"
        " ignores documents and is_error; moves system messages of mid-conversation to the front."
        " entrypoints/anthropic/serving.py of 2026; not tried.",
    ),
    Endpoint("vllm", "responses", None, "Not tried."),
)
"""Requests to endpoints that are not listed are translated."""


def as_it_came(request: ChatRequest, model: str, server: str) -> dict[str, Any] | None:
    """Return the caller's own body with the model's name; None if it must be translated.

    Claude Code's billing line is left out.
    """
    if request.original is None:
        return None
    for endpoint in ENDPOINTS:
        if (endpoint.server, endpoint.dialect) == (server, request.dialect):
            if endpoint.reads is None or not endpoint.reads(request.original):
                return None
            return without_billing_line(request.original) | {"model": model}
    return None


async def as_asked(reply: Relayed, request: ChatRequest, backend: str) -> Reply:
    """Return the stream, as events if it begins with thoughts that were not asked for."""
    if shows_thoughts(request):
        return reply
    held: list[bytes] = []
    first = ""
    async for block in reply.chunks:
        held.append(block)
        if first := messages_relay.first_block(block):
            break
    reply.chunks = Chained(held, reply.chunks)
    if first != "thinking":
        return reply
    return Translated(await primed(_decoded(reply.chunks, backend), backend), reply.model)


async def _decoded(chunks: Items[bytes], backend: str) -> AsyncGenerator[Batch, None]:
    async with contextlib.aclosing(chunks):
        async for batch in claude.decode(chunks, backend=backend):
            yield batch
