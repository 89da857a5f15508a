"""The status page: whole in itself, strict about what may run, and drawn right by a browser."""

import asyncio
import re
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from router.decision import REASONS
from router.events import Usage
from router.journal import Attempt, Journal, Record
from router.stats import decisions_json, stats_json
from web.page import load_page

HTML, HEADERS = load_page()
TEXT = HTML.decode()
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
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


async def drawn(address: str, profile: Path) -> str:
    """The page's markup once it has drawn itself."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(
            f"--user-data-dir={profile}",
            "--virtual-time-budget=1500",
            "--lang=en-US",
            "--dump-dom",
            address,
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return re.sub(r"<(script|style)>.*?</\1>", "", out.decode(), flags=re.DOTALL)


browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@browser
async def test_a_browser_shows_sides_figures_and_decisions(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    page = await drawn(await serve(RECORDS), tmp_path)
    for text in (
        *(
            "qwen-test",
            "Ready",
            "32.8K tokens of context",
            "text only",
            "claude-test",
            "Key refused",
        ),
        *("The key was refused.", "50%", "$0.25", "$1.50", "of 2 requests", "1 fallback"),
        "The local answer was no good, so the cloud started over.",
        "<td>1</td>",
    ):
        assert text in page, text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert page.index('datetime="2027-01-15T11:59:10.000Z"') < page.index(
        "2027-01-15T11:58:20.000Z"
    )


@browser
async def test_a_browser_asks_for_the_key_and_shows_only_what_is_open(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    page = await drawn(await serve(RECORDS, key="k"), tmp_path)
    assert re.search(r'<section class="wide" id="locked"[^>]*aria-labelledby="h-key">', page)
    assert "YOUR_ROUTER_API_KEY" in page
    assert "qwen-test" in page
    assert "escalated" not in page
    assert "$1.50" not in page


@browser
async def test_a_browser_shows_an_empty_journal_kindly(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    page = await drawn(await serve([]), tmp_path)
    assert '<p class="dim" id="nothing">' in page
    assert "NaN" not in page
    assert "undefined" not in page
    assert "null" not in page
