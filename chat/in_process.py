"""Answers from the router in this process."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from chat.session import AUTO, SIDES
from chat.source import AGENT, Outcome, SideState, described
from router.deciding.facts import Side
from router.errors import RouterError
from router.events import RefusalDelta, TextDelta, each_of
from router.parts.assembly import Assembly
from router.request import ChatRequest
from router.telemetry.flow import AnswerFlow
from router.telemetry.ledger import Entry
from router.telemetry.record import Feedback


class InProcess:
    """The router in this process. `start` prepares it in the background."""

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly
        self._starting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look at both sides and load what the first question needs, while the user types it."""
        self._starting = asyncio.create_task(self._assembly.start())

    async def ask(self, request: ChatRequest, outcome: Outcome) -> AsyncGenerator[str, None]:
        """Yield the answer in pieces."""
        entry = Entry(f"chat-{secrets.token_hex(8)}", user_agent=AGENT)
        outcome.record = entry.record
        flow = AnswerFlow(self._assembly.router, self._assembly.ledger, entry)
        try:
            async with (
                await flow.decide(request, None),
                aclosing(flow.events(await flow.open())) as batches,
            ):
                async for event in each_of(batches):
                    if isinstance(event, TextDelta | RefusalDelta):
                        yield event.text
        except RouterError as error:
            error.message = self._assembly.redact(error.message)
            entry.failed(error)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            entry.left()
            raise
        finally:
            outcome.private = entry.decision is None or bool(entry.decision.private)
            flow.end()

    async def sides(self) -> tuple[SideState, SideState]:
        """Return both sides as they were last seen."""
        local, cloud = await self._assembly.router.sides()
        return _state(local), _state(cloud)

    async def models(self) -> list[str]:
        """Return every name that a request's `model` can have."""
        return [AUTO, *SIDES, *await self._assembly.router.models()]

    async def notice(self) -> str:
        """Return a sentence that says so if the built-in model answers, else an empty text."""
        router = self._assembly.router
        local, _ = await router.sides()
        is_built_in = router.embedded is not None and local.backend == router.embedded.name
        return local.status.detail if is_built_in else ""

    async def rate(self, request_id: str, verdict: Feedback) -> None:
        """Note a verdict in the journal."""
        self._assembly.ledger.journal.feedback(request_id, verdict, "chat")

    async def aclose(self) -> None:
        """Close the router."""
        if self._starting is not None:
            self._starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._starting
        await self._assembly.aclose()


def _state(side: Side) -> SideState:
    model = side.status.model
    detail = side.status.detail if side.usable else side.why_not
    name, context = (model.id, model.context_tokens) if model else ("", None)
    said = described(side.status.state, name, context, detail)
    return SideState(side.target, side.usable, said, "" if side.usable else side.why_not)
