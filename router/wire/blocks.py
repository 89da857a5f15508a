"""Events grouped into blocks that follow one another, as other dialects stream them.

Events may interleave: two tool calls at a time, text between their pieces. Parts of another block
wait while the open block is a tool call whose arguments are not complete; text and complete calls
are never held back.
"""

from collections import deque
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
"""A step of a block; only `more` comes with words."""


@dataclass(slots=True)
class Block:
    """Words of one kind, or one tool call with its arguments as words."""

    kind: Kind
    id: str = ""
    name: str = ""
    index: int = -1
    """Its position among the blocks, set when it begins."""
    words: list[str] = field(default_factory=list)
    call: int | None = None
    sent: int = 0
    """Number of the words that have been sent."""
    checked: int = 0
    """Number of the words at the last check whether they are complete."""

    @property
    def text(self) -> str:
        """Return all words as one text."""
        return "".join(self.words)

    @property
    def is_whole(self) -> bool:
        """Return whether only white space can follow."""
        if self.kind != "call":
            return True
        if self.checked == len(self.words) or not self.words[-1].rstrip().endswith("}"):
            return False
        self.checked = len(self.words)
        try:
            orjson.loads(self.text)
        except orjson.JSONDecodeError:
            return False
        return True


class Blocks:
    """The blocks of one answer."""

    def __init__(self) -> None:
        self.done: list[Block] = []
        self._open: deque[Block] = deque()
        """The first one is being sent; the others wait."""
        self._calls: dict[int, Block] = {}
        """Tool calls that have not ended, by their index."""

    def add(self, event: Event) -> Iterator[Step]:
        """Yield the steps that are possible once this event is known."""
        match event:
            case TextDelta(text) if text:
                self._running("text").words.append(text)
            case ReasoningDelta(text) if text:
                self._running("reasoning").words.append(text)
            case RefusalDelta(text) if text:
                self._running("refusal").words.append(text)
            case ToolCallStart(index, id, name):
                self._calls[index] = Block("call", id, name, call=index)
                self._open.append(self._calls[index])
            case ToolCallDelta(index, arguments) if arguments and index in self._calls:
                self._calls[index].words.append(arguments)
        return self._steps(ended=False)

    def end(self) -> Iterator[Step]:
        """Yield the steps that are left at the end."""
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
            self.done.append(self._open.popleft())
            if block.call is not None:
                self._calls.pop(block.call, None)
            yield "end", block, ""
