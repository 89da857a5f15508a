"""The messages of a chat as Gemini's alternating contents.

Gemini wants user first, turns that alternate, and every call of a step answered in the very next
turn, by name and in order. Conversations that come from other models, or that were cut and
edited, keep none of this; here they are made to, and nothing that was said is lost.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from router.wire.fields import arguments
from router.wire.gemini.generation import sent_name
from router.wire.gemini.parts import Fetched, Part, parts, text_part
from router.wire.gemini.reply import SIGNATURE
from router.wire.gemini.rpc_status import unfit

Content = dict[str, Any]
Recall = Callable[[str], Mapping[str, Any] | None]
"""What the vault holds for a tool call of the model that is asked, by the caller's id."""

NO_SIGNATURE: Final = base64.b64encode(b"skip_thought_signature_validator").decode()
"""What the documentation has for a call that Gemini did not make, or whose signature is lost."""

START: Final = "(The conversation starts here.)"
CONTINUE: Final = (
    "Continue your last message from exactly where it ends, without repeating any of it."
)
NO_RESULT: Final = "The tool was not run, or its result is lost."


class _Call(NamedTuple):
    """A tool call of the step that is being answered."""

    theirs: str
    """The id the caller knows it by; maybe none, maybe another call's too."""
    id: str
    name: str


class Turns:
    """Collects messages; `finished()` gives the contents."""

    def __init__(self, fetched: Fetched, recall: Recall, *, signed: bool) -> None:
        """`signed`: the model wants a thought signature with the first call of each step."""
        self.system: list[str] = []
        self._fetched = fetched
        self._recall = recall
        self._signed = signed
        self._contents: list[Content] = []
        self._calls: list[_Call] = []
        self._results: dict[str, dict[str, str]] = {}  # by our id
        self._said: list[Part] = []  # in the user turn that is being collected

    def add(self, message: Mapping[str, Any], where: str) -> None:
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
        """The contents; the last one is the user's. Empty if nobody said anything."""
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
            raise unfit("Gemini cannot hear an earlier answer.", f"{where}.audio")
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
        taken = {call.id for call in self._calls}
        id = wanted = theirs or "call"
        again = 1
        while id in taken:
            again += 1
            id = f"{wanted}_{again}"
        first = not self._calls
        self._calls.append(_Call(theirs, id, name))
        args = arguments(function.get("arguments", function.get("input")))
        part: Part = {"functionCall": {"id": id, "name": name, "args": args}}
        if signature := (self._recall(theirs) or {}).get(SIGNATURE):
            part["thoughtSignature"] = signature
        elif first and self._signed:  # of calls made together only the first has one
            part["thoughtSignature"] = NO_SIGNATURE
        return part

    def _add_result(self, message: Mapping[str, Any], call_id: Any, where: str) -> None:
        content = self._parts(message, where)
        waiting = [call for call in self._calls if call.id not in self._results]
        answered = next((call for call in waiting if call.theirs == call_id), None)
        if answered is None and not call_id and waiting:
            answered = waiting[0]
        if answered is None:  # answers no call of the last step: only its words are of use
            self._said += text_part(f"Result of the tool call {call_id}:")
            self._said += content or text_part("(empty)")
            return
        texts = [part["text"] for part in content if "text" in part]
        self._results[answered.id] = {"output": "\n".join(texts)}
        self._said += [part for part in content if "text" not in part]  # a result holds text only

    def _close_user_turn(self) -> None:
        """Answer every call of the step in one turn, in the order of the calls."""
        answers: list[Part] = []
        for _, id, name in self._calls:
            response = self._results.get(id, {"error": NO_RESULT})
            answers.append({"functionResponse": {"id": id, "name": name, "response": response}})
        self._append("user", answers + self._said)
        self._calls, self._results, self._said = [], {}, []
