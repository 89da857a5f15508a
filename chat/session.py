"""One conversation with the router, without a terminal."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from chat.text import visible
from router.backend import Target
from router.build import Assembly
from router.classifier import Evidence, explain
from router.decision import Side
from router.errors import RouterError
from router.events import RefusalDelta, TextDelta
from router.request import ChatRequest
from router.telemetry.flow import AnswerFlow
from router.telemetry.ledger import Entry
from router.telemetry.record import Feedback


class Chat:
    """What was said, which side answers, and how the last answer came about."""

    def __init__(self, assembly: Assembly, force: Target | None = None) -> None:
        self.assembly = assembly
        self.force = force
        self.messages: list[dict[str, Any]] = []
        self.last: Entry | None = None
        self.evidence: list[Evidence] = []
        """Why the last question got its points."""
        self._unanswered: dict[str, Any] | None = None

    def say(self, question: str) -> None:
        """Add a question to the conversation."""
        self.messages.append({"role": "user", "content": question})

    async def answer(self, force: Target | None, show: Callable[[str], None]) -> None:
        """Have the last question answered, and show each piece of text.

        What was said until a failure or a stop counts as the answer. A question without any answer
        leaves the conversation; `again()` brings it back. Raises RouterError and CancelledError.
        """
        pieces: list[str] = []

        def take(text: str) -> None:
            if text := visible(text):
                pieces.append(text)
                show(text)

        try:
            await self._ask(force, take)
        finally:
            self._unanswered = None
            if pieces:
                self.messages.append({"role": "assistant", "content": "".join(pieces)})
            else:
                self._unanswered = self.messages.pop()

    def again(self) -> bool:
        """Make the last question the one to answer; False if there is none."""
        if self._unanswered is not None:
            self.messages.append(self._unanswered)
        while self.messages and self.messages[-1]["role"] == "assistant":
            self.messages.pop()
        return bool(self.messages)

    def clear(self) -> None:
        """Forget the conversation and its last answer."""
        self.messages.clear()
        self.last = self._unanswered = None
        self.evidence = []

    def rate(self, verdict: Feedback) -> bool:
        """Note how good the last answer was; False if there is none."""
        if self.last is None:
            return False
        self.assembly.ledger.journal.feedback(self.last.id, verdict, "chat")
        return True

    @property
    def is_private(self) -> bool:
        """Return whether the last question is private, or was never examined."""
        return self.last is None or self.last.decision is None or bool(self.last.decision.private)

    async def sides(self) -> tuple[Side, Side]:
        """Return the local and the cloud side as they were last seen."""
        return await self.assembly.router.sides()

    async def notice(self) -> str:
        """Return what to know before judging an answer: that the built-in model gives it."""
        local, _ = await self.sides()
        embedded = self.assembly.router.embedded
        is_built_in = embedded is not None and local.backend == embedded.name
        return local.status.detail if is_built_in else ""

    def provenance(self) -> str:
        """Return where the last answer came from, in one line."""
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
            f"{usage.completion_tokens} tokens" if usage else "",
        ]
        return " · ".join(part for part in parts if part)

    async def _ask(self, force: Target | None, take: Callable[[str], None]) -> None:
        request = ChatRequest({"model": "auto", "messages": list(self.messages), "stream": True})
        entry = Entry(f"chat-{secrets.token_hex(8)}", user_agent="chat.py")
        self.evidence = explain(request)
        flow = AnswerFlow(self.assembly.router, self.assembly.ledger, entry)
        try:
            async with (
                await flow.decide(request, force),
                aclosing(flow.events(await flow.open())) as events,
            ):
                async for event in events:
                    if isinstance(event, TextDelta | RefusalDelta):
                        take(event.text)
        except RouterError as error:
            error.message = visible(self.assembly.redact(error.message))
            entry.failed(error)
            raise
        except asyncio.CancelledError:
            entry.left()
            raise
        finally:
            self.last = entry
            flow.end()
