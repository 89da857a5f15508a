"""The status page: self-contained, with a strict policy, and drawn by a real browser."""

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from router.answers.calibration import Calibrations
from router.answers.trust import Truster
from router.deciding.facts import REASONS
from router.events import Usage
from router.telemetry.confidence_figures import confidence_json
from router.telemetry.journal import Attempt, Journal, Record
from router.telemetry.stats import decisions_json, stats_json
from tests.support import paths
from tests.support.browser import Tab, needs_browser
from tests.support.running_app import on_a_socket, running_app
from web.page import load_page

HTML, HEADERS = load_page()
TEXT = HTML.decode()
NOW = 1_800_014_400.0


def inline(tag: str) -> str:
    (found,) = re.findall(rf"<{tag}>(.*?)</{tag}>", TEXT, re.DOTALL)
    return str(found)


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else() -> None:
    policy = dict(
        part.strip().split(" ", 1) for part in HEADERS["content-security-policy"].split(";")
    )
    for tag in ("script", "style"):
        digest = b64encode(sha256(inline(tag).encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"


def test_nothing_on_the_page_needs_another_origin_or_would_be_blocked() -> None:
    markup = TEXT.replace(inline("script"), "")
    addresses = re.findall(r"""(?:href|src|action)=["']?([^"'\s>]+)""", markup)
    assert all(
        a.startswith(("/", "data:image/svg+xml")) and not a.startswith("//") for a in addresses
    )
    assert "@import" not in TEXT
    assert not re.search(r"\s(style|on\w+)=", markup), "inline styles and events are not allowed"


def test_data_never_becomes_markup() -> None:
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert way not in TEXT


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_explained(reason: str) -> None:
    assert re.search(rf"^  {reason}: \"[A-Z].*\.\",$", inline("script"), re.MULTILINE)


# ---- in a browser

SIDE: dict[str, Any] = {
    "up": True,
    "state": "ready",
    "server": "lmstudio",
    "model": "qwen-test",
    "can": {"context_tokens": 32_768, "vision": False, "tools": True},
    "latency_ms": 3.0,
    "detail": "",
    "breaker": "closed",
    "running": 1,
    "waiting": 0,
}
CLOUD = SIDE | {
    "model": "claude-test",
    "up": False,
    "state": "locked",
    "detail": "The key was refused.",
}
HEALTH: dict[str, Any] = {
    "status": "ok",
    "headline": {"level": "ok", "text": "Easy prompts stay here."},
    "local": SIDE,
    "cloud": CLOUD,
    "notice": None,
}
RECORDS = [
    Record(
        "first",
        NOW - 100,
        target="local",
        model="qwen-test",
        score=12,
        reason="simple",
        signals={"token_count": 2.0, "simple_keywords": -4.0},
        first_byte_ms=120.0,
        total_ms=2_120.0,
        usage=Usage(100, 80),
        cost_usd=0.0,
        saved_usd=0.25,
        prompt="<img src=x onerror=alert(1)>",
    ),
    Record(
        "second",
        NOW - 50,
        target="cloud",
        backend="claude",
        model="claude-test",
        score=30,
        reason="escalated",
        fallback=True,
        attempts=(Attempt("local", "qwen-test", "BackendBroken", "empty", 9.0),),
        usage=Usage(10, 20),
        cost_usd=1.5,
    ),
]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that starts a stand-in for the server and returns its address."""
    runners: list[web.AppRunner] = []
    journals: list[Journal] = []

    async def start(records: list[Record], key: str | None = None, headline: Any = None) -> str:
        journal = Journal(None, prompts=True, clock=lambda: NOW)
        journals.append(journal)
        for record in records:
            journal.add(record)
        journal.flush()
        answers: dict[str, Callable[[], Any]] = {
            "/health": lambda: HEALTH | {"headline": headline} if headline else HEALTH,
            "/info": lambda: {"threshold": 50, "needs_key": key is not None},
            "/stats": lambda: stats_json(journal, 7, NOW),
            "/decisions": lambda: decisions_json(journal),
            "/confidence": lambda: confidence_json(
                journal, Truster("off", Calibrations(), 50), 7, NOW
            ),
        }

        async def answer(request: web.Request) -> web.Response:
            if request.path == "/":
                return web.Response(body=HTML, headers=HEADERS)
            if key and request.path != "/health":
                return web.json_response({"error": {"message": "no"}}, status=401)
            return web.json_response(answers[request.path]())

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/"

    yield start
    for runner in runners:
        await runner.cleanup()
    for journal in journals:
        journal.close()


async def drawn(tab: Tab, address: str) -> str:
    """Return the page's markup once it has drawn itself."""
    await tab.open(address)
    await tab.until("document.querySelector('#local h2')")
    await tab.until(
        "document.querySelector('#traffic svg') || !document.querySelector('#locked').hidden"
    )
    markup: str = await tab.value("document.body.outerHTML")
    return re.sub(r"<script>.*?</script>", "", markup, flags=re.DOTALL)


@needs_browser
async def test_a_browser_shows_sides_figures_and_decisions(
    serve: Callable[..., Any], tab: Tab
) -> None:
    page = await drawn(tab, await serve(RECORDS))
    for text in (
        *("qwen-test", "Ready", "32,768 tokens of context", "text only"),
        *("claude-test", "Key refused", "The key was refused."),
        *("50%", "$0.25", "at the price of claude-test", "$1.50", "of 2 answers", "1 fallback"),
        "The local answer was not usable, so the cloud started over.",
        "<td>1</td>",
    ):
        assert text in page, text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert page.index('datetime="2027-01-15T11:59:10.000Z"') < page.index(
        "2027-01-15T11:58:20.000Z"
    )


@needs_browser
async def test_an_empty_journal_shows_a_hint_and_no_broken_figures(
    serve: Callable[..., Any], tab: Tab
) -> None:
    page = await drawn(tab, await serve([]))
    assert '<p class="dim" id="nothing">' in page
    assert "NaN" not in page
    assert "undefined" not in page
    assert "null" not in page


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_fits_a_phone_and_loads_nothing_from_elsewhere(
    serve: Callable[..., Any], tab: Tab, theme: str
) -> None:
    address = await serve(RECORDS)
    await tab.open(address, width=390, theme=theme)
    await tab.until("document.querySelector('#traffic svg')")
    await tab.click("#decisions summary")
    assert await tab.value("document.documentElement.scrollWidth") == 390
    dark = await tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(19, 21, 25)"
    assert dark is (theme == "dark")
    assert all(asked.startswith((address, "data:")) for asked in tab.requests)


# ---- in front of the real server


@needs_browser
async def test_the_score_changes_with_each_letter(tab: Tab) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        await tab.open(address)
        await tab.until("document.querySelector('#traffic svg')")
        await tab.value("document.querySelector('#prompt').focus()")
        await tab.type("hi")
        await tab.until("document.querySelector('#verdict .tag.local')")
        easy = int(await tab.text("#verdict b"))
        await tab.type(", design a lock-free queue in C++ and prove that it is linearizable.")
        await tab.until("document.querySelector('#verdict .tag.cloud')")
        assert int(await tab.text("#verdict b")) >= 50 > easy
        assert "complex keywords +" in await tab.text("#verdict")
        assert "goes to the cloud" in await tab.value(
            "document.querySelector('#spoken').textContent"
        )
        verdict = await tab.text("#verdict")
        assert "claude-sonnet-4-6" in verdict
        assert "prove" in verdict, "the words behind the points"
        assert "null" not in verdict


@needs_browser
async def test_a_new_request_appears_and_opens_to_its_signals(tab: Tab) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        await tab.open(address)
        await tab.until("!document.querySelector('#nothing').hidden")
        await h.ask("Is a tomato a fruit?", headers={"user-agent": "curl/8"})
        await tab.until("document.querySelector('#decisions summary')")
        await tab.value("document.querySelector('#decisions summary').focus()")
        await tab.press("Enter")
        await tab.until("document.querySelector('#decisions details[open] .signals')")
        opened = await tab.text("#decisions")
        for text in (
            "local",
            "It scores below the threshold",
            "token count",
            "curl/8",
            "7 in, 5 out",
        ):
            assert text in opened, text
        assert "tomato" not in await tab.value("document.documentElement.outerHTML")
        await tab.click("#decisions button:nth-of-type(2)")
        await tab.until("document.querySelector('#decisions button[aria-pressed=true]')")
        assert h.last.feedback == "bad"
        await tab.until("document.querySelector('#figures').innerText.includes('of 1 answer')")


@needs_browser
async def test_the_settings_are_read_again_at_the_press_of_a_button(
    tab: Tab, tmp_path: Path
) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        await tab.open(address)
        await tab.until("!document.querySelector('#reread').closest('.open').hidden")
        h.source.overrides = {**h.source.overrides, "complexity_threshold": 20}
        await tab.click("#reread")
        await tab.until("document.querySelector('#reread-result').innerText.includes('Changed')")
        assert "COMPLEXITY_THRESHOLD" in await tab.text("#reread-result")
        await tab.until("document.querySelector('#tagline').innerText.includes('score 20')")
        file = tmp_path / ".env"
        file.write_text("COMPLEXITY_TRESHOLD=33\n")
        h.source.env = file
        await tab.click("#reread")
        said = "Is COMPLEXITY_THRESHOLD meant?"
        await tab.until(f"document.querySelector('#trouble').innerText.includes('{said}')")
        h.source.overrides = {**h.source.overrides, "complexity_threshold": "much"}
        await tab.click("#reread")
        said = "as they were. COMPLEXITY_THRESHOLD must be a valid number"
        await tab.until(f"document.querySelector('#trouble').innerText.includes('{said}')")


@needs_browser
async def test_a_prompt_is_shown_only_if_prompts_are_journalled(tab: Tab) -> None:
    async with running_app(journal_prompts=True) as h, on_a_socket(h.app) as address:
        await h.ask("Is a tomato a fruit?")
        await tab.open(address)
        await tab.until("document.querySelector('#decisions summary')")
        assert "Is a tomato a fruit?" in await tab.text("#decisions")


@needs_browser
async def test_it_asks_for_the_key_and_shows_only_open_figures_before(tab: Tab) -> None:
    async with running_app(router_api_key="open sesame") as h, on_a_socket(h.app) as address:
        await h.ask("hi", headers={"authorization": "Bearer open sesame"})
        page = await drawn(tab, address)
        assert "YOUR_ROUTER_API_KEY" in page
        assert "local-model" in page
        assert "simple" not in page
        for key, then in (
            ("guess", "document.querySelector('#key-help').innerText.includes('refused')"),
            ("open sesame", "document.querySelector('#decisions summary')"),
        ):
            await tab.value("document.querySelector('#key').focus()")
            await tab.type(key)
            await tab.press("Enter")
            await tab.until(then)
        await tab.until("document.activeElement.id === 'main'")
        assert await tab.value("document.querySelector('#locked').hidden")


@needs_browser
async def test_its_client_settings_are_those_of_the_documents(
    serve: Callable[..., Any], tab: Tab
) -> None:
    clients_page = (paths.ROOT / "docs" / "clients.md").read_text("utf-8")
    address = await serve([])
    await drawn(tab, address)
    clients = await tab.value("CLIENTS.length")
    for i in range(clients):
        await tab.value(f"document.querySelectorAll('#clients input')[{i}].click()")
        shown = await tab.value("document.querySelector('#snippet').textContent")
        for line in shown.replace(address.rstrip("/"), "http://localhost:8080").splitlines():
            assert line.strip() in clients_page, line


@needs_browser
async def test_the_chart_is_read_with_the_arrow_keys(serve: Callable[..., Any], tab: Tab) -> None:
    await drawn(tab, await serve(RECORDS))
    await tab.value("document.querySelector('#traffic svg').focus()")
    await tab.press("End")
    assert "no requests" in await tab.text("#readout")
    await tab.press("ArrowLeft")
    assert ": 1 local · 1 cloud · 50% local" in await tab.text("#readout")


@needs_browser
async def test_an_opened_failure_shows_the_message_that_the_caller_got(tab: Tab) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        answer = await h.ask("?", body={"messages": []})
        said = answer.json()["error"]["message"]
        await tab.open(address)
        await tab.until("document.querySelector('#decisions summary')")
        assert "HTTP 400" in await tab.text("#decisions")
        await tab.click("#decisions summary")
        await tab.until("document.querySelector('#decisions details[open] .more')")
        assert said in await tab.text("#decisions .more")


FAILED: dict[str, Any] = {"outcome": "failed", "status": 502, "error": "BackendBroken"}


@needs_browser
async def test_the_figures_and_the_chart_count_the_same_requests(
    serve: Callable[..., Any], tab: Tab
) -> None:
    records = [Record(f"n{i}", NOW - 9, **FAILED) for i in range(3)]
    records.append(Record("l", NOW - 9, target="local", **FAILED))
    await drawn(tab, await serve([*RECORDS, *records]))
    figures = await tab.text("#figures")
    assert "50% of 2 answers · 1 fallback · 4 unanswered" in figures
    await tab.value("document.querySelector('#traffic svg').focus()")
    await tab.press("End")
    await tab.press("ArrowLeft")
    assert "1 local · 1 cloud · 4 unanswered · 50% local" in await tab.text("#readout")


@needs_browser
async def test_the_shadow_threshold_stands_beside_what_was_done(
    serve: Callable[..., Any], tab: Tab
) -> None:
    noted: dict[str, Any] = {"shadow_threshold": 65.0, "shadow_target": "local"}
    await drawn(tab, await serve([replace(record, **noted) for record in RECORDS]))
    figures = await tab.text("#figures")
    assert "Local at threshold 65 100%" in figures
    assert "in place of 50%" in figures
    assert "$0.00 in the cloud in place of $1.50, estimated · 2 answers" in figures


@needs_browser
async def test_ratings_and_repeats_are_told_apart(serve: Callable[..., Any], tab: Tab) -> None:
    bad: dict[str, Any] = {"target": "local", "feedback": "bad"}
    await drawn(
        tab,
        await serve(
            [
                Record("a", NOW - 9, feedback_source="repeat", **bad),
                Record("b", NOW - 9, feedback_source="caller", **bad),
                Record("c", NOW - 9, feedback_source="chat", **bad),
            ]
        ),
    )
    assert "2 rated bad · 1 asked again of the cloud" in await tab.text("#live")


@needs_browser
async def test_a_row_of_another_day_has_its_date_and_time(
    serve: Callable[..., Any], tab: Tab
) -> None:
    await drawn(tab, await serve([Record("old", NOW - 86_400, target="local", reason="simple")]))
    assert re.search(r"Jan 14,? .*\d:\d\d", await tab.text("#decisions .when"))


@needs_browser
@pytest.mark.parametrize(
    ("level", "shown_in", "hidden"),
    [("ok", "#tagline", True), ("warning", "#trouble", False), ("error", "#trouble.error", False)],
)
async def test_the_headline_is_shown_at_the_place_of_its_level(
    level: str, shown_in: str, hidden: bool, serve: Callable[..., Any], tab: Tab
) -> None:
    said = "Neither side can answer: prompts fail."
    await drawn(tab, await serve([], headline={"level": level, "text": said}))
    assert said in await tab.text(shown_in)
    assert await tab.value("document.querySelector('#trouble').hidden") is hidden


@needs_browser
async def test_bars_have_one_scale_for_all_prompts(serve: Callable[..., Any], tab: Tab) -> None:
    await drawn(tab, await serve([]))
    width = "signalTable({0}).querySelectorAll('rect')[0].getAttribute('width')"
    alone = await tab.value(width.format("{complex_keywords: 10}"))
    beside = await tab.value(width.format("{complex_keywords: 10, structure: 60}"))
    assert alone == beside


@needs_browser
@pytest.mark.parametrize(
    ("evidence", "shown"),
    [
        (["prove", "lock"], "prove, lock"),
        (["in", "z", "t"], "the wording as a whole"),
        (["in", "prove"], "prove"),
        ([], "the wording as a whole"),
    ],
)
async def test_points_are_explained_by_words_or_by_the_wording(
    evidence: list[str], shown: str, serve: Callable[..., Any], tab: Tab
) -> None:
    await drawn(tab, await serve([]))
    one = {"signal": "complex_keywords", "count": "hard_words", "points": 18, "words": evidence}
    table = f"signalTable({{complex_keywords: 18}}, [{json.dumps(one)}])"
    assert await tab.value(f"{table}.querySelector('td div').textContent") == shown


@needs_browser
async def test_without_a_cloud_no_prompt_would_go_there(tab: Tab) -> None:
    async with (
        running_app(anthropic_api_key=None) as h,
        on_a_socket(h.app) as address,
    ):
        await drawn(tab, address)
        await tab.value("document.querySelector('#prompt').focus()")
        await tab.type("Design a lock-free queue in C++ and prove that it is linearizable.")
        await tab.until("document.querySelector('#verdict .tag.local')")
        assert "cloud from" not in await tab.text("#verdict")
        assert "without a cloud" in await tab.text("#verdict")


@needs_browser
async def test_on_a_phone_nothing_overlaps_or_overflows(
    serve: Callable[..., Any], tab: Tab
) -> None:
    agent = "langchain-anthropic/1.7"
    saved = replace(RECORDS[0], id="saved", user_agent=agent, saved_usd=0.00053)
    spent = replace(RECORDS[1], id="spent", user_agent=agent, cost_usd=0.00063)
    await tab.open(await serve([*RECORDS, saved, spent]), width=390)
    await tab.until("document.querySelector('#traffic svg')")
    await tab.until("document.querySelector('#client-rows').innerText.includes('langchain')")
    sideways = "document.querySelector('.sideways')"
    assert await tab.value(f"{sideways}.scrollWidth <= {sideways}.clientWidth")
    overflowing = await tab.value(
        "[...document.querySelectorAll('.pills span, .chips li, .tag')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth - 14"
        " || e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    )
    assert overflowing == []
    for i in range(await tab.value("CLIENTS.length")):
        await tab.value(f"document.querySelectorAll('#clients input')[{i}].click()")
        code, button = await tab.value(
            "['#snippet', '#copy'].map(s => document.querySelector(s).getBoundingClientRect())"
            ".map(r => ({top: r.top, bottom: r.bottom}))"
        )
        assert code["bottom"] <= button["top"] or button["bottom"] <= code["top"]


@needs_browser
@pytest.mark.parametrize(("theme", "dark"), [("light", False), ("dark", True)])
async def test_the_docs_follow_the_theme(theme: str, dark: bool, tab: Tab) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        await tab.open(f"{address}docs", theme=theme)
        await tab.until("document.querySelector('.opblock')")
        brightness = await tab.value(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g)"
            ".slice(0, 3).map(Number).reduce((a, b) => a + b)"
        )
        transparent = await tab.value(
            "getComputedStyle(document.body).backgroundColor === 'rgba(0, 0, 0, 0)'"
        )
        assert (brightness < 3 * 90 and not transparent) is dark
        assert all(url.startswith(address) or "data:" in url for url in tab.requests)
