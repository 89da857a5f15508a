"""Every setting: name, unit, default, meaning.

Values come from the environment, else from the `.env` file beside this module, else from the
defaults here. An empty value counts as unset. The environment is read here and nowhere else.
"""

import base64
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ENV_FILE = Path(__file__).with_name(".env")
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _http_address(value: str) -> str:
    if not _is_http_address(value):
        raise ValueError("an address that starts with http:// or https://")
    return value


def _is_http_address(value: str) -> bool:
    """Does it name a host, and a port if any, that can be?"""
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and host != b"" and port != 0 and " " not in value


Url = Annotated[str, AfterValidator(_http_address)]
CommaList = Annotated[tuple[str, ...], NoDecode]


def _whole_prices(value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    for model, usd in value.items():
        if not {"input", "output"} <= usd.keys():
            raise ValueError(f'JSON with "input" and "output" of each model, {model} too')
    return value


Price = dict[
    Literal["input", "cached", "output"], Annotated[float, Field(ge=0, allow_inf_nan=False)]
]
PriceList = Annotated[dict[str, Price], AfterValidator(_whole_prices)]


class SettingsError(Exception):
    """A setting has a value that cannot be; the message is one line that says what to write."""


class Settings(BaseSettings):
    """All settings, validated once at start and passed on as a value."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    # The local side
    local_base_url: Url = "http://localhost:1234/v1"
    """Any OpenAI-compatible server, with its /v1."""
    local_model: str = "qwen2.5-32b-instruct"
    """The model to ask it for."""
    local_api_key: SecretStr | None = None
    """Bearer token, if the local server wants one."""
    local_concurrency: Annotated[int | None, Field(ge=1, le=10_000, examples=[4])] = None
    """Requests the local server gets at a time; default: what it reports, else no limit."""
    local_queue: Annotated[int, Field(ge=0, le=10_000, examples=[8])] = 8
    """Requests that may wait for it; more go to the cloud (`local_busy`)."""
    cold_local: Literal["cloud", "wait"] = "cloud"
    """A model that must first be loaded: answer from the cloud meanwhile, or wait."""
    embedded_model: Annotated[str, Field(examples=["auto", "off", "/models/small.gguf"])] = "auto"
    """auto: a small built-in model when there is nothing else; off; or a .gguf file."""

    # The cloud side
    cloud_provider: Literal["anthropic", "gemini"] = "anthropic"
    """Unset, it is the one whose key is set."""
    anthropic_api_key: SecretStr | None = None
    anthropic_model: str = "claude-sonnet-4-6"
    anthropic_base_url: Annotated[Url | None, Field(examples=["https://api.anthropic.com"])] = None
    gemini_api_key: SecretStr | None = None
    gemini_model: str = "gemini-2.0-flash"
    gemini_base_url: Annotated[Url | None, Field(examples=["https://proxy.example/gemini"])] = None
    cloud_max_tokens: Annotated[int, Field(ge=1, le=1_000_000, examples=[8192])] = 8192
    """Tokens of an answer when the caller sets no limit and the backend needs one (Claude)."""
    cloud_budget_usd_per_day: Annotated[float | None, Field(ge=0, examples=[5])] = None
    """When spent, prompts that would go to the cloud stay local until midnight (`budget`)."""

    prices: Annotated[
        PriceList | None,
        NoDecode,
        Field(examples=['{"claude-sonnet-4-6": {"input": 3, "cached": 0.3, "output": 15}}']),
    ] = None
    """Your own prices, in USD per million tokens, as JSON; the known ones need not be set."""

    # Deciding
    complexity_threshold: Annotated[float, Field(ge=0, le=100, examples=[50])] = 50
    """Scores at or above it go to the cloud."""
    max_local_tokens: Annotated[int, Field(ge=1, examples=[3000])] = 3000
    """A prompt (the human's turn) longer than this goes to the cloud."""
    unsure_target: Literal["local", "cloud"] = "local"
    """Where prompts go that give the score nothing to go by."""
    commit_hold_s: Annotated[float, Field(ge=0, le=600, examples=[8])] = 8
    """How long a local answer may be held back until it shows that it is one; 0: not at all."""

    # Privacy
    privacy: Literal["on", "off"] = "on"
    """on: requests with your keys or private words in them never leave the machine."""
    private_files: CommaList = ()
    """Further .env-like files whose secrets are looked for, comma-separated."""
    private_patterns: CommaList = ()
    """Your own words (or linear patterns) that must not leave, comma-separated."""

    # The server
    server_host: str = "127.0.0.1"
    server_port: Annotated[int, Field(ge=1, le=65_535, examples=[8080])] = 8080
    router_api_key: SecretStr | None = None
    """When set, callers must send it as a bearer token."""
    allowed_hosts: CommaList = ()
    """Host names, besides loopback ones, that callers may address the server by."""
    cors_origins: CommaList = ()
    """Web origins whose pages may call the server."""
    max_body_mb: Annotated[float, Field(gt=0, le=2_000, examples=[50])] = 50
    log_decisions: bool = True
    """One log line a request."""

    # Time limits
    connect_timeout_s: Seconds = 2
    """To the local server; a cloud gets five times as long."""
    first_byte_timeout_s: Seconds = 300
    """Until an answer begins; long enough for a local model to load."""
    idle_timeout_s: Seconds = 120
    """Between two pieces of an answer."""
    total_timeout_s: Seconds = 3600
    """For a whole answer."""
    keepalive_after_s: Seconds = 10
    """Silence after which a streaming caller gets comments that keep its connection open."""
    status_ttl_s: Seconds = 3
    """How long what was last seen of a side is taken to be true."""
    shutdown_grace_s: Annotated[float, Field(ge=0, le=3_600, examples=[20])] = 20
    """How long running answers may go on after SIGTERM."""

    # The journal
    journal_path: str | None = None
    """SQLite file; default: in the user's data folder; off: none."""
    journal_prompts: bool = False
    """Keep prompt texts too (what is private never is)."""
    journal_days: Annotated[int, Field(ge=1, le=36_500, examples=[90])] = 90

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
        "local_api_key", "anthropic_api_key", "gemini_api_key", "router_api_key", mode="before"
    )
    @classmethod
    def _one_line(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()  # a key in a file often ends with a line break
            if not value.isprintable():
                raise ValueError("a key, on one line")
            return value or None
        return value

    @field_validator("prices", mode="before")
    @classmethod
    def _json(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("JSON") from None

    @model_validator(mode="after")
    def _key_beyond_loopback(self) -> "Settings":
        if self.server_host not in LOOPBACK and self.router_api_key is None:
            raise ValueError(
                f"SERVER_HOST={self.server_host} would let everyone on the network use your "
                "models: set ROUTER_API_KEY to a long random text, or SERVER_HOST=127.0.0.1"
            )
        return self

    @property
    def provider(self) -> Literal["anthropic", "gemini"]:
        """The cloud in use: the one that is named, else the one whose key is set."""
        named = "cloud_provider" in self.model_fields_set
        if not named and self.anthropic_api_key is None and self.gemini_api_key is not None:
            return "gemini"
        return self.cloud_provider

    @property
    def cloud_configured(self) -> bool:
        """Is there a key for the cloud in use?"""
        key = self.gemini_api_key if self.provider == "gemini" else self.anthropic_api_key
        return key is not None

    @property
    def claude_url(self) -> str | None:
        """Where Claude is asked; None: at Anthropic. Clients find this server by the same variable,
        and a shell that has it for them hands it on to the server too."""
        url = self.anthropic_base_url
        return None if url is not None and self.is_own(url) else url

    def is_own(self, url: str) -> bool:
        """Would this server be asking itself there?"""
        address = urlsplit(url)
        port = address.port or (443 if address.scheme == "https" else 80)
        return address.hostname in (*LOOPBACK, self.server_host) and port == self.server_port

    @property
    def keys(self) -> dict[str, str]:
        """Every key there is, by its setting."""
        values = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {n.upper(): v.get_secret_value() for n, v in values if isinstance(v, SecretStr)}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every key there is, for the filter that keeps them out of logs and errors."""
        found = list(self.keys.values())
        address = urlsplit(self.local_base_url)
        if address.password:
            user, password = unquote(address.username or ""), unquote(address.password)
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            found += [password, address.password, login]
        return tuple(found)


def misspelled(file: Path = ENV_FILE) -> dict[str, str]:
    """Names in a `.env` file that are nearly a setting's, with that setting. All others there are
    taken to be for other programs."""
    settings = [name.upper() for name in Settings.model_fields]
    names = {name.upper() for name in dotenv_values(file, interpolate=False)}.difference(settings)
    near = {name: get_close_matches(name, settings, n=1, cutoff=0.9) for name in sorted(names)}
    return {name: found[0] for name, found in near.items() if found}


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; raises SettingsError with one line a person can act on."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


def settings_or_exit() -> Settings:
    """For the command line: the settings, or one line on stderr and exit status 2."""
    with bad_settings_exit():
        return load_settings()


@contextmanager
def bad_settings_exit() -> Iterator[None]:
    """A SettingsError within becomes one line on stderr and exit status 2."""
    try:
        yield
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    rule = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return rule
    name = str(first["loc"][0])
    field = Settings.model_fields[name]
    example = field.examples[0] if field.examples else field.default
    if isinstance(example, bool):
        example = str(example).lower()
    rule = rule.removeprefix("Input should be ").partition(", unable to ")[0]
    return f"{name.upper()} must be {rule} (for example {name.upper()}={example})"
