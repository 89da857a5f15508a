"""What a line that begins with `/` does in the chat."""

from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from chat.render import table
from chat.session import Chat
from chat.text import visible
from router.backend import Target
from router.classifier import MOST_WORDS
from router.decision import Side

HELP: Final = {
    "/info": "both sides, and what is set",
    "/route": "where the last message went and why, signal by signal",
    "/local  /cloud  /auto": "which side answers from now on",
    "/retry [local|cloud]": "ask the last question again",
    "/good  /bad": "rate the last answer; the tuner learns from it",
    "/clear": "forget the conversation",
    "/exit": "leave; so do Ctrl-D and a second Ctrl-C",
}
NAMES: Final = {name.split()[0] for names in HELP for name in names.split("  ")}
NOTHING_ASKED: Final = "[dim]nothing was asked yet[/]"


class Commands:
    """Carries commands out. `answer` has the conversation's last question answered."""

    def __init__(
        self, chat: Chat, console: Console, answer: Callable[[Target | None], Awaitable[None]]
    ) -> None:
        self._chat = chat
        self._console = console
        self._answer = answer

    async def run(self, line: str) -> bool:
        """Carry a command out; False if the line is none (a path, for example)."""
        match line.split():
            case ["/help"]:
                self._console.print(table(HELP.items()))
            case ["/info"]:
                await self._info()
            case ["/route"]:
                self._route()
            case ["/local"]:
                await self._choose("local")
            case ["/cloud"]:
                await self._choose("cloud")
            case ["/auto"]:
                self._chat.force = None
            case ["/clear"]:
                self._chat.clear()
                self._console.print("[dim]forgotten[/]")
            case ["/good"]:
                self._say("noted" if self._chat.rate("good") else NOTHING_ASKED)
            case ["/bad"]:
                self._say("noted" if self._chat.rate("bad") else NOTHING_ASKED)
            case ["/retry"]:
                await self._retry(self._chat.force)
            case ["/retry", ("local" | "cloud") as side]:
                await self._retry("local" if side == "local" else "cloud")
            case [name, *_] if name in NAMES:
                self._console.print(f"[red]{escape(name)} takes no such words; see /help[/]")
            case [name, *_] if "/" in name[1:]:
                return False
            case [name, *_]:
                self._console.print(f"[red]there is no {escape(name)}; see /help[/]")
        return True

    async def say_notice(self) -> None:
        """Say that the built-in model answers, where it does."""
        if notice := await self._chat.notice():
            self._console.print(f"[yellow]{escape(notice)}[/]")

    def _say(self, text: str) -> None:
        self._console.print(text, style="dim")

    async def _choose(self, target: Target) -> None:
        self._chat.force = target
        side = next(side for side in await self._chat.sides() if side.target == target)
        if not side.usable:
            self._console.print(Text(visible(side.why_not), style="yellow"))

    async def _info(self) -> None:
        sides = await self._chat.sides()
        threshold = self._chat.assembly.router.policy.threshold
        rows: list[tuple[str, str]] = [(side.target, _in_words(side)) for side in sides]
        rows += [
            ("threshold", f"{threshold:g}: prompts that score as much go to the cloud"),
            ("asked now", self._chat.force or "auto"),
        ]
        self._console.print(table(rows))

    def _route(self) -> None:
        entry = self._chat.last
        if entry is None or entry.decision is None:
            self._console.print(NOTHING_ASKED)
            return
        record = entry.record
        self._console.print(Text(visible(self._chat.provenance()), style="bold"))
        words: dict[str, list[str]] = {name: [] for name in record.signals}
        for one in self._chat.evidence:
            words[one.signal] += one.words
        rows = [
            (name, f"{points:+5.1f}  {', '.join(words[name][:MOST_WORDS])}")
            for name, points in record.signals.items()
        ]
        rows += [("score", f"{record.score:.0f} (threshold {record.threshold:g})")]
        rows += [("gates", ", ".join(record.gates))] if record.gates else []
        rows += [(f"{a.backend} failed", a.message or a.error) for a in record.attempts]
        self._console.print(table(rows))

    async def _retry(self, force: Target | None) -> None:
        if self._chat.again():
            await self._answer(force)
        else:
            self._console.print(NOTHING_ASKED)


def _in_words(side: Side) -> str:
    """Return a side's state, model, loaded context and what is wrong with it."""
    status, model = side.status, side.status.model
    context = f"{model.context_tokens} tokens loaded" if model and model.context_tokens else ""
    said = ", ".join(part for part in (status.state, model.id if model else "", context) if part)
    detail = status.detail if side.usable else side.why_not
    return f"{said}. {detail}" if detail else said
