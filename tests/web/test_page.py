"""The status page: whole in itself, strict about what may run, and drawn right by a browser."""

import asyncio
import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from aiohttp import web

from router.decision import REASONS
from router.events import Usage
from router.telemetry.journal import Attempt, Journal, Record
from router.telemetry.stats import decisions_json, stats_json
from tests.support import paths
from tests.support.browser import Tab, browser, needs_browser
from tests.support.running_app import running_app
from web.asgi import App
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
    """Starts a stand-in for the server; gives its address."""
    runners: list[web.AppRunner] = []
    journals: list[Journal] = []

    async def start(records: list[Record], key: str | None = None) -> str:
        journal = Journal(None, prompts=True, clock=lambda: NOW)
        journals.append(journal)
        for record in records:
            journal.add(record)
        journal.flush()
        answers: dict[str, Callable[[], Any]] = {
            "/health": lambda: {"status": "ok", "local": SIDE, "cloud": CLOUD, "notice": None},
            "/info": lambda: {"threshold": 50, "needs_key": key is not None},
            "/stats": lambda: stats_json(journal, 7, NOW),
            "/decisions": lambda: decisions_json(journal),
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


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with browser(tmp_path / "profile") as tab:
        yield tab


async def drawn(tab: Tab, address: str) -> str:
    """The page's markup once it has drawn itself."""
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
        *("qwen-test", "Ready", "32.8K tokens of context", "text only"),
        *("claude-test", "Key refused", "The key was refused."),
        *("50%", "$0.25", "at the price of claude-test", "$1.50", "of 2 requests", "1 fallback"),
        "The local answer was no good, so the cloud started over.",
        "<td>1</td>",
    ):
        assert text in page, text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert page.index('datetime="2027-01-15T11:59:10.000Z"') < page.index(
        "2027-01-15T11:58:20.000Z"
    )


@needs_browser
async def test_a_browser_shows_an_empty_journal_kindly(serve: Callable[..., Any], tab: Tab) -> None:
    page = await drawn(tab, await serve([]))
    assert '<p class="dim" id="nothing">' in page
    assert "NaN" not in page
    assert "undefined" not in page
    assert "null" not in page


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_fits_a_phone_and_asks_nobody_else(
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


@asynccontextmanager
async def on_a_socket(app: App) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        await serving


@needs_browser
async def test_the_score_moves_while_one_types(tab: Tab) -> None:
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
        assert "Complex words +" in await tab.text("#verdict")
        assert "goes to the cloud" in await tab.value(
            "document.querySelector('#spoken').textContent"
        )
        verdict = await tab.text("#verdict")
        assert "claude-sonnet-4-6" in verdict
        assert "prove" in verdict, "the words behind the points"
        assert "null" not in verdict


@needs_browser
async def test_a_request_shows_up_while_one_looks_and_opens_to_its_signals(tab: Tab) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        await tab.open(address)
        await tab.until("!document.querySelector('#nothing').hidden")
        await h.ask("Is a tomato a fruit?", headers={"user-agent": "curl/8"})
        await tab.until("document.querySelector('#decisions summary')")
        await tab.value("document.querySelector('#decisions summary').focus()")
        await tab.press("Enter")
        await tab.until("document.querySelector('#decisions details[open] .signals')")
        opened = await tab.text("#decisions")
        for text in ("local", "It scores below the threshold", "Length", "curl/8", "7 in, 5 out"):
            assert text in opened, text
        assert "tomato" not in await tab.value("document.documentElement.outerHTML")
        await tab.click("#decisions button:nth-of-type(2)")
        await tab.until("document.querySelector('#decisions button[aria-pressed=true]')")
        assert h.last.feedback == "bad"
        await tab.until("document.querySelector('#figures').innerText.includes('of 1 request')")


@needs_browser
async def test_a_prompt_is_on_the_page_only_where_prompts_are_kept(tab: Tab) -> None:
    async with running_app(journal_prompts=True) as h, on_a_socket(h.app) as address:
        await h.ask("Is a tomato a fruit?")
        await tab.open(address)
        await tab.until("document.querySelector('#decisions summary')")
        assert "Is a tomato a fruit?" in await tab.text("#decisions")


@needs_browser
async def test_it_asks_for_the_key_and_shows_only_what_is_open_until_it_has_it(tab: Tab) -> None:
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
async def test_it_says_how_to_connect_as_the_documents_do(
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
