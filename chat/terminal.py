"""The conversation with a person at a terminal: reads lines, shows answers."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

from prompt_toolkit.history import InMemoryHistory
from rich.console import Console
from rich.text import Text

from chat.commands import Commands
from chat.errors import ChatError
from chat.history import KeptHistory, open_history
from chat.prompt import prompt_session
from chat.render import Answer
from chat.session import Chat
from chat.text import valid, visible
from router.errors import RouterError

LONGEST_NAME: Final = 24
"""Characters of a model's name in the prompt."""


class Terminal:
    """Reads lines until the person leaves. Answers go to the console."""

    def __init__(self, chat: Chat, console: Console, *, keep_history: bool) -> None:
        self._chat = chat
        self._console = console
        self._commands = Commands(chat, console, self._answer)
        self._history = open_history() if keep_history else InMemoryHistory()
        self._session = prompt_session(self._history, self._models)
        self._warned = False
        self._session.default_buffer.on_text_changed += self._typed

    async def run(self, greeting: str) -> None:
        """Answer line by line; returns when the person leaves. `greeting` says what answers."""
        with _typing_ahead():
            await self._greet(greeting)
            await self._converse()

    async def _greet(self, greeting: str) -> None:
        self._console.print("[bold]llm-router[/]  /help lists the commands", highlight=False)
        self._say(greeting)
        if isinstance(self._history, KeptHistory) and self._history.is_new:
            self._say(
                "Lines you type are kept, private ones excepted; CHAT_HISTORY=off keeps none:"
            )
            # Not broken into lines, so that the path can be copied.
            path = Text(visible(str(self._history.path)), style="dim")
            self._console.print(path, soft_wrap=True)
        try:
            await self._commands.say_notice()
        except RouterError as error:
            self._complain(error.message)

    async def _converse(self) -> None:
        while True:
            try:
                line = valid(await self._session.prompt_async(self._prompt())).strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if self._warned:
                    return
                self._warned = True
                self._say("Ctrl-C again, or Ctrl-D, to leave")
                continue
            if line in ("/exit", "/quit"):
                return
            if line.startswith("/") and await self._command(line):
                self._keep(line)
            elif line:
                self._chat.say(line)
                await self._answer(self._chat.model)
                if not self._chat.is_private:
                    self._keep(line)

    async def _command(self, line: str) -> bool:
        """Carry a command out, unless Ctrl-C stops it; False if the line is none."""
        task = asyncio.create_task(self._commands.run(line))
        try:
            with _interrupts(task, lambda: None):
                return await task
        except asyncio.CancelledError:
            self._complain("stopped")
            return True

    def _prompt(self) -> str:
        attached = f" +{len(self._chat.attached)}" if self._chat.attached else ""
        return f"{visible(self._chat.model)[:LONGEST_NAME]}{attached} > "

    async def _models(self) -> list[str]:
        try:
            return await self._chat.source.models()
        except RouterError:
            return []

    def _typed(self, _: object) -> None:
        self._warned = False

    def _say(self, text: str) -> None:
        if text:
            self._console.print(Text(visible(text), style="dim"))

    def _complain(self, text: str) -> None:
        self._console.print(Text(visible(text), style="red"))

    def _keep(self, line: str) -> None:
        if isinstance(self._history, KeptHistory) and self._chat.may_keep(line):
            self._history.keep(line)

    async def _answer(self, model: str) -> None:
        answer = Answer(self._console)
        trouble = ""
        with answer.drawn():
            task = asyncio.create_task(self._chat.answer(model, answer.more))
            try:
                with _interrupts(task, answer.stopping):
                    await task
            except asyncio.CancelledError:
                trouble = "stopped"
            except RouterError as error:
                trouble = error.message
        if self._chat.is_answered:
            self._console.print(Text(visible(self._chat.provenance()), style="dim"))
        if trouble:
            self._complain(trouble)
        try:
            self._say(self._chat.save_again())
        except ChatError as error:
            self._complain(str(error))


@contextmanager
def _interrupts(task: asyncio.Task[Any], stopping: Callable[[], None]) -> Iterator[None]:
    """Make Ctrl-C stop only the task. `stopping` shows that at once."""
    loop = asyncio.get_running_loop()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping()
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _typing_ahead() -> Iterator[None]:
    """Keep text that is typed during an answer for the next prompt.

    It is not shown in the middle of the answer, and Enter still sends it. Ctrl-D is read as a key:
    the terminal would drop an end of input.
    """
    if termios is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    keys = list(before[6])
    keys[termios.VEOF] = bytes([os.fpathconf(sys.stdin.fileno(), "PC_VDISABLE")])
    local = before[3] & ~termios.ECHO
    quiet = [before[0] & ~termios.ICRNL, *before[1:3], local, *before[4:6], keys]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
