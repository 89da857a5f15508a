"""Several local servers as the settings name them: LOCAL_SERVERS, or a TOML file.

In .env, one server after the other, with options behind semicolons:

    LOCAL_SERVERS=studio=http://studio.lan:1234/v1;private=yes,gpu=http://10.0.0.7:8000/v1;key=…

In the file that LOCAL_SERVERS_FILE names, a table for each server:

    [studio]
    url = "http://studio.lan:1234/v1"
    private = true
"""

import base64
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import NoDecode

from addresses import is_this_machine

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
TAKEN: Final = frozenset(
    {"auto", "claude", "cloud", "embedded", "gemini", "local", "none", "openai"}
)
"""Names that mean something else in a request, a header or a metric."""
LONGEST_OPTION: Final = 12
"""A longer name that is no option may be a key, so it is not shown."""
OPTIONS: Final = "url, model, key, concurrency, private"
_NEXT: Final = re.compile(r",(?=\s*[A-Za-z][\w.-]*\s*=)")
"""The comma before the next server. Addresses and keys may have commas of their own."""


def is_http_address(value: str) -> bool:
    """Return whether this is an http(s) address with a valid host and port."""
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and host != b"" and port != 0 and " " not in value


def _http_address(value: str) -> str:
    if not is_http_address(value):
        raise ValueError("an address that starts with http:// or https://")
    return value


def _one_line(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable():
        raise ValueError("on one line")
    return value


Url = Annotated[str, AfterValidator(_http_address)]
Key = Annotated[SecretStr, AfterValidator(_one_line)]


class LocalServerSettings(BaseModel):
    """One local server."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    url: Url
    """Address with its /v1."""
    model: str = ""
    """The model to ask it for; empty for LOCAL_MODEL."""
    key: Key | None = None
    concurrency: int | None = Field(None, ge=1, le=10_000)
    private: bool
    """Whether private requests may go there."""

    @property
    def secrets(self) -> Iterator[str]:
        """Yield the key, and what is secret in the address."""
        if self.key is not None:
            yield self.key.get_secret_value()
        address = urlsplit(self.url)
        if address.password:
            user, password = unquote(address.username or ""), unquote(address.password)
            yield from (password, address.password)
            yield base64.b64encode(f"{user}:{password}".encode()).decode()
        yield from (value for _, value in parse_qsl(address.query))


def parse(text: str) -> tuple[LocalServerSettings, ...]:
    """Read the value of LOCAL_SERVERS. Raises ValueError, which says what to write."""
    given: dict[str, dict[str, Any]] = {}
    for part in _NEXT.split(text.strip().strip(",")):
        first, *options = part.split(";")
        name, _, url = (piece.strip() for piece in first.partition("="))
        if name in given:
            raise ValueError(f"one address for each name, but {name!r} comes twice")
        given[name] = {"url": url}
        for option in options:
            key, equals, value = (piece.strip() for piece in option.partition("="))
            if not equals:
                raise ValueError(f"name=address;option=value, with an option of {OPTIONS}")
            given[name][key] = value
    return _checked(given)


def read(path: Path) -> tuple[LocalServerSettings, ...]:
    """Read a TOML file with a table for each server. Raises ValueError."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"a file that can be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("a TOML file in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at [^)]*\)", str(error))  # the rest may quote a key
        raise ValueError(f"a TOML file {where[0] if where else ''}".strip()) from None
    return _checked(tables)


def _checked(given: Mapping[str, Any]) -> tuple[LocalServerSettings, ...]:
    if not given:
        raise ValueError("at least one server, as name=address")
    return tuple([_server(name, options) for name, options in given.items()])


def _server(name: str, options: Any) -> LocalServerSettings:
    if not NAME.fullmatch(name) or name in TAKEN:
        raise ValueError(
            "name=address, where the name begins with a letter, has at most 32 of a-z 0-9 _ . -"
            f" and is none of {', '.join(sorted(TAKEN))}"
        )
    if not isinstance(options, dict):
        raise ValueError(f"a table [{name}] with some of {OPTIONS}")
    values = {"private": _is_here(options.get("url"))}
    values |= {key: value for key, value in options.items() if value != ""}
    try:
        return LocalServerSettings.model_validate(values | {"name": name})
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
    option = str(fault["loc"][0])
    if option not in LocalServerSettings.model_fields:
        shown = f" ({option})" if option.isidentifier() and len(option) < LONGEST_OPTION else ""
        raise ValueError(
            f"a list of servers whose options are {OPTIONS}; {name} has another one{shown}"
        )
    if fault["type"] == "missing":
        raise ValueError(f"name=address for each server; {name} has no address")
    rule = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if option == "private":
        rule = "yes or no"
    raise ValueError(f"a list of servers whose {option} is {rule}, unlike that of {name}")


def _is_here(url: object) -> bool:
    return isinstance(url, str) and is_http_address(url) and is_this_machine(url)


def _read_text(value: Any) -> Any:
    return parse(value) if isinstance(value, str) else value


def _read_path(value: Any) -> Any:
    return read(Path(value).expanduser()) if isinstance(value, str) else value


_Servers = tuple[LocalServerSettings, ...]
ServersInText = Annotated[_Servers, NoDecode, BeforeValidator(_read_text)]
ServersInFile = Annotated[_Servers, NoDecode, BeforeValidator(_read_path)]
