"""A headless Chromium, driven over its DevTools protocol: real clicks, keys and pixels."""

import asyncio
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.processes import wait_until

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--lang=en-US", "--remote-debugging-port=0"),
)
PATIENCE_S = 20.0
ADDRESS = re.compile(r"ws://[\d.:]+/\S+")
KEYS = {
    **{"Tab": 9, "Enter": 13, "Escape": 27, "End": 35, "Home": 36},
    **{"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40},
}
"""Codes of the keys that write nothing; Enter is one here."""

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


class Tab:
    """One page in the browser. `requests` has every address it loaded, `faults` its exceptions."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.faults: list[str] = []
        self._socket = socket
        self._loaded = asyncio.Event()
        self._sent = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            match said.get("method"):
                case "Network.requestWillBeSent":
                    self.requests.append(said["params"]["request"]["url"])
                case "Runtime.exceptionThrown":
                    self.faults.append(str(said["params"]["exceptionDetails"]))
                case "Page.loadEventFired":
                    self._loaded.set()
                case None:
                    self._waiting.pop(said["id"]).set_result(said)

    async def call(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        answer = self._waiting[self._sent] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._sent, "method": method, "params": parameters})
        said = await asyncio.wait_for(answer, PATIENCE_S)
        assert "error" not in said, said
        return said["result"]

    async def open(self, url: str, *, width: int = 1180, theme: str = "light") -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        features = [{"name": "prefers-color-scheme", "value": theme}]
        await self.call("Emulation.setEmulatedMedia", features=features)
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), PATIENCE_S)

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; wait for it if it is a promise."""
        said = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until the expression is true."""
        look = f"() => ({expression}) ? told() : setTimeout(look, 40)"
        await self.value(f"new Promise(told => {{ const look = {look}; look(); }})")

    async def text(self, selector: str = "body") -> str:
        found: str = await self.value(f"document.querySelector({selector!r}).innerText")
        return re.sub(r"\s+", " ", found)

    async def click(self, selector: str) -> None:
        await self.value(f"document.querySelector({selector!r}).click()")

    async def type(self, text: str) -> None:
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        """Press a key: one of KEYS, or a character."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0]))}
        text = {"text": "\r"} if key == "Enter" else {} if key in KEYS else {"text": key}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    async def picture(self, height: int | None = None) -> bytes:
        """Return a PNG of the page, or of its upper part."""
        width, whole = await self.value("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height or whole, "scale": 1}
        said = await self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return b64decode(said["data"])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the browser that the tests of a session share; return its address, ws://."""
    assert CHROMIUM is not None
    profile = tmp_path_factory.mktemp("browser")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    log = profile / "log"
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            wait_until(lambda: ADDRESS.search(log.read_text()), f"no browser: {log}", PATIENCE_S)
            yield ADDRESS.findall(log.read_text())[0]
        finally:
            process.kill()


@pytest.fixture
async def tab(browser: str) -> AsyncIterator[Tab]:
    """Open a tab that shares no cookies, storage or cache with others."""
    async with aiohttp.ClientSession() as http, connected(http, browser) as whole:
        context = await whole.call("Target.createBrowserContext")
        target = await whole.call("Target.createTarget", url="about:blank", **context)
        address = re.sub("/browser/.*", f"/page/{target['targetId']}", browser)
        try:
            async with connected(http, address) as tab:
                for domain in ("Page", "Runtime", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
                assert tab.faults == []
        finally:
            await whole.call("Target.disposeBrowserContext", **context)


@asynccontextmanager
async def connected(http: aiohttp.ClientSession, address: str) -> AsyncIterator[Tab]:
    """Connect to a page, or to the whole browser."""
    async with http.ws_connect(address, max_msg_size=0) as socket:
        tab = Tab(socket)
        listening = asyncio.create_task(tab.listen())
        try:
            yield tab
        finally:
            listening.cancel()
