"""One conversation, without a terminal."""

import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from chat import saved
from chat.attachments import Attachment, content_of
from chat.source import Outcome, Source
from chat.text import counted, money, visible
from router.classifier import Evidence, explain
from router.errors import RouterError
from router.events import Usage
from router.parts.assembly import Assembly
from router.request import ChatRequest, text_of
from router.telemetry.record import Feedback, Record

AUTO: Final = "auto"
SIDES: Final = ("local", "cloud")


@dataclass(slots=True)
class Spent:
    """Answers, tokens and money of a session."""

    answers: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost_usd: float = 0
    is_known: bool = True
    """Whether the price of every answer was known."""

    def add(self, record: Record) -> None:
        """Count an answer."""
        usage = record.usage or Usage(0, 0)
        self.answers += 1
        self.prompt_tokens += usage.prompt_tokens
        self.answer_tokens += usage.completion_tokens
        self.cost_usd += record.cost_usd or 0
        self.is_known &= record.cost_usd is not None

    @property
    def price(self) -> str:
        """Return the money in words."""
        return money(self.cost_usd) if self.is_known else f"at least {money(self.cost_usd)}"

    def __str__(self) -> str:
        return (
            f"{counted(self.answers, 'answer')}, {self.prompt_tokens} + {self.answer_tokens} tokens"
            f" (prompts + answers), {self.price}"
        )


@dataclass(frozen=True, slots=True)
class _Before:
    """The answer to a question that is asked again, and where it came from."""

    answers: list[dict[str, Any]]
    last: Outcome | None
    evidence: list[Evidence]


class Chat:
    """A conversation: its messages, its source of answers, and the origin of the last answer."""

    def __init__(self, assembly: Assembly, source: Source, model: str = AUTO) -> None:
        self.assembly = assembly
        self.source = source
        self.model = model
        """The `model` of requests: `auto`, a side, or the name of a model."""
        self.system = ""
        self.messages: list[dict[str, Any]] = []
        """Questions and answers, without the system text."""
        self.attached: list[Attachment] = []
        """Attachments of the next question."""
        self.saved_as = ""
        """The saved session that this conversation is; empty if it was never saved."""
        self.spent = Spent()
        self.last: Outcome | None = None
        self.evidence: list[Evidence] = []
        """Why the last question got its points."""
        self.is_answered = False
        """Whether the last try brought an answer, or a part of one."""
        self._unanswered: dict[str, Any] | None = None
        self._before: _Before | None = None
        """What `again()` replaced; it comes back if the new try brings no answer."""
        self._has_warned = False
        """Whether the user was warned that private answers are not saved."""

    def say(self, question: str) -> None:
        """Add a question to the conversation, with what is attached."""
        content = content_of(question, self.attached)
        self.messages.append({"role": "user", "content": content})
        self.attached = []

    async def answer(self, model: str, show: Callable[[str], None]) -> None:
        """Answer the last question, and show each piece of text.

        The text up to a failure or a stop counts as the answer. A question without any answer
        leaves the conversation, and `again()` brings it back; one that is asked again keeps the
        answer that it had. Raises RouterError and CancelledError.
        """
        pieces: list[str] = []
        messages = [{"role": "system", "content": self.system}] if self.system else []
        body = {"model": model, "messages": [*messages, *self.messages], "stream": True}
        request = ChatRequest(body)
        self.evidence = explain(request)
        self.last = Outcome(Record("", time.time()))
        try:
            async with aclosing(self.source.ask(request, self.last)) as answer:
                async for piece in answer:
                    if text := visible(piece):
                        pieces.append(text)
                        show(text)
        except RouterError as error:
            error.message = visible(error.message)
            raise
        finally:
            before, self._before, self._unanswered = self._before, None, None
            self.is_answered = bool(pieces)
            if pieces:
                self.messages.append({"role": "assistant", "content": "".join(pieces)})
                self.spent.add(self.last.record)
            elif before is not None:
                self.messages.extend(before.answers)
                self.last, self.evidence = before.last, before.evidence
            else:
                self._unanswered = self.messages.pop()

    def again(self) -> bool:
        """End the conversation with its last question, unanswered; False if there is none."""
        if self._unanswered is not None:
            self.messages.append(self._unanswered)
        answers: list[dict[str, Any]] = []
        while self.messages and self.messages[-1]["role"] == "assistant":
            answers.insert(0, self.messages.pop())
        self._before = _Before(answers, self.last, self.evidence) if answers else None
        return bool(self.messages)

    def clear(self) -> None:
        """Forget the conversation, its last answer and its name; the system text stays."""
        self.messages = []
        self.attached = []
        self.saved_as = ""
        self.last = self._unanswered = None
        self.evidence = []

    def save(self, name: str) -> None:
        """Save the conversation, private or not. Raises ChatError where the name is taken."""
        session = saved.Session(self.messages, self.model, self.system)
        saved.save(session, name, replace=name == self.saved_as)
        self.saved_as = name
        self._has_warned = False

    def save_again(self) -> str:
        """Save a saved conversation with its last answer too; return a warning or "".

        Private conversations are only saved by `save`. Raises ChatError.
        """
        if not self.saved_as or not self.last_answer:
            return ""
        said = [self.system, *(text_of(message["content"]) for message in self.messages)]
        if not self.is_private and not self._has_key("\n".join(said)):
            self.save(self.saved_as)
            return ""
        had_warned, self._has_warned = self._has_warned, True
        return "" if had_warned else "This is private and not saved; /save saves it all the same."

    def load(self, name: str) -> None:
        """Continue a saved conversation. Raises ChatError."""
        session = saved.load(name)
        self.clear()
        self.messages, self.model, self.system = session.messages, session.model, session.system
        self.saved_as = name

    async def rate(self, verdict: Feedback) -> bool:
        """Note how good the last answer was; False if the last question has none."""
        if self.last is None or self.last.record.target is None or not self.last.record.id:
            return False
        await self.source.rate(self.last.record.id, verdict)
        return True

    @property
    def last_answer(self) -> str:
        """Return the text of the last answer; empty if there is none."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            return ""
        return str(self.messages[-1]["content"])

    @property
    def is_private(self) -> bool:
        """Return whether the last question is private, or was never examined."""
        return self.last is None or self.last.private

    def _has_key(self, text: str) -> bool:
        # With PRIVACY=off nothing counts as private; keys are not kept even then.
        return self.assembly.redact(text) != text

    def may_keep(self, line: str) -> bool:
        """Return whether a line may be written to the history: it holds nothing private."""
        privacy = self.assembly.router.privacy
        request = ChatRequest({"messages": [{"role": "user", "content": line}]})
        return not self._has_key(line) and (privacy is None or not privacy.finds_in(request))

    def provenance(self) -> str:
        """Return in one line where the last answer came from, its tokens and its cost."""
        if self.last is None:
            return ""
        record = self.last.record
        usage = record.usage
        parts = [
            record.target or "unanswered",
            record.model,
            f"score {record.score:.0f}",
            record.reason,
            f"{(record.total_ms or 0) / 1000:.1f} s",
            f"{usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else "",
            "price unknown" if record.unpriced else money(record.cost_usd or 0),
        ]
        if self.spent.answers > 1:
            tokens = self.spent.prompt_tokens + self.spent.answer_tokens
            parts.append(f"session: {tokens} tokens, {self.spent.price}")
        return " · ".join(part for part in parts if part)
