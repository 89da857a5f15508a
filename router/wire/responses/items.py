"""Reader of the items in a Responses request as chat messages.

OpenAI adds types of items often, and agents send them back on every turn. So an item or a part of
unknown type is never refused: its readable text is used, or it is left out and reported. One of
known type must have the fields of its type.
"""

from typing import Any, Final

import orjson

from router.wire.fields import have, invalid, need, objects
from router.wire.readable import texts_in
from router.wire.responses.compaction import INSTRUCTION, TRIGGER, summary_in
from router.wire.responses.tools import chat_name, custom_arguments
from router.wire.transcript import Part, Transcript, call, file_part, image_part, text_part

_LABELS: Final = frozenset({"type", "id", "call_id", "status", "created_by"})
_OF_THEIR_MODEL: Final = frozenset({"reasoning", "additional_tools", "configuration_update"})
"""Items that only their own model can read, or that `tools.py` reads."""


class ItemsReader:
    """Reads the items of one conversation."""

    def __init__(self) -> None:
        self.left_out: dict[str, None] = {}
        """`input.<type>` of the items and parts that were left out, in order."""
        self._transcript = Transcript()
        self._calls: set[str] = set()

    def instruct(self, text: str) -> None:
        """Add an instruction."""
        self._transcript.system(text)

    def messages(self) -> list[dict[str, Any]]:
        """Return the chat messages; call this once, at the end."""
        return self._transcript.messages()

    def add(self, item: dict[str, Any], where: str) -> None:
        """Add an item. Raises InvalidRequest, naming the field."""
        kind = have(item.get("type"), str, f"{where}.type") or "message"
        match kind:
            case "message":
                self._add_message(item, where)
            case "function_call" | "custom_tool_call":
                self._add_call(item, kind, where)
            case "item_reference":
                rule = "refers to an item that is not kept here; send the item itself"
                raise invalid(where, rule)
            case _ if kind == TRIGGER:
                self._transcript.user([text_part(INSTRUCTION)])
            case _ if kind in _OF_THEIR_MODEL:
                pass
            case _ if kind.endswith("_call_output") or self._answers_a_call(item, kind):
                self._transcript.tool(_call_id(item, where), self._output(item, where))
            case _ if kind.endswith("_call"):
                if "call_id" in item:  # a tool of another kind that the caller ran
                    name = kind.removesuffix("_call")
                    self._called(_call_id(item, where), name, _fields(item))
            case _:
                self._add_other(item, kind)

    def _add_call(self, item: dict[str, Any], kind: str, where: str) -> None:
        namespace = have(item.get("namespace"), str, f"{where}.namespace")
        name = chat_name(need(item.get("name"), str, f"{where}.name"), namespace)
        if kind == "custom_tool_call":
            arguments = custom_arguments(need(item.get("input"), str, f"{where}.input"))
        else:
            given = item.get("arguments", 0)  # null means no arguments
            arguments = "" if given is None else need(given, str, f"{where}.arguments")
        self._called(_call_id(item, where), name, arguments)

    def _called(self, id: str, name: str, arguments: str) -> None:
        self._calls.add(id)
        self._transcript.assistant(calls=[call(id, name, arguments)])

    def _answers_a_call(self, item: dict[str, Any], kind: str) -> bool:
        id = item.get("call_id")
        return kind.endswith("_output") and isinstance(id, str) and id in self._calls

    def _output(self, item: dict[str, Any], where: str) -> list[Part]:
        if "output" not in item:
            return [text_part(_fields(item))]
        output = item["output"]
        if isinstance(output, str):
            return [text_part(output)]
        if isinstance(output, list) and all(
            isinstance(part, dict) and str(part.get("type")).startswith("input_") for part in output
        ):
            return self._parts(output, f"{where}.output")
        return [text_part(orjson.dumps(output).decode())]

    def _add_message(self, item: dict[str, Any], where: str) -> None:
        content = item.get("content")
        if isinstance(content, str):
            parts = [text_part(content)] if content else []
        elif isinstance(content, list):
            parts = self._parts(content, f"{where}.content")
        else:
            raise invalid(f"{where}.content", "must be a string or a list of parts")
        texts = [part["text"] for part in parts if part["type"] == "text"]
        match item.get("role"):
            case "user":
                self._transcript.user(parts)
            case "assistant":
                self._transcript.assistant("".join(texts))
            case "system" | "developer":
                self._transcript.system("\n\n".join(texts))
            case _:
                raise invalid(f"{where}.role", "must be user, assistant, system or developer")

    def _add_other(self, item: dict[str, Any], kind: str) -> None:
        text = summary_in(item) or "\n".join(texts_in(item))
        if text and item.get("role") == "assistant":
            self._transcript.assistant(text)
        else:
            self._transcript.user([text_part(text or self._note(kind))])

    def _note(self, kind: Any) -> str:
        """Report an item or part that is left out; return the text that replaces it."""
        self.left_out[f"input.{kind}"] = None
        return f"(An item of type {kind} is left out here.)"

    def _parts(self, content: list[Any], where: str) -> list[Part]:
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
                    need(kind, str, f"{spot}.type")
                    parts.append(text_part("\n".join(texts_in(part)) or self._note(kind)))
        return parts


def _call_id(item: dict[str, Any], where: str) -> str:
    return need(item.get("call_id"), str, f"{where}.call_id")


def _fields(item: dict[str, Any]) -> str:
    """Return the fields of an item without its labels, as JSON."""
    said = {key: item[key] for key in item.keys() - _LABELS}
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()


def _image(part: dict[str, Any], where: str) -> Part:
    if file_id := have(part.get("file_id"), str, f"{where}.file_id"):
        return file_part(file_id=file_id)
    url = need(part.get("image_url"), str, f"{where}.image_url")
    return image_part(url, have(part.get("detail"), str, f"{where}.detail"))
