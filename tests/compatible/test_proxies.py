"""An OpenAI-compatible cloud behind a proxy of the environment."""

import asyncio
import ssl
from pathlib import Path

import pytest

from config import SettingsError, load_settings
from router.backend import TimeLimits
from router.build import build_router
from router.compatible.backend import OpenAIBackend
from router.errors import BackendUnreachable
from router.http.answer import NotConnected
from router.http.client import HttpClient
from router.http.proxy import Proxy
from router.request import ChatRequest
from tests.support.certificates import certificate
from tests.support.local_backend import ANSWER, read, whole
from tests.support.played_proxy import forget_proxies, proxy_before
from tests.support.scripted import scripted

KEY = "sk-test-of-the-openai-backend"
ASKED = ChatRequest({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]})
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_proxies(monkeypatch)


def backend(url: str) -> OpenAIBackend:
    return OpenAIBackend(KEY, "gpt-x", base_url=url, limits=TimeLimits(connect_s=5))


async def test_a_request_goes_through_the_proxy_with_its_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scripted(whole(ANSWER)) as server, proxy_before(server.port) as proxy:
        login = proxy.url.replace("//", "//me:p%40ss@")
        monkeypatch.setenv("HTTP_PROXY", login)
        cloud = backend("http://cloud.example/v1")
        assert await read(await cloud.open(ASKED, "gpt-x")) == ANSWER
        await cloud.aclose()
        (sent,) = server.requests
    (head,) = proxy.heads
    assert head.startswith("POST http://cloud.example/v1/chat/completions HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in head
    assert sent.headers["host"] == "cloud.example"
    assert sent.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"HTTP_PROXY": "{proxy}"}, "{server}"),
        ({"HTTP_PROXY": "{proxy}", "NO_PROXY": "localtest.me"}, "{server}"),
        ({"HTTPS_PROXY": "{proxy}"}, "{server}"),
        ({}, "{server}"),
    ],
    ids=["this machine", "this machine, listed", "another scheme", "none"],
)
async def test_where_no_proxy_counts_the_server_is_asked_directly(
    variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(whole(ANSWER)) as server, proxy_before(server.port) as proxy:
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(proxy=proxy.url))
        cloud = backend(url.format(server=f"{server.url}/v1"))
        assert await read(await cloud.open(ASKED, "gpt-x")) == ANSWER
        await cloud.aclose()
        assert proxy.heads == []


@pytest.mark.parametrize("listed", ["cloud.example", ".example", "*"])
async def test_a_host_of_no_proxy_is_asked_directly(
    listed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", listed)
    asked = []

    async def looked_up(loop: object, host: str, port: int, **_: object) -> None:
        asked.append((host, port))
        raise OSError

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", looked_up)
    cloud = backend("http://cloud.example/v1")
    with pytest.raises(BackendUnreachable):
        await cloud.open(ASKED, "gpt-x")
    await cloud.aclose()
    assert asked == [("cloud.example", 80)]


async def test_a_proxy_that_refuses_is_named_without_its_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxy_before(9, "407 Proxy Authentication Required") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:secret@"))
        cloud = backend("https://cloud.example/v1")
        with pytest.raises(BackendUnreachable) as caught:
            await cloud.open(ASKED, "gpt-x")
        await cloud.aclose()
    assert "HTTP 407" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["socks5://proxy.example:1080", "https://proxy.example", "http://"]
)
def test_a_proxy_that_cannot_be_used_is_a_settings_error(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    settings = load_settings(
        None, openai_api_key=KEY, openai_model="gpt-x", cloud_provider="openai", journal_path="off"
    )
    with pytest.raises(SettingsError, match=r"HTTPS_PROXY: .*http://.*NO_PROXY"):
        build_router(settings)


async def test_https_goes_through_a_tunnel_that_the_proxy_cannot_read(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(OK)
        writer.close()

    heads: list[str] = []
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    cert, key = certificate(tmp_path, "DNS:cloud.example")
    tls.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    url = "https://cloud.example/v1"
    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls) as server,
        proxy_before(server.sockets[0].getsockname()[1]) as proxy,
    ):
        client = HttpClient(url, {"Authorization": "Bearer k"}, 5, trusting, Proxy(proxy.url))
        for _ in range(2):
            got = await client.get(f"{url}/models", within_s=5)
            assert await got.read(100) == b"hi"
        await client.aclose()
    (head,) = proxy.heads
    assert head.startswith("CONNECT cloud.example:443 HTTP/1.1\r\n")
    assert "Bearer" not in head
    assert [one.split("\r\n")[0] for one in heads] == ["GET /v1/models HTTP/1.1"] * 2


async def test_a_proxy_that_says_nothing_is_an_error() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        proxy = Proxy(f"127.0.0.1:{port}")
        client = HttpClient("https://cloud.example", {}, 5, proxy=proxy)
        with pytest.raises(NotConnected):
            await client.get("https://cloud.example/", within_s=5)
        await client.aclose()
