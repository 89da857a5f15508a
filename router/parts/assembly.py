"""A router together with the records of its requests: its start and its end."""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from config import Settings
from router.cloud_client import ClaudeBackend, GeminiBackend, OpenAIBackend
from router.clouds import claude_client, gemini_client
from router.clouds.pictures import is_public
from router.compatible import backend as compatible
from router.embedded.backend import EmbeddedBackend
from router.errors import BackendError
from router.parts.parts import Parts
from router.parts.sharing import Shared
from router.privacy.redact import redact
from router.request import ChatRequest
from router.router import Router
from router.sides.seat import Seat
from router.state.sealed import SealedStore
from router.state.shared import SharedStore
from router.state.team import Team
from router.telemetry import lessons
from router.telemetry.journal import journal_path
from router.telemetry.ledger import Ledger

log = logging.getLogger("router")


@dataclass(frozen=True, slots=True)
class Assembly:
    """A router and what records its requests; `start` and `aclose` it."""

    settings: Settings
    router: Router
    ledger: Ledger
    team: Team | None
    shared: Shared | None
    """The store that several routers share; None without STATE_URL."""
    parts: Parts
    take_over: Callable[[], None]
    """Gives this router the parts that one of earlier settings used. Cannot fail."""

    @property
    def redact(self) -> Callable[[str], str]:
        """Return a function that removes the configured keys and known key formats from a text."""
        return partial(redact, secrets=self.settings.secrets)

    @property
    def store(self) -> SharedStore | None:
        """Return the store that several routers share."""
        return self.shared.store if self.shared is not None else None

    def shared_for(self, request: ChatRequest) -> SealedStore | None:
        """Return the store for a conversation's contents; None if they must not leave.

        Private ones may leave only if the store is on this machine or the user trusts it.
        """
        if self.shared is None:
            return None
        is_trusted = self.settings.state_trusted or self.settings.has_store_here
        return self.shared.sealed if is_trusted or not self.router.is_private(request) else None

    async def connect(self) -> None:
        """Look at the store that several routers share, and stay in touch with it."""
        if self.shared is not None:
            await self.shared.store.start()

    async def start(self) -> None:
        """Look at both sides, log their state, and prepare the first request."""
        await self.prepare()
        await self.announce()

    async def prepare(self) -> None:
        """Read the secrets and today's costs, and look at the store and both sides."""
        await self.connect()
        await asyncio.to_thread(self._start_privacy)
        if self.settings.cloud_budget_usd_per_day is not None or self.team is not None:
            # Read the journal now, not while a request waits for it.
            await asyncio.to_thread(self.ledger.journal.spent_today_usd)
        await self.router.sides()
        await asyncio.to_thread(self.start_tracing)

    async def announce(self, learned: Collection[Seat] = ()) -> None:
        """Log the state of the sides, and do the preparations that can wait.

        `learned`: the seats of earlier settings, which know their speed already.
        """
        router = self.router
        self._warn()
        local, cloud = await router.sides()
        for side in (local, *(await router.cloud_sides() or [cloud])):
            name, status = side.backend or side.target, side.status
            level = logging.INFO if status.up and not status.detail else logging.WARNING
            log.log(level, "%s: %s", name, status.in_words())
        if router.embedded is not None:
            status = await router.embedded.watch.status()
            wanted = self.settings.embedded_model != "auto"
            if wanted and not status.up and status.detail not in local.status.detail:
                log.warning("%s", status.detail)
        if router.embedded is not None and local.backend == router.embedded.name:
            await self._start_embedded(router.embedded)
        if (cloud_seat := router.cloud) is not None and router.policy.threshold < 100:
            # At 100 hardly any prompt goes to the cloud, and its SDK would only take memory.
            assert isinstance(cloud_seat.backend, ClaudeBackend | GeminiBackend | OpenAIBackend)
            try:
                await cloud_seat.backend.warm()
            except BackendError as error:  # of a setting; each request to the cloud gets it too
                log.warning("%s", error)
            await cloud_seat.watch.look()
        await asyncio.to_thread(self._look_up_prices)
        await self._learn(learned)

    def _warn(self) -> None:
        settings = self.settings
        for warning in settings.warnings:
            log.warning("%s", warning)
        if settings.claude_url != settings.anthropic_base_url:
            log.warning(
                "ANTHROPIC_BASE_URL is this server's own address, for clients: Claude is asked at"
                " Anthropic."
            )
        if settings.openai_url != settings.openai_base_url:
            log.warning(
                "OPENAI_BASE_URL is this server's own address, for clients: OpenAI's own is asked."
            )

    def start_tracing(self) -> None:
        """Begin to send spans, if that is set. Importing the SDK takes half a second."""
        if self.ledger.tracing is not None:
            return  # that of earlier settings goes on
        endpoint = self.settings.trace_endpoint
        if endpoint is None:
            if self.settings.otel_exporter_otlp_endpoint:
                log.warning("OFFLINE=true: no spans are sent to OTEL_EXPORTER_OTLP_ENDPOINT.")
            return
        try:
            from router.telemetry.tracing import Tracing
        except ImportError:
            log.warning(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: no spans"
                " are sent. pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
            )
            return
        self.ledger.tracing = Tracing(endpoint, _addresses(self.settings))

    async def _learn(self, learned: Collection[Seat]) -> None:
        """Learn from the journal how fast the local servers are, and how good their answers.

        `learned`: seats that know it already.
        """
        store = self.ledger.journal.store
        usual = journal_path(None)
        compared = usual.with_name(lessons.COMPARED) if usual is not None and store.place else None
        self.router.ability.learn(await asyncio.to_thread(lessons.labels, store, compared))
        for backend, past in (await asyncio.to_thread(lessons.answers, store)).items():
            seat = self.router.seats.get(backend)
            if seat is not None and seat.speed is not None and seat not in learned:
                seat.speed.seed(past)

    def _start_privacy(self) -> None:
        """Read the secrets, and warn of local servers that are on the public internet."""
        if self.router.privacy is not None:
            self.router.privacy.start()
        if self.settings.privacy == "off":
            return
        for server in self.settings.servers:
            if server.private and is_elsewhere(server.url):
                log.warning(
                    "The address of the local server %s leads to the public internet, not to a"
                    " machine of yours: private requests go there too.",
                    server.name,
                )

    def _look_up_prices(self) -> None:
        prices, budget = self.ledger.prices, self.settings.cloud_budget_usd_per_day
        prices.warm()
        if budget is not None and prices.cloud_model and not prices.rates(prices.cloud_model):
            log.warning(
                "CLOUD_BUDGET_USD_PER_DAY cannot be enforced: the price of %s is unknown. Set it in"
                " PRICES.",
                prices.cloud_model,
            )

    async def _start_embedded(self, seat: Seat) -> None:
        assert isinstance(seat.backend, EmbeddedBackend)
        await seat.backend.start()
        await seat.backend.server.ready()
        await seat.watch.look()

    async def aclose(self, heir: "Assembly | None" = None) -> None:
        """Close everything that the heir, the assembly of later settings, does not use.

        If a part fails to close, the others are closed all the same, and its error is raised.
        """
        journal = self.ledger.journal  # now every ended request is in it
        tracing = self.ledger.tracing
        async with AsyncExitStack() as stack:  # calls the last one first
            if tracing is not None and (heir is None or heir.ledger.tracing is not tracing):
                stack.push_async_callback(asyncio.to_thread, tracing.close)
            if heir is None:
                stack.push_async_callback(asyncio.to_thread, journal.close)
            if self.store is not None and (heir is None or heir.store is not self.store):
                stack.push_async_callback(self.store.aclose)
            stack.push_async_callback(self.router.aclose, heir.router if heir is not None else None)


def traced(settings: Settings) -> tuple[str | None, dict[str, str]]:
    """Return the settings of spans: their destination, and the addresses in them."""
    return settings.trace_endpoint, _addresses(settings)


def _addresses(settings: Settings) -> dict[str, str]:
    """Return the address of each backend by its name."""
    clouds = {
        "claude": settings.claude_url or claude_client.BASE_URL,
        "gemini": settings.gemini_base_url or gemini_client.BASE_URL,
        "openai": settings.openai_url or compatible.BASE_URL,
    }
    return clouds | {server.name: server.url for server in settings.servers}


def is_elsewhere(url: str) -> bool:
    """Return whether an address leads to the public internet; looks its name up."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(is_public(str(address[0])) for *_, address in found)
