"""Settings to a Router with its backends: the one place that knows all of them."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlsplit

import env_file
from config import Settings, SettingsError, is_this_machine
from local_servers import LocalServerSettings
from router.answers.calibration import Calibrations
from router.answers.trust import Truster
from router.backend import Backend, TimeLimits
from router.cloud_client import ClaudeBackend, GeminiBackend, OpenAIBackend
from router.clouds.pictures import is_public
from router.clouds.thought_signatures import Vault
from router.decision import Policy
from router.embedded.backend import EmbeddedBackend
from router.embedded.server import EmbeddedServer
from router.local_client import LocalBackend
from router.privacy.redact import redact
from router.privacy.scanner import PrivacyScanner
from router.request import ChatRequest
from router.router import Router
from router.sides.ability import Ability
from router.sides.availability import Watch
from router.sides.pool import Balancer
from router.sides.private_conversations import PrivateConversations
from router.sides.seat import Seat
from router.sides.shared_breakers import SharedBreakers
from router.state.private_marks import PrivateMarks
from router.state.sealed import SealedStore
from router.state.shared import SharedStore, Store
from router.team import BadKeysFile, Team
from router.telemetry import lessons
from router.telemetry.journal import Journal, journal_path
from router.telemetry.ledger import Ledger
from router.telemetry.metrics import Metrics, SideState
from router.telemetry.prices import Prices
from router.telemetry.shared_spending import SharedSpending

log = logging.getLogger("router")

CLOUD_CONNECT_FACTOR = 5
"""A cloud is farther away than a local server."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A router and what keeps its books; `start` and `aclose` it."""

    settings: Settings
    router: Router
    ledger: Ledger
    team: Team | None = None
    store: SharedStore | None = None
    """What several routers share; None without STATE_URL."""
    sealed: SealedStore | None = None
    """The same, for contents."""

    @property
    def redact(self) -> Callable[[str], str]:
        """Takes keys, ours and whatever looks like one, out of a text."""
        return partial(redact, secrets=self.settings.secrets)

    def may_share(self, request: ChatRequest) -> bool:
        """Return whether what is said in the conversation of a request may be kept in the store.

        That of private ones may where the store is on this machine, or the user trusts it.
        """
        if self.store is None:
            return False
        is_trusted = self.settings.state_trusted or self.settings.has_store_here
        return is_trusted or not self.router.is_private(request)

    async def connect(self) -> None:
        """Look at the store that several routers share, and stay in touch with it."""
        if self.store is not None:
            await self.store.start()

    async def start(self) -> None:
        """Look at both sides, say what was found, and get ready what the first request needs."""
        router = self.router
        await self.connect()
        for warning in self.settings.warnings:
            log.warning("%s", warning)
        if self.settings.claude_url != self.settings.anthropic_base_url:
            log.warning(
                "ANTHROPIC_BASE_URL is this server's own address, for clients: Claude is asked at"
                " Anthropic."
            )
        if self.settings.openai_url != self.settings.openai_base_url:
            log.warning(
                "OPENAI_BASE_URL is this server's own address, for clients: OpenAI's own is asked."
            )
        await asyncio.to_thread(self.start_tracing)
        await asyncio.to_thread(self._start_privacy)
        if self.settings.cloud_budget_usd_per_day is not None or self.team is not None:
            # The journal is read: not while a request waits for it.
            await asyncio.to_thread(self.ledger.journal.spent_today_usd)
        local, cloud = await router.sides()
        for side in (local, cloud):
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
            # At 100 hardly a prompt goes there: its SDK would only take memory.
            assert isinstance(cloud_seat.backend, ClaudeBackend | GeminiBackend | OpenAIBackend)
            await cloud_seat.backend.warm()
            await cloud_seat.watch.look()
        await asyncio.to_thread(self._look_up_prices)
        await self._learn()

    def start_tracing(self) -> None:
        """Begin to send spans, if that is set. Importing the SDK takes half a second."""
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

    async def _learn(self) -> None:
        """Learn from the journal how fast the local servers are, and how good their answers."""
        file = self.ledger.journal.file
        usual = journal_path(None)
        compared = usual.with_name(lessons.COMPARED) if usual is not None and file.path else None
        self.router.ability.learn(await asyncio.to_thread(lessons.labels, file, compared))
        for backend, past in (await asyncio.to_thread(lessons.answers, file)).items():
            seat = self.router.seats.get(backend)
            if seat is not None and seat.speed is not None:
                seat.speed.seed(past)

    def _start_privacy(self) -> None:
        """Read what must not leave, and warn where it would leave all the same."""
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
                "CLOUD_BUDGET_USD_PER_DAY cannot be kept: what %s costs is not known. Say so in"
                " PRICES.",
                prices.cloud_model,
            )

    async def _start_embedded(self, seat: Seat) -> None:
        assert isinstance(seat.backend, EmbeddedBackend)
        await seat.backend.start()
        await seat.backend.server.ready()
        await seat.watch.look()

    async def aclose(self) -> None:
        await self.router.aclose()
        journal, tracing = self.ledger.journal, self.ledger.tracing
        if self.store is not None:
            await self.store.aclose()
        await asyncio.to_thread(journal.close)
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


def assemble(settings: Settings) -> Assembly:
    """Everything, from the settings. Opens nothing; raises SettingsError on a bad pattern."""
    journal = Journal(
        journal_path(settings.journal_path), settings.journal_days, settings.journal_prompts
    )
    store = _store(settings)
    sealed = SealedStore(store) if store is not None else None

    def spent_here_usd(caller: str | None) -> float:
        return ledger.journal.spent_today_usd(caller)

    spending = SharedSpending(store, spent_here_usd) if store is not None else None
    spent_usd = spending.today_usd if spending is not None else spent_here_usd
    router = build_router(settings, spent_usd, store, sealed)
    if store is not None:
        SharedBreakers(store, _shared_watches(settings, router))
    cloud_model = settings.cloud_model if settings.cloud_configured else None
    ledger = Ledger(
        journal,
        Prices(settings.prices or {}, cloud_model),
        Metrics(partial(_side_states, router)),
        threshold=settings.complexity_threshold,
        log_decisions=settings.log_decisions,
        redact=partial(redact, secrets=settings.secrets),
        spend=spending.add if spending is not None else None,
    )
    return Assembly(settings, router, ledger, _team(settings), store, sealed)


def _store(settings: Settings) -> SharedStore | None:
    """Return what several routers share. Raises SettingsError if STATE_URL cannot be used."""
    if settings.state_url is None:
        return None
    try:
        return SharedStore(settings.state_url.get_secret_value())
    except ImportError:
        raise SettingsError(
            "STATE_URL needs the client of Valkey: pip install 'valkey[libvalkey]'"
        ) from None
    except (TypeError, ValueError):
        raise SettingsError("STATE_URL has options that the client does not know.") from None


def _shared_watches(settings: Settings, router: Router) -> dict[bytes, Watch]:
    """Return the watches of the backends that other routers reach too, by what they have in common.

    A server on this machine is another one than that of the same address elsewhere.
    """
    reached = {
        seat.name: server.url for seat, server in zip(router.locals, settings.servers, strict=True)
    }
    reached = {name: url for name, url in reached.items() if not is_this_machine(url)}
    if router.cloud is not None and settings.cloud_key is not None:
        key = settings.cloud_key.get_secret_value()
        urls = (settings.claude_url, settings.gemini_base_url, settings.openai_url)
        reached[router.cloud.name] = f"{settings.provider} {urls} {key}"
    return {
        blake2b(what.encode(), digest_size=16).digest(): router.seats[name].watch
        for name, what in reached.items()
    }


def _id_key(settings: Settings) -> bytes | None:
    """Return what makes findings have the same ids in all routers that share a store."""
    if settings.state_url is None:
        return None
    return blake2b(settings.state_password.encode(), digest_size=32).digest()


def _team(settings: Settings) -> Team | None:
    """Return the names that have keys. Raises SettingsError if the file cannot be used."""
    if settings.router_keys_file is None:
        return None
    try:
        return Team(Path(settings.router_keys_file).expanduser())
    except BadKeysFile as error:
        raise SettingsError(str(error)) from None


def build_router(
    settings: Settings,
    spent_today_usd: Callable[[str | None], float] = lambda caller: 0.0,
    store: Store | None = None,
    sealed: SealedStore | None = None,
) -> Router:
    """Return the router alone.

    `spent_today_usd` says what the cloud has cost, in all (None) or for a member of the team.
    `store`: what several routers share; `sealed`: the same, for contents.
    """
    limits = TimeLimits(
        settings.connect_timeout_s,
        settings.first_byte_timeout_s,
        settings.idle_timeout_s,
        settings.total_timeout_s,
    )
    embedded = None
    if settings.embedded_model != "off":
        embedded = EmbeddedBackend(
            EmbeddedServer(settings.embedded_model), limits, settings.local_confidence
        )
    privacy = None
    if settings.privacy == "on":
        try:
            scanner = PrivacyScanner(
                (*_env_files(settings), *settings.private_files),
                settings.private_patterns,
                id_key=_id_key(settings),
                keys=settings.keys | settings.passwords,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from None
        privacy = PrivateConversations(scanner, PrivateMarks(marks_path(settings)))
    budget = settings.cloud_budget_usd_per_day

    def broke() -> bool:
        return budget is not None and spent_today_usd(None) >= budget

    cloud = _cloud(settings, limits, Vault(shared=sealed))
    ttl_s, concurrency = settings.status_ttl_s, settings.local_concurrency
    queue = settings.local_queue
    balancer = _balancer(settings)
    local, *more = [_local(server, settings, limits, balancer) for server in settings.servers]
    return Router(
        local,
        Seat.of_cloud(cloud, ttl_s=ttl_s) if cloud else None,
        Seat.of_embedded(embedded, ttl_s=ttl_s, concurrency=concurrency, queue=queue)
        if embedded
        else None,
        policy=Policy(
            settings.complexity_threshold,
            settings.max_local_tokens,
            settings.unsure_target,
            settings.cold_local,
            settings.local_patience_s,
            settings.subagents,
        ),
        privacy=privacy,
        ability=Ability(settings.local_reach),
        more=more,
        balancer=balancer,
        offline=settings.offline,
        picks_model="local_model" not in settings.model_fields_set,
        hold_s=settings.commit_hold_s,
        first_byte_s=settings.first_byte_timeout_s,
        truster=Truster(
            settings.local_confidence, _calibrations(settings), settings.complexity_threshold
        ),
        store=store,
        budget_spent=broke,
        spent_by_usd=spent_today_usd,
    )


def calibrations_path(settings: Settings) -> Path:
    """Return where `tune.py compare` keeps the calibrations: beside the journal."""
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


def _local(
    server: LocalServerSettings, settings: Settings, limits: TimeLimits, balancer: Balancer | None
) -> Seat:
    """Return the seat of one local server."""
    # Of several servers each may have another model: LOCAL_MODEL must be meant, not a default.
    is_meant = "local_model" in settings.model_fields_set
    backend = LocalBackend(
        server.url,
        server.model or (settings.local_model if is_meant else ""),
        name=server.name,
        api_key=server.key.get_secret_value() if server.key else None,
        limits=limits,
        confidence=settings.local_confidence,
    )
    return Seat.of_server(
        backend,
        ttl_s=settings.status_ttl_s,
        concurrency=server.concurrency or settings.local_concurrency,
        queue=settings.local_queue,
        balancer=balancer,
    )


def _balancer(settings: Settings) -> Balancer | None:
    """Return what chooses among the local servers; None where there is no list of them."""
    if not settings.local_servers and not settings.local_servers_file:
        return None
    balancer = Balancer()
    for server in settings.servers:
        limit = server.concurrency or settings.local_concurrency
        is_open = server.private or settings.privacy == "off"
        balancer.add(server.name, private=is_open, limit=limit)
    return balancer


def _env_files(settings: Settings) -> list[Path]:
    """Return every .env file whose secrets are looked for: the one that was read, and those that
    lie where one is looked for."""
    read = [settings.env_file.path] if settings.env_file else []
    return [*dict.fromkeys((*read, *env_file.places()))]


def marks_path(settings: Settings) -> Path | None:
    """Return where private conversations are remembered: beside the journal, if there is one."""
    journal = journal_path(settings.journal_path)
    return None if journal is None else journal.with_name("private-marks.bin")


def _cloud(settings: Settings, limits: TimeLimits, vault: Vault) -> Backend | None:
    if not settings.cloud_configured:
        return None
    far = TimeLimits(
        limits.connect_s * CLOUD_CONNECT_FACTOR,
        limits.first_byte_s,
        limits.idle_s,
        limits.total_s,
    )
    key = settings.cloud_key
    assert key is not None
    secret, model = key.get_secret_value(), settings.cloud_model
    match settings.provider:
        case "gemini":
            url = settings.gemini_base_url
            return GeminiBackend(
                secret,
                model,
                base_url=url,
                is_default=not settings.names_cloud_model,
                limits=far,
                vault=vault,
            )
        case "openai":
            return OpenAIBackend(secret, model, base_url=settings.openai_url, limits=far)
    return ClaudeBackend(
        secret,
        model,
        max_tokens=settings.cloud_max_tokens,
        base_url=settings.claude_url,
        vault=vault,
        ability_file=_ability_file(settings),
        is_default=not settings.names_cloud_model,
        limits=far,
    )


def _addresses(settings: Settings) -> dict[str, str]:
    """Return the address of each backend by its name."""
    clouds = {
        "claude": settings.claude_url or "https://api.anthropic.com",
        "gemini": settings.gemini_base_url or "https://generativelanguage.googleapis.com",
        "openai": settings.openai_url or "https://api.openai.com",
    }
    return clouds | {server.name: server.url for server in settings.servers}


def _ability_file(settings: Settings) -> Path | None:
    """Return where the abilities of Claude models are kept: beside the journal, or nowhere."""
    journal = journal_path(settings.journal_path)
    return journal.with_name("claude-models.json") if journal is not None else None


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
