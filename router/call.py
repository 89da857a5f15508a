"""Tries the candidates of a decision in order until one of them answers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from router.answers.trust import Trust, Truster
from router.answers.verify import read_whole, verify
from router.backend import Relayed, Reply, Translated
from router.deciding.facts import Candidate, Decision, Reason
from router.decision import stays_here
from router.errors import (
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendUnfit,
    BackendUnreachable,
    NoUsableAnswer,
    UnsureAnswer,
)
from router.events import Usage
from router.request import ChatRequest
from router.sides.seat import Seat
from router.sides.slots import QueueFull, Slot
from router.sides.speed import Turn


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """A candidate that was asked and failed. `ms`: how long it took to fail."""

    candidate: Candidate
    error: BackendError
    ms: float


class Call:
    """One request while it is answered: the current candidate, and those that failed.

    Use it as a context manager: leaving it closes the reply and the backend's connection.
    """

    def __init__(
        self,
        request: ChatRequest,
        decision: Decision,
        seats: Mapping[str, Seat],
        *,
        hold_s: float,
        first_byte_s: float,
        truster: Truster,
        on_open: Callable[["Call"], None],
    ) -> None:
        """Take a decision and the seats of its candidates, by backend name.

        `hold_s`: how long a local answer may be held back to verify it. `on_open` is called once,
        when a reply has opened.
        """
        self.request = request
        self.decision = decision
        self.candidate: Candidate = decision.first
        self.reason: Reason = decision.reason
        self.attempts: list[FailedAttempt] = []
        self._reply: Reply | None = None
        self._seats = seats
        self._hold_s = hold_s
        self._first_byte_s = first_byte_s
        self._truster = truster
        self._on_open = on_open
        self._trust: Trust | None = None
        """How sure the model was of its answer, if that was judged before sending it."""
        self._slot: Slot | None = None
        self._turn: Turn | None = None

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of the answer, as far as they were read; None if unknown."""
        match self._reply:
            case Relayed(usage=usage):
                return usage
            case Translated(usage_so_far=usage_so_far):
                return usage_so_far()
        return None

    @property
    def document(self) -> Mapping[str, Any] | None:
        """Return a relayed answer as JSON, if the backend had to parse it; else None."""
        return self._reply.document if isinstance(self._reply, Relayed) else None

    @property
    def trust(self) -> Mapping[str, float]:
        """Return figures on how sure the local model was of its answer, for the journal.

        The answer may have been sent or refused. A stream must have been read to its end.
        """
        for attempt in self.attempts:
            if isinstance(attempt.error, UnsureAnswer):
                return attempt.error.trust
        if self.candidate.target != "local":
            return {}
        if self._trust is not None:
            return self._trust.figures()
        if not isinstance(self._reply, Relayed) or self._reply.logprobs is None:
            return {}
        return self._truster.read(self._reply, self.candidate.model).figures()

    @property
    def is_distrusted(self) -> bool:
        """Return whether another candidate answers only because the local model was unsure."""
        return any(isinstance(attempt.error, UnsureAnswer) for attempt in self.attempts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._reply is not None:
                await self._reply.aclose()
                if isinstance(error, BackendError):
                    self._seats[self.candidate.backend].watch.failed(error)
        finally:
            self._end_turn(is_whole=error is None)
            if self._slot is not None:
                self._slot.release()

    async def open(self) -> Reply:
        """Return the first reply that opens.

        Raises the most telling BackendError if none does. An error that another candidate would
        give too is raised at once.
        """
        if self.reason == "local_cold":
            self._begin_loading()
        for candidate in self.decision.candidates:
            if self.attempts:
                if not self._is_worth_asking(candidate, self.attempts[-1]):
                    continue
                if candidate.target != self.attempts[-1].candidate.target:
                    self.reason = _reason_after(self.attempts[-1])
            self.candidate = candidate
            started = time.perf_counter()
            try:
                return await self._try(candidate)
            except BackendError as error:
                self._end_turn(is_whole=False)
                ms = (time.perf_counter() - started) * 1000
                self.attempts.append(FailedAttempt(candidate, error, ms))
                if not error.retryable:
                    raise
        failure = _most_telling(self.attempts)
        if self.decision.private:
            failure.message += f" {stays_here(self.decision.ask)}"
        raise failure

    async def _try(self, candidate: Candidate) -> Reply:
        seat = self._seats[candidate.backend]
        watch = seat.watch
        turn = self._turn = seat.turn(candidate.model, self.decision.ask)
        slot = await self._take_slot(seat, candidate)
        if turn is not None:
            turn.started()
        if slot is not None and watch.blocked and self.decision.candidates[-1] is not candidate:
            slot.release()
            raise BackendUnreachable(
                f"The {candidate.backend} side failed while the request waited for it.",
                backend=candidate.backend,
            )
        reply: Reply | None = None
        was_loaded = True
        watch.entered(self._first_byte_s)
        try:
            if seat.loader is not None and seat.loader.must_load(candidate.model):
                was_loaded = False
                await seat.loader.loaded()
            reply = await seat.backend.open(self.request, candidate.model)
            if self._hold_s and self._can_start_over(candidate):
                await verify(reply, self.request, candidate.backend, self._hold_s)
                await self._judge(reply, candidate, seat)
            if not self.request.stream:
                await read_whole(reply)
                if turn is not None and was_loaded:
                    turn.whole(_written_tokens(reply))
            elif turn is not None and was_loaded:
                turn.first_word()
        except BaseException as error:
            try:
                if reply is not None:
                    await reply.aclose()
            finally:
                if slot is not None:
                    slot.release()
                if isinstance(error, BackendError):
                    watch.failed(error)
                else:
                    watch.left()
            raise
        watch.answered()
        self._on_open(self)
        self._slot, self._reply = slot, reply
        return reply

    def _end_turn(self, *, is_whole: bool) -> None:
        if self._turn is not None:
            self._turn.ended(is_whole=is_whole)
            self._turn = None

    async def _judge(self, reply: Reply, candidate: Candidate, seat: Seat) -> None:
        """Read a short or whole answer first if it may be refused. Raises UnsureAnswer."""
        if not self._truster.may_refuse(self.decision.score.total, candidate.model):
            return

        async def ask(check: ChatRequest) -> Reply:
            return await seat.backend.open(check, candidate.model)

        found = await self._truster.judge(
            reply, self.request, candidate.model, candidate.backend, ask
        )
        self._trust = found if found.confidence or found.check is not None else None

    async def _take_slot(self, seat: Seat, candidate: Candidate) -> Slot | None:
        if seat.slots is None:
            return None
        try:
            background = "background" in self.decision.gates
            candidates = self.decision.candidates
            is_last = candidate is candidates[-1] and candidates[0].target == "local"
            return await seat.slots.acquire(
                background=background, patient=is_last and not background
            )
        except QueueFull as error:
            raise BackendBusy(
                f"The {seat.name} model is busy: {error}", backend=seat.name
            ) from None

    def _begin_loading(self) -> None:
        """Load the cold local model while another backend answers."""
        for candidate in self.decision.candidates:
            if (loader := self._seats[candidate.backend].loader) is not None:
                loader.begin()
                return

    def _is_worth_asking(self, candidate: Candidate, failed: FailedAttempt) -> bool:
        """Return whether a candidate may answer where another one has failed.

        Background work goes to a paid cloud only if no local server answers. The same model
        would fail on another server too.
        """
        if candidate.target == failed.candidate.target:
            is_the_models = isinstance(failed.error, NoUsableAnswer | BackendUnfit)
            return not is_the_models or candidate.model != failed.candidate.model
        is_background = self.decision.reason == "background"
        return not is_background or isinstance(failed.error, BackendUnreachable)

    def _can_start_over(self, candidate: Candidate) -> bool:
        """Return whether a cloud could still answer in place of this local candidate."""
        return (
            candidate.target == "local"
            and self.decision.candidates[-1].target == "cloud"
            and self.decision.reason != "background"
        )


def _written_tokens(reply: Reply) -> int:
    """Return the tokens of a whole answer; 0 if the server does not tell."""
    return reply.usage.completion_tokens if isinstance(reply, Relayed) and reply.usage else 0


def _reason_after(failed: FailedAttempt) -> Reason:
    """Return the reason why the next candidate answers instead."""
    if failed.candidate.target == "cloud":
        return "cloud_down"
    match failed.error:
        case BackendUnreachable(code="local_not_ready"):
            return "escalated"
        case BackendUnreachable() | BackendMisconfigured():
            return "local_down"
        case BackendBusy():
            return "local_busy"
        case BackendUnfit(code="context_length_exceeded"):
            return "context"
    return "escalated"


def _most_telling(attempts: list[FailedAttempt]) -> BackendError:
    """Return the failure to report: the last one that is more than an unreachable server."""
    errors = [attempt.error for attempt in attempts]
    return next((e for e in reversed(errors) if not isinstance(e, BackendUnreachable)), errors[0])
