"""Private requests in every dialect, in front of clouds that record what they are sent."""

import logging
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from config import load_settings
from router.build import build_router
from router.privacy.normalize import normalize
from router.privacy.scanner import PrivacyScanner
from router.request import ChatRequest
from tests.support.chaos.running_server import RunningServer, running_server
from tests.support.chaos.sides import CLAUDE, GEMINI, LOCAL, Kind
from tests.support.hiding import FILES, QUESTION, SPELLINGS, TEXTS, chat, messages
from tests.support.keys import ALNUM, CANARIES, made_up
from web.views import health, info

OWN = "vq" + made_up(ALNUM, 30, "own canary")
KNOWN = CANARIES["GitHub"]
CANARY_KINDS = {"the user's own": OWN, "of a known format": KNOWN}
ROUTES = tuple(TEXTS)
LOOKS = ("/", "/metrics", "/decisions", "/stats", "/health", "/info")


class Setup(NamedTuple):
    """A server in front of a cloud of one kind, and the file of its journal."""

    server: RunningServer
    journal: Path
    numbers: Iterator[int]

    async def cloud_asked(self, path: str, body: dict[str, Any], **headers: str) -> list[bytes]:
        """Send a request in a conversation of its own; return what reaches the cloud.

        In a conversation that is private already, anything would stay here.
        """
        self.server.cloud.requests.clear()
        question = f"Please look at number {next(self.numbers)}."
        content = orjson.dumps(body).replace(QUESTION.encode(), question.encode())
        answer = await self.server.http.post(path, content=content, headers=headers)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        return [str(r.headers).encode() + r.body for r in self.server.cloud.requests]


@pytest.fixture(params=[CLAUDE, GEMINI], ids=lambda kind: kind.name)
async def setup(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Setup]:
    kind: Kind = request.param
    secrets = tmp_path / "work.env"
    secrets.write_text(f"WORK_TOKEN={OWN}\n")
    journal = tmp_path / "journal.db"
    settings: dict[str, Any] = {"private_files": str(secrets), "journal_path": str(journal)}
    async with running_server(kind, LOCAL.well, kind.well, **settings) as here:
        yield Setup(here, journal, count())


@pytest.mark.no_cover
@pytest.mark.parametrize("path", ROUTES)
async def test_a_request_without_anything_private_goes_to_the_cloud(
    setup: Setup, path: str
) -> None:
    for name, body in (TEXTS[path] | FILES[path]).items():
        if name == "a drawing":  # Claude is sent it, Gemini refuses it
            continue
        for spelling in SPELLINGS.values():
            assert await setup.cloud_asked(path, body(spelling("an-ordinary-name"))), name


@pytest.mark.no_cover
@pytest.mark.parametrize("canary", CANARY_KINDS.values(), ids=CANARY_KINDS.keys())
@pytest.mark.parametrize("path", ROUTES)
async def test_a_secret_is_found_wherever_it_stands_and_however_it_is_spelled(
    setup: Setup, path: str, canary: str
) -> None:
    for place, body in TEXTS[path].items():
        for name, spelling in SPELLINGS.items():
            assert await setup.cloud_asked(path, body(spelling(canary))) == [], (place, name)


@pytest.mark.no_cover
@pytest.mark.parametrize("canary", CANARY_KINDS.values(), ids=CANARY_KINDS.keys())
@pytest.mark.parametrize("path", ROUTES)
async def test_a_secret_in_an_attached_file_is_found(setup: Setup, path: str, canary: str) -> None:
    for name, body in FILES[path].items():
        text = f"# notes\nexport KEY={canary}\nthe end"
        assert await setup.cloud_asked(path, body(text)) == [], name


async def test_of_a_private_request_nothing_is_kept_or_shown(setup: Setup, log: StringIO) -> None:
    for path in ROUTES:
        for canary in CANARY_KINDS.values():
            body = TEXTS[path]["a message"](f"Why is {canary} refused?") | {"model": canary}
            headers = {"user-agent": canary, "anthropic-beta": canary}
            for force in ({}, {"x-force-route": "cloud"}):
                assert await setup.cloud_asked(path, body, **headers, **force) == []
    seen = [log.getvalue()]
    for path in LOOKS:
        seen.append((await setup.server.http.get(path)).text)
    setup.server.assembly.ledger.journal.flush()
    for file in setup.journal.parent.iterdir():
        if file.name != "work.env":
            seen.append(file.read_bytes().decode("latin-1"))
    for text in seen:
        for canary in CANARY_KINDS.values():
            assert canary[:8] not in normalize(text)
    assert "private: " in seen[0]


@pytest.fixture
def log() -> Iterator[StringIO]:
    out = StringIO()
    handler = logging.StreamHandler(out)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield out
    root.removeHandler(handler)
    root.setLevel(level)


async def test_headers_of_a_caller_are_scanned_and_only_known_ones_passed_on(
    setup: Setup,
) -> None:
    for number, name in enumerate(("anthropic-beta", "anthropic-version")):
        body = messages(f"question {number}")
        assert await setup.cloud_asked("/v1/messages", body, **{name: KNOWN}) == [], name
    sent = await setup.cloud_asked(
        "/v1/messages", messages("another"), **{"anthropic-notes": OWN, "anthropic-beta": "b-1"}
    )
    assert len(sent) == 1
    assert OWN.encode() not in sent[0]


async def test_headers_of_the_environment_are_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", f"X-Notes: {OWN}")
    async with running_server(CLAUDE, LOCAL.well, CLAUDE.well) as here:
        answer = await here.http.post("/v1/chat/completions", json=chat("Hi"))
        assert answer.headers["x-router-target"] == "cloud"
        assert OWN not in str(here.cloud.requests[0].headers)


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        ({"router_api_key": "s3-key"}, "s3-key"),
        ({"router_api_key": "put correct horse battery"}, "put correct horse battery"),
        ({"local_base_url": "http://me:w0rd-z@localhost:1/v1"}, "w0rd-z"),
        ({"local_base_url": "http://localhost:1/v1?api_key=q7-zeta9"}, "q7-zeta9"),
    ],
)
async def test_short_keys_of_the_users_own_stay_here(settings: dict[str, Any], secret: str) -> None:
    router = build_router(load_settings(env=None, journal_path="off", **settings))
    for text, is_private in ((f"Is {secret} right?", True), (f"x{secret[1:]}", False)):
        assert router.privacy is not None
        found = router.privacy.check(ChatRequest(chat(text)))
        assert (found is not None) == is_private, text
    for shown in (await info(router, {}), await health(router)):
        assert secret not in str(shown)
    await router.aclose()


def test_a_key_too_short_to_look_for_is_reported_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scanner = PrivacyScanner(keys={"ROUTER_API_KEY": "abc"})
    scanner.start()
    assert scanner.scan(b'"abc"') is None
    assert [record.getMessage() for record in caplog.records] == [
        "ROUTER_API_KEY is too short to be looked for in requests: make it 6 characters or more."
    ]


async def test_a_private_request_reaches_the_local_server_unchanged(setup: Setup) -> None:
    await setup.cloud_asked("/v1/chat/completions", chat(f"Why is {KNOWN} refused?"))
    (asked,) = setup.server.local.requests
    assert KNOWN in orjson.loads(asked.body)["messages"][0]["content"]
