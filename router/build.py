"""Builds the router and the records of its requests from the settings."""

import logging
import secrets
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

import env_file
from config import Settings, SettingsError
from router.answers.calibration import Calibrations
from router.answers.trust import Truster
from router.backend import Target, TimeLimits
from router.clouds.thought_signatures import Vault
from router.deciding.facts import Policy
from router.parts import sharing
from router.parts.assembly import Assembly, traced
from router.parts.parts import Parts
from router.parts.seats import cloud_seats, embedded_seat, local_seats
from router.parts.sharing import Shared
from router.privacy.redact import redact
from router.privacy.scanner import PrivacyScanner
from router.router import Router
from router.sides.ability import Ability
from router.sides.conversations import Conversations
from router.sides.private_conversations import PrivateConversations
from router.state.private_marks import PrivateMarks
from router.state.team import BadKeysFile, Team
from router.telemetry.journal import Journal, journal_path
from router.telemetry.journal_file import JournalFile
from router.telemetry.journal_store import JournalStore
from router.telemetry.ledger import Ledger
from router.telemetry.metrics import Metrics, SideState
from router.telemetry.prices import Prices

log = logging.getLogger("router")


def assemble(settings: Settings, before: Assembly | None = None) -> Assembly:
    """Build all parts from the settings. Opens nothing; raises SettingsError on a bad value.

    `before`: the assembly of earlier settings, whose parts are used again where they can be. They
    serve it as they are until the new assembly's `take_over` is called.
    """
    parts = Parts(before.parts if before is not None else None)
    journal = _journal(settings, parts)
    team = _team(settings)
    shared = sharing.shared(settings, parts)

    def spent_today_usd(caller: str | None) -> float:
        """Return the journal's figure, or that of the shared store if it is larger."""
        here_usd = ledger.journal.spent_today_usd(caller)
        return here_usd if shared is None else max(here_usd, shared.spending.today_usd(caller))

    router = build_router(settings, spent_today_usd, parts, shared)
    cloud_model = settings.cloud_model if settings.cloud_configured else None
    prices = parts.get(
        "prices",
        (settings.prices, cloud_model),
        lambda: Prices(settings.prices or {}, cloud_model),
    )
    metrics = parts.get("metrics", None, Metrics)
    ledger = Ledger(
        journal,
        prices,
        metrics,
        threshold=settings.complexity_threshold,
        shadow_threshold=settings.shadow_threshold,
        log_decisions=settings.log_decisions,
        redact=partial(redact, secrets=settings.secrets),
        spend=shared.spending.add if shared is not None else None,
        is_private=router.privacy.finds_in_text if router.privacy else lambda text: False,
    )
    if before is not None and traced(settings) == traced(before.settings):
        ledger.tracing = before.ledger.tracing
    parts.settle()

    def take_over() -> None:
        sharing.connect(settings, shared, router)
        metrics.sides = partial(_side_states, router)
        metrics.rows_dropped = lambda: journal.dropped

    if before is None:
        take_over()
    return Assembly(settings, router, ledger, team, shared, parts, take_over)


def _journal(settings: Settings, parts: Parts) -> Journal:
    """Return the journal with its store. Raises SettingsError where that cannot be used."""
    days, prompts, replica = settings.journal_days, settings.journal_prompts, _replica(settings)
    return parts.get(
        "journal",
        (settings.journal_path, settings.journal_url, days, prompts, replica),
        lambda: Journal(journal_store(settings), days, prompts, replica=replica),
    )


def journal_store(settings: Settings) -> JournalStore:
    """Return the journal's store: a database, a file, or memory. Opens nothing.

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

    `spent_today_usd` returns today's cost of the cloud, in all (None) or for a team member.
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
        locals_,
        clouds,
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
        balancer=balancer,
        offline=settings.offline,
        why_no_cloud=settings.why_no_cloud,
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
    """Return the part that finds private requests. Raises SettingsError on a bad pattern."""
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
