"""Takes a snapshot of the backends for each request, decides, and starts the call."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

from router.answers.stalled import is_stalled
from router.answers.trust import Truster
from router.backend import LocalServer, Model, Status, Target
from router.call import Call
from router.classifier import Score, score
from router.deciding.facts import Ask, Decision, Policy, Side
from router.decision import UNKNOWN_PAST, decide
from router.errors import InvalidRequest, NoBackend
from router.privacy.scanner import Finding
from router.request import ChatRequest, has_images, linked_pictures, size_tokens
from router.scoring.background import background_kind
from router.sides.ability import Ability
from router.sides.absent import NO_PRIVATE_SERVER, SWITCHED_OFF, no_cloud
from router.sides.choice import best_first, first_up, with_smallest
from router.sides.conversations import Conversations, Memory, in_tool_loop, prefixes_of
from router.sides.members import open_to, within_budget
from router.sides.names import Names
from router.sides.offline import without_remote_models
from router.sides.pool import Balancer, blocks_of
from router.sides.private_conversations import PrivateConversations
from router.sides.replicas import Past, Replicas
from router.sides.seat import Seat
from router.sides.speed import new_tokens
from router.state.team import Member

log = logging.getLogger("router")


class Router:
    """Decides for each request and starts its call. One for the whole process."""

    def __init__(
        self,
        locals_: Sequence[Seat],
        clouds: Sequence[Seat],
        embedded: Seat | None,
        *,
        policy: Policy,
        privacy: PrivateConversations | None,
        ability: Ability,
        picks_model: bool,
        offline: bool,
        why_no_cloud: str,
        balancer: Balancer | None,
        hold_s: float,
        first_byte_s: float,
        truster: Truster,
        replicas: Replicas | None,
        budget_spent: Callable[[], bool],
        spent_by_usd: Callable[[str], float],
        conversations: Conversations,
        names: dict[Target, set[str]],
    ) -> None:
        """Take the seats, and what decides among them.

        `locals_`: the user's own servers; `balancer` knows them in this order, and chooses where
        there are several. `embedded` stands in for them while they are down and no cloud is
        configured. `clouds`: none without a key; the later ones answer when the first cannot.
        `picks_model`: the user has named no local model, so of several loaded ones the smallest
        that suffices answers. `privacy`: None where everything may leave. `offline`: nothing may
        leave this machine. `why_no_cloud`: what to say without a cloud. `replicas`: what other
        routers know of conversations, where several share a store. `conversations` and `names`:
        what an earlier router has remembered.
        """
        self.policy = policy
        self.ability = ability
        self._picks_model = picks_model
        self.offline = offline
        self._no_cloud = no_cloud(why_no_cloud)
        self.locals = tuple(locals_)
        self.clouds = tuple(clouds)
        seats = (*self.locals, *self.clouds, embedded)
        self.seats = {seat.name: seat for seat in seats if seat is not None}
        self.local = self.locals[0]
        self.balancer = balancer
        self.cloud = self.clouds[0] if clouds else None
        self.embedded = embedded
        self.privacy = privacy
        self._conversations = conversations
        self.replicas = replicas
        self._hold_s = hold_s
        self._first_byte_s = first_byte_s
        self.truster = truster
        self._budget_spent = budget_spent
        self._spent_by_usd = spent_by_usd
        set_models = {seat.server.model for seat in self.locals if seat.server is not None}
        self._names = Names(set_models, embedded, names)

    async def decide(
        self, request: ChatRequest, force: str | None = None, member: Member | None = None
    ) -> Decision:
        """Return the candidates and the reason.

        `force`: "local" or "cloud"; None: the model name or the score decides. `member`: the
        owner of the key, if a team has keys.
        Raises InvalidRequest on any other `force`, Forbidden and BudgetSpent for a member, and
        what decision.decide() raises.
        """
        findings = await self._findings(request)
        if self.offline and linked_pictures(request):
            raise InvalidRequest(
                "OFFLINE=true: nothing is fetched from the network. Send the picture or file"
                " itself, as a data: URL."
            )
        locals_ = await self.local_sides()
        local, cloud = await self._sides(locals_)
        past, own = await self._past_and_score(request)
        if self._picks_model:
            memory = self._conversations.recall(past.prefixes)
            locals_ = self._with_smallest(request, own, memory, locals_, cloud)
            local = local if self._is_stand_in(local) else first_up(locals_)
        self._names.note(locals_, cloud)
        ask = self._ask(request, own, past, findings, force, local, cloud)
        if self.replicas is not None and ask.private:
            await self.replicas.written()  # its next turn may come to another router at once
        elif self.replicas is not None:
            self.replicas.know(past)
        spares: Sequence[Side] = ()
        if self.balancer is not None and not self._is_stand_in(local):
            ask, local, spares = self._placed(self.balancer, own, ask, locals_, cloud)
        if ask.force == "local" and self._names.is_embedded(ask.force_model):
            local = await self._embedded_side()
        if self._is_stand_in(local):
            ask = replace(ask, force_model="")  # it has only one
        clouds: Sequence[Side] = ()
        if len(self.clouds) > 1 and not ask.force_model:
            cloud, *clouds = best_first(await self.cloud_sides())
        if member is not None:
            local, cloud = open_to(member, ask, local, cloud)
            spares = spares if local.up else ()
            clouds = clouds if cloud.up else ()
        broke = self._budget_spent()
        decision = decide(ask, local, cloud, self.policy, broke=broke, spares=spares, clouds=clouds)
        if member is None:
            return decision
        return within_budget(decision, member, self._spent_by_usd)

    async def what_if(self, request: ChatRequest, local_model: str, cloud_model: str) -> Decision:
        """Return the decision as if these models were loaded; no server is asked.

        An empty name means the configured model. Raises what decision.decide() raises.
        """
        server = self.local.server
        local_model = local_model or (server.model if server is not None else "")
        if not cloud_model and self.cloud is not None:
            seen = self.cloud.watch.last
            known = seen.model if seen is not None else None
            cloud_model = known.id if known is not None else self.cloud.name
        local = Side("local", self.local.name, _supposed(local_model))
        cloud = Side("cloud", self.cloud.name if self.cloud else "cloud", _supposed(cloud_model))
        past = self._past(request)
        findings = await self._findings(request)
        ask = self._ask(request, score(request), past, findings, None, local, cloud)
        return decide(ask, local, cloud, self.policy)

    def call(self, request: ChatRequest, decision: Decision) -> "Call":
        """Return the call that carries a decision out; use it with `async with`."""
        return Call(
            request,
            decision,
            self.seats,
            hold_s=self._hold_s,
            first_byte_s=self._first_byte_s,
            truster=self.truster,
            on_open=self._remember,
        )

    async def local_sides(self) -> list[Side]:
        """Return a snapshot of each local server; waits only before its first status."""
        sides = await self._all_local_sides()
        return [without_remote_models(side) for side in sides] if self.offline else sides

    async def _all_local_sides(self) -> list[Side]:
        if len(self.locals) == 1:
            return [await self.local.side()]
        sides = {seat.name: seat.side_now() for seat in self.locals}
        if late := [seat for seat in self.locals if sides[seat.name] is None]:
            fresh = await asyncio.gather(*[seat.side() for seat in late])
            sides |= zip([seat.name for seat in late], fresh, strict=True)
        return [side for side in sides.values() if side is not None]

    async def sides(self) -> tuple[Side, Side]:
        """Return a snapshot of both sides: of several servers or clouds one that answers."""
        local, cloud = await self._sides(await self.local_sides())
        if len(self.clouds) > 1:
            cloud = best_first(await self.cloud_sides())[0]
        return local, cloud

    async def cloud_sides(self) -> list[Side]:
        """Return a snapshot of each cloud, in the order of the settings."""
        return [await seat.side() for seat in self.clouds]

    async def _sides(self, locals_: Sequence[Side]) -> tuple[Side, Side]:
        local = first_up(locals_)
        if not local.status.up and self.embedded is not None and self.cloud is None:
            embedded = await self.embedded.side()
            detail = f"{local.status.detail} {embedded.status.detail}"
            local = embedded if embedded.status.up else local
            local = replace(local, status=replace(local.status, detail=detail))
        cloud = await self.cloud.side() if self.cloud is not None else self._no_cloud
        return local, cloud

    async def server_for(self, model: str) -> LocalServer:
        """Return the local server for a request that is relayed without a privacy scan.

        This is the first one that has the model, else the first one that is up. Only servers that
        may get private requests count. Raises NoBackend.
        """
        may_see = self.balancer.private if self.balancer is not None else [True]
        sides = zip(self.locals, await self.local_sides(), may_see, strict=True)
        known = [(seat.server, side) for seat, side, private in sides if private and seat.server]
        if not known:
            raise NoBackend(NO_PRIVATE_SERVER.status.detail)
        up = [server for server, side in known if side.status.up and not side.blocked]
        having = [
            server
            for server, side in known
            if server in up and (model in side.status.embedders or side.model(model))
        ]
        return (*having, *up, known[0][0])[0]

    async def models(self) -> dict[str, Target]:
        """Return the side of every model id that a caller can name."""
        locals_ = await self.local_sides()
        local, cloud = await self._sides(locals_)
        named = {model.id: local.target for one in (local, *locals_) for model in one.status.models}
        for side in (local, cloud):
            if side.status.model is not None:
                named[side.status.model.id] = side.target
        return named

    async def allow_private(self, alarm: str) -> bool:
        """Allow what an alarm was raised for, in its conversation; False if there is none."""
        if self.privacy is None:
            return False
        if self.privacy.allow(alarm):
            return True
        return self.replicas is not None and await self.replicas.allow(alarm)

    def is_private(self, request: ChatRequest) -> bool:
        """Return whether the conversation of a request that was decided is, or may be, private."""
        if self.privacy is None:
            return False
        if self.privacy.is_marked(request):
            return True
        return self.replicas is not None and self.replicas.was_unsure(prefixes_of(request))

    def may_be_private(self, request: ChatRequest) -> bool:
        """Return whether a request that was refused is, or may be, private; searches it."""
        if self.privacy is None:
            return False
        return self.privacy.check(request) is not None or self.is_private(request)

    async def aclose(self, heir: "Router | None" = None) -> None:
        """Close every backend but those of the heir, the router of later settings."""
        kept = heir.seats.values() if heir is not None else ()
        async with AsyncExitStack() as stack:  # calls the last one first, and each if one fails
            if self.privacy is not None and (heir is None or heir.privacy is None):
                stack.callback(self.privacy.close)
            for seat in self.seats.values():
                if seat not in kept:
                    stack.push_async_callback(seat.aclose)

    async def _past_and_score(self, request: ChatRequest) -> tuple[Past, Score]:
        """Return what is known of the conversation, and the score without points for the model.

        Where several routers share a store, the request is scored while the store is asked.
        """
        if self.replicas is None:
            return self._past(request), score(request)
        inquiry = await self.replicas.ask(request, self._blocks(request))
        own = score(request)
        return await self.replicas.learn(inquiry), own

    async def _embedded_side(self) -> Side:
        return await self.embedded.side() if self.embedded is not None else SWITCHED_OFF

    def _is_stand_in(self, side: Side) -> bool:
        return self.embedded is not None and side.backend == self.embedded.name

    def _ask(
        self,
        request: ChatRequest,
        own: Score,
        past: Past,
        findings: Sequence[Finding],
        force: str | None,
        local: Side,
        cloud: Side,
    ) -> Ask:
        """Return the facts for the decision.

        `own`: the score without points for the model. `findings`: what is private in the request.
        `local`: the server whose model gives the points.
        """
        target, model = self._names.demanded(request.model, force)
        memory = self._conversations.recall(past.prefixes)
        models = (local.status.model, cloud.status.model)
        has_tools = bool(request.tools)
        last_target = memory.target if memory and self._conversations.is_warm(memory) else None
        size = size_tokens(request)
        unread = new_tokens(request) if last_target == "local" else size
        private, finding_id = self._private(request, past, findings)
        return Ask(
            self.ability.applied(own, *models, has_tools=has_tools),
            self.ability.reach(*models),
            size,
            unread,
            self._first_word_s(local, model if target == "local" else "", unread, size),
            request.max_tokens,
            has_images=has_images(request),
            has_tools=has_tools,
            force=target,
            force_model=model,
            private=private,
            finding_id=finding_id,
            background=background_kind(request),
            purpose=request.purpose,
            last_target=last_target,
            in_tool_loop=in_tool_loop(request),
            escalated=memory is not None and memory.escalated,
            stalled=is_stalled(request.messages),
            conversation=past.prefixes,
            blocks=past.blocks,
        )

    def _past(self, request: ChatRequest) -> Past:
        return Past(prefixes_of(request), self._blocks(request))

    def _blocks(self, request: ChatRequest) -> Sequence[bytes]:
        return blocks_of(request) if self.balancer is not None else ()

    async def _findings(self, request: ChatRequest) -> list[Finding]:
        return await self.privacy.read(request) if self.privacy is not None else []

    def _private(
        self, request: ChatRequest, past: Past, findings: Sequence[Finding]
    ) -> tuple[str | None, str]:
        """Return what keeps a request on this machine, and the id of a finding."""
        if self.privacy is None:
            return None, ""
        if (finding := self.privacy.check(request, past.marks, findings)) is not None:
            return str(finding), finding.id
        if self.replicas is not None and self.replicas.may_be_private(request, past):
            return UNKNOWN_PAST, ""
        return None, ""

    def _placed(
        self, balancer: Balancer, own: Score, ask: Ask, locals_: Sequence[Side], cloud: Side
    ) -> tuple[Ask, Side, list[Side]]:
        """Choose the local server and its spares; the score counts that server's model."""

        def scored(side: Side) -> Score:
            models = (side.status.model, cloud.status.model)
            return self.ability.applied(own, *models, has_tools=ask.has_tools)

        models = {side.status.model.id: side for side in locals_ if side.status.model}
        too_weak: set[str] = set()
        if len(models) > 1 and ask.force is None and ask.background is None:
            limit = self.policy.threshold
            too_weak = {name for name, side in models.items() if scored(side).total >= limit}
        numbers = balancer.ranked(ask, locals_, too_weak)
        if not numbers:
            return ask, NO_PRIVATE_SERVER, []
        local, *spares = [locals_[number] for number in numbers]
        unread = balancer.unread_tokens(local.backend, ask)
        ask = replace(
            ask,
            score=scored(local),
            reach=self.ability.reach(local.status.model, cloud.status.model),
            new_tokens=unread,
            first_word_s=self._first_word_s(local, ask.force_model, unread, ask.size_tokens),
        )
        return ask, local, spares

    def _with_smallest(
        self,
        request: ChatRequest,
        own: Score,
        memory: Memory | None,
        locals_: Sequence[Side],
        cloud: Side,
    ) -> list[Side]:
        """Return the local sides, each with its smallest loaded model that suffices."""
        has_tools = bool(request.tools)

        def is_able(model: Model) -> bool:
            score = self.ability.applied(own, model, cloud.status.model, has_tools=has_tools)
            return score.total < self.policy.threshold

        is_warm = memory is not None and self._conversations.is_warm(memory)
        last = memory.model if memory is not None and memory.target == "local" and is_warm else ""
        return with_smallest(request, locals_, self.ability.size_b, is_able, last=last)

    def _first_word_s(self, local: Side, name: str, unread: int, size: int) -> float | None:
        """Estimate when the local model would begin its answer."""
        seat, model = self.seats.get(local.backend), local.model(name)
        if seat is None or seat.speed is None or model is None or local.status.state != "ready":
            return None
        limit = seat.slots.limit if seat.slots is not None else None
        return seat.speed.first_word_s(model.id, unread, size, limit)

    def _remember(self, call: Call) -> None:
        """Store where this conversation was answered, for its next turn."""
        # An unsure answer is no sign that later turns of the conversation will fail.
        has_failed = call.reason in ("escalated", "stalled") and not call.is_distrusted
        memory = self._conversations.memory(
            call.candidate.target,
            escalated=has_failed,
            model=call.candidate.model,
        )
        conversation = call.decision.ask.conversation
        memory = self._conversations.remember(conversation, memory)
        if self.replicas is not None:
            self.replicas.remember(conversation, memory)


def _supposed(model: str) -> Status:
    """Return the status of a side whose model is there and can do everything."""
    known = Model(model, loaded=True)
    return Status("ready", known, (known,)) if model else Status("unconfigured")
