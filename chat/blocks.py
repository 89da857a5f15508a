"""The blocks of a Markdown text: fenced code, and the prose between."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_FENCE: Final = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")
"""Not `splitlines`, which also takes other characters for the end of a line."""


class Block(NamedTuple):
    """A part of a text. `code` is the text between the fences; None for prose."""

    source: str
    code: str | None = None
    language: str = ""


class Fences:
    """Tells, line after line, whether a line is fenced code.

    A block ends with a fence of its own kind that is as long or longer, and has no words after it.
    """

    def __init__(self) -> None:
        self._open: re.Match[str] | None = None

    @property
    def opened(self) -> re.Match[str] | None:
        """Return the fence of the open block: its indent, fence and info."""
        return self._open

    def take(self, line: str) -> bool:
        """Take the next line; True if it opens or closes a block."""
        found = _FENCE.match(line)
        if found is None:
            return False
        if self._open is None:
            is_inline = found["fence"][0] == "`" and "`" in found["info"]
            self._open = None if is_inline else found
            return not is_inline
        is_end = found["fence"].startswith(self._open["fence"]) and not found["info"].strip()
        if is_end:
            self._open = None
        return is_end


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a text in order. A fence that is not closed ends with the text."""
    fences = Fences()
    lines: list[str] = []
    for line in _LINES.findall(text):
        opened = fences.opened
        if not fences.take(line):
            lines.append(line)
        elif opened is None:
            yield Block("".join(lines))
            lines = [line]
        else:
            yield _code([*lines, line], opened, closed=True)
            lines = []
    if fences.opened is not None:
        yield _code(lines, fences.opened, closed=False)
    else:
        yield Block("".join(lines))


class Growing:
    """Splits a growing text into a finished part and a part that can still change.

    Prose is finished with a blank line, code with its fence. Each line is looked at once.
    """

    def __init__(self) -> None:
        self._fences = Fences()
        self._lines: list[str] = []
        self._rest = ""

    @property
    def open(self) -> str:
        """Return the part that is not finished."""
        return "".join(self._lines) + self._rest

    def add(self, text: str) -> str:
        """Add a piece; return the text that it finishes."""
        finished: list[str] = []
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._lines.append(f"{line}\n")
            is_fence = self._fences.take(line)
            if self._fences.opened is None and (is_fence or not line.strip()):
                finished += self._lines
                self._lines = []
        return "".join(finished)


def _code(lines: list[str], opened: re.Match[str], *, closed: bool) -> Block:
    indent = opened["indent"]
    inner = lines[1:-1] if closed else lines[1:]
    # Code in a list is indented as its fence is.
    code = "".join([line[len(indent) :] if line.startswith(indent) else line for line in inner])
    words = opened["info"].split()
    return Block("".join(lines), code.removesuffix("\n"), words[0] if words else "")
