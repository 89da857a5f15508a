"""Chat Completions to Gemini's generateContent, and back: `encode` and `decode`.

`encode` makes the body of the REST API, which the SDK sends unchanged. `contents.py` has the
conversation, `parts.py` the content of a message, `generation.py` the settings and tools,
`schema.py` JSON Schemas, `reply.py` answers, `rpc_status.py` errors. Source: Gemini API reference,
"generateContent", "Function calling" and "Thought signatures".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.request import ChatRequest
from router.wire.gemini.contents import NO_SIGNATURE, GeminiTurns, Recall
from router.wire.gemini.generation import (
    dropped_fields,
    generation_config,
    json_instruction,
    service_tier,
    tools_and_choice,
    version_of,
)
from router.wire.gemini.parts import Fetched, picture_urls
from router.wire.gemini.reply import SIGNATURE, GeminiDecoder, Malformed, decode, decode_whole
from router.wire.gemini.rpc_status import (
    NAME,
    UnknownField,
    UnknownGeminiModel,
    failure,
    unfit,
)

__all__ = [
    "NAME",
    "NO_SIGNATURE",
    "SIGNATURE",
    "GeminiDecoder",
    "GeminiRequest",
    "Malformed",
    "UnknownField",
    "UnknownGeminiModel",
    "decode",
    "decode_whole",
    "encode",
    "failure",
    "picture_urls",
]


@dataclass(frozen=True, slots=True)
class GeminiRequest:
    """A request as Gemini accepts it."""

    body: dict[str, Any]
    dropped: tuple[str, ...] = ()
    """The caller's fields that Gemini does not support."""
    names: Mapping[str, str] | None = None
    """The caller's tool name for each name that may come back, where they differ."""


def encode(
    request: ChatRequest,
    model: str,
    *,
    pictures: Fetched | None = None,
    recall: Recall | None = None,
    most_tokens: int | None = None,
    strict: bool = False,
) -> GeminiRequest:
    """Return the body of generateContent for a chat request.

    `pictures`: the pictures at the URLs of `picture_urls`, each with its type. `recall` returns
    what this model gave with a call of its own. `most_tokens`: the longest answer of the model, if
    known. `strict`: send only what every model accepts, in a second attempt after a 400. Raises
    BackendUnfit, naming the part that Gemini cannot express, and InvalidRequest for a wrong field.
    """
    dropped = dropped_fields(request)
    signed = (version_of(model) or (0, 0)) >= (3, 0)
    # A wrong signature is refused; a missing one is not.
    known = _nothing if strict or recall is None else recall
    turns = GeminiTurns(pictures or {}, known, signed=signed)
    for i, message in enumerate(request.messages):
        turns.add(message, f"messages[{i}]")
    contents = turns.finished()
    if not contents:
        raise unfit("Gemini needs at least one message with text in it.", "messages")
    system = turns.system
    if instruction := json_instruction(request, model):
        system.append(instruction)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    tools, names = tools_and_choice(request, strict, dropped)
    body |= tools
    if config := generation_config(request, model, strict, most_tokens, dropped):
        body["generationConfig"] = config
    body |= service_tier(request, strict, dropped)
    return GeminiRequest(body, tuple(dict.fromkeys(dropped)), names)


def _nothing(call_id: str) -> None:
    """Return nothing: a recall without memory."""
