"""The page's list of decisions: as they happen, filtered, linked, and used with the keyboard."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from router.backend import Status
from router.events import Usage
from router.telemetry.record import Record
from tests.support.browser import Tab, needs_browser
from tests.support.running_app import RunningApp, on_a_socket, running_app
from web.asgi import Receive, Scope, Send
from web.events import EventStream

pytestmark = needs_browser

JOURNALLED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("curl/8", {"target": "local", "reason": "simple", "usage": Usage(1234, 56)}),
    ("aider/1", {"target": "cloud", "reason": "complex", "cost_usd": 0.5}),
    ("curl/8", {"outcome": "failed", "status": 502, "error": "NoBackend"}),
)


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[RunningApp, str]]:
    """Serve the app with three journalled requests: of curl, aider and one that failed."""
    async with running_app(journal_prompts=True, **settings) as h, on_a_socket(h.app) as address:
        journal = h.assembly.ledger.journal
        now = h.assembly.ledger._journal._clock()
        for ago, (agent, values) in enumerate(JOURNALLED):
            journal.add(Record(f"req_{ago}", now - ago, user_agent=agent, **values))
        yield h, address


async def listed(tab: Tab) -> list[str]:
    """Return the sides of the rows, from the top."""
    found: list[str] = await tab.value(
        "[...document.querySelectorAll('#decisions .tag')].map(tag => tag.textContent)"
    )
    return found


async def choose(tab: Tab, name: str, value: str) -> None:
    await tab.until(f"document.querySelector('#filter-{name} [value={value}]')")
    await tab.value(
        f"(select => {{ select.value = {value!r};"
        " select.dispatchEvent(new Event('change', {bubbles: true})); })"
        f"(document.querySelector('#filter-{name}'))"
    )


async def rows(tab: Tab, count: int) -> None:
    await tab.until(f"document.querySelectorAll('#decisions li').length === {count}")


async def test_a_row_has_its_tokens_in_and_out(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        assert "1,234 in, 56 out" in await tab.text("#decisions li")


@pytest.mark.parametrize(
    ("name", "value", "sides"),
    [
        ("side", "cloud", ["cloud"]),
        ("side", "none", ["failed"]),
        ("reason", "simple", ["local"]),
        ("client", "curl", ["local", "failed"]),
    ],
)
async def test_decisions_are_filtered(name: str, value: str, sides: list[str], tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        await choose(tab, name, value)
        await rows(tab, len(sides))
        assert await listed(tab) == sides
        await tab.click("#filter-clear")
        await rows(tab, 3)
        assert await tab.value("document.querySelector('#filter-clear').hidden")


async def test_a_filter_that_nothing_matches_says_so(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        await choose(tab, "side", "cloud")
        await choose(tab, "client", "curl")
        await tab.until("!document.querySelector('#nothing').hidden")
        assert await listed(tab) == []
        assert "No request matches the filter." in await tab.text("#nothing")


async def test_a_link_opens_the_decision_it_names(tab: Tab) -> None:
    async with served() as (h, address):
        for i in range(30):
            now = h.assembly.ledger._journal._clock()
            h.assembly.ledger.journal.add(Record(f"req_new{i}", now, target="local"))
        await tab.open(f"{address}#request=req_1")
        await tab.until("document.querySelector('#linked details[open] .more')")
        assert "It scores at or above the threshold." in await tab.text("#linked")
        assert "req_1" in await tab.text("#linked .more")


async def test_a_link_to_a_listed_decision_opens_it_in_its_place(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(f"{address}#request=req_0")
        await tab.until("document.querySelector('#decisions details[open] .more')")
        assert await tab.value("document.querySelector('#linked').childElementCount") == 0


async def test_a_link_to_an_unknown_decision_says_so(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(f"{address}#request=req_none")
        await tab.until("!document.querySelector('#trouble').hidden")
        assert "There is no request 'req_none' in the journal." in await tab.text("#trouble")


async def test_a_link_waits_for_the_key(tab: Tab) -> None:
    async with served(router_api_key="open sesame") as (_, address):
        await tab.open(f"{address}#request=req_1")
        await tab.until("!document.querySelector('#locked').hidden")
        await tab.value("document.querySelector('#key').focus()")
        await tab.type("open sesame")
        await tab.press("Enter")
        await tab.until("document.querySelector('details[open] .more')")
        assert "aider" in await tab.text("#decisions details[open]")


async def test_an_opened_row_is_named_in_the_address(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        await tab.click("#decisions summary")
        await tab.until("location.hash === '#request=req_0'")
        await tab.click("#decisions summary")
        await tab.until("location.hash === ''")
        await tab.click("#decisions a.when")
        await tab.until("document.querySelector('#decisions details[open] .more')")


async def focused(tab: Tab) -> str | None:
    """Return the side of the row that has the focus."""
    found: str | None = await tab.value(
        "document.activeElement.closest('.decisions li')?.querySelector('.tag').textContent"
    )
    return found


async def test_the_list_is_used_with_the_keyboard_alone(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        for key, side in (
            *(("j", "local"), ("j", "cloud"), ("ArrowDown", "failed"), ("j", "failed")),
            *(("k", "cloud"), ("ArrowUp", "local"), ("k", "local")),
        ):
            await tab.press(key)
            assert await focused(tab) == side, key
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await tab.value(outline) == "solid"
        await tab.press("Enter")
        await tab.until("document.querySelector('#decisions details[open]')")
        await tab.press("Escape")
        await tab.until("!document.querySelector('#decisions details[open]')")
        assert await focused(tab) == "local"
        await tab.press("/")
        assert await tab.value("document.activeElement.id") == "filter-side"
        await tab.press("Escape")
        assert await tab.value("document.activeElement.tagName") == "BODY"


async def test_letters_are_text_while_a_prompt_is_typed(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        await tab.value("document.querySelector('#prompt').focus()")
        for key in "j/?k":
            await tab.press(key)
        assert await tab.value("document.querySelector('#prompt').value") == "j/?k"
        assert await focused(tab) is None


async def test_every_shortcut_is_listed(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        await tab.press("?")
        shown = await tab.text("#shortcuts")
        for keys in ("j or ↓", "k or ↑", "Enter", "Esc", "/", "?"):
            assert keys in shown


async def test_escape_takes_the_filter_away(tab: Tab) -> None:
    async with served() as (_, address):
        await tab.open(address)
        await rows(tab, 3)
        await choose(tab, "side", "cloud")
        await rows(tab, 1)
        await tab.press("Escape")
        await rows(tab, 3)


async def test_the_last_day_is_shown_by_client(tab: Tab) -> None:
    async with served() as (h, address):
        assert (await h.ask("?", body={"messages": []})).status_code == 400
        await tab.open(address)
        await rows(tab, 4)
        await tab.until("document.querySelector('#client-rows tr')")
        assert (
            await tab.text("#client-rows")
            == "curl 1 0 1,234 56 $0.00 $0.00 aider 0 1 0 0 $0.50 $0.00"
        )
        assert "$0.50 spent" in await tab.text("#last-day-sum")


def polls(tab: Tab) -> int:
    """Return how often the page has asked for the list."""
    return sum("/decisions?" in url for url in tab.requests)


async def test_decisions_arrive_without_polling(tab: Tab) -> None:
    async with served() as (h, address):
        await tab.open(address)
        await tab.until("hearing")
        before = polls(tab)
        await h.ask("hi", headers={"user-agent": "probe/1"})
        await rows(tab, 4)
        assert "probe" in await tab.text("#decisions li")
        await tab.until("ticks > 3")
        assert polls(tab) == before


async def test_only_wanted_decisions_arrive(tab: Tab) -> None:
    async with served() as (h, address):
        await tab.open(address)
        await tab.until("hearing")
        await choose(tab, "client", "aider")
        await rows(tab, 1)
        await h.ask("hi", headers={"user-agent": "probe/1"})
        await h.ask("hi", headers={"user-agent": "aider/2"})
        await rows(tab, 2)
        assert "probe" not in await tab.text("#decisions")


@pytest.mark.parametrize("way", ["refused", "ends at once", "silent"])
async def test_the_page_polls_where_there_is_no_stream(
    way: str, tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_stream(self: EventStream, scope: Scope, receive: Receive, send: Send) -> None:
        status = 502 if way == "refused" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        if way == "silent":
            while (await receive())["type"] != "http.disconnect":
                pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    monkeypatch.setattr(EventStream, "__call__", no_stream)
    async with served() as (h, address):
        await tab.open(address)
        await rows(tab, 3)
        await h.ask("hi", headers={"user-agent": "probe/1"})
        await rows(tab, 4)
        assert not await tab.value("hearing")


async def test_a_changed_side_is_shown_as_it_changes(
    tab: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(status_ttl_s=0.1) as (h, address):
        await tab.open(address)
        await tab.until("hearing")
        status = await h.assembly.router.local.backend.probe()

        async def down() -> Status:
            return replace(status, state="down", detail="It is gone.")

        monkeypatch.setattr(h.assembly.router.local.backend, "probe", down)
        await tab.until("document.querySelector('#local .dot.down')")
        assert "goes to the cloud and is paid for" in await tab.text("#trouble")
        assert "hard ones" not in await tab.text("#tagline")
        assert sum(url.endswith("/health") for url in tab.requests) == 1
