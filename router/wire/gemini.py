"""Chat Completions to Gemini's generateContent, and back: `encode` and `decode`.

`encode` makes the body of the REST API, which the SDK sends as it is; `gemini_config.py` has its
settings and tools, `gemini_schema.py` the JSON Schema that it takes, `gemini_answer.py` the way
back, `gemini_errors.py` the failures. Source: Gemini API reference, "generateContent", "Function
calling" and "Thought signatures".
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from router.errors import BackendUnfit
from router.request import ChatRequest
from router.wire.gemini_answer import SIGNATURE, Malformed, decode
from router.wire.gemini_config import (
    dropped_fields,
    generation_config,
    json_instruction,
    sent_name,
    tools_and_choice,
    version_of,
)
from router.wire.gemini_errors import NAME, UnknownGeminiModel, failure

__all__ = [
    "NAME",
    "SIGNATURE",
    "Encoded",
    "Malformed",
    "UnknownGeminiModel",
    "decode",
    "encode",
    "failure",
    "picture_urls",
]

NO_SIGNATURE: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""What the documentation has for a call that Gemini did not make, or whose signature is lost."""

_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"})
_AUDIO: Final = {
    "wav": "audio/wav",
    "mp3": "audio/mp3",
    "aiff": "audio/aiff",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
}
_DATA_URI: Final = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)?[^,]*?;base64,", re.ASCII)
_URL: Final = re.compile(r"https?://", re.IGNORECASE)
_CONTINUE: Final = "Continue your last message exactly where it ends."
_UNANSWERED: Final = "The tool was not run, or its result is lost."


Recall = Callable[[str], Mapping[str, Any] | None]
"""The `extra` that came with a tool call, by its id."""


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
    pictures: Mapping[str, tuple[bytes, str]] | None = None,
    recall: Recall | None = None,
    strict: bool = False,
) -> Encoded:
    """The body of generateContent for a chat request.

    `pictures`: what the URLs of `picture_urls` led to, each with its type. `recall`: what
    this very model gave with its calls. `strict`: only what every model takes, for a second
    attempt after a 400. Raises BackendUnfit naming the part that Gemini cannot express,
    InvalidRequest naming the field that nobody could.
    """
    dropped = dropped_fields(request.body)
    signed = (version_of(model) or (0, 0)) >= (3, 0)
    # A signature that is refused is worse than none.
    known = _nothing if strict or recall is None else recall
    conversation = _Conversation(pictures or {}, known, signed)
    for i, message in enumerate(request.messages):
        conversation.add(message, f"messages[{i}]")
    contents, system = conversation.finished()
    if instruction := json_instruction(request, model):
        system.append(instruction)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join(system)}]}
    tools, names = tools_and_choice(request, strict)
    body |= tools
    config, unmet = generation_config(request, model, strict)
    if config:
        body["generationConfig"] = config
    if any(message.get("name") for message in request.messages if message["role"] == "user"):
        dropped.append("messages.name")
    return Encoded(body, (*dropped, *unmet), names)


def picture_urls(request: ChatRequest) -> dict[str, str]:
    """URLs of the pictures that have to be fetched first, each with the part that names it."""
    urls: dict[str, str] = {}
    for i, message in enumerate(request.messages):
        content = message.get("content")
        for j, part in enumerate(content if isinstance(content, list) else ()):
            url = _image_url(part)
            if url is not None and _URL.match(url):
                urls.setdefault(url, f"messages[{i}].content[{j}]")
    return urls


class _Conversation:
    """Turns as Gemini wants them: user and model in alternation, every tool call answered."""

    def __init__(
        self,
        pictures: Mapping[str, tuple[bytes, str]],
        recall: Recall,
        signed: bool,
    ) -> None:
        self._pictures = pictures
        self._recall = recall
        self._signed = signed
        self._system: list[str] = []
        self._contents: list[dict[str, Any]] = []
        self._calls: dict[str, str] = {}
        """The calls of the step that is being answered: id to name, in order."""
        self._results: dict[str, dict[str, Any]] = {}
        self._attached: list[dict[str, Any]] = []
        """Pictures among the results; they follow, for a result holds text only."""

    def add(self, message: Mapping[str, Any], where: str) -> None:
        match message["role"]:
            case "system" | "developer":
                self._add_system(message, where)
            case "tool" | "function":
                self._add_result(message, where)
            case "assistant":
                self._end_step()
                self._add_answer(message, where)
            case _:
                self._end_step()
                self._append("user", self._parts(message.get("content"), where))

    def finished(self) -> tuple[list[dict[str, Any]], list[str]]:
        """The contents, and the texts of the system instruction."""
        self._end_step()
        if not self._contents and self._system:  # an instruction alone is a prompt
            self._append("user", [{"text": "\n\n".join(self._system)}])
            self._system = []
        if not self._contents:
            raise BackendUnfit(
                "Gemini needs at least one message with text in it.", backend=NAME, param="messages"
            )
        if self._contents[0]["role"] == "model":
            self._contents.insert(
                0, {"role": "user", "parts": [{"text": "(Earlier turns omitted.)"}]}
            )
        if self._contents[-1]["role"] == "model":
            self._append("user", [{"text": _CONTINUE}])
        return self._contents, self._system

    def _append(self, role: str, parts: list[dict[str, Any]]) -> None:
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"].extend(parts)
        else:
            self._contents.append({"role": role, "parts": parts})

    def _add_system(self, message: Mapping[str, Any], where: str) -> None:
        for part in self._parts(message.get("content"), where):
            if "text" not in part:
                raise _unfit("Gemini takes text only as instructions.", where)
            self._system.append(part["text"])

    def _add_answer(self, message: Mapping[str, Any], where: str) -> None:
        if message.get("function_call"):
            raise _unfit(
                "Gemini takes `tool_calls`, not `function_call`.", f"{where}.function_call"
            )
        if message.get("audio"):
            raise _unfit("Gemini cannot hear an earlier answer.", f"{where}.audio")
        parts = self._parts(message.get("content"), where)
        if isinstance(refusal := message.get("refusal"), str) and refusal:
            parts.append({"text": refusal})
        for j, call in enumerate(message.get("tool_calls") or ()):
            parts.append(self._call(call, f"{where}.tool_calls[{j}]"))
        self._append("model", parts)

    def _call(self, call: Mapping[str, Any], where: str) -> dict[str, Any]:
        id, function = call.get("id"), call.get("function")
        if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
            raise _unfit("Gemini takes calls of named functions only.", where)
        if not isinstance(id, str) or not id or id in self._calls:
            raise _unfit("A tool call needs an id of its own.", f"{where}.id")
        first = not self._calls
        self._calls[id] = name = sent_name(name)
        part: dict[str, Any] = {
            "functionCall": {"id": id, "name": name, "args": _arguments(function.get("arguments"))}
        }
        signature = (self._recall(id) or {}).get(SIGNATURE)
        if signature:
            part["thoughtSignature"] = signature
        elif first and self._signed:  # of calls made together only the first has one
            part["thoughtSignature"] = NO_SIGNATURE
        return part

    def _add_result(self, message: Mapping[str, Any], where: str) -> None:
        id = message.get("tool_call_id")
        if not isinstance(id, str) or id not in self._calls or id in self._results:
            raise _unfit(
                "A tool message must answer a call of the assistant's turn before it, once.",
                f"{where}.tool_call_id",
            )
        texts: list[str] = []
        for part in self._parts(message.get("content"), where):
            if "text" in part:
                texts.append(part["text"])
            else:
                self._attached.append(part)
        self._results[id] = {"output": "\n".join(texts)}

    def _end_step(self) -> None:
        """Answer every call of a step in one user turn, in the order of the calls."""
        unanswered = {"error": _UNANSWERED}
        answers: list[dict[str, Any]] = [
            {
                "functionResponse": {
                    "id": id,
                    "name": name,
                    "response": self._results.get(id, unanswered),
                }
            }
            for id, name in self._calls.items()
        ]
        self._append("user", answers + self._attached)
        self._calls, self._results, self._attached = {}, {}, []

    def _parts(self, content: Any, where: str) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"text": content}] if content else []
        parts = (self._part(part, f"{where}.content[{j}]") for j, part in enumerate(content or ()))
        return [part for part in parts if part.get("text") != ""]

    def _part(self, part: Mapping[str, Any], where: str) -> dict[str, Any]:
        match part:
            case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
                return {"text": text}
            case {"type": "refusal", "refusal": str(text)}:
                return {"text": text}
            case {"type": "image_url" | "input_image"} if (url := _image_url(part)) is not None:
                return self._image(url, where)
            case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(kind)}}:
                if kind not in _AUDIO:
                    raise _unfit(f"Gemini does not take audio in the format {kind!r}.", where)
                return _inline(_AUDIO[kind], data, where)
            case {"type": "file", "file": {"file_data": str(data)}}:
                return _file(data, where)
        raise _unfit(f"Gemini cannot take a part of type {part['type']!r} like this.", where)

    def _image(self, url: str, where: str) -> dict[str, Any]:
        if (picture := self._pictures.get(url)) is not None:
            mime, data = picture[1], base64.b64encode(picture[0]).decode()
        elif found := _DATA_URI.match(url):
            mime, data = found["mime"] or "", url[found.end() :]
        else:
            raise _unfit("Gemini takes a picture as a data: or https: URL.", where)
        mime = {"image/jpg": "image/jpeg"}.get(mime.lower(), mime.lower())
        if mime not in _IMAGES:
            raise _unfit(f"Gemini does not take pictures of type {mime or 'unknown'}.", where)
        return _inline(mime, data, where)


def _nothing(call_id: str) -> None:
    """A model that remembers no call."""


def _image_url(part: Mapping[str, Any]) -> str | None:
    if part.get("type") not in ("image_url", "input_image"):
        return None
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    return url if isinstance(url, str) else None


def _file(data: str, where: str) -> dict[str, Any]:
    """A PDF or a text, as a data URI, or as bare base64, which is a PDF."""
    mime = "application/pdf"
    if found := _DATA_URI.match(data):
        mime, data = (found["mime"] or mime).lower(), data[found.end() :]
    if mime != "application/pdf" and not mime.startswith("text/"):
        raise _unfit(f"Gemini takes PDF and text files, not {mime}.", where)
    return _inline(mime, data, where)


def _inline(mime: str, data: str, where: str) -> dict[str, Any]:
    try:
        whole = bool(binascii.a2b_base64(data, strict_mode=True))
    except (ValueError, binascii.Error):
        whole = False
    if not whole:
        raise _unfit("The data of this part is not base64.", where)
    return {"inlineData": {"mimeType": mime, "data": data}}


def _arguments(arguments: Any) -> dict[str, Any]:
    """Arguments as the object they are; what is no JSON object goes under a name of its own."""
    if isinstance(arguments, Mapping):
        return dict(arguments)
    try:
        parsed = orjson.loads(arguments) if arguments else {}
    except (orjson.JSONDecodeError, TypeError):
        parsed = None
    return parsed if isinstance(parsed, dict) else {"_raw": arguments}


def _unfit(message: str, param: str) -> BackendUnfit:
    return BackendUnfit(message, backend=NAME, param=param)
