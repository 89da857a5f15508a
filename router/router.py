"""The router: looks at the sides, lets decide() choose, and tries the candidates in order."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from router.answers.verify import prove, read_whole
from router.backend import Backend, Relayed, Reply, Status, Target
from router.classifier import score
from router.decision import Ask, Candidate, Decision, Policy, Reason, Side, decide, stays_here
from router.errors import (
    BackendBusy,
    BackendError,
    BackendMisconfigured,
    BackendUnfit,
    BackendUnreachable,
    InvalidRequest,
)
from router.events import Usage
from router.local_client import LocalBackend
from router.privacy.scanner import PrivacyScanner
from router.request import ChatRequest, has_images, outgoing, size_tokens
from router.scoring.background import background_kind
from router.sides.availability import Watch
from router.sides.conversations import Conversations, in_tool_loop, prefixes_of
from router.sides.loading import Loader
from router.sides.slots import QueueFull, Slot, Slots

UNCONFIGURED: Final = Status(
    "unconfigured",
    detail="No cloud is configured: set ANTHROPIC_API_KEY or GEMINI_API_KEY in .env.",
)
PATIENCE_S: Final = 0.25
"""How long a request waits for a fresh look at the local side, after a silence."""
SWITCHED_OFF: Final = Status("unconfigured")


log = logging.getLogger("router")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate that was asked and failed. `ms`: how long it took to fail."""

    candidate: Candidate
    error: BackendError
    ms: float


class Router:
    """Decides for each request, and answers it. One for the whole process.

    `local` is the user's own server; `embedded` stands in for it when it is down and no cloud is
    configured; `cloud` is None without a key.
    """

    def __init__(
        self,
        local: LocalBackend,
        cloud: Backend | None,
        embedded: Backend | None,
        *,
        policy: Policy,
        scanner: PrivacyScanner | None,
        status_ttl_s: float = 3,
        commit_hold_s: float = 8,
        first_byte_timeout_s: float = 300,
        local_concurrency: int | None = None,
        local_queue: int = 8,
        budget_spent: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self.local = local
        self.backends: dict[str, Backend] = {local.name: local}
        self.backends |= {b.name: b for b in (cloud, embedded) if b is not None}
        self.cloud_name = cloud.name if cloud else ""
        self.embedded_name = embedded.name if embedded else ""
        # A local model is loaded and unloaded at any time, and looking costs milliseconds.
        self.watches = {
            name: Watch(b, status_ttl_s, clock, patience_s=0 if b is cloud else PATIENCE_S)
            for name, b in self.backends.items()
        }
        self.slots = {
            name: Slots(local_concurrency, local_queue)
            for name in self.backends
            if name != self.cloud_name
        }
        self._concurrency = local_concurrency
        self._scanner = scanner
        self._conversations = Conversations(clock=clock)
        self.commit_hold_s = commit_hold_s
        self.first_byte_timeout_s = first_byte_timeout_s
        self._budget_spent = budget_spent
        self._clock = clock
        self._seen: dict[str, Side] = {}
        """Each side as it was at the last request: it seldom changes."""
        self._names: dict[Target, set[str]] = {"local": set(), "cloud": set()}
        """The ids of each side's models when it was last up; they stay its own while it is down."""
        self.loader = Loader(local, self.watches[local.name], clock)

    async def decide(self, request: ChatRequest, force: str | None = None) -> Decision:
        """Who should answer. `force`: "local", "cloud", or None to let the model name or the score.

        Raises InvalidRequest on any other `force`, and what decision.decide() raises.
        """
        local, cloud = await self.sides()
        ask = await self._ask(request, force, local, cloud)
        if ask.force == "local" and self._is_embedded(ask.force_model):
            local = await self._side("local", self.embedded_name)
        if local.backend == self.embedded_name:
            ask = replace(ask, force_model="")  # it has but one
        return decide(ask, local, cloud, self.policy, broke=self._budget_spent())

    def call(self, request: ChatRequest, decision: Decision) -> "Call":
        """Carry a decision out; `async with` it."""
        return Call(self, request, decision)

    async def sides(self) -> tuple[Side, Side]:
        """Both sides as they were last seen; waits only for the first look ever."""
        local = await self._side("local", self.local.name)
        if not local.status.up and self.embedded_name and not self.cloud_name:
            embedded = await self._side("local", self.embedded_name)
            if embedded.status.up:
                local = embedded
            else:
                detail = f"{local.status.detail} {embedded.status.detail}"
                local = replace(local, status=replace(local.status, detail=detail))
        return local, await self._side("cloud", self.cloud_name)

    async def models(self) -> dict[str, Target]:
        """Every model id that can be asked for by name, and its side."""
        local, cloud = await self.sides()
        named = {model.id: local.target for model in local.status.models}
        for side in (local, cloud):
            if side.status.model is not None:
                named[side.status.model.id] = side.target
        return named

    async def aclose(self) -> None:
        await self.loader.aclose()
        for watch in self.watches.values():
            await watch.aclose()
        for backend in self.backends.values():
            await backend.aclose()

    async def _side(self, target: Target, name: str) -> Side:
        if not name:
            return Side(target, "", UNCONFIGURED if target == "cloud" else SWITCHED_OFF)
        watch = self.watches[name]
        status = watch.fresh
        if status is None:
            status = await watch.status()
        slots = self.slots.get(name)
        if slots is not None and self._concurrency is None and status.model is not None:
            slots.limit = status.model.parallel
        blocked, full = watch.blocked, slots is not None and slots.full
        side = self._seen.get(name)
        if (
            side is None
            or side.status is not status
            or side.blocked != blocked
            or side.full != full
        ):
            side = self._seen[name] = Side(target, name, status, blocked, full)
        return side

    async def _ask(self, request: ChatRequest, force: str | None, local: Side, cloud: Side) -> Ask:
        target, model = self._forced(request, force, local, cloud)
        conversation = prefixes_of(request)
        memory = self._conversations.recall(conversation)
        private = memory.private if memory else None
        if private is None and self._scanner is not None:
            private = self._scanner.scan_pieces(outgoing(request))
            if private is not None:
                log.info("private: %s; this conversation stays on this machine", private)
        return Ask(
            score(request),
            size_tokens(request),
            request.max_tokens,
            has_images=has_images(request),
            has_tools=bool(request.tools),
            force=target,
            force_model=model,
            private=private,
            background=background_kind(request),
            last_target=memory.target if memory and self._conversations.is_warm(memory) else None,
            in_tool_loop=in_tool_loop(request),
            escalated=memory is not None and memory.escalated,
            conversation=conversation,
        )

    def _forced(
        self, request: ChatRequest, force: str | None, local: Side, cloud: Side
    ) -> tuple[Target | None, str]:
        """The side and the model that the caller insists on: the header, else the model's name."""
        by_name = self._named(request.model, local, cloud)
        if force is None:
            return by_name
        if force not in ("local", "cloud"):
            raise InvalidRequest("X-Force-Route must be `local` or `cloud`.", param="X-Force-Route")
        target: Target = "local" if force == "local" else "cloud"
        return target, by_name[1] if by_name[0] == target else ""

    def _named(self, name: str, local: Side, cloud: Side) -> tuple[Target | None, str]:
        match name.strip().lower():
            case "local":
                return "local", ""
            case "cloud":
                return "cloud", ""
        if self._is_embedded(name):
            return "local", name
        if name == self.local.model:
            return "local", ""
        for side in (local, cloud):
            if side.up and side.backend != self.embedded_name:
                models = (*side.status.models, side.status.model)
                self._names[side.target] = {model.id for model in models if model is not None}
            if name in self._names[side.target]:
                return side.target, name
        return None, ""

    def _is_embedded(self, name: str) -> bool:
        if not self.embedded_name or not name:
            return False
        last = self.watches[self.embedded_name].last
        return name == self.embedded_name or (
            last is not None and last.model is not None and last.model.id == name
        )

    def remember(self, call: "Call") -> None:
        """Keep where this conversation was answered, for its next turn."""
        ask = call.decision.ask
        before = self._conversations.recall(ask.conversation)  # others may be under way in it
        memory = self._conversations.memory(
            call.candidate.target,
            escalated=call.reason == "escalated" or (before is not None and before.escalated),
            private=ask.private,
        )
        self._conversations.remember(ask.conversation, memory)


class Call:
    """One request on its way: who is being asked now, who failed and why, who answered.

    Use it as a context manager: leaving it closes the reply and the backend's connection.
    """

    def __init__(self, router: Router, request: ChatRequest, decision: Decision) -> None:
        self.request = request
        self.decision = decision
        self.candidate: Candidate = decision.first
        self.reason: Reason = decision.reason
        self.attempts: list[Attempt] = []
        self._reply: Reply | None = None
        self._router = router
        self._slot: Slot | None = None

    @property
    def usage(self) -> Usage | None:
        """Tokens of a relayed answer, once it was read to its end."""
        return self._reply.usage if isinstance(self._reply, Relayed) else None

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
                    self._router.watches[self.candidate.backend].failed(error)
        finally:
            if self._slot is not None:
                self._slot.release()

    async def open(self) -> Reply:
        """The first reply that opens. Raises the first candidate's BackendError if none does,
        and any error that is the caller's fault at once."""
        if self.reason == "local_cold":
            self._router.loader.begin()
        for candidate in self.decision.candidates:
            if self.attempts:
                self.reason = _reason_after(self.attempts[-1])
            self.candidate = candidate
            started = time.perf_counter()
            try:
                return await self._try(candidate)
            except BackendError as error:
                ms = (time.perf_counter() - started) * 1000
                self.attempts.append(Attempt(candidate, error, ms))
                if not error.retryable or not self._may_go_on_after(error):
                    raise
        failure = _most_telling(self.attempts)
        if self.decision.private:
            failure.message += f" {stays_here(self.decision.private)}"
        raise failure

    async def _try(self, candidate: Candidate) -> Reply:
        router = self._router
        watch = router.watches[candidate.backend]
        slot = await self._take_slot(candidate)
        if slot is not None and watch.blocked and self.decision.candidates[-1] is not candidate:
            slot.release()
            raise BackendUnreachable(
                f"The {candidate.backend} side failed while the request waited for it.",
                backend=candidate.backend,
            )
        reply: Reply | None = None
        watch.entered(router.first_byte_timeout_s)
        try:
            if candidate.backend == router.local.name and router.loader.must_load(candidate.model):
                await router.loader.loaded()
            reply = await router.backends[candidate.backend].open(self.request, candidate.model)
            if router.commit_hold_s and self._can_start_over(candidate):
                await prove(reply, self.request, candidate.backend, router.commit_hold_s)
            if not self.request.stream:
                await read_whole(reply)
        except BaseException as error:
            if reply is not None:
                await reply.aclose()
            if slot is not None:
                slot.release()
            if isinstance(error, BackendError):
                watch.failed(error)
            else:
                watch.left()
            raise
        watch.answered()
        router.remember(self)
        self._slot, self._reply = slot, reply
        return reply

    async def _take_slot(self, candidate: Candidate) -> Slot | None:
        slots = self._router.slots.get(candidate.backend)
        if slots is None:
            return None
        try:
            background = "background" in self.decision.gates
            alone = len(self.decision.candidates) == 1 and not background
            return await slots.acquire(background=background, patient=alone)
        except QueueFull as error:
            raise BackendBusy(
                f"The {candidate.backend} model is busy: {error}", backend=candidate.backend
            ) from None

    def _may_go_on_after(self, error: BackendError) -> bool:
        """Nobody pays for what a program wanted for itself, unless there is no local side."""
        return self.decision.reason != "background" or isinstance(error, BackendUnreachable)

    def _can_start_over(self, candidate: Candidate) -> bool:
        """Is this a local answer, with a cloud left to ask, and is it worth it?"""
        return (
            candidate.target == "local"
            and self.decision.candidates[-1].target == "cloud"
            and self.decision.reason != "background"
        )


def _reason_after(failed: Attempt) -> Reason:
    """Why the next candidate answers instead."""
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


def _most_telling(attempts: list[Attempt]) -> BackendError:
    """Of all failures the one to report: the last that is more than "nobody there"."""
    errors = [attempt.error for attempt in attempts]
    return next((e for e in reversed(errors) if not isinstance(e, BackendUnreachable)), errors[0])
