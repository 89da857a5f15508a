"""The ledger: writes each ended request to the journal, the metrics and the log, once."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from router.call import Call, FailedAttempt
from router.deciding.facts import Decision
from router.errors import RouterError
from router.events import Batch, Finish, FinishReason
from router.http.trace_context import Trace, set_trace
from router.request import ChatRequest, Dialect, text_of
from router.scoring.turns import human_turns
from router.telemetry.journal import Journal
from router.telemetry.log_line import request_line
from router.telemetry.metrics import Metrics
from router.telemetry.prices import Prices
from router.telemetry.quotations import quotes
from router.telemetry.record import Attempt, Record

if TYPE_CHECKING:  # the SDK is optional, and imported where it is used
    from opentelemetry.trace import Span

    from router.telemetry.tracing import Tracing

log = logging.getLogger("router")

SOON_S: Final = 0.01
"""Longest time between the end of a request and its record."""
QUESTION_CHARS: Final = 4000
MESSAGE_CHARS: Final = 500


class Entry:
    """One request, from its arrival to its end."""

    def __init__(
        self, id: str, dialect: Dialect = "chat", *, user_agent: str = "", caller: str = ""
    ) -> None:
        """Begin a record now. `caller`: the name of the key, if a team has keys."""
        self.id = id
        agent = user_agent[:200]
        self.record = Record(id, time.time(), dialect, user_agent=agent, caller=caller)
        self.request: ChatRequest | None = None
        self.bodies: list[Mapping[str, Any]] = []
        """What the caller sent, in each form in which a backend may get it."""
        self._quoting: dict[str, bool] = {}
        self.searched = False
        """The request was searched for something private, whether or not it was decided."""
        self.decision: Decision | None = None
        self.span: Span | None = None
        """The request's span, where requests are traced."""
        self.operation = ""
        """The span's name for it: "chat", "embeddings" or "text_completion"."""
        self.answering_model = ""
        """The model that answered, as its server names it."""
        self.finish_reason: FinishReason | None = None
        """Why the model ended its answer; None where the answer's bytes passed unread."""
        self._began = time.perf_counter()

    def read(self, body: Mapping[str, Any]) -> None:
        """Note the body of a request that is no ChatRequest: relayed unchanged, or refused."""
        model = body.get("model")
        self.bodies = [body]
        self.record.asked_model = model[:200] if isinstance(model, str) else ""
        self.record.stream = body.get("stream") is True

    def asked(self, request: ChatRequest) -> None:
        """Note what the caller asked for."""
        self.request = request
        self.bodies = [request.body] + ([request.original] if request.original else [])
        self.record.asked_model = request.model[:200]
        self.record.stream = request.stream

    def refused(self, *, is_private: bool) -> None:
        """Note that no side was chosen, and whether something private was found."""
        self.searched = True
        self.record.private = is_private

    def decided(self, decision: Decision) -> None:
        """Note the decision."""
        self.searched = True
        self.decision = decision

    def opened(self, model: str = "") -> None:
        """Note that the answer has begun, and the model that gives it."""
        self.answering_model = model
        self.record.first_byte_ms = self._elapsed_ms()

    async def noting(self, batches: AsyncIterator[Batch]) -> AsyncGenerator[Batch, None]:
        """Yield the events unchanged, and note the last one."""
        async for batch in batches:
            if isinstance(last := batch[-1], Finish):
                self.record.usage = last.usage
                self.finish_reason = last.reason
            yield batch

    def done(self) -> None:
        """Note that the whole answer was sent."""
        self.record.outcome = "done"
        self.record.status = 200

    def left(self) -> None:
        """Note that the caller hung up."""
        self.record.outcome = "left"
        self.record.status = 499

    def failed(self, error: RouterError) -> None:
        """Note the failure that the caller gets; its message must be redacted already."""
        self.record.outcome = "failed"
        self.record.status = error.status
        self.record.error = type(error).__name__
        self.record.message = _shortened(error.message)

    def is_quoted_in(self, message: str) -> bool:
        """Return whether an error message repeats some of the request; searches for it once."""
        if message not in self._quoting:
            self._quoting[message] = quotes(message, *self.bodies)
        return self._quoting[message]

    def ended(self) -> None:
        """Note the time that the request took."""
        self.record.total_ms = self._elapsed_ms()

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000


class Ledger:
    """Takes an entry when its request has ended; never fails the request.

    Costs microseconds. Without JOURNAL_PROMPTS, each error message of a failed request costs some
    milliseconds for each MB that the caller sent: it is searched for quotations.

    Reading `journal` or `metrics` flushes pending entries first.
    """

    def __init__(
        self,
        journal: Journal,
        prices: Prices,
        metrics: Metrics,
        *,
        threshold: float,
        shadow_threshold: float | None = None,
        log_decisions: bool,
        redact: Callable[[str], str],
        is_private: Callable[[str], bool],
        spend: Callable[[Record], None] | None = None,
    ) -> None:
        """Take the parts that a record goes to.

        `spend`: adds up what requests cost, where several routers do so together.
        """
        self.prices = prices
        self.on_record: Callable[[Record], None] | None = None
        """Called with each record once it is in the journal; on the event loop."""
        self.tracing: Tracing | None = None
        """Makes the spans, where requests are traced."""
        self._journal = journal
        self._metrics = metrics
        self._due: list[tuple[Entry, Call | None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._threshold = threshold
        self._shadow_threshold = shadow_threshold
        self._log_decisions = log_decisions
        self._redact = redact
        self._spend = spend
        self._is_private = is_private

    @property
    def journal(self) -> Journal:
        """Return the journal, with every ended request in it."""
        self._catch_up()
        return self._journal

    @property
    def metrics(self) -> Metrics:
        """Return the metrics, with every ended request counted."""
        self._catch_up()
        return self._metrics

    def trace(self, entry: Entry, sent: Trace, operation: str = "chat") -> None:
        """Begin the request's span, if requests are traced, and pass its trace on to backends.

        `sent`: the caller's trace, which is passed on as it is where nothing is traced. A
        `tracestate` with something private in it is dropped: it may go to a cloud.
        """
        if "tracestate" in sent and self._is_private(sent["tracestate"]):
            sent = {"traceparent": sent["traceparent"]}
        if self.tracing is not None:
            entry.operation = operation
            entry.span, sent = self.tracing.begin(operation, sent, entry.record.time)
        set_trace(sent)

    def end(self, entry: Entry, call: Call | None) -> None:
        """Record a request now; `call` is None when no backend was asked."""
        entry.ended()
        self._write_down(entry, call)

    def end_soon(self, entry: Entry, call: Call | None) -> None:
        """Record a request a moment later: the caller's next request goes first."""
        entry.ended()
        self._due.append((entry, call))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SOON_S, self._catch_up)

    def _catch_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due, self._due = self._due, []
        for entry, call in due:
            try:
                self._write_down(entry, call)
            except Exception:
                log.exception("internal error while recording request %s", entry.id)

    def _write_down(self, entry: Entry, call: Call | None) -> None:
        record = entry.record
        record.threshold = self._threshold
        request, decision = entry.request, entry.decision
        quotable = decision is not None and self._may_quote(decision)
        if record.message and not quotable and entry.is_quoted_in(record.message):
            record.message = ""
        if request is not None and decision is not None:
            self._fill_in(entry, request, decision, call)
        if record.private or (request is not None and not entry.searched):
            # A request that ended before it was searched may be private, for all that is known.
            record.asked_model = record.user_agent = ""
        elif request is not None and decision is not None:
            self._identify(record, request)
        self._take_out_private(record)
        self.prices.price(record)
        self._journal.add(record)
        self._metrics.observe(record)
        if self._spend is not None:
            self._spend(record)
        if self.tracing is not None and entry.span is not None:
            self.tracing.end(entry.span, entry, call)
        if self.on_record is not None:
            self.on_record(record)
        if self._log_decisions:
            log.info("%s", request_line(record), extra={"request": record})

    def _fill_in(
        self, entry: Entry, request: ChatRequest, decision: Decision, call: Call | None
    ) -> None:
        record = entry.record
        score = decision.score
        record.score, record.confidence = score.total, score.confidence
        record.signals = dict(score.signals)
        record.gates = decision.gates
        record.forced = decision.forced
        record.private = decision.private is not None
        record.reason = decision.reason
        record.fix = decision.fix
        record.kind = score.kind
        if decision.ask.first_word_s is not None:
            record.expected_ms = round(decision.ask.first_word_s * 1000, 1)
        candidate = decision.first
        if call is not None:
            candidate = call.candidate
            record.reason = call.reason
            quotable = self._may_quote(decision)
            record.attempts = tuple(
                [self._attempt(one, entry, quotable=quotable) for one in call.attempts]
            )
            record.answer = dict(call.trust)
            record.usage = record.usage or call.usage
        record.fallback = decision.would_fall_back or candidate.target != decision.first.target
        record.prompt = _said(request) if self._journal.prompts else None
        record.target = candidate.target
        if decision.shadow is not None:
            record.shadow_threshold = self._shadow_threshold
            # At the same first choice the rest would have happened too.
            is_same = decision.shadow == decision.first.target
            record.shadow_target = candidate.target if is_same else decision.shadow
        record.backend = candidate.backend
        record.model = candidate.model

    def _take_out_private(self, record: Record) -> None:
        """Empty what callers and backends may have put something private in, unlike in a prompt."""
        for name in ("asked_model", "model", "user_agent", "message"):
            text = getattr(record, name)
            if text and self._is_private(text):
                setattr(record, name, "")
        record.attempts = tuple(
            replace(one, message="") if one.message and self._is_private(one.message) else one
            for one in record.attempts
        )

    def _may_quote(self, decision: Decision) -> bool:
        """Return whether a stored message may repeat some of the request."""
        return self._journal.prompts and decision.private is None

    def _attempt(self, failed: FailedAttempt, entry: Entry, *, quotable: bool) -> Attempt:
        message = _shortened(self._redact(failed.error.message))
        if not quotable and entry.is_quoted_in(message):
            message = ""
        candidate, error = failed.candidate, type(failed.error).__name__
        return Attempt(candidate.backend, candidate.model, error, message, failed.ms)

    def _identify(self, record: Record, request: ChatRequest) -> None:
        said = [m for m in request.messages if m["role"] == "user"]
        if not said:
            return
        hashed = self._journal.hashed
        record.conversation = hashed(text_of(said[0].get("content"))[:QUESTION_CHARS])
        record.question = (
            hashed(text_of(said[-1].get("content"))[:QUESTION_CHARS])
            if len(said) > 1
            else record.conversation
        )


def _shortened(message: str) -> str:
    """Return a message in at most MESSAGE_CHARS characters; a cut one ends with an ellipsis."""
    return message if len(message) <= MESSAGE_CHARS else f"{message[: MESSAGE_CHARS - 1]}…"


def _said(request: ChatRequest) -> str | None:
    """Return the prompt to keep: what the human said last."""
    turns = human_turns(request.messages, most=1)
    return turns[-1].text if turns else None
