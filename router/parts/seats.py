"""Builds the seats from the settings: the backends, each with its run-time state."""

from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from config import Settings, SettingsError
from local_servers import LocalServerSettings
from router.backend import Backend, LocalServer, TimeLimits
from router.cloud_client import ClaudeBackend, GeminiBackend, OpenAIBackend
from router.clouds.thought_signatures import Vault
from router.embedded.backend import EmbeddedBackend
from router.embedded.server import EmbeddedServer
from router.local_client import LocalBackend
from router.parts.parts import Parts
from router.sides import nearby
from router.sides.nearby import UsualServers
from router.sides.pool import Balancer
from router.sides.seat import Seat
from router.telemetry.journal import journal_path
from settings_fields import Provider

CLOUD_CONNECT_FACTOR: Final = 5
"""A cloud is farther away than a local server."""


def local_seats(
    settings: Settings, limits: TimeLimits, parts: Parts
) -> tuple[list[Seat], Balancer | None]:
    """Return the seats of the local servers, and the balancer if there are several."""

    def make() -> tuple[list[Seat], Balancer | None]:
        balancer = _balancer(settings)
        seats = [_local(server, settings, limits, balancer) for server in settings.servers]
        return seats, balancer

    made_of = (
        *(settings.servers, "local_model" in settings.model_fields_set, limits),
        *(settings.local_confidence, settings.status_ttl_s, settings.local_concurrency),
        *(settings.local_queue, settings.privacy),
        *("local_base_url" in settings.model_fields_set, settings.server_port),
    )
    return parts.get("local servers", made_of, make)


def _local(
    server: LocalServerSettings, settings: Settings, limits: TimeLimits, balancer: Balancer | None
) -> Seat:
    """Return the seat of one local server."""
    # Of several servers each may have another model: LOCAL_MODEL must be meant, not a default.
    is_meant = "local_model" in settings.model_fields_set
    meant = settings.local_model if is_meant else ""
    backend: LocalServer = LocalBackend(
        server.url,
        server.model or meant,
        is_set=is_meant or balancer is not None,
        name=server.name,
        api_key=server.key.get_secret_value() if server.key else None,
        limits=limits,
        confidence=settings.local_confidence,
    )
    if balancer is None and "local_base_url" not in settings.model_fields_set:
        backend = UsualServers(backend, _others(meant, settings, limits))
    return Seat.of_server(
        backend,
        ttl_s=settings.status_ttl_s,
        concurrency=server.concurrency or settings.local_concurrency,
        queue=settings.local_queue,
        balancer=balancer,
    )


def _others(model: str, settings: Settings, limits: TimeLimits) -> list[LocalServer]:
    """Return the servers at the other usual ports. LOCAL_API_KEY is not for them."""
    urls = [nearby.url_of(port) for port in nearby.USUAL_PORTS.values()]
    used = urlsplit(settings.local_base_url).port
    return [
        LocalBackend(url, model, limits=limits, confidence=settings.local_confidence)
        for url in urls
        if urlsplit(url).port != used and not settings.is_own(url)
    ]


def _balancer(settings: Settings) -> Balancer | None:
    """Return the balancer of the local servers; None where there is no list of them."""
    if not settings.local_servers and not settings.local_servers_file:
        return None
    balancer = Balancer()
    for server in settings.servers:
        limit = server.concurrency or settings.local_concurrency
        is_open = server.private or settings.privacy == "off"
        balancer.add(server.name, private=is_open, limit=limit)
    return balancer


def embedded_seat(settings: Settings, limits: TimeLimits, parts: Parts) -> Seat | None:
    """Return the seat of the built-in model, None where it is switched off."""
    if settings.embedded_model == "off":
        return None
    ttl_s, concurrency = settings.status_ttl_s, settings.local_concurrency

    def make() -> Seat:
        server = EmbeddedServer(settings.embedded_model)
        backend = EmbeddedBackend(server, limits, settings.local_confidence)
        queue = settings.local_queue
        return Seat.of_embedded(backend, ttl_s=ttl_s, concurrency=concurrency, queue=queue)

    made_of = (
        *(settings.embedded_model, limits, settings.local_confidence),
        *(ttl_s, concurrency, settings.local_queue),
    )
    return parts.get("embedded", made_of, make)


def cloud_seats(settings: Settings, limits: TimeLimits, vault: Vault, parts: Parts) -> list[Seat]:
    """Return the seats of the clouds, in the order in which they are asked.

    `vault`: keeps thoughts that must return to the model that made them.
    """
    far = TimeLimits(
        limits.connect_s * CLOUD_CONNECT_FACTOR,
        limits.first_byte_s,
        limits.idle_s,
        limits.total_s,
    )
    seats = []
    for provider in settings.clouds:
        made_of = (
            *(settings.key_of(provider), settings.model_of(provider), settings.url_of(provider)),
            settings.names_model_of(provider),
            *(far, settings.cloud_max_tokens, settings.status_ttl_s, vault),
        )
        make = partial(_cloud_seat, settings, provider, far, vault)
        seats.append(parts.get(provider, made_of, make))
    return seats


def _cloud_seat(settings: Settings, provider: Provider, limits: TimeLimits, vault: Vault) -> Seat:
    return Seat.of_cloud(_cloud(settings, provider, limits, vault), ttl_s=settings.status_ttl_s)


def _cloud(settings: Settings, provider: Provider, limits: TimeLimits, vault: Vault) -> Backend:
    key = settings.key_of(provider)
    assert key is not None
    secret, model = key.get_secret_value(), settings.model_of(provider)
    url = settings.url_of(provider)
    is_default = not settings.names_model_of(provider)
    match provider:
        case "gemini":
            return GeminiBackend(
                secret, model, base_url=url, is_default=is_default, limits=limits, vault=vault
            )
        case "openai":
            try:
                return OpenAIBackend(secret, model, base_url=url, limits=limits)
            except ValueError as error:
                raise SettingsError(f"HTTPS_PROXY: {error}. NO_PROXY leaves it out.") from None
    return ClaudeBackend(
        secret,
        model,
        max_tokens=settings.cloud_max_tokens,
        base_url=url,
        vault=vault,
        ability_file=_ability_file(settings),
        is_default=is_default,
        limits=limits,
    )


def _ability_file(settings: Settings) -> Path | None:
    """Return where the abilities of Claude models are kept: beside the journal, or nowhere."""
    journal = journal_path(settings.journal_path)
    return journal.with_name("claude-models.json") if journal is not None else None
