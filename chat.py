"""A terminal chat on the same router as the server, in this process.

    python chat.py                      a conversation
    python chat.py "a question"         one answer, as plain text on stdout
    echo "a question" | python chat.py  the same

Exit status: 0, 1 when a single question could not be answered, 2 for unusable settings.
"""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from types import FrameType
from typing import Any, Final

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from config import bad_settings_exit, settings_or_exit
from router.backend import Relayed, Target
from router.build import Assembly, assemble
from router.call import Call
from router.classifier import MOST_WORDS, Evidence, explain
from router.errors import RouterError
from router.events import Event, RefusalDelta, TextDelta
from router.request import ChatRequest
from router.telemetry.ledger import Entry
from router.wire.chat import completions
from web import views

HELP: Final = {
    "/info": "both sides, and what is set",
    "/route": "where the last message went and why, signal by signal",
    "/local  /cloud  /auto": "who answers from now on",
    "/retry [local|cloud]": "ask the last question again",
    "/good  /bad": "say how the last answer was; python tune.py learns from it",
    "/clear": "forget the conversation",
    "/exit": "leave; so do Ctrl-D and a second Ctrl-C",
}
FRAMES_PER_S: Final = 12


class Chat:
    """One conversation: what was said, who answers, and how the last answer came about."""

    def __init__(self, assembly: Assembly, console: Console, force: Target | None) -> None:
        self.assembly = assembly
        self.console = console
        self.force = force
        self.messages: list[dict[str, Any]] = []
        self.last: Entry | None = None
        self.evidence: list[Evidence] = []
        """Why the last question got its points."""

    async def ask(self, force: Target | None, show: "Shown") -> None:
        """Have the conversation's last message answered, and shown. Raises RouterError."""
        request = ChatRequest({"model": "auto", "messages": list(self.messages), "stream": True})
        entry = Entry(f"chat-{secrets.token_hex(8)}", user_agent="chat.py")
        entry.asked(request)
        self.evidence = explain(request)
        call: Call | None = None
        router = self.assembly.router
        try:
            decision = await router.decide(request, force)
            entry.decided(decision)
            async with router.call(request, decision) as call:
                reply = await call.open()
                entry.opened()
                events = (
                    completions.decode(reply.chunks) if isinstance(reply, Relayed) else reply.events
                )
                await show.all_of(entry.noting(events))
        except RouterError as error:
            error.message = self.assembly.redact(error.message)
            entry.failed(error)
            raise
        except asyncio.CancelledError:
            entry.left()
            raise
        finally:
            self.last = entry
            self.assembly.ledger.end(entry, call)

    def provenance(self) -> str:
        """Where the last answer came from, in one line."""
        if self.last is None or self.last.decision is None:
            return ""
        record = self.last.record
        usage = record.usage
        parts = [
            record.target or "nobody",
            record.model,
            f"score {record.score:.0f}",
            record.reason,
            f"{(record.total_ms or 0) / 1000:.1f} s",
            f"{usage.completion_tokens} tokens" if usage else "",
        ]
        return " · ".join(part for part in parts if part)


class Shown:
    """Shows an answer as it comes, and keeps its text. This one prints it plainly to stdout."""

    def __init__(self) -> None:
        self.text = ""

    async def all_of(self, events: AsyncGenerator[Event, None]) -> None:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, TextDelta | RefusalDelta):
                    self.text += event.text
                    self.more(event.text)

    def more(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def end(self) -> None:
        if self.text and not self.text.endswith("\n"):
            sys.stdout.write("\n")


class ShownAsMarkdown(Shown):
    """Renders Markdown while it streams: finished blocks are printed for good, the last one is
    drawn again as it grows, so that an answer longer than the screen scrolls like any text."""

    def __init__(self, console: Console, live: Live) -> None:
        super().__init__()
        self._console = console
        self._live = live
        self._open = ""

    def more(self, text: str) -> None:
        self._open += text
        end = _end_of_finished_blocks(self._open)
        if end:
            self._console.print(Markdown(self._open[:end]))
            self._open = self._open[end:]
        self._live.update(Markdown(self._open))

    def end(self) -> None:
        self._live.update(Text(""))
        if self._open.strip():
            self._console.print(Markdown(self._open))
        self._open = ""


def _end_of_finished_blocks(text: str) -> int:
    """Where the last block begins that can still grow; blank lines in a code fence end nothing."""
    end = position = 0
    fenced = False
    for line in text.splitlines(keepends=True):
        position += len(line)
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not line.strip() and not fenced and line.endswith("\n"):
            end = position
    return end


class Terminal:
    """The conversation with a person: reads lines, knows the commands."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.console = chat.console
        self._session: PromptSession[str] = PromptSession(history=_history())
        self._unanswered: dict[str, Any] | None = None

    async def run(self) -> None:
        self.console.print("[bold]llm-router[/]  /help lists the commands", highlight=False)
        await self._say_notice()
        interrupted = False
        while True:
            try:
                line = (await self._session.prompt_async(self._prompt())).strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                if interrupted:
                    return
                interrupted = True
                self.console.print("[dim]Ctrl-C again, or Ctrl-D, to leave[/]")
                continue
            interrupted = False
            if line in ("/exit", "/quit"):
                return
            if line.startswith("/") and await self._command(*line.split()):
                continue
            if line:
                self.chat.messages.append({"role": "user", "content": line})
                await self._answer(self.chat.force)

    def _prompt(self) -> str:
        return f"{self.chat.force or 'auto'} > "

    async def _say_notice(self) -> None:
        local, _ = await self.chat.assembly.router.sides()
        if notice := views.notice(local):
            self.console.print(f"[yellow]{escape(notice)}[/]")

    async def _answer(self, force: Target | None) -> None:
        live = Live(console=self.console, refresh_per_second=FRAMES_PER_S, transient=True)
        show = ShownAsMarkdown(self.console, live)
        trouble = ""
        with live:
            live.update(Text("…", style="dim"))
            task = asyncio.create_task(self.chat.ask(force, show))
            try:
                with _interrupts(task), _no_echo():
                    await task
            except asyncio.CancelledError:
                trouble = "stopped"
            except RouterError as error:
                trouble = error.message
            show.end()
        self._unanswered = None
        if show.text:
            self.chat.messages.append({"role": "assistant", "content": show.text})
            self.console.print(Text(self.chat.provenance(), style="dim"))
        else:
            self._unanswered = self.chat.messages.pop()  # /retry asks it again
        if trouble:
            self.console.print(Text(trouble, style="red"))

    async def _command(self, name: str, *words: str) -> bool:
        """Carry a command out; False if it is none (a path, say)."""
        match name, words:
            case "/help", ():
                self._table(HELP.items())
            case "/info", ():
                await self._info()
            case "/route", ():
                self._route()
            case (("/local" | "/cloud"), ()):
                self.chat.force = "local" if name == "/local" else "cloud"
            case "/auto", ():
                self.chat.force = None
            case "/clear", ():
                self.chat.messages.clear()
                self._unanswered = None
                self.console.print("[dim]forgotten[/]")
            case (("/good" | "/bad"), ()):
                self._feedback(name[1:])
            case "/retry", ():
                await self._retry(self.chat.force)
            case "/retry", ("local",):
                await self._retry("local")
            case "/retry", ("cloud",):
                await self._retry("cloud")
            case _ if name in HELP or any(name in names.split() for names in HELP):
                self.console.print(f"[red]{escape(name)} takes no such words; see /help[/]")
            case _ if "/" in name[1:]:
                return False
            case _:
                self.console.print(f"[red]there is no {escape(name)}; see /help[/]")
        return True

    def _table(self, rows: Iterable[tuple[str, str]]) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, meaning in rows:
            table.add_row(Text(name, style="bold"), Text(meaning))
        self.console.print(table)

    async def _info(self) -> None:
        router = self.chat.assembly.router
        for side in await router.sides():
            seen = views.side(side, router)
            context = (seen["can"] or {}).get("context_tokens")
            parts = [seen["state"], seen["model"], f"{context} tokens loaded" if context else ""]
            said = ", ".join(part for part in parts if part)
            self._table([(side.target, f"{said}. {seen['detail']}" if seen["detail"] else said)])
        policy = router.policy
        self._table(
            [
                ("threshold", f"{policy.threshold:g}: prompts that score as much go to the cloud"),
                ("asked now", self.chat.force or "auto"),
            ]
        )
        await self._say_notice()

    def _route(self) -> None:
        entry = self.chat.last
        if entry is None or entry.decision is None:
            self.console.print("[dim]nothing was asked yet[/]")
            return
        record = entry.record
        self.console.print(Text(self.chat.provenance(), style="bold"))
        words: dict[str, list[str]] = {name: [] for name in record.signals}
        for one in self.chat.evidence:
            words[one.signal] += one.words
        self._table(
            (name, f"{points:+5.1f}  {', '.join(words[name][:MOST_WORDS])}")
            for name, points in record.signals.items()
        )
        rows = [("score", f"{record.score:.0f} (threshold {record.threshold:g})")]
        rows += [("gates", ", ".join(record.gates))] if record.gates else []
        rows += [(f"{a.backend} failed", a.message or a.error) for a in record.attempts]
        self._table(rows)

    def _feedback(self, verdict: str) -> None:
        if self.chat.last is None:
            self.console.print("[dim]nothing was asked yet[/]")
            return
        journal = self.chat.assembly.ledger.journal
        journal.feedback(self.chat.last.id, "good" if verdict == "good" else "bad", "chat")
        self.console.print("[dim]noted[/]")

    async def _retry(self, force: Target | None) -> None:
        messages = self.chat.messages
        if self._unanswered is not None:
            messages.append(self._unanswered)
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages:
            self.console.print("[dim]nothing was asked yet[/]")
            return
        await self._answer(force)


@contextmanager
def _interrupts(task: asyncio.Task[None]) -> Iterator[None]:
    """Ctrl-C stops the task, and nothing else."""
    loop = asyncio.get_running_loop()

    def stop(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _no_echo() -> Iterator[None]:
    """What is typed while an answer streams does not appear in its middle."""
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


def _history() -> History:
    """Lines typed before, in this session and earlier ones; for nobody else to read."""
    file = platformdirs.user_data_path("llm-router", appauthor=False) / "chat_history"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.chmod(0o600)
        return FileHistory(str(file))
    except OSError:
        return InMemoryHistory()


async def _converse(assembly: Assembly, force: Target | None) -> int:
    starting = asyncio.create_task(assembly.start())
    try:
        await Terminal(Chat(assembly, Console(), force)).run()
    finally:
        starting.cancel()
        await assembly.aclose()
    return 0


async def _answer_once(assembly: Assembly, force: Target | None, question: str) -> int:
    chat = Chat(assembly, Console(stderr=True), force)
    chat.messages.append({"role": "user", "content": question})
    show = Shown()
    try:
        await chat.ask(force, show)
    except RouterError as error:
        show.end()
        print(error.message, file=sys.stderr)
        return 1
    finally:
        await assembly.aclose()
    show.end()
    return 0


def main() -> int:
    """Read the command line and the settings; returns the exit status."""
    parser = argparse.ArgumentParser(description="Chat with your local model and the cloud.")
    side = parser.add_mutually_exclusive_group()
    side.add_argument("--local", action="store_const", const="local", dest="force")
    side.add_argument("--cloud", action="store_const", const="cloud", dest="force")
    parser.add_argument("question", nargs="*", help="ask this, print the answer, and leave")
    options = parser.parse_args()
    settings = settings_or_exit()
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    with bad_settings_exit():
        assembly = assemble(settings)
    question = " ".join(options.question)
    if not question and not sys.stdin.isatty():
        question = sys.stdin.read().strip()
        if not question:
            print("There is no question: pass one, or pipe one in.", file=sys.stderr)
            return 2
    try:
        if question:
            return asyncio.run(_answer_once(assembly, options.force, question))
        return asyncio.run(_converse(assembly, options.force))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
