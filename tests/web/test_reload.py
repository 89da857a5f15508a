"""Settings that are read again while requests are on their way."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from router.clouds.claude_client import ClaudeBackend
from router.parts.assembly import Assembly
from router.privacy.redact import RedactingFilter
from tests.support.backend_answers import models
from tests.support.journals import Opened
from tests.support.keys import CANARIES
from tests.support.running_app import RunningApp, lifespan, local_side, running_app
from tests.support.scripted import Connection, Request, scripted
from tests.support.waiting import settled
from web.app import create_app
from web.readiness import Readiness

EASY = "What is 2 + 2?"
RELOAD = "/settings/reload"


async def reload(app: RunningApp, **changes: Any) -> httpx2.Response:
    """Change settings at their source and have them read again."""
    app.source.overrides = {**app.source.overrides, **changes}
    return await app.http.post(RELOAD)


@pytest.mark.parametrize(
    ("changes", "prompt", "before", "after"),
    [
        ({"complexity_threshold": 0}, EASY, "200 local simple", "200 cloud complex"),
        ({"max_local_tokens": 1}, EASY, "200 local simple", "200 cloud too_long"),
        ({"router_api_key": "a-new-key"}, EASY, "200 local simple", "401"),
        (
            {"private_patterns": "sapphire"},
            "Say sapphire.",
            "200 local no_signal",
            "200 local private",
        ),
        ({"max_body_mb": 0.00001}, EASY, "200 local simple", "413"),
        (
            {"local_base_url": "http://127.0.0.1:9"},
            EASY,
            "200 local simple",
            "200 cloud local_down",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_a_new_value_counts_from_the_next_request_on(
    changes: dict[str, Any], prompt: str, before: str, after: str
) -> None:
    async with running_app() as app:
        seen = [_outcome(await app.ask(prompt))]
        read = await reload(app, **changes)
        seen.append(_outcome(await app.ask(prompt)))
    assert read.json()["changed"] == [name.upper() for name in changes]
    assert seen == [before, after]


def _outcome(answer: httpx2.Response) -> str:
    names = ("x-router-target", "x-router-reason")
    return " ".join([str(answer.status_code), *(answer.headers.get(n, "") for n in names)]).strip()


async def test_a_price_and_a_cloud_model_are_exchanged() -> None:
    prices = {"new-model": {"input": 1e6, "output": 0}}
    async with running_app(complexity_threshold=0) as app:
        await reload(app, anthropic_model="new-model", prices=prices)
        answer = await app.ask(EASY)
        assert answer.headers["x-router-model"] == "new-model"
        assert (app.last.model, app.last.cost_usd) == ("new-model", 7.0)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("COMPLEXITY_THRESHOLD=much", "COMPLEXITY_THRESHOLD must be a valid number"),
        ("PRIVATE_PATTERNS=(a+)+$", "PRIVATE_PATTERNS: entry 1"),
        ("LOCAL_SERVERS=studio", "LOCAL_SERVERS must be"),
    ],
)
async def test_a_bad_file_changes_nothing_and_is_named_with_its_line(
    line: str, named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / ".env"
    async with running_app() as app:
        file.write_text(f"# mine\nMAX_LOCAL_TOKENS=1\n{line}\n")
        app.source.env = file
        answer = await reload(app)
        assert _outcome(await app.ask(EASY)) == "200 local simple"
        shown = (await app.http.get("/info")).json()["settings"]["error"]
    (logged,) = [entry.message for entry in caplog.records if entry.levelno == logging.ERROR]
    assert answer.status_code == 400
    for said in (answer.json()["error"]["message"], shown, logged):
        assert named in said
        assert f"{file}, line 3" in said


@pytest.mark.parametrize("folder", [False, True], ids=["gone", "a folder now"])
async def test_a_file_that_is_gone_does_not_take_the_settings_with_it(
    folder: bool, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("ROUTER_API_KEY=open-sesame\n")
    async with running_app(env=file) as app:
        app.http.headers["authorization"] = "Bearer open-sesame"
        file.unlink()
        if folder:
            file.mkdir()
        app.source.env = "find"
        answer = await reload(app)
        assert answer.status_code == 400
        assert f"{file} is gone" in answer.json()["error"]["message"]
        del app.http.headers["authorization"]
        assert (await app.ask(EASY)).status_code == 401


async def test_the_answer_of_a_reload_names_a_misspelled_setting(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.touch(mode=0o600)
    file.write_text("COMPLEXITY_TRESHOLD=33\n")
    async with running_app() as app:
        app.source.env = file
        answer = (await reload(app)).json()
        shown = (await app.http.get("/info")).json()["settings"]["warnings"]
    said = f"{file}, line 1: COMPLEXITY_TRESHOLD is no setting. Is COMPLEXITY_THRESHOLD meant?"
    assert (answer["changed"], answer["warnings"], shown) == ([], [said], [said])


async def test_a_file_that_is_good_again_clears_the_error(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("MAX_LOCAL_TOKENS=none\n")
    async with running_app() as app:
        app.source.env = file
        assert (await reload(app)).status_code == 400
        file.write_text("MAX_LOCAL_TOKENS=1\n")
        assert (await reload(app)).json()["changed"] == ["MAX_LOCAL_TOKENS"]
        assert (await app.http.get("/info")).json()["settings"]["error"] == ""


async def test_settings_that_cannot_be_prepared_leave_the_running_ones_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(self: Assembly) -> None:
        raise OSError("no more file descriptors")

    monkeypatch.setattr(Assembly, "prepare", fails)
    async with running_app() as app:
        with pytest.raises(OSError, match="file descriptors"):
            await reload(app, anthropic_api_key=None, complexity_threshold=100)
        counted = (await app.http.get("/metrics")).text
        shown = (await app.http.get("/info")).json()["settings"]
    assert 'side="claude"' in counted
    assert shown["changed"] == []


async def test_settings_for_the_next_start_are_named_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "router")
    async with running_app(server_port=8080) as app:
        new = {"server_port": 8099, "journal_url": "postgresql://a:s3cr3t@db/a", "journal_days": 3}
        answer = (await reload(app, **new)).json()
        assert app.assembly.settings.server_port == 8080
        assert app.assembly.settings.journal_url is None
    assert answer["changed"] == []
    assert answer["at_next_start"] == ["SERVER_PORT", "JOURNAL_URL", "JOURNAL_DAYS"]
    assert "the next start of the server: SERVER_PORT, JOURNAL_URL, JOURNAL_DAYS" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_a_reading_without_changes_leaves_the_same_settings_set() -> None:
    async with running_app() as app:
        before = app.assembly.settings.model_fields_set
        await reload(app)
        assert app.assembly.settings.model_fields_set == before


async def test_a_server_that_is_open_to_the_network_keeps_its_key() -> None:
    """SERVER_HOST counts at the next start, so a file without the key would open it now."""
    async with running_app(server_host="0.0.0.0", router_api_key="a-key") as app:
        app.http.headers["authorization"] = "Bearer a-key"
        answer = await reload(app, server_host="127.0.0.1", router_api_key=None)
        assert answer.status_code == 400
        assert "ROUTER_API_KEY" in answer.json()["error"]["message"]
        del app.http.headers["authorization"]
        assert (await app.ask(EASY)).status_code == 401


async def test_a_request_ends_where_it_began_and_its_server_is_closed_afterwards() -> None:
    go_on = asyncio.Event()

    async def slow(connection: Connection, request: Request) -> None:
        await go_on.wait()
        await local_side(connection, request)

    async with running_app(slow) as app, scripted(local_side, models) as other:
        asked = asyncio.create_task(app.ask(EASY))
        old = app.assembly.router
        async with asyncio.timeout(10):
            slots = old.local.slots
            await settled(lambda: slots is not None and slots.busy > 0, "no request came", 10)
            await reload(app, local_base_url=f"{other.url}/v1")
            assert (await app.ask(EASY)).status_code == 200
            assert [one.path for one in other.requests if one.method == "POST"] == [
                "/v1/chat/completions"
            ]
            assert len(app.app.earlier) == 1
            go_on.set()
            assert (await asked).status_code == 200
            await settled(lambda: not app.app.earlier, "earlier settings are still in use", 10)
        assert app.last.target == "local"


async def test_no_request_fails_while_settings_change_again_and_again() -> None:
    async with running_app() as app, scripted(local_side, models) as other:
        addresses = [app.assembly.settings.local_base_url, f"{other.url}/v1"]
        statuses: list[int] = []
        is_over = False

        async def caller() -> None:
            while not is_over:
                statuses.append((await app.ask(EASY)).status_code)

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(caller())
            for turn in range(1, 13):
                await reload(app, local_base_url=addresses[turn % 2], max_local_tokens=100 + turn)
                await asyncio.sleep(0.02)
            is_over = True
        await settled(lambda: not app.app.earlier, "earlier settings are still in use", 10)
        counted = (await app.http.get("/metrics")).text
    assert set(statuses) == {200}
    assert f'outcome="done",reason="simple",target="local"}} {len(statuses)}.0' in counted


async def test_unchanged_parts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    close = ClaudeBackend.aclose

    async def closes(self: ClaudeBackend) -> None:
        closed.append(self.name)
        await close(self)

    monkeypatch.setattr(ClaudeBackend, "aclose", closes)
    async with running_app() as app:
        before = app.assembly
        await reload(app, complexity_threshold=20)
        after = app.assembly
        await settled(lambda: not app.app.earlier, "earlier settings are still kept")
        assert closed == []
    assert closed == ["claude"]
    assert after.router is not before.router
    assert after.router.seats == before.router.seats
    assert after.ledger.journal is before.ledger.journal


async def test_the_journal_is_kept_open(opened: Opened) -> None:
    async with running_app(**opened.settings) as app:
        await app.ask(EASY)
        before = app.assembly.ledger.journal
        await reload(app, complexity_threshold=20)
        await app.ask(EASY)
        after = app.assembly.ledger.journal
        assert after is before
        before.dropped = 7
        counted = (await app.http.get("/metrics")).text
    assert "llm_router_journal_rows_dropped_total 7.0" in counted
    assert len(opened().recent(10)) == 2


async def test_a_new_key_replaces_the_cloud_only() -> None:
    async with running_app() as app:
        before = app.assembly.router
        await reload(app, anthropic_api_key="sk-ant-another")
        after = app.assembly.router
    assert after.cloud is not before.cloud
    assert after.local is before.local


async def test_an_allowed_finding_stays_allowed() -> None:
    prompt = f"Why is {CANARIES['GitHub']} refused?"
    async with running_app(complexity_threshold=0) as app:
        seen = [_outcome(await app.ask(prompt))]
        finding = (await app.http.post("/classify", json={"prompt": prompt})).json()["finding"]
        await app.http.post("/privacy/allow", json={"id": finding["id"]})
        await reload(app, private_patterns="sapphire")
        seen.append(_outcome(await app.ask(prompt)))
    assert seen == ["200 local private", "200 cloud complex"]


async def test_a_response_is_still_known_after_it() -> None:
    async with running_app() as app:
        first = (await app.http.post("/v1/responses", json={"input": EASY})).json()
        await reload(app, complexity_threshold=20)
        body = {"input": "And times 3?", "previous_response_id": first["id"]}
        assert (await app.http.post("/v1/responses", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("10.0.0.9", {}),
        ("127.0.0.1", {"origin": "https://example.com"}),
        ("127.0.0.1", {"sec-fetch-site": "cross-site"}),
        ("127.0.0.1", {"x-forwarded-for": "10.0.0.9"}),
    ],
    ids=["another machine", "another origin", "another site", "a reverse proxy"],
)
async def test_only_the_user_on_this_machine_may_ask_for_it(
    client: str, headers: dict[str, str]
) -> None:
    async with running_app() as app:
        app.source.overrides = {**app.source.overrides, "complexity_threshold": 0}
        transport = httpx2.ASGITransport(app.app, client=(client, 1234))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            assert (await http.post(RELOAD, headers=headers)).status_code == 403
        assert app.assembly.settings.complexity_threshold == 50


async def test_earlier_routers_are_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never_ends(self: ClaudeBackend) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(ClaudeBackend, "warm", never_ends)  # importing the SDK takes long
    async with running_app() as app:
        first = weakref.ref(app.assembly.router)
        await app.http.get("/stats")
        await reload(app, complexity_threshold=20)
        await settled(gone(first), "the first router is still in memory")


async def test_an_error_after_a_reload_is_logged_without_keys_and_keeps_nothing_in_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, filtering = "sk-ant-another-of-this-test", RedactingFilter()

    def fails(self: Assembly) -> None:
        raise OSError(f"cannot look up prices with {key}")

    monkeypatch.setattr(Assembly, "_look_up_prices", fails)
    log = logging.getLogger("router")
    log.addFilter(filtering)  # as at the handler of the server; it also lets go of the exception
    try:
        async with running_app() as app:
            app.source.hide = filtering.hide
            router = weakref.ref(app.assembly.router)
            cloud = weakref.ref(app.assembly.router.seats["claude"].backend)
            await reload(app, anthropic_api_key=key)
            await settled(lambda: "cannot look up prices" in caplog.text, "nothing is logged", 10)
            await settled(gone(router), "the first router is still in memory")
            await settled(gone(cloud), "the first cloud is still in memory")
    finally:
        log.removeFilter(filtering)
    assert "internal error after the settings were read again" in caplog.text
    assert "Traceback" in caplog.text
    assert key not in caplog.text


async def test_earlier_settings_that_do_not_close_are_logged_and_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_app() as app, scripted(local_side, models) as other:
        old = app.assembly.router.locals[0].backend
        close = old.aclose

        async def fails() -> None:
            await close()
            raise OSError("the local server does not close")

        monkeypatch.setattr(old, "aclose", fails)
        await reload(app, local_base_url=f"{other.url}/v1")
        await settled(lambda: not app.app.earlier, "earlier settings are still kept")
        await settled(lambda: "does not close" in caplog.text, "nothing is logged")
    assert "internal error while earlier settings were closed" in caplog.text


def gone(part: weakref.ref[Any]) -> Callable[[], bool]:
    """Return whether a part is no longer in memory, as a function."""

    def is_gone() -> bool:
        gc.collect()
        return part() is None

    return is_gone


async def test_a_reload_before_the_first_look_has_ended_does_not_keep_the_server_unready() -> None:
    go_on = asyncio.Event()

    async def slow_models(connection: Connection, request: Request) -> None:
        await go_on.wait()
        await models(connection, request)

    state = Readiness()
    async with running_app(local_models=slow_models) as running, scripted(local_side, models) as o:
        app = create_app(running.assembly.settings, readiness=state, source=running.source)
        async with lifespan(app):
            running.source.overrides = {**running.source.overrides, "local_base_url": f"{o.url}/v1"}
            reading = asyncio.ensure_future(app.reread())
            await asyncio.sleep(0.05)
            go_on.set()
            assert (await reading).changed == ("LOCAL_BASE_URL",)
    assert state.state == "ready"


async def test_new_keys_are_hidden_from_the_log() -> None:
    hidden: list[str] = []
    async with running_app() as app:
        app.source.hide = hidden.extend
        await reload(app, anthropic_api_key="sk-ant-another")
    assert "sk-ant-another" in hidden
