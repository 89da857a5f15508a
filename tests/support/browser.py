"""A headless Chromium, driven over its DevTools protocol: real clicks, keys and pixels."""

import asyncio
import re
import shutil
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--lang=en-US", "--remote-debugging-port=0"),
)
PATIENCE_S = 20.0
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


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Tab]:
    """Start a browser; `profile` is a folder for its data."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"),
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    try:
        assert process.stderr is not None
        address = None
        while address is None:
            line = (await asyncio.wait_for(process.stderr.readline(), PATIENCE_S)).decode()
            assert line, "the browser did not start"
            address = re.search(r"ws://([\d.:]+)/", line)
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://{address[1]}/json") as answer:
                pages = [found for found in await answer.json() if found["type"] == "page"]
            async with http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
                assert tab.faults == []
                listening.cancel()
    finally:
        process.kill()
        await process.communicate()
