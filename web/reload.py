"""Reads the settings again while the server runs, on SIGHUP or from the page.

If a file or a value cannot be used, everything stays as it was.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from config import Settings, SettingsError, load_settings
from router.build import assemble
from router.parts.assembly import Assembly

log = logging.getLogger("router")

AT_START: Final = (
    *("server_host", "server_port"),
    *("journal_path", "journal_url", "journal_days", "journal_prompts"),
    *("shutdown_delay_s", "shutdown_grace_s", "otel_exporter_otlp_endpoint"),
)
"""Settings that are only read at the start of the server."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of the last reading of the settings."""

    at: float
    """Time of the reading, in seconds since 1970."""
    changed: tuple[str, ...] = ()
    """Names of the settings that have a new value."""
    at_next_start: tuple[str, ...] = ()
    """Names of the settings whose new value counts from the next start on."""
    warnings: tuple[str, ...] = ()
    """One sentence for each oddity of the settings and of their file."""
    error: str = ""
    """Reasons why the new settings were refused, one a line; empty if they were not."""


Reread = Callable[[], Awaitable[Reading]]
"""Reads the settings again and returns the result."""


@dataclass(slots=True)
class Source:
    """The source of the settings, and the result of the last reading.

    `env` and `overrides`: as for `load_settings`. `hide` gets the secrets of new settings before
    anything is logged about them.
    """

    env: Path | Literal["find"] | None = "find"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    hide: Callable[[Iterable[str]], None] = lambda secrets: None
    last: Reading = field(default_factory=lambda: Reading(time.time()))

    def renewed(self, running: Assembly) -> tuple[Assembly, Reading] | None:
        """Read the settings again; return their assembly, and a result for `accept`.

        If they cannot be used, log a line for each fault and return None.
        """
        old = running.settings
        try:
            _check_file(old)
            wanted = load_settings(self.env, **self.overrides)
            # What is given here counts as set, and chat programs compare what is set.
            fixed = {
                name: getattr(old, name)
                for name in AT_START
                if name in old.model_fields_set or getattr(wanted, name) != getattr(old, name)
            }
            settings = load_settings(self.env, **{**self.overrides, **fixed})
            self.hide(settings.secrets)
            check_local_url(settings)
            assembly = assemble(settings, running)
        except SettingsError as error:
            self.last = Reading(time.time(), error=str(error))
            for line in str(error).splitlines():
                log.error("The settings stay as they were: %s", line)
            return None
        later = tuple(name for name in _differing(old, wanted) if name.lower() in AT_START)
        changed = _differing(old, settings)
        return assembly, Reading(time.time(), changed, later, settings.warnings)

    def accept(self, reading: Reading) -> None:
        """Note and log that settings which were read now count."""
        self.last = reading
        log.info("The settings were read again. Changed: %s", ", ".join(reading.changed) or "-")
        if later := reading.at_next_start:
            log.warning("These count at the next start of the server: %s", ", ".join(later))


def _check_file(settings: Settings) -> None:
    """Raise SettingsError if the file of these settings is gone: all keys would go with it."""
    file = settings.env_file
    if file is not None and (not file.path.exists() or file.path.is_dir()):
        raise SettingsError(
            f"{file.path} is gone. Put it back, or start the server anew to go on without it."
        )


def _differing(old: Settings, new: Settings) -> tuple[str, ...]:
    """Return the names of the settings that have another value."""
    return tuple(
        name.upper() for name in Settings.model_fields if getattr(old, name) != getattr(new, name)
    )


def check_local_url(settings: Settings) -> None:
    """Raise SettingsError if a local server is this one: it would ask itself without end."""
    for server in settings.servers:
        if not settings.is_own(server.url):
            continue
        setting = "LOCAL_BASE_URL" if server.name == "local" else server.name
        raise SettingsError(
            f"{setting}={server.url} is this server's own address: set SERVER_PORT to another"
            " port (for example SERVER_PORT=8090)."
        )
