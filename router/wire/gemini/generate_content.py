"""Chat Completions to Gemini's generateContent, and back: `encode` and `decode`.

`encode` makes the body of the REST API, which the SDK sends as it is; `gemini_turns.py` has the
conversation and `gemini_parts.py` what is in it, `gemini_config.py` the settings and tools,
`gemini_schema.py` the JSON Schema that it takes, `gemini_answer.py` the way back,
`gemini_errors.py` the failures. Source: Gemini API reference, "generateContent", "Function
calling" and "Thought signatures".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.request import ChatRequest
from router.wire.gemini.contents import NO_SIGNATURE, Recall, Turns
from router.wire.gemini.generation import (
    dropped_fields,
    generation_config,
    json_instruction,
    service_tier,
    tools_and_choice,
    version_of,
)
from router.wire.gemini.parts import Fetched, picture_urls
from router.wire.gemini.reply import SIGNATURE, Malformed, decode, decode_whole
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
    "Encoded",
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
class Encoded:
    """A request as Gemini takes it."""

    body: dict[str, Any]
    dropped: tuple[str, ...] = ()
    """Fields of the caller's that Gemini has nothing for."""
    names: Mapping[str, str] | None = None
    """Tool names as sent to the caller's own, where they differ; for `decode`."""


def encode(
    request: ChatRequest,
    model: str,
    *,
    pictures: Fetched | None = None,
    recall: Recall | None = None,
    most_tokens: int | None = None,
    strict: bool = False,
) -> Encoded:
    """The body of generateContent for a chat request.

    `pictures`: what the URLs of `picture_urls` led to, each with its type. `recall`: what
    this very model gave with its calls. `most_tokens`: the longest answer of the model, where it
    is known. `strict`: only what every model takes, for a second attempt after a 400. Raises
    BackendUnfit naming the part that Gemini cannot express, InvalidRequest naming the field that
    nobody could.
    """
    dropped = dropped_fields(request)
    signed = (version_of(model) or (0, 0)) >= (3, 0)
    # A signature that is refused is worse than none.
    known = _nothing if strict or recall is None else recall
    turns = Turns(pictures or {}, known, signed=signed)
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
    return Encoded(body, tuple(dropped), names)


def _nothing(call_id: str) -> None:
    """A model that remembers no call."""
