"""Draws the chat: Markdown while it streams, code as plain lines, small tables."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import Segments
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from chat.blocks import Block, Growing, blocks
from chat.text import visible

FRAMES_PER_S: Final = 12


class Answer:
    """Draws an answer as it grows.

    Finished blocks are printed for good, the last one is drawn again and again, so that an answer
    longer than the screen scrolls like any text.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._text = Growing()
        self._note = "…"
        self._is_first = True
        self._live = Live(
            console=console,
            refresh_per_second=FRAMES_PER_S,
            transient=True,
            get_renderable=self._unfinished,
        )

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw for as long as the context lasts; at its end all of the text is printed."""
        with self._live:
            try:
                yield
            finally:
                rest, self._text, self._note = self._text.open, Growing(), ""
                self._live.refresh()
                self._print(rest)

    def more(self, text: str) -> None:
        """Add a piece of text."""
        self._note = ""
        if finished := self._text.add(text):
            self._print(finished)

    def stopping(self) -> None:
        """Show at once that the answer is being stopped."""
        self._note = "stopping …"
        self._live.refresh()

    def _unfinished(self) -> RenderableType:
        """Return the drawing of the part that can still change."""
        if self._note:
            return Text(self._note, style="dim")
        *_, last = blocks(self._text.open)
        if last.code is None:
            return _markdown(last.source)
        # Of a long block only the end fits on the screen, and it is the newest part.
        return Text("\n".join(last.code.split("\n")[1 - self._console.height :]))

    def _print(self, text: str) -> None:
        for block in blocks(text):
            if not block.source.strip():
                continue
            if not self._is_first:
                self._console.print()
            self._is_first = False
            print_block(self._console, block)


def print_answer(console: Console, text: str) -> None:
    """Print a whole answer."""
    answer = Answer(console)
    answer.more(text)
    with answer.drawn():
        pass


def print_block(console: Console, block: Block) -> None:
    """Print prose as Markdown, and code unchanged, so that it can be copied from the screen."""
    if block.code is None:
        console.print(_markdown(block.source))
        return
    lexer = Syntax("", block.language or "text").lexer or Syntax("", "text").lexer
    if lexer is not None:
        lexer.tabsize = 0  # tabs stay tabs
    code = Syntax("", lexer or "text", theme="ansi_dark").highlight(block.code)
    code = code[: len(block.code)]  # without the line break that highlighting adds
    # As segments: printing a Text would replace its tabs.
    console.print(Segments(code.render(console, end="\n")), soft_wrap=True)


def table(rows: Iterable[tuple[str, str]]) -> Table:
    """Return rows of a name and its meaning."""
    drawn = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, meaning in rows:
        drawn.add_row(Text(visible(name), style="bold"), Text(visible(meaning)))
    return drawn


def _markdown(text: str) -> Markdown:
    # Links show their address: a label may lie about it.
    return Markdown(text, hyperlinks=False)
