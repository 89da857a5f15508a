"""The conversation with a person at a terminal: reads lines, shows answers."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console
from rich.text import Text

from chat.commands import Commands
from chat.render import Answer
from chat.session import Chat
from chat.text import visible
from router.backend import Target
from router.errors import RouterError


class Terminal:
    """Reads lines until the person leaves. Answers go to the console."""

    def __init__(self, chat: Chat, console: Console, *, keep_history: bool) -> None:
        self._chat = chat
        self._console = console
        self._commands = Commands(chat, console, self._answer)
        self._history = _history() if keep_history else InMemoryHistory()
        self._session: PromptSession[str] = PromptSession(
            history=self._history, key_bindings=_keys()
        )
        self._warned = False
        self._session.default_buffer.on_text_changed += self._typed

    async def run(self) -> None:
        """Answer line by line; returns when the person leaves."""
        self._console.print("[bold]llm-router[/]  /help lists the commands", highlight=False)
        if isinstance(self._history, KeptHistory) and self._history.is_new:
            self._console.print(
                f"[dim]Lines you type are kept in {self._history.path}, private ones excepted."
                " CHAT_HISTORY=off keeps none.[/]",
                highlight=False,
                soft_wrap=True,
            )
        await self._commands.say_notice()
        while True:
            try:
                line = (
                    await self._session.prompt_async(f"{self._chat.force or 'auto'} > ")
                ).strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if self._warned:
                    return
                self._warned = True
                self._console.print("[dim]Ctrl-C again, or Ctrl-D, to leave[/]")
                continue
            if line in ("/exit", "/quit"):
                return
            if line.startswith("/") and await self._commands.run(line):
                self._keep(line)
            elif line:
                self._chat.say(line)
                await self._answer(self._chat.force)
                if not self._chat.is_private:
                    self._keep(line)

    def _typed(self, _: object) -> None:
        self._warned = False

    def _keep(self, line: str) -> None:
        # With PRIVACY=off nothing counts as private; keys are not kept even then.
        redact = self._chat.assembly.redact
        if isinstance(self._history, KeptHistory) and redact(line) == line:
            self._history.keep(line)

    async def _answer(self, force: Target | None) -> None:
        answer = Answer(self._console)
        trouble = ""
        with answer.drawn():
            task = asyncio.create_task(self._chat.answer(force, answer.more))
            try:
                with _interrupts(task, answer.stopping), _no_echo():
                    await task
            except asyncio.CancelledError:
                trouble = "stopped"
            except RouterError as error:
                trouble = error.message
        if self._chat.messages and self._chat.messages[-1]["role"] == "assistant":
            self._console.print(Text(visible(self._chat.provenance()), style="dim"))
        if trouble:
            self._console.print(Text(trouble, style="red"))


class KeptHistory(FileHistory):
    """Lines of this session and earlier ones. Only `keep` writes one to the file."""

    def __init__(self, path: Path, *, is_new: bool) -> None:
        super().__init__(str(path))
        self.path = path
        self.is_new = is_new

    def store_string(self, string: str) -> None:
        """Leave the file alone: whether the line is private is not known yet."""

    def keep(self, line: str) -> None:
        """Write a line to the file."""
        super().store_string(line)


def _history() -> History:
    """Return the history in the user's data folder, readable by its owner only."""
    path = platformdirs.user_data_path("llm-router", appauthor=False) / "chat_history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_new = not path.exists()
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return KeptHistory(path, is_new=is_new)


def _keys() -> KeyBindings:
    """Return our keys: Alt-Enter begins a new line, Ctrl-C first clears what was typed."""
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


@contextmanager
def _interrupts(task: asyncio.Task[None], stopping: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C stop the task, and nothing else. `stopping` shows it at once."""
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
def _no_echo() -> Iterator[None]:
    """Keep what is typed while an answer streams from appearing in its middle."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
