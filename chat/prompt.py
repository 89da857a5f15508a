"""The line that is typed: its keys, and what Tab completes."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from chat import saved
from chat.commands import COMMANDS, OFF
from chat.session import SIDES
from chat.text import visible


def prompt_session(
    history: History, models: Callable[[], Awaitable[list[str]]]
) -> PromptSession[str]:
    """Return a session that reads lines. `models` returns the names for /model, never raises."""
    return PromptSession(
        history=history,
        key_bindings=_keys(),
        multiline=True,
        prompt_continuation=lambda width, _line, _wrapped: " " * width,
        completer=Words(models),
        complete_while_typing=False,
    )


class Words(Completer):
    """Completes commands, and the word after one: a model, a path, a session."""

    def __init__(self, models: Callable[[], Awaitable[list[str]]]) -> None:
        self._models = models
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Return nothing; `get_completions_async` is used, because models are asked for."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """Yield what the word before the cursor can become."""
        text = document.text_before_cursor
        name, space, typed = text.partition(" ")
        if not text.startswith("/") or "\n" in text:
            return
        if not space:
            for command, (_, meaning) in COMMANDS.items():
                if command.startswith(name):
                    yield Completion(command, -len(name), display_meta=meaning)
            return
        if name == "/file":
            for path in self._paths.get_completions(Document(typed), complete_event):
                yield path
        for word in await self._words(name):
            if word.startswith(typed):
                yield Completion(visible(word), -len(typed))

    async def _words(self, name: str) -> Iterable[str]:
        match name:
            case "/model":
                return await self._models()
            case "/load" | "/save":
                return saved.names()
            case "/retry":
                return SIDES
            case "/copy":
                return ("code",)
            case "/system" | "/file":
                return (OFF,)
        return ()


def _keys() -> KeyBindings:
    """Return the chat's own keys: Enter sends, and Ctrl-C first clears the line."""
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion:
            buffer.complete_state = None  # takes the completion; the next Enter sends
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys
