"""Backends that repeat the keys they were sent: no key appears anywhere.

The text of a model's answer is not checked: it passes unchanged.
"""

import base64
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
import pytest

from config import load_settings
from router.privacy.redact import RedactingFilter
from tests.support.chaos.callers import DIALECTS
from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, GEMINI, LOCAL, Kind, data, models
from tests.support.keys import ALNUM, LOWER_HEX, made_up
from tests.support.scripted import Connection, Request, Script, scripted

# No known shape: they are found because they are settings of this router.
KEYS = {
    name: f"{made_up(ALNUM, 12, name)}.{made_up(LOWER_HEX, 12, name)}"
    for name in ("router_api_key", "anthropic_api_key", "gemini_api_key", "local_api_key")
}
PASSWORD = "hunter2/" + made_up(ALNUM, 12, "password")
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
CANARIES = (*KEYS.values(), PASSWORD, quote(PASSWORD, safe=""), BASIC)
LOOKS = (
    *("/", "/health", "/info", "/metrics", "/decisions", "/confidence", "/stats"),
    *("/v1/models", "/openapi.json"),
)


class Sent(NamedTuple):
    """The key that a backend was sent, and the whole header."""

    keys: str
    headers: str


def sent(request: Request) -> Sent:
    named = {
        name: value
        for name, value in request.headers.items()
        if name in ("authorization", "x-api-key", "x-goog-api-key")
    }
    assert named, "nothing to repeat"
    keys = " and ".join(value.split()[-1] for value in named.values())
    return Sent(keys, str(named))


Echo = Callable[[Kind, Connection, Request], Any]


def refusing(status: int, before: str = "") -> Echo:
    """Return an echo: an error body with the key, and other text `before` it."""

    async def echo(kind: Kind, connection: Connection, request: Request) -> None:
        body = kind.failure(status, f"{before}Bad key {sent(request).keys}!")
        await connection.answer(body, status)

    return echo


async def in_prose(kind: Kind, connection: Connection, request: Request) -> None:
    body = f"<h1>Bad headers {sent(request).headers} {sent(request).keys}</h1>"
    await connection.answer(body.encode(), 500, "text/html")


async def in_headers(kind: Kind, connection: Connection, request: Request) -> None:
    said = sent(request).keys
    body = kind.failure(429, said)
    await connection.answer(body, 429, X_Request_Id=said, Set_Cookie=f"k={said}", Retry_After=said)


async def in_headers_of_an_answer(kind: Kind, connection: Connection, request: Request) -> None:
    said = sent(request).keys
    headers: Any = {"X_Request_Id": said, "Set_Cookie": f"k={said}", "Server": said}
    if kind.streams(request):
        await connection.answer(
            kind.begin + kind.more + kind.end, 200, "text/event-stream", **headers
        )
    else:
        await connection.answer(kind.document, **headers)


async def in_the_reason(kind: Kind, connection: Connection, request: Request) -> None:
    said = sent(request).keys
    await connection.send(f"HTTP/1.1 500 {said}\r\nContent-Length: 0\r\n\r\n".encode())


async def in_a_200(kind: Kind, connection: Connection, request: Request) -> None:
    await connection.answer(kind.failure(500, sent(request).keys))


async def in_the_first_event(kind: Kind, connection: Connection, request: Request) -> None:
    await connection.stream(_event(kind, request))


async def in_a_later_event(kind: Kind, connection: Connection, request: Request) -> None:
    await connection.stream(kind.begin, _event(kind, request))


async def in_what_is_no_http(kind: Kind, connection: Connection, request: Request) -> None:
    await connection.send(f"HTTP/1.1 {sent(request).keys}\r\n{sent(request).headers}\r\n".encode())
    connection.writer.close()


async def in_what_is_no_event(kind: Kind, connection: Connection, request: Request) -> None:
    await connection.stream(f"data: {sent(request).keys}\n\n".encode())


async def in_what_breaks_us(kind: Kind, connection: Connection, request: Request) -> None:
    """Send fields of unexpected types with keys in them."""
    said = sent(request).keys
    wrong = {"error": [said], "type": "error", "choices": said, "candidates": said, "usage": said}
    await connection.stream(data(wrong | {"message": said, "usageMetadata": said}))


def _event(kind: Kind, request: Request) -> bytes:
    name = b"event: error\n" if kind.name == "claude" else b""
    body = orjson.loads(kind.failure(500, f"Bad key {sent(request).keys}!"))
    return name + data(body)


ECHOES: dict[str, Echo] = {
    **{f"HTTP {status}": refusing(status) for status in (400, 401, 403, 404, 429, 500)},
    "cut in two": refusing(400, before="x" * 1980),
    **{
        echo.__name__: echo
        for echo in (
            *(in_prose, in_headers, in_headers_of_an_answer, in_the_reason, in_a_200),
            *(in_the_first_event, in_a_later_event, in_what_is_no_http, in_what_is_no_event),
            in_what_breaks_us,
        )
    },
}


@pytest.fixture
def log() -> Iterator[StringIO]:
    """Return the log, with that of the libraries, as `server.py` prints it."""
    out = StringIO()
    handler = logging.StreamHandler(out)
    login = f"me:{quote(PASSWORD, safe='')}"
    settings = load_settings(env=None, **KEYS, local_base_url=f"http://{login}@localhost/v1")
    handler.addFilter(RedactingFilter(settings.secrets))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)


WHO = {"local": LOCAL, "local by password": LOCAL, "claude": CLAUDE, "gemini": GEMINI}


@asynccontextmanager
async def repeating(
    who: str, script: Script, journal: Path, probe: Script = models
) -> AsyncIterator[RunningServer]:
    """Start a server in which this backend repeats its key; `probe` answers for its models."""
    kind = WHO[who]
    async with scripted(script, probe) as near:
        address = near.url.removeprefix("http://")
        login = f"me:{quote(PASSWORD, safe='')}@" if who == "local by password" else ""
        keys: Any = {
            name: key for name, key in KEYS.items() if name != "local_api_key" or not login
        }
        if who == "claude":
            keys["gemini_api_key"] = None
        elif who == "gemini":
            keys["anthropic_api_key"] = None
        near_url = {"local_base_url": f"http://{login}{address}/v1"}
        far = CLAUDE.well if kind is LOCAL else script
        settings: Any = keys | (near_url if kind is LOCAL else {}) | {"journal_path": str(journal)}
        async with running_server(kind, LOCAL.well, far, **settings) as h:
            yield h


async def ask(h: RunningServer, method: str, path: str, body: Any = None, force: str = "") -> str:
    """Return status, headers and body of an answer as one text."""
    headers = {"Authorization": f"Bearer {KEYS['router_api_key']}"}
    if force:
        headers["X-Force-Route"] = force
    answer = await h.http.request(method, path, json=body, headers=headers)
    return f"{answer.status_code} {answer.headers} {answer.text}"


def clean(text: str, where: str) -> None:
    for canary in CANARIES:
        assert canary[:10] not in text, f"{where}: {canary} in {text[:3000]}"


async def look_everywhere(h: RunningServer, log: StringIO, journal: Path) -> None:
    for path in LOOKS:
        clean(await ask(h, "GET", path), path)
    for file in journal.parent.glob(f"{journal.name}*"):
        clean(file.read_bytes().decode("latin-1"), file.name)
    clean(log.getvalue(), "the log")


@pytest.mark.parametrize("who", WHO)
async def test_a_key_that_a_backend_repeats_appears_nowhere(
    who: str, log: StringIO, tmp_path: Path
) -> None:
    journal, kind = tmp_path / "journal.db", WHO[who]
    echo: Echo = in_prose

    async def script(connection: Connection, request: Request) -> None:
        await echo(kind, connection, request)

    async with repeating(who, script, journal) as h:
        for name, echo in ECHOES.items():
            for dialect, stream in product(DIALECTS, (False, True)):
                h.forgive()
                said = await ask(h, "POST", dialect.path, dialect.body(stream), kind.target)
                clean(said, f"{name}, {dialect.name}, {'stream' if stream else 'whole'}")
            if kind is LOCAL and echo is not in_what_is_no_event:
                for path in ("/v1/embeddings", "/v1/completions"):
                    said = await ask(h, "POST", path, {"input": "Hi", "prompt": "Hi"})
                    clean(said, f"{name}, {path}")
            clean(log.getvalue(), f"{name}, the log")
        await look_everywhere(h, log, journal)
    clean(journal.read_bytes().decode("latin-1"), "the journal")
    assert " 502 " in log.getvalue()
    clean(log.getvalue(), "the log")


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("who", WHO)
async def test_a_key_that_a_probe_repeats_appears_nowhere(
    who: str, status: int, log: StringIO, tmp_path: Path
) -> None:
    kind = WHO[who]

    async def probe(connection: Connection, request: Request) -> None:
        body = kind.failure(status, f"Bad key {sent(request).keys}! {sent(request).headers}")
        await connection.answer(body, status)

    async with repeating(who, kind.well, tmp_path / "journal.db", probe) as h:
        await h.assembly.router.seats[kind.name].watch.look()
        for dialect in DIALECTS:
            clean(await ask(h, "POST", dialect.path, dialect.body(True), kind.target), dialect.name)
        await look_everywhere(h, log, tmp_path / "journal.db")


class Faulty:
    """A backend whose code raises an unexpected exception."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def open(self, *_: object) -> Any:
        raise KeyError(f"no {KEYS['local_api_key']} for http://me:{PASSWORD}@x/")


async def test_an_internal_error_with_a_key_in_it_is_logged_without_the_key(
    log: StringIO, tmp_path: Path
) -> None:
    """The traceback is logged, without the key."""
    async with repeating("local", LOCAL.well, tmp_path / "journal.db") as h:
        seat: Any = h.assembly.router.local
        seat.backend = Faulty(seat.backend)
        for dialect in DIALECTS:
            clean(await ask(h, "POST", dialect.path, dialect.body(False), "local"), dialect.name)
        assert log.getvalue().count("KeyError: 'no [redacted] for") == 3
        await look_everywhere(h, log, tmp_path / "journal.db")
