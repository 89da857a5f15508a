"""The steps of one request, shared by the HTTP side and the chat: decide, open, note, record."""

from collections.abc import AsyncGenerator

from router.backend import Relayed, Reply
from router.call import Call
from router.errors import RouterError
from router.events import Batch
from router.request import ChatRequest
from router.router import Router
from router.state.team import Member
from router.telemetry.ledger import Entry, Ledger
from router.wire.chat import completions


class AnswerFlow:
    """One request from its decision to its record.

    async with await flow.decide(request, force):
        async for batch in flow.events(await flow.open()):
            ...
    flow.end()  # in any case, after entry.failed() or entry.left() if it came to that
    """

    __slots__ = ("_ledger", "_router", "call", "entry")

    def __init__(self, router: Router, ledger: Ledger, entry: Entry) -> None:
        self._router = router
        self._ledger = ledger
        self.entry = entry
        self.call: Call | None = None
        """None until the router has decided."""

    async def decide(
        self,
        request: ChatRequest,
        force: str | None,
        member: Member | None = None,
    ) -> Call:
        """Return the call that will try the candidates. Raises what Router.decide() raises."""
        self.entry.asked(request)
        try:
            decision = await self._router.decide(request, force, member)
        except RouterError:
            self.entry.refused(is_private=self._router.may_be_private(request))
            raise
        self.entry.decided(decision)
        self.call = self._router.call(request, decision)
        return self.call

    async def open(self) -> Reply:
        """Return the first reply that opens. Raises what Call.open() raises."""
        assert self.call is not None
        reply = await self.call.open()
        self.entry.opened(reply.model)
        return reply

    def events(self, reply: Reply) -> AsyncGenerator[Batch, None]:
        """Return the reply's events, unchanged; the usage in them is recorded."""
        batches = completions.decode(reply.chunks) if isinstance(reply, Relayed) else reply.events
        return self.entry.noting(batches)

    def end(self) -> None:
        """Record the request now."""
        self._ledger.end(self.entry, self.call)

    def end_soon(self) -> None:
        """Record the request a moment later, so that the caller's next one goes first."""
        self._ledger.end_soon(self.entry, self.call)
