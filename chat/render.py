"""What the chat draws: Markdown while it streams, code as plain lines, small tables."""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from chat.text import visible

FRAMES_PER_S: Final = 12
_FENCE: Final = re.compile(r"[ \t]*(?:```+|~~~+)")


def show_plain(text: str) -> None:
    """Write a piece of an answer to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Answer:
    """Draws an answer as it grows.

    Finished blocks are printed for good, the last one is drawn again and again, so that an answer
    longer than the screen scrolls like any text.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=FRAMES_PER_S, transient=True)
        self._open = ""
        self._is_first = True

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw for as long as the context lasts; at its end all of the text is printed."""
        with self._live:
            self._live.update(Text("…", style="dim"))
            try:
                yield
            finally:
                self._live.update(Text(""))
                self._print(self._open)
                self._open = ""

    def more(self, text: str) -> None:
        """Add a piece of text."""
        self._open += text
        end = _end_of_finished_blocks(self._open)
        if end:
            self._print(self._open[:end])
            self._open = self._open[end:]
        self._live.update(_markdown(self._open))

    def stopping(self) -> None:
        """Show at once that the answer is being stopped."""
        self._live.update(Text("stopping …", style="dim"), refresh=True)

    def _print(self, text: str) -> None:
        for part in _parts(text):
            if not part.strip():
                continue
            if not self._is_first:
                self._console.print()
            self._is_first = False
            if _FENCE.match(part):
                # Neither indented nor broken into lines, so that it can be copied.
                self._console.print(_code(part), soft_wrap=True)
            else:
                self._console.print(_markdown(part))


def table(rows: Iterable[tuple[str, str]]) -> Table:
    """Return rows of a name and its meaning."""
    drawn = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, meaning in rows:
        drawn.add_row(Text(visible(name), style="bold"), Text(visible(meaning)))
    return drawn


def _markdown(text: str) -> Markdown:
    # Links show their address: a label may lie about it.
    return Markdown(text, hyperlinks=False)


def _code(block: str) -> Text:
    """Return the lines between the fences, coloured."""
    fence, _, rest = block.partition("\n")
    indent = len(fence) - len(fence.lstrip())
    lines = [line[indent:] if not line[:indent].strip() else line for line in rest.splitlines()]
    if lines and _FENCE.match(lines[-1]):
        lines.pop()
    words = fence.strip(" \t`~").split()
    code = Syntax("", words[0] if words else "text", theme="ansi_dark").highlight("\n".join(lines))
    code.rstrip()
    return code


def _parts(text: str) -> Iterator[str]:
    """Yield the text in parts: fenced code blocks, and what stands between them."""
    part: list[str] = []
    fenced = False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            if not fenced:
                yield "".join(part)
                part = [line]
            else:
                yield "".join([*part, line])
                part = []
            fenced = not fenced
        else:
            part.append(line)
    yield "".join(part)


def _end_of_finished_blocks(text: str) -> int:
    """Return where the last block begins that can still grow. Blank lines end no code block."""
    end = position = 0
    fenced = False
    for line in text.splitlines(keepends=True):
        position += len(line)
        if _FENCE.match(line):
            fenced = not fenced
        elif not line.strip() and not fenced and line.endswith("\n"):
            end = position
    return end
