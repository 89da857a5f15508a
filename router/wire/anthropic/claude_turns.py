"""The messages of a chat as Claude's alternating turns.

Claude's rules: the user comes first, turns alternate, every tool call is answered in the very next
turn, results come before any text, and ids use one plain alphabet, each id once. Conversations of
other models, or edited ones, break these rules. Here they are rearranged; no content is lost.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from router.wire.anthropic.claude_cache import Block
from router.wire.anthropic.claude_decoder import BEFORE
from router.wire.anthropic.claude_model import Abilities
from router.wire.anthropic.claude_parts import blocks, text_block, unfit
from router.wire.call_ids import OpenCalls, UniqueIds
from router.wire.fields import arguments

Turn = dict[str, Any]
Recall = Callable[[str], Mapping[str, Any] | None]
"""Returns what the vault holds for a call of the model that is asked, by the caller's id."""

DEMAND: Final = "demand"
"""Key in a call's `extra`: the demand after the user's words to call a tool. It must be repeated:
Claude's thoughts are valid only after the very prompt that they were made for."""

START: Final = "(The conversation starts here.)"
CONTINUE: Final = (
    "Continue your last message from exactly where it ends, without repeating any of it."
)
NO_RESULT: Final = "No result was returned for this call."
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_-]+")
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_-]+")


def plain(name: str, limit: int) -> str:
    """Return a name or id in Claude's alphabet: the same one, or always the same substitute.

    A substitute ends with a digest, so that different names stay different.
    """
    if len(name) <= limit and _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_OTHER.sub('_', name)[: limit - 13]}_{digest}"


def tool_name(name: str) -> str:
    """Return a tool's name as Claude accepts it."""
    return plain(name, 128)


def call_id(name: str) -> str:
    """Return a tool call's id as Claude accepts it."""
    return plain(name, 200)


class ClaudeTurns:
    """Collects messages; `finished()` returns the turns."""

    def __init__(self, abilities: Abilities, recall: Recall) -> None:
        self.system: list[Block] = []
        self.tools_used: dict[str, None] = {}
        """Names of the tools in the history, in order."""
        self._abilities = abilities
        self._recall = recall
        self._turns: list[Turn] = []
        self._ids = UniqueIds()
        self._after_text: list[Block] = []
        """Blocks that end an assistant's turn, such as tool calls; later texts go before them."""
        self._calls: list[str] = []
        """Ids of the tool calls in the last turn."""
        self._open = OpenCalls()
        self._results: dict[str, Block] = {}
        """Results by the id of their call."""
        self._said: list[Block] = []
        """Other blocks of the user turn that is being collected."""

    def add(self, message: dict[str, Any], where: str) -> None:
        """Add a message. `where` is its path in the request."""
        match message["role"]:
            case "system" | "developer":
                self._add_system(message, where)
            case "assistant":
                self._add_assistant(message, where)
            case "tool":
                self._add_result(message, message.get("tool_call_id"), where)
            case "function":
                self._add_result(message, message.get("name"), where)
            case _:
                self._said += blocks(message.get("content"), where, self._abilities)

    def finished(self, demand: str = "") -> list[Turn]:
        """Return the turns; the last one is the user's and ends with the demand.

        Empty if the conversation has no content.
        """
        self._close_user_turn()
        self._close_assistant_turn()
        if not self._turns and self.system:
            self._turns.append({"role": "user", "content": self.system})
            self.system = []
        if self._turns and self._turns[0]["role"] == "assistant":
            self._turns.insert(0, {"role": "user", "content": text_block(START)})
        if self._turns and self._turns[-1]["role"] == "assistant":
            self._turns.append({"role": "user", "content": text_block(CONTINUE)})
        if self._turns:
            self._turns[-1]["content"] += text_block(demand)
        return self._turns

    def _add_system(self, message: dict[str, Any], where: str) -> None:
        content = blocks(message.get("content"), where, self._abilities)
        if any(block["type"] != "text" for block in content):
            raise unfit("Claude takes only text in a system message.", where)
        if not self._turns and not self._said and not self._results:
            self.system += content
        else:  # in its place, not in `system`: a prefix that changes is not read from the cache
            for block in content:
                self._said.append(block | {"text": f"<system>\n{block['text']}\n</system>"})

    def _add_result(self, message: dict[str, Any], call_id: Any, where: str) -> None:
        content = blocks(message.get("content"), where, self._abilities)
        id = self._open.take(call_id)
        if id is None:  # answers no call of the last step: Claude would refuse it as a result
            self._said += text_block(f"Result of the tool call {call_id}:")
            self._said += content or text_block("(empty)")
            return
        result: Block = {"type": "tool_result", "tool_use_id": id}
        for block in content:  # only a whole result can be marked for the cache
            if mark := block.pop("cache_control", None):
                result["cache_control"] = mark
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            result["content"] = content[0]["text"]
        elif content:
            result["content"] = content
        self._results[id] = result

    def _add_assistant(self, message: dict[str, Any], where: str) -> None:
        if message.get("audio") and not message.get("content"):
            raise unfit("Claude takes earlier answers as text, not as audio.", f"{where}.audio")
        text = blocks(message.get("content"), where, self._abilities)
        if any(block["type"] != "text" for block in text):
            raise unfit("Claude takes only text in an assistant message.", where)
        if isinstance(refusal := message.get("refusal"), str):
            text += text_block(refusal)
        calls = [self._call(call) for call in message.get("tool_calls") or ()]
        if isinstance(call := message.get("function_call"), dict):  # the form before tool_calls
            calls.append(self._call({"id": call.get("name"), "function": call}))
        if not text and not calls:
            return
        kept = [(self._recall(theirs) if theirs else None) or {} for theirs, _ in calls]
        if self._said or self._results:
            if kept and (demand := kept[0].get(DEMAND)):
                self._said += text_block(demand)
            self._close_user_turn()
        self._add_to_assistant_turn(_with_thoughts(text, calls, kept))
        for theirs, block in calls:
            self._calls.append(block["id"])
            self._open.add(theirs, block["id"])

    def _add_to_assistant_turn(self, content: list[Block]) -> None:
        """Start an assistant's turn, or add to it; its text stays ahead of its tool calls."""
        if self._turns and self._turns[-1]["role"] == "assistant":
            texts = [block for block in content if block["type"] == "text"]
            others = [block for block in content if block["type"] != "text"]
        else:
            self._turns.append({"role": "assistant", "content": []})
            uses = (i for i, block in enumerate(content) if block["type"] == "tool_use")
            first_use = next(uses, len(content))
            texts, others = content[:first_use], content[first_use:]
        self._turns[-1]["content"] += texts
        self._after_text += others

    def _close_assistant_turn(self) -> None:
        if self._after_text:
            self._turns[-1]["content"] += self._after_text
            self._after_text = []

    def _call(self, call: dict[str, Any]) -> tuple[str, Block]:
        """Return a tool call of the history: the caller's id, and the block."""
        function: Any = call.get("function") or call.get("custom")
        if not isinstance(function, dict):
            function = {}
        name = function.get("name")
        name = tool_name(name) if isinstance(name, str) and name else "unnamed"
        self.tools_used[name] = None
        theirs = call.get("id")
        theirs = theirs if isinstance(theirs, str) else ""
        id = self._ids.make(call_id(theirs) if theirs else "call")
        input = arguments(function.get("arguments", function.get("input")))
        return theirs, {"type": "tool_use", "id": id, "name": name, "input": input}

    def _close_user_turn(self) -> None:
        content: list[Block] = []
        for id in self._calls:
            missing = {"type": "tool_result", "tool_use_id": id, "content": NO_RESULT}
            content.append(self._results.get(id) or missing | {"is_error": True})
        content += self._said
        if content:
            self._close_assistant_turn()
            self._turns.append({"role": "user", "content": content})
        self._calls, self._results, self._said = [], {}, []
        self._open = OpenCalls()


def _with_thoughts(
    text: list[Block], calls: list[tuple[str, Block]], kept: list[Mapping[str, Any]]
) -> list[Block]:
    """Return an assistant's blocks in the order in which this model wrote them, if it did.

    Chat Completions has one text and a list of calls; the vault has the blocks before each call.
    If the caller's text differs from theirs, only the thoughts are put back.
    """
    thoughts = [extra.get(BEFORE) or [] for extra in kept]
    remembered = "".join(b["text"] for before in thoughts for b in before if b["type"] == "text")
    said = "".join(block.get("text", "") for block in text)
    exact = "".join(remembered.split()) == "".join(said.split())
    content: list[Block] = []
    for i, (before, (_, block)) in enumerate(zip(thoughts, calls, strict=True)):
        content += before if exact else [b for b in before if b["type"] != "text"]
        if i == 0 and not exact:
            content += text
        content.append(block)
    return content or text
