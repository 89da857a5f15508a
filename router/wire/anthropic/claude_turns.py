"""The messages of a chat as Claude's alternating turns.

Claude wants user first, turns that alternate, every tool call answered in the very next turn with
all results ahead of any text, and ids of one plain alphabet, each used once. Conversations that
come from other models, or that were cut and edited, keep none of this; here they are made to,
and nothing that was said is lost.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from router.wire.anthropic.claude_cache import Block
from router.wire.anthropic.claude_decoder import BEFORE
from router.wire.anthropic.claude_model import Abilities
from router.wire.anthropic.claude_parts import blocks, text_block, unfit
from router.wire.fields import arguments

Turn = dict[str, Any]
Recall = Callable[[str], Mapping[str, Any] | None]
"""What the vault holds for a tool call of the model that is asked, by the caller's id."""

DEMAND: Final = "demand"
"""Key in a call's `extra`: what was said after the user's words to have a tool called. It must be
said again: Claude's thoughts hold only after the very prompt that they were made for."""

START: Final = "(The conversation starts here.)"
CONTINUE: Final = (
    "Continue your last message from exactly where it ends, without repeating any of it."
)
NO_RESULT: Final = "No result was returned for this call."
_PLAIN: Final = re.compile(r"[a-zA-Z0-9_-]+")
_OTHER: Final = re.compile(r"[^a-zA-Z0-9_-]+")


def plain(name: str, limit: int) -> str:
    """A name or id in the alphabet that Claude takes: itself, or one made from it, always the same.

    The end of one that had to change is a digest, so that different ones stay different.
    """
    if len(name) <= limit and _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_OTHER.sub('_', name)[: limit - 13]}_{digest}"


def tool_name(name: str) -> str:
    return plain(name, 128)


def call_id(name: str) -> str:
    return plain(name, 200)


class Turns:
    """Collects messages; `finished()` gives the turns."""

    def __init__(self, abilities: Abilities, recall: Recall) -> None:
        self.system: list[Block] = []
        self.tools_used: dict[str, None] = {}
        """Names of the tools in the history, in order."""
        self._abilities = abilities
        self._recall = recall
        self._turns: list[Turn] = []
        self._ids: set[str] = set()
        self._calls: list[tuple[str, str]] = []  # of the last turn: (the caller's id, ours)
        self._results: dict[str, Block] = {}  # by our id
        self._said: list[Block] = []  # in the user turn that is being collected

    def add(self, message: dict[str, Any], where: str) -> None:
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
        """The turns; the last one is the user's, and ends with the demand. Empty if nobody said
        anything."""
        self._close_user_turn()
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
        told = blocks(message.get("content"), where, self._abilities)
        if any(block["type"] != "text" for block in told):
            raise unfit("Claude takes only text in a system message.", where)
        if not self._turns and not self._said and not self._results:
            self.system += told
        else:  # in its place, not in `system`: a prefix that changes is not read from the cache
            for block in told:
                self._said.append(block | {"text": f"<system>\n{block['text']}\n</system>"})

    def _add_result(self, message: dict[str, Any], call_id: Any, where: str) -> None:
        content = blocks(message.get("content"), where, self._abilities)
        open_calls = [(theirs, ours) for theirs, ours in self._calls if ours not in self._results]
        ours = next((ours for theirs, ours in open_calls if theirs == call_id), None)
        if ours is None and not call_id and open_calls:
            ours = open_calls[0][1]
        if ours is None:  # answers no call of the last step: Claude would refuse it as a result
            self._said += text_block(f"Result of the tool call {call_id}:")
            self._said += content or text_block("(empty)")
            return
        result: Block = {"type": "tool_result", "tool_use_id": ours}
        for block in content:  # only a whole result can be marked for the cache
            if mark := block.pop("cache_control", None):
                result["cache_control"] = mark
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            result["content"] = content[0]["text"]
        elif content:
            result["content"] = content
        self._results[ours] = result

    def _add_assistant(self, message: dict[str, Any], where: str) -> None:
        if message.get("audio") and not message.get("content"):
            raise unfit("Claude cannot read what was only spoken.", f"{where}.audio")
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
        content = _with_thoughts(text, calls, kept)
        if self._turns and self._turns[-1]["role"] == "assistant":
            _append(self._turns[-1]["content"], content)
        else:
            self._turns.append({"role": "assistant", "content": content})
        self._calls += [(theirs, block["id"]) for theirs, block in calls]

    def _call(self, call: dict[str, Any]) -> tuple[str, Block]:
        """A tool call of the history: the caller's id, and the block."""
        function: Any = call.get("function") or call.get("custom")
        if not isinstance(function, dict):
            function = {}
        name = function.get("name")
        name = tool_name(name) if isinstance(name, str) and name else "unnamed"
        self.tools_used[name] = None
        theirs = call.get("id")
        theirs = theirs if isinstance(theirs, str) else ""
        ours = wanted = call_id(theirs) if theirs else "call"
        again = 1
        while ours in self._ids:  # some servers begin at call_0 in every answer
            again += 1
            ours = f"{wanted}_{again}"
        self._ids.add(ours)
        input = arguments(function.get("arguments", function.get("input")))
        return theirs, {"type": "tool_use", "id": ours, "name": name, "input": input}

    def _close_user_turn(self) -> None:
        content: list[Block] = []
        for _, ours in self._calls:
            missing = {"type": "tool_result", "tool_use_id": ours, "content": NO_RESULT}
            content.append(self._results.get(ours) or missing | {"is_error": True})
        content += self._said
        if content:
            self._turns.append({"role": "user", "content": content})
        self._calls, self._results, self._said = [], {}, []


def _with_thoughts(
    text: list[Block], calls: list[tuple[str, Block]], kept: list[Mapping[str, Any]]
) -> list[Block]:
    """An assistant's blocks in the order Claude made them, if it was this model that made them.

    Chat Completions has one text and a list of calls; the vault has what came before each call.
    If that is no longer the text that the caller sends, only the thoughts are put back.
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


def _append(turn: list[Block], more: list[Block]) -> None:
    """Join two assistant messages to one turn; text stays ahead of its tool calls."""
    at = next((i for i, block in enumerate(turn) if block["type"] == "tool_use"), len(turn))
    turn[at:at] = [block for block in more if block["type"] == "text"]
    turn += [block for block in more if block["type"] != "text"]
