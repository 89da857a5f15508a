"""The settings: read once at the start, checked, and passed on as a value.

Values come from the environment, else from a `.env` file (`env_file.py` says where it is looked
for), else from the defaults in `settings_fields.py`. An empty value counts as unset. The
environment is read here and nowhere else.
"""

import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails

import env_file
from addresses import database_hosts, database_passwords, is_here, is_this_machine
from env_file import EnvFile
from local_servers import LOOPBACK, LocalServerSettings
from settings_fields import Provider, SettingsFields

VERSION: Final = "0.1.0"
LIKE_A_KEY: Final = 12
"""Letters and digits of at least this length may be a key in the wrong setting."""
LONGEST_SHOWN: Final = 40


class SettingsError(Exception):
    """Unusable settings. The message has a line for each fault, which says what to write.

    First come the settings that cannot be used by themselves. If there are none, the first
    contradiction between several; if there is none, the first pattern in PRIVATE_PATTERNS, which
    `router.build` reads.
    """


class Settings(SettingsFields):
    """All settings, checked together, and values that follow from several of them."""

    _env_file: EnvFile | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _key_beyond_loopback(self) -> "Settings":
        has_key = self.router_api_key is not None or self.router_keys_file is not None
        if self.server_host not in LOOPBACK and not has_key:
            raise ValueError(
                f"SERVER_HOST={self.server_host} would let everyone on the network use your "
                "models: set ROUTER_API_KEY to a long random text, or SERVER_HOST=127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _offline_on_this_machine(self) -> "Settings":
        if self.offline and self.state_url is not None and not self.has_store_here:
            raise ValueError(
                "OFFLINE=true keeps everything on this machine, but STATE_URL has the address of"
                " another one: take a server on localhost, or set OFFLINE=false"
            )
        away = [server.name for server in self.servers if not is_this_machine(server.url)]
        if self.offline and away:
            raise ValueError(
                "OFFLINE=true keeps everything on this machine, but LOCAL_BASE_URL or LOCAL_SERVERS"
                f" has the address of another one ({', '.join(away)}): take a server on localhost,"
                " or set OFFLINE=false"
            )
        return self

    @model_validator(mode="after")
    def _offline_journal_on_this_machine(self) -> "Settings":
        if self.offline and not all(map(is_here, database_hosts(self._journal_address))):
            raise ValueError(
                "OFFLINE=true keeps everything on this machine, but JOURNAL_URL has the address of"
                " another one: take a database on localhost, or set OFFLINE=false"
            )
        return self

    @model_validator(mode="after")
    def _names_the_openai_model(self) -> "Settings":
        if self.provider == "openai" and not self.openai_model:
            raise ValueError("CLOUD_PROVIDER=openai needs OPENAI_MODEL, the model to ask for")
        return self

    @model_validator(mode="after")
    def _has_another_cloud(self) -> "Settings":
        other = self.cloud_fallback
        if other is None:
            return self
        if other == self.provider:
            raise ValueError(f"CLOUD_FALLBACK={other} is the first cloud already: name another one")
        if self.key_of(other) is None or not self.model_of(other):
            needed = "OPENAI_API_KEY and OPENAI_MODEL"
            if other != "openai":
                needed = f"{other.upper()}_API_KEY"
            raise ValueError(f"CLOUD_FALLBACK={other} needs {needed}")
        return self

    @model_validator(mode="after")
    def _one_list(self) -> "Settings":
        if self.local_servers and self.local_servers_file:
            raise ValueError("LOCAL_SERVERS and LOCAL_SERVERS_FILE are both set: remove one.")
        return self

    @property
    def servers(self) -> tuple[LocalServerSettings, ...]:
        """Return the local servers: those that are listed, else the one at LOCAL_BASE_URL."""
        alone = LocalServerSettings(
            name="local",
            url=self.local_base_url,
            model=self.local_model,
            key=self.local_api_key,
            concurrency=self.local_concurrency,
            private=True,
        )
        return self.local_servers or self.local_servers_file or (alone,)

    @property
    def _journal_address(self) -> str:
        return self.journal_url.get_secret_value() if self.journal_url is not None else ""

    @property
    def has_store_here(self) -> bool:
        """Return whether the server of STATE_URL runs on this machine."""
        url = self.state_url
        return url is not None and is_this_machine(url.get_secret_value())

    @property
    def state_password(self) -> str:
        """Return the password in STATE_URL, or ""."""
        url = self.state_url
        return unquote(urlsplit(url.get_secret_value()).password or "") if url is not None else ""

    @property
    def env_file(self) -> EnvFile | None:
        """Return the .env file that was read, None if there was none."""
        return self._env_file

    def where(self, name: str) -> str:
        """Return the file and line that set a setting, "" where no file does."""
        file, name = self._env_file, name.upper()
        given = os.environ.get(name)
        is_of_file = file is not None and file.values.get(name) and not given
        return f"{file.path}, line {file.lines[name]}" if file and is_of_file else ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return one sentence for each oddity of the settings and of the .env file."""
        odd = [
            f"{name.upper()} has a blank in it, as no key has: copy it again."
            for name in ("anthropic_api_key", "gemini_api_key", "openai_api_key")
            if (key := getattr(self, name)) is not None and len(key.get_secret_value().split()) > 1
        ]
        if self.router_keys_file is not None and self.router_api_key is None:
            odd.append(
                "ROUTER_KEYS_FILE is set without ROUTER_API_KEY, so nobody can open the page,"
                " /stats or /metrics. Set ROUTER_API_KEY too."
            )
        if self._env_file is not None:
            names = [name.upper() for name in type(self).model_fields]
            odd += [*self._env_file.problems, *self._env_file.misspelled(names)]
        return tuple(odd)

    @property
    def max_body_bytes(self) -> int:
        """Return MAX_BODY_MB in bytes."""
        return int(self.max_body_mb * 2**20)

    @property
    def provider(self) -> Provider:
        """Return the cloud in use: the one that is named, else the first whose key is set.

        For OpenAI the model must be set too: shells often hold OPENAI_API_KEY for clients.
        """
        if "cloud_provider" in self.model_fields_set or self.anthropic_api_key is not None:
            return self.cloud_provider
        if self.gemini_api_key is not None:
            return "gemini"
        is_openai = self.openai_api_key is not None and self.openai_model
        return "openai" if is_openai else self.cloud_provider

    @property
    def cloud_configured(self) -> bool:
        """Return whether a cloud may be asked: there is a key for it, and OFFLINE is not set."""
        return self.cloud_key is not None

    @property
    def why_no_cloud(self) -> str:
        """Return why no cloud may be asked, and what to set; empty if one may."""
        if self.cloud_configured:
            return ""
        if self.offline:
            return "OFFLINE=true: nothing leaves this machine, so no cloud is asked."
        missing = "ANTHROPIC_API_KEY, GEMINI_API_KEY, or OPENAI_API_KEY and OPENAI_MODEL"
        if "cloud_provider" in self.model_fields_set:
            missing = f"{self.provider.upper()}_API_KEY, which CLOUD_PROVIDER={self.provider} needs"
        elif self.openai_api_key is not None:
            missing = "OPENAI_MODEL, which OPENAI_API_KEY needs"
        return f"No cloud is configured: set {missing}, in .env."

    @property
    def cloud_key(self) -> SecretStr | None:
        """Return the key of the cloud in use; None under OFFLINE=true, whatever is set."""
        return None if self.offline else self.key_of(self.provider)

    @property
    def cloud_model(self) -> str:
        """Return the model of the cloud in use."""
        return self.model_of(self.provider)

    @property
    def clouds(self) -> tuple[Provider, ...]:
        """Return the clouds that may be asked, in this order."""
        if not self.cloud_configured:
            return ()
        return (self.provider, self.cloud_fallback) if self.cloud_fallback else (self.provider,)

    def key_of(self, provider: Provider) -> SecretStr | None:
        """Return the key of a cloud."""
        match provider:
            case "gemini":
                return self.gemini_api_key
            case "openai":
                return self.openai_api_key
        return self.anthropic_api_key

    def model_of(self, provider: Provider) -> str:
        """Return the model of a cloud."""
        match provider:
            case "gemini":
                return self.gemini_model
            case "openai":
                return self.openai_model
        return self.anthropic_model

    def url_of(self, provider: Provider) -> str | None:
        """Return the address that was set for a cloud; None: its own."""
        match provider:
            case "gemini":
                return self.gemini_base_url
            case "openai":
                return self.openai_url
        return self.claude_url

    def names_model_of(self, provider: Provider) -> bool:
        """Return whether the user has named the model of a cloud."""
        return f"{provider}_model" in self.model_fields_set

    @property
    def trace_endpoint(self) -> str | None:
        """Return the address for spans; None also for another machine under OFFLINE=true."""
        url = self.otel_exporter_otlp_endpoint
        return None if url and self.offline and not is_this_machine(url) else url

    @property
    def claude_url(self) -> str | None:
        """Return the address of Claude; None: Anthropic's own.

        Clients use ANTHROPIC_BASE_URL to find this server, so a shell may set it to the server's
        own address. That one is ignored.
        """
        return self._unless_own(self.anthropic_base_url)

    @property
    def openai_url(self) -> str | None:
        """Return the address of the cloud; None: OpenAI's own. This server's address is ignored."""
        return self._unless_own(self.openai_base_url)

    def _unless_own(self, url: str | None) -> str | None:
        return None if url is not None and self.is_own(url) else url

    def is_own(self, url: str) -> bool:
        """Return whether this address is the server's own."""
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        return address.hostname in (*LOOPBACK, self.server_host) and port == self.server_port

    @property
    def keys(self) -> dict[str, str]:
        """Return every key by its setting."""
        names = [name for name in type(self).model_fields if name.endswith("_key")]
        values = ((name, getattr(self, name)) for name in names)
        found = {n.upper(): v.get_secret_value() for n, v in values if isinstance(v, SecretStr)}
        for server in (*self.local_servers, *self.local_servers_file):
            if server.key is not None:
                found[f"{server.name} of LOCAL_SERVERS"] = server.key.get_secret_value()
        return found

    @property
    def passwords(self) -> dict[str, str]:
        """Return the keys of listed local servers, and the secrets in all servers' addresses, in
        JOURNAL_URL and in STATE_URL, by a description of each."""
        found = {
            f"{name} in JOURNAL_URL": value
            for name, value in database_passwords(self._journal_address)
        }
        for server in self.servers:
            several = server.name in [other.name for other in self.local_servers]
            several |= server.name in [other.name for other in self.local_servers_file]
            where = f"the address of {server.name}" if several else "LOCAL_BASE_URL"
            if several and server.key is not None:
                found[f"the key of {server.name}"] = server.key.get_secret_value()
            address = urlsplit(server.url)
            found[f"the password in {where}"] = unquote(address.password or "")
            found |= {f"{name} in {where}": value for name, value in parse_qsl(address.query)}
        if self.state_url is not None:
            found["the password in STATE_URL"] = self.state_password
        return {name: value for name, value in found.items() if value}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return every key, for the filter that keeps them out of logs and errors."""
        found = list(self.keys.values())
        for server in self.servers:
            found += server.secrets
        found += [value for _, value in database_passwords(self._journal_address)]
        if self.state_url is not None:
            written = urlsplit(self.state_url.get_secret_value()).password
            found += [written, self.state_password] if written else []
        return tuple(dict.fromkeys(found))


def load_settings(env: Path | Literal["find"] | None = "find", **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError with a line for each that cannot be used by itself.

    `env`: a .env file, None for none, or "find" for the first that sets something.
    """
    names = [name.upper() for name in Settings.model_fields]
    try:
        file = env_file.find(names) if env == "find" else env_file.read(env) if env else None
    except env_file.Unreadable as error:
        raise SettingsError(str(error)) from None
    given = {name.upper() for name, value in os.environ.items() if value}
    of_file = {
        name.lower(): value
        for name, value in (file.values if file else {}).items()
        if value and name in names and name not in given
    }
    try:
        settings = Settings(**(of_file | overrides))
    except ValidationError as error:
        faults = error.errors(include_input=True, include_url=False)
        lines = [_fault(fault, file, of_file.keys() - overrides.keys()) for fault in faults]
        raise SettingsError("\n".join(lines)) from None
    settings._env_file = file
    return settings


def settings_or_exit(env: Path | Literal["find"] | None = "find", **overrides: Any) -> Settings:
    """Read the settings for a command; on a fault print it and exit with status 2."""
    with bad_settings_exit():
        return load_settings(env, **overrides)


def colours_wanted() -> bool:
    """Return whether colours may be used on a terminal (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


@contextmanager
def bad_settings_exit() -> Iterator[None]:
    """Turn a SettingsError into its lines on stderr and exit status 2."""
    try:
        yield
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _fault(fault: ErrorDetails, file: EnvFile | None, of_file: Collection[str]) -> str:
    """Return the line that says which setting is wrong, what it must be, and where it is set."""
    rule = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return rule
    name = str(fault["loc"][0])
    field = Settings.model_fields[name]
    example = field.examples[0] if field.examples else field.default
    if isinstance(example, bool):
        example = str(example).lower()
    rule = rule.removeprefix("Input should be ").partition(", unable to ")[0]
    line = f"{name.upper()} must be {rule} (for example {name.upper()}={example})"
    if may_be_shown(name, fault["input"]):
        line += f", not {fault['input']!r}"
    if file is not None and name in of_file:
        return f"{line}: {file.path}, line {file.lines[name.upper()]}"
    return line


def may_be_shown(name: str, value: object) -> bool:
    """Return whether an unusable value may be printed: short, and nothing like a key."""
    secret = ("private", "local_servers", "journal_url", "state_url")
    if "key" in name or name.startswith(secret) or not isinstance(value, str):
        return False
    mixed = re.search(r"[A-Za-z]", value) and re.search(r"\d", value)
    like_a_key = len(value) >= LIKE_A_KEY and mixed and not re.search(r"[.:/]", value)
    return len(value) <= LONGEST_SHOWN and "@" not in value and not like_a_key
