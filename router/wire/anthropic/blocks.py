"""Events put into blocks that come one after the other, as other dialects stream them.

Events may interleave: two tool calls at a time, text between their pieces. What belongs to
another block than the open one waits while the open one is a tool call whose arguments are not
whole yet; text and whole calls are never held back.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import orjson

from router.events import (
    Event,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)

Kind = Literal["text", "reasoning", "refusal", "call"]
Step = tuple[Literal["begin", "more", "end"], "Block", str]
"""`more` comes with the words; `begin` and `end` with none."""


@dataclass(slots=True)
class Block:
    """Words of one kind, or one tool call with its arguments as words."""

    kind: Kind
    id: str = ""
    name: str = ""
    index: int = -1
    """Its place among the blocks, from when it begins."""
    words: list[str] = field(default_factory=list)
    call: int | None = None
    sent: int = 0
    """How many of the words have been sent."""

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def is_whole(self) -> bool:
        """Can nothing but white space follow?"""
        if self.kind != "call":
            return True
        if not self.words or not self.words[-1].rstrip().endswith("}"):
            return False
        try:
            orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return False
        return True


class Blocks:
    """The blocks of one answer."""

    def __init__(self) -> None:
        self.done: list[Block] = []
        self._open: list[Block] = []
        """The first one is being sent; the others wait."""

    def add(self, event: Event) -> Iterator[Step]:
        """What can be said once this event is known."""
        match event:
            case TextDelta(text) if text:
                self._running("text").words.append(text)
            case ReasoningDelta(text) if text:
                self._running("reasoning").words.append(text)
            case RefusalDelta(text) if text:
                self._running("refusal").words.append(text)
            case ToolCallStart(index, id, name):
                self._open.append(Block("call", id, name, call=index))
            case ToolCallDelta(index, arguments) if arguments:
                for block in self._open:
                    if block.call == index:
                        block.words.append(arguments)
        return self._steps(ended=False)

    def end(self) -> Iterator[Step]:
        """What is left to say."""
        return self._steps(ended=True)

    def _running(self, kind: Kind) -> Block:
        if not self._open or self._open[-1].kind != kind:
            self._open.append(Block(kind))
        return self._open[-1]

    def _steps(self, ended: bool) -> Iterator[Step]:
        while self._open:
            block = self._open[0]
            if block.index < 0:
                block.index = len(self.done)
                yield "begin", block, ""
            for words in block.words[block.sent :]:
                yield "more", block, words
            block.sent = len(block.words)
            if not ended and (len(self._open) == 1 or not block.is_whole):
                return
            self.done.append(self._open.pop(0))
            yield "end", block, ""
