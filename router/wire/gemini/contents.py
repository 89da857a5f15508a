"""The messages of a chat as Gemini's alternating contents.

Gemini's rules: the user comes first, turns alternate, and every call of a step is answered in the
very next turn, by name and in order. Conversations of other models, or edited ones, break these
rules. Here they are rearranged; no content is lost.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

from router.wire.call_ids import OpenCalls, UniqueIds
from router.wire.fields import arguments
from router.wire.gemini.generation import sent_name
from router.wire.gemini.parts import Fetched, Part, parts, text_part
from router.wire.gemini.reply import SIGNATURE
from router.wire.gemini.rpc_status import unfit

Content = dict[str, Any]
Recall = Callable[[str], Mapping[str, Any] | None]
"""Returns what the vault holds for a call of the model that is asked, by the caller's id."""

NO_SIGNATURE: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""The documented value for a call that Gemini did not make or whose signature is lost."""

START: Final = "(The conversation starts here.)"
CONTINUE: Final = (
    "Continue your last message from exactly where it ends, without repeating any of it."
)
NO_RESULT: Final = "The tool was not run, or its result is lost."


class GeminiTurns:
    """Collects messages; `finished()` returns the contents."""

    def __init__(self, fetched: Fetched, recall: Recall, *, signed: bool) -> None:
        """Begin a request. `signed`: the first call of each step needs a thought signature."""
        self.system: list[str] = []
        self._fetched = fetched
        self._recall = recall
        self._signed = signed
        self._contents: list[Content] = []
        self._said: list[Part] = []
        """Parts of the user turn that is being collected, besides results."""
        self._begin_step()

    def _begin_step(self) -> None:
        self._ids = UniqueIds()
        self._open = OpenCalls()
        self._calls: dict[str, str] = {}
        """Names of the tools called in this step, by the id of the call, in order."""
        self._results: dict[str, dict[str, str]] = {}
        """Results by the id of their call."""

    def add(self, message: Mapping[str, Any], where: str) -> None:
        """Add a message. `where` is its path in the request."""
        match message["role"]:
            case "system" | "developer":
                self._add_system(message, where)
            case "assistant":
                self._add_answer(message, where)
            case "tool":
                self._add_result(message, message.get("tool_call_id"), where)
            case "function":
                self._add_result(message, message.get("name"), where)
            case _:
                self._said += self._parts(message, where)

    def finished(self) -> list[Content]:
        """Return the contents; the last one is the user's. Empty without any content."""
        self._close_user_turn()
        if not self._contents and self.system:  # an instruction alone is a prompt
            self._append("user", text_part("\n\n".join(self.system)))
            self.system = []
        if self._contents and self._contents[0]["role"] == "model":
            self._contents.insert(0, {"role": "user", "parts": text_part(START)})
        if self._contents and self._contents[-1]["role"] == "model":
            self._append("user", text_part(CONTINUE))
        return self._contents

    def _parts(self, message: Mapping[str, Any], where: str) -> list[Part]:
        return parts(message.get("content"), where, self._fetched)

    def _append(self, role: str, more: list[Part]) -> None:
        if not more:
            return
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"].extend(more)
        else:
            self._contents.append({"role": role, "parts": more})

    def _add_system(self, message: Mapping[str, Any], where: str) -> None:
        for part in self._parts(message, where):
            if "text" not in part:
                raise unfit("Gemini takes text only as instructions.", where)
            self.system.append(part["text"])

    def _add_answer(self, message: Mapping[str, Any], where: str) -> None:
        if message.get("audio") and not message.get("content"):
            raise unfit("Gemini takes earlier answers as text, not as audio.", f"{where}.audio")
        said = self._parts(message, where)
        if isinstance(refusal := message.get("refusal"), str):
            said += text_part(refusal)
        calls = list(message.get("tool_calls") or ())
        if isinstance(call := message.get("function_call"), dict):  # the form before tool_calls
            calls.append({"id": call.get("name"), "function": call})
        if not said and not calls:
            return
        if self._said or self._results:
            self._close_user_turn()
        self._append("model", said + [self._call(call) for call in calls])

    def _call(self, call: Mapping[str, Any]) -> Part:
        function: Any = call.get("function") or call.get("custom")
        if not isinstance(function, dict):
            function = {}
        name, theirs = function.get("name"), call.get("id")
        name = sent_name(name) if isinstance(name, str) and name else "unnamed"
        theirs = theirs if isinstance(theirs, str) else ""
        id = self._ids.make(theirs or "call")
        first = not self._calls
        self._calls[id] = name
        self._open.add(theirs, id)
        args = arguments(function.get("arguments", function.get("input")))
        part: Part = {"functionCall": {"id": id, "name": name, "args": args}}
        if signature := (self._recall(theirs) or {}).get(SIGNATURE):
            part["thoughtSignature"] = signature
        elif first and self._signed:  # of calls made together only the first has one
            part["thoughtSignature"] = NO_SIGNATURE
        return part

    def _add_result(self, message: Mapping[str, Any], call_id: Any, where: str) -> None:
        content = self._parts(message, where)
        id = self._open.take(call_id)
        if id is None:  # it answers no call of the last step: only its text is useful
            self._said += text_part(f"Result of the tool call {call_id}:")
            self._said += content or text_part("(empty)")
            return
        texts = [part["text"] for part in content if "text" in part]
        self._results[id] = {"output": "\n".join(texts)}
        self._said += [part for part in content if "text" not in part]  # a result holds text only

    def _close_user_turn(self) -> None:
        """Answer every call of the step in one turn, in the order of the calls."""
        answers: list[Part] = []
        for id, name in self._calls.items():
            response = self._results.get(id, {"error": NO_RESULT})
            answers.append({"functionResponse": {"id": id, "name": name, "response": response}})
        self._append("user", answers + self._said)
        self._said = []
        self._begin_step()
