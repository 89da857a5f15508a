"""Builds the router and its backends from the settings; the only module that knows all parts."""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import env_file
from config import Settings, SettingsError
from router.answers.calibration import Calibrations
from router.answers.trust import Truster
from router.backend import Target, TimeLimits
from router.cloud_client import ClaudeBackend, GeminiBackend, OpenAIBackend
from router.clouds.pictures import is_public
from router.clouds.thought_signatures import Vault
from router.decision import Policy
from router.embedded.backend import EmbeddedBackend
from router.parts import sharing
from router.parts.parts import Parts
from router.parts.seats import cloud_seats, embedded_seat, local_seats
from router.parts.sharing import Shared
from router.privacy.redact import redact
from router.privacy.scanner import PrivacyScanner
from router.request import ChatRequest
from router.router import Router
from router.sides.ability import Ability
from router.sides.conversations import Conversations
from router.sides.private_conversations import PrivateConversations
from router.sides.seat import Seat
from router.state.private_marks import PrivateMarks
from router.state.sealed import SealedStore
from router.state.shared import SharedStore
from router.state.team import BadKeysFile, Team
from router.telemetry import lessons
from router.telemetry.journal import Journal, journal_path
from router.telemetry.journal_file import JournalFile
from router.telemetry.journal_store import JournalStore
from router.telemetry.ledger import Ledger
from router.telemetry.metrics import Metrics, SideState
from router.telemetry.prices import Prices

log = logging.getLogger("router")


@dataclass(frozen=True, slots=True)
class Assembly:
    """A router and what records its requests; `start` and `aclose` it."""

    settings: Settings
    router: Router
    ledger: Ledger
    team: Team | None
    shared: Shared | None
    """What several routers share; None without STATE_URL."""
    parts: Parts

    @property
    def redact(self) -> Callable[[str], str]:
        """Return a function that removes the configured keys and known key formats from a text."""
        return partial(redact, secrets=self.settings.secrets)

    @property
    def store(self) -> SharedStore | None:
        """Return the store that several routers share."""
        return self.shared.store if self.shared is not None else None

    def shared_for(self, request: ChatRequest) -> SealedStore | None:
        """Return where other routers find what is said in the conversation of a request.

        For a private one that is None, unless the store is on this machine or the user trusts it.
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
        """Look at both sides, say what was found, and get ready what the first request needs."""
        await self.prepare()
        await self.announce()

    async def prepare(self) -> None:
        """Read what must not leave and what was spent, and look at the store and both sides."""
        await self.connect()
        await asyncio.to_thread(self._start_privacy)
        if self.settings.cloud_budget_usd_per_day is not None or self.team is not None:
            # Read the journal now, not while a request waits for it.
            await asyncio.to_thread(self.ledger.journal.spent_today_usd)
        await self.router.sides()
        await asyncio.to_thread(self.start_tracing)

    async def announce(self, before: "Assembly | None" = None) -> None:
        """Say what was found, and do what can wait.

        `before`: the assembly of earlier settings, whose parts need no preparation.
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
            await cloud_seat.backend.warm()
            await cloud_seat.watch.look()
        await asyncio.to_thread(self._look_up_prices)
        await self._learn(before.router.seats.values() if before is not None else ())

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
        """Close everything that the heir, the assembly of later settings, does not use."""
        journal = self.ledger.journal  # now every ended request is in it
        await self.router.aclose(heir.router if heir is not None else None)
        if self.store is not None and (heir is None or heir.store is not self.store):
            await self.store.aclose()
        if heir is None:
            await asyncio.to_thread(journal.close)
        tracing = self.ledger.tracing
        if tracing is not None and (heir is None or heir.ledger.tracing is not tracing):
            await asyncio.to_thread(tracing.close)


def assemble(settings: Settings, before: Assembly | None = None) -> Assembly:
    """Build all parts from the settings. Opens nothing; raises SettingsError on a bad value.

    `before`: the assembly of earlier settings, whose parts are used again where they can be.
    """
    parts = Parts(before.parts if before is not None else None)
    journal = _journal(settings, parts)
    team = _team(settings)
    shared = sharing.shared(settings, parts)

    def spent_today_usd(caller: str | None) -> float:
        """Return what the journal knows of, or the other routers too where that is more."""
        here_usd = ledger.journal.spent_today_usd(caller)
        return here_usd if shared is None else max(here_usd, shared.spending.today_usd(caller))

    router = build_router(settings, spent_today_usd, parts, shared)
    sharing.share_breakers(settings, shared, router)
    cloud_model = settings.cloud_model if settings.cloud_configured else None
    prices = parts.get(
        "prices",
        (settings.prices, cloud_model),
        lambda: Prices(settings.prices or {}, cloud_model),
    )
    metrics = parts.get("metrics", None, Metrics)
    metrics.sides = partial(_side_states, router)
    metrics.rows_dropped = lambda: journal.dropped
    ledger = Ledger(
        journal,
        prices,
        metrics,
        threshold=settings.complexity_threshold,
        shadow_threshold=settings.shadow_threshold,
        log_decisions=settings.log_decisions,
        redact=partial(redact, secrets=settings.secrets),
        spend=shared.spending.add if shared is not None else None,
    )
    if before is not None and _traced(settings) == _traced(before.settings):
        ledger.tracing = before.ledger.tracing
    parts.settle()
    return Assembly(settings, router, ledger, team, shared, parts)


def _journal(settings: Settings, parts: Parts) -> Journal:
    """Return the journal with its store. Raises SettingsError where that cannot be used."""
    days, prompts, replica = settings.journal_days, settings.journal_prompts, _replica(settings)
    return parts.get(
        "journal",
        (settings.journal_path, settings.journal_url, days, prompts, replica),
        lambda: Journal(journal_store(settings), days, prompts, replica=replica),
    )


def journal_store(settings: Settings) -> JournalStore:
    """Return where the journal is kept: in a database, a file, or memory. Opens nothing.

    Raises SettingsError if there is no driver for the database, or its address is unusable.
    """
    if settings.journal_url is None:
        return JournalFile(journal_path(settings.journal_path))
    try:  # the driver takes memory that a single machine need not spend
        from router.telemetry.journal_database import JournalDatabase
    except ImportError:
        raise SettingsError(
            "JOURNAL_URL needs the PostgreSQL driver: pip install 'psycopg[binary]'"
        ) from None
    try:
        return JournalDatabase(settings.journal_url.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"JOURNAL_URL {error}") from None


def _replica(settings: Settings) -> str:
    """Return this router's name in a shared journal."""
    if settings.journal_url is None:
        return ""
    return f"{socket.gethostname()}:{settings.server_port}"


def _team(settings: Settings) -> Team | None:
    """Return the team of ROUTER_KEYS_FILE, None without one. Raises SettingsError."""
    if settings.router_keys_file is None:
        return None
    try:
        return Team(Path(settings.router_keys_file).expanduser())
    except BadKeysFile as error:
        raise SettingsError(str(error)) from None


def build_router(
    settings: Settings,
    spent_today_usd: Callable[[str | None], float] = lambda caller: 0.0,
    parts: Parts | None = None,
    shared: Shared | None = None,
) -> Router:
    """Return the router alone.

    `spent_today_usd` says what the cloud has cost, in all (None) or for a member of the team.
    """
    parts = parts or Parts()
    limits = TimeLimits(
        settings.connect_timeout_s,
        settings.first_byte_timeout_s,
        settings.idle_timeout_s,
        settings.total_timeout_s,
    )
    budget = settings.cloud_budget_usd_per_day

    def broke() -> bool:
        return budget is not None and spent_today_usd(None) >= budget

    locals_, balancer = local_seats(settings, limits, parts)
    sealed = shared.sealed if shared is not None else None
    vault = parts.get("vault", sealed, lambda: Vault(shared=sealed))
    clouds = cloud_seats(settings, limits, vault, parts)
    conversations = parts.get("conversations", None, Conversations)
    privacy = _privacy(settings, parts)
    return Router(
        locals_[0],
        clouds[0] if clouds else None,
        embedded_seat(settings, limits, parts),
        policy=Policy(
            settings.complexity_threshold,
            settings.max_local_tokens,
            settings.unsure_target,
            settings.cold_local,
            settings.local_patience_s,
            subagents=settings.subagents,
            shadow_threshold=settings.shadow_threshold,
        ),
        privacy=privacy,
        ability=parts.get("ability", settings.local_reach, lambda: Ability(settings.local_reach)),
        more=locals_[1:],
        other_clouds=clouds[1:],
        balancer=balancer,
        offline=settings.offline,
        picks_model="local_model" not in settings.model_fields_set,
        hold_s=settings.commit_hold_s,
        first_byte_s=settings.first_byte_timeout_s,
        truster=Truster(
            settings.local_confidence, _calibrations(settings), settings.complexity_threshold
        ),
        budget_spent=broke,
        spent_by_usd=spent_today_usd,
        conversations=conversations,
        replicas=sharing.replicas(shared, conversations, privacy, balancer, parts),
        names=parts.get("names", None, dict[Target, set[str]]),
    )


def _privacy(settings: Settings, parts: Parts) -> PrivateConversations | None:
    """Return what keeps requests here. Raises SettingsError on a bad pattern."""
    if settings.privacy == "off":
        return None
    files: tuple[str | Path, ...] = (*_env_files(settings), *settings.private_files)
    patterns = settings.private_patterns
    keys = settings.keys | settings.passwords
    id_key = sharing.id_key(settings) or parts.get(
        "ids of findings", None, lambda: secrets.token_bytes(16)
    )
    try:
        scanner = parts.get(
            "scanner",
            (files, patterns, keys, id_key),
            lambda: PrivacyScanner(files, patterns, keys=keys, id_key=id_key),
        )
    except ValueError as error:
        where = settings.where("private_patterns")
        raise SettingsError(f"{error}{where and f' ({where})'}") from None
    marks = parts.get("marks", marks_path(settings), lambda: PrivateMarks(marks_path(settings)))
    return PrivateConversations(scanner, marks)


def calibrations_path(settings: Settings) -> Path:
    """Return the file of the calibrations of `tune.py compare`, beside the journal."""
    journal = journal_path(settings.journal_path) or journal_path(None)
    assert journal is not None
    return journal.with_name("calibrations.json")


def _calibrations(settings: Settings) -> Calibrations:
    if settings.local_confidence == "off":
        return Calibrations()
    path = calibrations_path(settings)
    try:
        return Calibrations.load(path)
    except (OSError, ValueError) as error:
        log.warning("Answers are not judged by their confidence: %s", error)
        return Calibrations()


def _env_files(settings: Settings) -> list[Path]:
    """Return every .env file whose secrets are looked for: the one that was read, and all places
    where one could be."""
    read = [settings.env_file.path] if settings.env_file else []
    return [*dict.fromkeys((*read, *env_file.places()))]


def marks_path(settings: Settings) -> Path | None:
    """Return the file of private conversations, beside the journal; None without a journal."""
    journal = journal_path(settings.journal_path)
    return None if journal is None else journal.with_name("private-marks.bin")


def _traced(settings: Settings) -> tuple[str | None, dict[str, str]]:
    """Return what spans depend on: where they are sent, and the addresses in them."""
    return settings.trace_endpoint, _addresses(settings)


def _addresses(settings: Settings) -> dict[str, str]:
    """Return the address of each backend by its name."""
    clouds = {
        "claude": settings.claude_url or "https://api.anthropic.com",
        "gemini": settings.gemini_base_url or "https://generativelanguage.googleapis.com",
        "openai": settings.openai_url or "https://api.openai.com",
    }
    return clouds | {server.name: server.url for server in settings.servers}


def is_elsewhere(url: str) -> bool:
    """Return whether an address leads to the public internet; looks its name up."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(is_public(str(address[0])) for *_, address in found)


def _side_states(router: Router) -> list[SideState]:
    states = []
    for name, seat in router.seats.items():
        watch, slots = seat.watch, seat.slots
        states.append(
            SideState(
                name,
                up=watch.last is not None and watch.last.up,
                breaker_open=watch.breaker_state != "closed",
                running=slots.busy if slots else 0,
                waiting=slots.waiting if slots else 0,
            )
        )
    return states
