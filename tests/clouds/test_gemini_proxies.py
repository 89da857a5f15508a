"""GeminiBackend behind a proxy of the environment."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from router.backend import TimeLimits, Translated
from router.clouds.gemini_client import GeminiBackend
from router.errors import BackendMisconfigured, BackendUnreachable
from router.request import ChatRequest
from tests.support.backend_answers import gemini_answer, models
from tests.support.certificates import certificate
from tests.support.played_proxy import UNUSABLE, forget_proxies, proxy_before
from tests.support.scripted import Connection, Request, scripted

MODEL = "gemini-3.8-flash"
HOST = "gemini.example"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_proxies(monkeypatch)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of other machines that are looked up, as direct connections need them."""
    names: list[str] = []
    real = asyncio.BaseEventLoop.getaddrinfo

    async def look_up(loop: Any, host: str, port: int, **options: Any) -> Any:
        if host == "127.0.0.1":
            return await real(loop, host, port, **options)
        names.append(host)
        raise OSError

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)
    return names


async def gemini(connection: Connection, request: Request) -> None:
    body, kind = gemini_answer(request, calls=False)
    await (connection.stream(body) if kind == "sse" else connection.answer(body))


def backend(url: str) -> GeminiBackend:
    return GeminiBackend("a-key", MODEL, limits=TimeLimits(connect_s=5), base_url=url)


async def ask(cloud: GeminiBackend, *, stream: bool = True) -> None:
    asked = {"messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    reply = await cloud.open(ChatRequest(asked), MODEL)
    assert isinstance(reply, Translated)
    assert [batch async for batch in reply.events]
    await reply.aclose()


def trusted(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Return what a server needs for TLS with a name, and make clients trust it."""
    cert, key = certificate(folder, name)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    return tls


KINDS = pytest.mark.parametrize("over_tls", [False, True], ids=["http proxy", "https proxy"])


@KINDS
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_every_request_goes_through_the_proxy_with_its_login(
    variable: str,
    over_tls: bool,
    tmp_path: Path,
    looked_up: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = trusted(tmp_path, "IP:127.0.0.1", monkeypatch) if over_tls else None
    async with scripted(gemini, models) as server, proxy_before(server.port, "", tls) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("//", "//me:p%40ss@"))
        cloud = backend(f"http://{HOST}")
        await cloud.warm()
        assert (await cloud.probe()).state == "ready"
        for stream in (True, False):
            await ask(cloud, stream=stream)
        await cloud.aclose()
        assert [one.headers["host"] for one in server.requests] == [HOST, HOST]
    assert proxy.heads[0].startswith(f"GET http://{HOST}/v1/models/{MODEL} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.heads[0]
    assert looked_up == []


async def test_a_login_for_the_proxy_may_stand_in_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password p@ss\n")
    async with scripted(gemini, models) as server, proxy_before(server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        cloud = backend(f"http://{HOST}")
        await ask(cloud)
        await cloud.aclose()
    assert "Proxy-Authorization: Basic bWU6cEBzcw==" in proxy.heads[0]


@KINDS
async def test_https_goes_through_a_tunnel_that_the_proxy_cannot_read(
    over_tls: bool, tmp_path: Path, looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = trusted(tmp_path, f"IP:127.0.0.1,DNS:{HOST}", monkeypatch)
    async with (
        scripted(gemini, models, tls) as server,
        proxy_before(server.port, "", tls if over_tls else None) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removeprefix("http://"))
        cloud = backend(f"https://{HOST}")
        await ask(cloud)
        await cloud.aclose()
        assert len(server.requests) == 1
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
    assert "a-key" not in head
    assert looked_up == []


@pytest.mark.parametrize("proxy", UNUSABLE)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
async def test_a_proxy_that_cannot_be_used_is_a_wrong_setting(
    variable: str, proxy: str, looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy)
    cloud = backend(f"https://{HOST}")
    await cloud.warm()
    status = await cloud.probe()
    with pytest.raises(BackendMisconfigured, match=rf"ALL_PROXY.*http://.*{HOST} to NO_PROXY"):
        await ask(cloud)
    await cloud.aclose()
    assert (status.state, "ALL_PROXY" in status.detail) == ("down", True)
    assert "secret" not in status.detail
    assert looked_up == []


@pytest.mark.parametrize(
    "variables",
    [
        {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": HOST},
        {"HTTPS_PROXY": "socks5://127.0.0.1:9"},
    ],
    ids=["listed", "another scheme"],
)
async def test_a_proxy_for_other_hosts_does_no_harm(
    variables: dict[str, str], looked_up: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    cloud = backend(f"http://{HOST}")
    with pytest.raises(BackendUnreachable):
        await ask(cloud)
    await cloud.aclose()
    assert set(looked_up) == {HOST}


async def test_a_socks_proxy_beside_the_one_in_use_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scripted(gemini, models) as server, proxy_before(server.port) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
        cloud = backend(f"http://{HOST}")
        await ask(cloud)
        await cloud.aclose()
    assert len(proxy.heads) == 1


async def test_a_proxy_that_refuses_is_named_without_its_login(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxy_before(9, "407 Proxy Authentication Required") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:secret@"))
        cloud = backend(f"https://{HOST}")
        with pytest.raises(BackendUnreachable, match="the proxy refused it with HTTP 407") as said:
            await ask(cloud)
        await cloud.aclose()
    assert "secret" not in str(said.value)
