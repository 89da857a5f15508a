"""Every setting: name, unit, default, meaning.

Values come from the environment, else from a `.env` file (`env_file.py` says where it is looked
for), else from the defaults here. An empty value counts as unset. The environment is read here and
nowhere else.

`make docs` writes docs/settings.md and .env.example from the class `Settings`: a comment starts a
group, and the text below a field is its meaning.
"""

import ipaddress
import json
import math
import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import env_file
from env_file import EnvFile
from local_servers import LOOPBACK, LocalServerSettings, ServersInFile, ServersInText, Url

VERSION: Final = "0.1.0"
LIKE_A_KEY: Final = 12
"""Letters and digits of at least this length may be a key in the wrong setting."""
LONGEST_SHOWN: Final = 40
STORES: Final = ("valkey", "redis", "valkeys", "rediss")
"""Schemes of STATE_URL; the last two mean TLS."""
THIS_MACHINE: Final = ("localhost", "host.docker.internal", "host.containers.internal")
"""Host names of this machine; containers know it by the last two."""

DATABASE: Final = re.compile(r"postgres(?:ql)?://(?:[^%\s]|%[0-9A-Fa-f]{2})+")

Seconds = Annotated[float, Field(gt=0, le=86_400)]


CommaList = Annotated[tuple[str, ...], NoDecode]


def _is_database(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:
        return False
    return DATABASE.fullmatch(url) is not None


def is_this_machine(url: str) -> bool:
    """Return whether the host of an address is this machine."""
    return _is_here(urlsplit(url).hostname or "")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in THIS_MACHINE or host.endswith(".localhost")


def _whole_prices(value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    for model, usd in value.items():
        if not {"input", "output"} <= usd.keys():
            raise ValueError(f'JSON with "input" and "output" of each model, {model} too')
    return value


Price = dict[
    Literal["input", "cached", "output"], Annotated[float, Field(ge=0, allow_inf_nan=False)]
]
Provider = Literal["anthropic", "gemini", "openai"]
PriceList = Annotated[dict[str, Price], AfterValidator(_whole_prices)]


class SettingsError(Exception):
    """Unusable settings. The message has a line for each fault, which says what to write."""


class Settings(BaseSettings):
    """All settings, validated once at start and passed on as a value."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # The local side
    local_base_url: Url = "http://localhost:1234/v1"
    """Address of any OpenAI-compatible server, with its /v1. Unset, and nothing answers there: the
    first of Ollama, llama.cpp and vLLM that answers at its usual port of this machine."""
    local_model: str = "qwen2.5-32b-instruct"
    """The model to ask it for."""
    local_api_key: SecretStr | None = None
    """Bearer token, if the local server wants one."""
    local_servers: Annotated[
        ServersInText,
        Field(
            examples=["studio=http://studio.lan:1234/v1;private=yes,gpu=http://10.0.0.7:8000/v1"]
        ),
    ] = ()
    """Several local servers in place of the one at LOCAL_BASE_URL, as `name=address`,
    comma-separated. Options follow an address: `;model=…`, `;key=…`, `;concurrency=…` and
    `;private=yes` or `no`: whether private requests may go there (unset: only on this machine)."""
    local_servers_file: Annotated[
        ServersInFile, Field(examples=["/etc/llm-router/servers.toml"])
    ] = ()
    """The same as a TOML file: a table for each name, with `url` and those options."""
    local_concurrency: Annotated[int | None, Field(ge=1, le=10_000, examples=[4])] = None
    """Requests that the local server gets at a time. Unset: what it reports, else no limit."""
    local_queue: Annotated[int, Field(ge=0, le=10_000, examples=[8])] = 8
    """Requests that may wait for the local server. Further ones go to the cloud (`local_busy`), or
    wait too where there is no cloud."""
    cold_local: Literal["cloud", "wait"] = "cloud"
    """While the local model is being loaded: `cloud` answers from the cloud, `wait` waits."""
    embedded_model: Annotated[str, Field(examples=["auto", "off", "/models/small.gguf"])] = "auto"
    """`auto`: a small built-in model answers when there is nothing else. `off`: never. Or the path
    of a .gguf file."""

    # The cloud side
    cloud_provider: Provider = "anthropic"
    """`anthropic`, `gemini` or `openai`. Unset: the one whose key is set."""
    cloud_fallback: Annotated[Provider | None, Field(examples=["gemini"])] = None
    """Another of them, which answers when that one is down or fails. Unset: none."""
    anthropic_api_key: SecretStr | None = None
    """Key for Claude. One cloud key is enough."""
    anthropic_model: str = "claude-sonnet-4-6"
    """The Claude model that answers. If it is unknown, the error lists what your key can use. Unset
    and retired: the nearest of its tier answers, and the page and the log say so."""
    anthropic_base_url: Annotated[Url | None, Field(examples=["https://api.anthropic.com"])] = None
    """Only for a proxy. The router's own address (meant for clients) is ignored."""
    gemini_api_key: SecretStr | None = None
    """Key for Gemini."""
    gemini_model: str = "gemini-2.0-flash"
    """The Gemini model that answers. Unset and retired: the nearest of its tier answers."""
    gemini_base_url: Annotated[Url | None, Field(examples=["https://proxy.example/gemini"])] = None
    """Only for a proxy."""
    openai_api_key: SecretStr | None = None
    """Key for OpenAI, or for another OpenAI-compatible cloud at OPENAI_BASE_URL."""
    openai_model: Annotated[str, Field(examples=["gpt-5.5", "deepseek-chat"])] = ""
    """The model of that cloud; it has no default."""
    openai_base_url: Annotated[Url | None, Field(examples=["https://openrouter.ai/api/v1"])] = None
    """The address of that cloud, with its /v1. Unset: OpenAI."""
    cloud_max_tokens: Annotated[int, Field(ge=1, le=1_000_000, examples=[8192])] = 8192
    """Tokens of an answer when the caller sets no limit and the backend needs one (Claude)."""
    cloud_budget_usd_per_day: Annotated[float | None, Field(ge=0, examples=[5])] = None
    """USD a day. Once spent, prompts that would go to the cloud stay local until midnight
    (`budget`)."""
    prices: Annotated[
        PriceList | None,
        NoDecode,
        Field(examples=['{"claude-sonnet-4-6": {"input": 3, "cached": 0.3, "output": 15}}']),
    ] = None
    """Your own prices in USD per million tokens, as JSON. Known prices need not be set."""

    # Deciding
    complexity_threshold: Annotated[float, Field(ge=0, le=100, examples=[50])] = 50
    """Scores (0 to 100) at or above it go to the cloud."""
    shadow_threshold: Annotated[float | None, Field(ge=0, le=100, examples=[65])] = None
    """Another threshold to try without risk: the journal keeps what it would have done beside what
    was done, and the page and the tuner show the difference."""
    max_local_tokens: Annotated[int, Field(ge=1, examples=[3000])] = 3000
    """A prompt (your turn, with what you paste) of more tokens goes to the cloud."""
    local_reach: Annotated[
        Literal["auto"] | Annotated[float, Field(ge=-100, le=100)], Field(examples=["auto"])
    ] = "auto"
    """Points that the loaded local model adds to a score: `auto`, or a number. 0: none."""
    local_patience_s: Annotated[float, Field(ge=0, le=86_400, examples=[60])] = 60
    """Longest wait for the first word of a local answer, in seconds; else the cloud answers. 0: no
    limit."""
    unsure_target: Literal["local", "cloud"] = "local"
    """`local` or `cloud`: the side for prompts that do not show how hard they are."""
    subagents: Literal["auto", "local", "cloud"] = "auto"
    """Which side answers the agents that Claude Code or Codex starts for parts of a task: `local`,
    `cloud`, or `auto`: each prompt's score decides."""
    local_confidence: Literal["off", "shadow", "on"] = "shadow"
    """The local model's probabilities of its own answers (llama.cpp, vLLM, Ollama). `shadow`: the
    journal keeps those of one answer in 32. `on`: an answer too unlikely to be good, as measured
    by `tune.py compare`, starts over on the cloud. `off`: they are not asked for."""
    commit_hold_s: Annotated[float, Field(ge=0, le=600, examples=[8])] = 8
    """Longest time that a local answer is held back to check it, in seconds. 0: not at all."""

    # Privacy
    offline: bool = False
    """`true`: nothing leaves this machine. No cloud is asked, whatever keys are set, and no picture
    is fetched."""
    privacy: Literal["on", "off"] = "on"
    """`on`: a request with your keys or private words in it never leaves the machine."""
    private_files: CommaList = ()
    """Further files (.env, JSON, YAML) whose secrets are looked for, comma-separated."""
    private_patterns: CommaList = ()
    """Your own words (or linear patterns) that must not leave, comma-separated."""

    # The server
    server_host: str = "127.0.0.1"
    """Address to listen at. Anything but loopback needs `ROUTER_API_KEY`."""
    server_port: Annotated[int, Field(ge=1, le=65_535, examples=[8080])] = 8080
    """Port to listen at."""
    router_api_key: SecretStr | None = None
    """When set, callers must send it as a bearer token."""
    router_keys_file: str | None = None
    """File with the named keys of a team, which `llm-router keys` writes. They open the models;
    `ROUTER_API_KEY` opens the page and the figures too."""
    allowed_hosts: CommaList = ()
    """Host names, besides loopback ones, that callers may use for this server, comma-separated."""
    cors_origins: CommaList = ()
    """Web origins whose pages may call the server, comma-separated."""
    max_body_mb: Annotated[float, Field(gt=0, le=2_000, examples=[50])] = 50
    """Largest request body in MB. Larger ones are refused while they are read (413)."""
    log_decisions: bool = True
    """Write a log line for each request."""

    otel_exporter_otlp_endpoint: Annotated[
        Url | None, Field(examples=["http://localhost:4318"])
    ] = None
    """Where OpenTelemetry spans are sent (OTLP over HTTP), without /v1/traces. See
    docs/observability.md for what to install."""

    # Several routers
    state_url: Annotated[SecretStr | None, Field(examples=["valkey://10.0.0.5:6379/0"])] = None
    """Valkey or Redis server in which several routers share what they know of conversations, and
    what was spent: `valkey://`, `redis://`, or `rediss://` with TLS. A user and a password may
    stand before the host."""
    state_trusted: bool = False
    """`true`: answers in private conversations may be kept there too, encrypted. They always may
    where the server runs on this machine."""

    # Time limits, in seconds
    connect_timeout_s: Seconds = 2
    """To connect to the local server. A cloud gets five times as long."""
    first_byte_timeout_s: Seconds = 300
    """Until an answer begins. Long enough for a local model to load."""
    idle_timeout_s: Seconds = 120
    """Between two pieces of an answer."""
    total_timeout_s: Seconds = 3600
    """For a whole answer."""
    keepalive_after_s: Seconds = 10
    """Silence after which a streaming caller gets comments that keep its connection open."""
    status_ttl_s: Seconds = 3
    """How long the status of a side is valid."""
    shutdown_delay_s: Annotated[float, Field(ge=0, le=600, examples=[5])] = 0
    """How long requests are still taken after SIGTERM, while `/ready` already says no."""
    shutdown_grace_s: Annotated[float, Field(ge=0, le=3_600, examples=[20])] = 20
    """How long running answers may go on after SIGTERM."""

    # The journal and the chat's history
    journal_path: str | None = None
    """SQLite file. Unset: in your data folder. `off`: none."""
    journal_url: Annotated[
        SecretStr | None, Field(examples=["postgresql://router:password@db.lan/router"])
    ] = None
    """A PostgreSQL database for the journal, which several routers may share, instead of the file.
    Needs `psycopg`. Its password never appears in the log."""
    journal_prompts: bool = False
    """Keep prompt texts too. The texts of private requests are never kept."""
    journal_days: Annotated[int, Field(ge=1, le=36_500, examples=[90])] = 90
    """Days that rows are kept."""
    chat_history: Literal["on", "off"] = "on"
    """`on`: the chat keeps the lines that you type, but no private ones. `off`: it keeps none."""

    _env_file: EnvFile | None = PrivateAttr(None)

    @field_validator(
        "private_files", "private_patterns", "allowed_hosts", "cors_origins", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            # The comma of a pattern's {1,3} separates nothing.
            parts = re.split(r",(?![^{}]*\})", value)
            return tuple(part.strip() for part in parts if part.strip())
        return value

    @field_validator(
        "local_api_key",
        "anthropic_api_key",
        "gemini_api_key",
        "openai_api_key",
        "router_api_key",
        mode="before",
    )
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()  # a key in a file often ends with a line break
            if not value.isprintable():
                raise ValueError("a key, on one line")
            return value or None
        return value

    @field_validator("journal_url")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_database(value.get_secret_value()):
            raise ValueError("the address of a PostgreSQL database")
        return value

    @field_validator("state_url")
    @classmethod
    def _store(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value().strip()
        try:
            url = urlsplit(text)
            is_right = url.scheme in STORES and bool(url.hostname) and url.port != 0
            is_right = is_right and re.fullmatch(r"/?[0-9]*", url.path) is not None
        except ValueError:
            is_right = False
        if not is_right:
            raise ValueError("an address that begins with valkey://, redis:// or rediss://")
        return SecretStr(text) if text else None

    @field_validator("local_reach", mode="before")
    @classmethod
    def _points(cls, value: Any) -> Any:
        if value == "auto":
            return value
        try:
            points = float(value)
        except (TypeError, ValueError):
            points = math.nan
        if not -100 <= points <= 100:
            raise ValueError("auto, or points from -100 to 100")
        return points

    @field_validator("prices", mode="before")
    @classmethod
    def _json(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("JSON") from None

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
        if self.offline and not all(map(_is_here, self._database_hosts())):
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
        """Return one sentence for each oddity of the .env file."""
        if self._env_file is None:
            return ()
        names = [name.upper() for name in type(self).model_fields]
        unknown = [name for name in self._env_file.values if name not in names]
        misspelled = [
            f"{self._env_file.path}, line {self._env_file.lines[name]}: {name} is no setting."
            f" Is {meant} meant?"
            for name in unknown
            if (meant := env_file.near(name, names))
        ]
        return (*self._env_file.problems, *misspelled)

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
        """Return where a cloud is asked; None: at its own address."""
        match provider:
            case "gemini":
                return self.gemini_base_url
            case "openai":
                return self.openai_url
        return self.claude_url

    @property
    def names_cloud_model(self) -> bool:
        """Return whether the user has named the model of the cloud in use."""
        return f"{self.provider}_model" in self.model_fields_set

    @property
    def trace_endpoint(self) -> str | None:
        """Return where spans are sent; None also for another machine under OFFLINE=true."""
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
        found = {f"{name} in JOURNAL_URL": value for name, value in self._database_secrets()}
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

    def _database_hosts(self) -> list[str]:
        """Return the machines that JOURNAL_URL names; none for a socket on this one."""
        if self.journal_url is None:
            return []
        address = urlsplit(self.journal_url.get_secret_value())
        lists = [address.netloc.rpartition("@")[2]]
        lists += [value for name, value in parse_qsl(address.query) if name in ("host", "hostaddr")]
        named = [urlsplit(f"//{one}").hostname or "" for one in ",".join(lists).split(",")]
        hosts = [unquote(host) for host in named]
        return [host for host in hosts if host and not host.startswith("/")]

    def _database_secrets(self) -> list[tuple[str, str]]:
        """Return the passwords in JOURNAL_URL: before the @, or among its parameters."""
        if self.journal_url is None:
            return []
        address = urlsplit(self.journal_url.get_secret_value())
        found = [("password", unquote(address.password or "")), *parse_qsl(address.query)]
        return [(name, value) for name, value in found if "password" in name and value]

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return every key, for the filter that keeps them out of logs and errors."""
        found = list(self.keys.values())
        for server in self.servers:
            found += server.secrets
        found += [value for _, value in self._database_secrets()]
        if self.state_url is not None:
            written = urlsplit(self.state_url.get_secret_value()).password
            found += [written, self.state_password] if written else []
        return tuple(dict.fromkeys(found))


def load_settings(env: Path | Literal["find"] | None = "find", **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError with one line for each fault.

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
