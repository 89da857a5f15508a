"""Every setting: name, unit, default, meaning.

`make docs` writes docs/settings.md and .env.example from the class `SettingsFields`: a comment
starts a group, and the text below a field is its meaning.
"""

import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from addresses import is_database, is_store
from local_servers import ServersInFile, ServersInText, Url

Seconds = Annotated[float, Field(gt=0, le=86_400)]
CommaList = Annotated[tuple[str, ...], NoDecode]


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


class SettingsFields(BaseSettings):
    """The settings, each checked by itself."""

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
    """Key for OpenAI, or for another OpenAI-compatible cloud at OPENAI_BASE_URL. OPENAI_MODEL must
    be set too."""
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
    journal keeps those of one answer in 64. `on`: an answer too unlikely to be good, as measured
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
        if value is not None and not is_database(value.get_secret_value()):
            raise ValueError("the address of a PostgreSQL database")
        return value

    @field_validator("state_url")
    @classmethod
    def _store(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value().strip()
        if not is_store(text):
            raise ValueError("an address that begins with valkey://, redis:// or rediss://")
        return SecretStr(text)

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
