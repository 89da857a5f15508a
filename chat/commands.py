"""The commands of the chat: lines that begin with `/`."""

from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console
from rich.text import Text

from chat import saved
from chat.attachments import read_attachment
from chat.blocks import blocks
from chat.clipboard import copy
from chat.errors import ChatError
from chat.render import print_answer, table
from chat.session import AUTO, SIDES, Chat
from chat.text import counted, visible
from router.classifier import MOST_WORDS
from router.errors import RouterError
from router.request import text_of

COMMANDS: Final = {
    "/help": ("", "this list"),
    "/info": ("", "both sides, and what is set"),
    "/route": ("", "where the last message went and why, signal by signal"),
    "/local": ("", "the local side answers from now on"),
    "/cloud": ("", "the cloud answers from now on"),
    "/auto": ("", "the score decides again"),
    "/model": ("[NAME]", "this model answers from now on; without a name: list the models"),
    "/system": ("[TEXT|off]", "set a text that goes with every question, show it, or remove it"),
    "/file": ("[PATH|off]", "send a text or a picture with the next question"),
    "/retry": ("[local|cloud]", "ask the last question again"),
    "/copy": ("[code]", "copy the last answer, or its last code block"),
    "/good": ("", "rate the last answer good; the tuner learns from it"),
    "/bad": ("", "rate the last answer bad"),
    "/save": ("[NAME]", "save this conversation; its next answers are saved too"),
    "/load": ("NAME", "go on with a saved conversation"),
    "/sessions": ("", "the saved conversations"),
    "/clear": ("", "forget the conversation"),
    "/exit": ("", "leave; so do Ctrl-D and a second Ctrl-C"),
}
"""Each command: its words and its meaning."""
KEYS: Final = {
    "Enter": "send",
    "Alt-Enter, Ctrl-J": "begin a new line",
    "Tab": "complete a command, a model, a path or a session",
}
NOTHING_ASKED: Final = "nothing was asked yet"
OFF: Final = "off"


class Commands:
    """Carries commands out. `answer` lets a model answer the conversation's last question."""

    def __init__(
        self, chat: Chat, console: Console, answer: Callable[[str], Awaitable[None]]
    ) -> None:
        self._chat = chat
        self._console = console
        self._answer = answer

    async def run(self, line: str) -> bool:
        """Carry a command out; False if the line is none (a path, for example)."""
        name, *rest = line.split(maxsplit=1)
        words = rest[0].strip() if rest else ""
        if name not in COMMANDS:
            if "/" in name[1:]:
                return False
            self._warn(f"there is no {name}; see /help")
            return True
        usage, _ = COMMANDS[name]
        if words and not usage:
            self._warn(f"{name} takes no such words; see /help")
        elif not words and usage and not usage.startswith("["):
            self._warn(f"write {name} {usage}")
        else:
            try:
                await self._run(name, words)
            except ChatError as error:
                self._warn(str(error))
            except RouterError as error:
                self._warn(error.message)
        return True

    async def _run(self, name: str, words: str) -> None:
        match name:
            case "/help":
                rows = [(f"{name} {usage}", does) for name, (usage, does) in COMMANDS.items()]
                self._console.print(table([*rows, *KEYS.items()]))
            case "/info":
                await self._info()
            case "/route":
                self._route()
            case "/local" | "/cloud" | "/auto":
                await self._choose(name[1:])
            case "/model":
                await self._model(words)
            case "/system":
                self._system(words)
            case "/file":
                self._file(words)
            case "/retry":
                await self._retry(words)
            case "/copy":
                await self._copy(words)
            case "/good" | "/bad":
                is_rated = await self._chat.rate("good" if name == "/good" else "bad")
                self._say("noted" if is_rated else self._nothing_to_show())
            case "/save":
                self._save(words)
            case "/load":
                await self._load(words)
            case "/sessions":
                self._sessions()
            case "/clear":
                self._chat.clear()
                self._say("forgotten; the system text stays" if self._chat.system else "forgotten")

    async def say_notice(self) -> None:
        """Print the source's notice, if it has one: that the built-in model answers."""
        if notice := await self._chat.source.notice():
            self._console.print(Text(visible(notice), style="yellow"))

    def _say(self, text: str) -> None:
        self._console.print(Text(visible(text), style="dim"))

    def _warn(self, text: str) -> None:
        self._console.print(Text(visible(text), style="red"))

    async def _choose(self, model: str) -> None:
        self._chat.model = model
        side = next((one for one in await self._chat.source.sides() if one.target == model), None)
        if side is not None and not side.usable:
            self._console.print(Text(visible(side.why_not), style="yellow"))

    async def _model(self, name: str) -> None:
        models = await self._chat.source.models()
        if not name:
            rows = [(one, "now" if one == self._chat.model else "") for one in models]
            self._console.print(table(rows))
        elif name in (AUTO, *SIDES):
            await self._choose(name)
        elif name in models:
            self._chat.model = name
        else:
            raise ChatError(f"there is no model {name}; /model lists them")

    def _system(self, text: str) -> None:
        if text:
            self._chat.system = "" if text == OFF else text
            self._say("removed" if text == OFF else "noted")
        else:
            self._say(self._chat.system or "there is no system text")

    def _file(self, path: str) -> None:
        attached = self._chat.attached
        if path == OFF:
            self._chat.attached = []
            self._say("nothing is attached")
        elif path:
            most = self._chat.assembly.settings.max_body_bytes
            attached.append(read_attachment(path, most))
            self._say(f"{attached[-1].name} ({attached[-1].size}) goes with the next question")
        elif attached:
            self._console.print(table([(one.name, one.size) for one in attached]))
        else:
            self._say("nothing is attached")

    async def _retry(self, side: str) -> None:
        if side and side not in SIDES:
            raise ChatError("/retry takes no such words; see /help")
        if self._chat.again():
            await self._answer(side or self._chat.model)
        else:
            self._say(NOTHING_ASKED)

    async def _copy(self, what: str) -> None:
        if what not in ("", "code"):
            raise ChatError("/copy takes no such words; see /help")
        text = self._chat.last_answer
        if not text:
            raise ChatError("there is no answer to copy")
        if what == "code":
            codes = [block.code for block in blocks(text) if block.code is not None]
            if not codes:
                raise ChatError("there is no code in the last answer")
            text = codes[-1]
        console = self._console
        took = await copy(text, by_terminal=console.is_terminal and not console.is_dumb_terminal)
        if not took:
            raise ChatError("there is no clipboard: install wl-copy or xclip")
        self._say(f"{len(text):,} characters copied, by {' and '.join(took)}")

    def _save(self, name: str) -> None:
        if not self._chat.messages:
            raise ChatError(NOTHING_ASKED)
        name = name or self._chat.saved_as or saved.new_name()
        self._chat.save(name)
        self._say(f"saved as {name}")

    async def _load(self, name: str) -> None:
        self._chat.load(name)
        if self._chat.model not in await self._chat.source.models():
            self._chat.model = AUTO
        questions = [one for one in self._chat.messages if one["role"] == "user"]
        self._say(f"{name}, {counted(len(questions), 'question')}; the last one:")
        if questions:
            self._console.print(Text(visible(text_of(questions[-1]["content"])), style="bold"))
        print_answer(self._console, self._chat.last_answer)

    def _sessions(self) -> None:
        if rows := saved.listed():
            self._console.print(table(rows))
        else:
            self._say("no conversation is saved; /save saves this one")

    async def _info(self) -> None:
        chat = self._chat
        threshold = chat.assembly.router.policy.threshold
        rows: list[tuple[str, str]] = [
            (side.target, side.description) for side in await chat.source.sides()
        ]
        rows += [
            ("threshold", f"{threshold:g}: prompts that score as much go to the cloud"),
            ("asked now", chat.model),
        ]
        rows += [("system", chat.system)] if chat.system else []
        rows += [("saved as", chat.saved_as)] if chat.saved_as else []
        rows += [("session", str(chat.spent))]
        self._console.print(table(rows))

    def _nothing_to_show(self) -> str:
        """Say why there is no answer to show or rate."""
        last = self._chat.last
        if last is None:
            return NOTHING_ASKED
        return f"the last question was not answered: {last.record.message or last.record.error}"

    def _route(self) -> None:
        outcome = self._chat.last
        if outcome is None or outcome.record.target is None:
            self._say(self._nothing_to_show())
            return
        record = outcome.record
        self._console.print(Text(visible(self._chat.provenance()), style="bold"))
        # A word can stand behind several counts of a signal.
        words: dict[str, dict[str, None]] = {name: {} for name in record.signals}
        for one in self._chat.evidence:
            if one.count != "base":  # it has a sentence in place of words
                words.setdefault(one.signal, {}).update(dict.fromkeys(one.words))
        rows = [
            (name, f"{points:+5.1f}  {', '.join([*words[name]][:MOST_WORDS])}")
            for name, points in record.signals.items()
        ]
        rows += [("score", f"{record.score:.0f} (threshold {record.threshold:g})")]
        rows += [("gates", ", ".join(record.gates))] if record.gates else []
        rows += [(f"{a.backend} failed", a.message or a.error) for a in record.attempts]
        self._console.print(table(rows))
