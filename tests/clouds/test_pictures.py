"""Pictures come only from the public internet; the servers here are real, on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from router.clouds.pictures import (
    KEPT_S,
    MAX_KEPT_BYTES,
    MAX_PICTURES,
    Picture,
    PictureError,
    Pictures,
    is_public,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def anywhere(address: str) -> bool:
    return True


@contextlib.asynccontextmanager
async def site(**routes: Handler) -> AsyncIterator[str]:
    app = web.Application()
    for name, handler in routes.items():
        app.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
    await runner.setup()
    try:
        place = web.TCPSite(runner, "127.0.0.1", 0)
        await place.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def picture(request: web.Request) -> web.Response:
    return web.Response(body=PNG, content_type="image/png")


async def refusal(pictures: Pictures, url: str) -> str:
    with pytest.raises(PictureError) as caught:
        await pictures.fetch([url])
    assert caught.value.url == url
    assert url not in str(caught.value)
    return str(caught.value)


PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.8", "198.18.0.1"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1"),
    *("2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "2001:db8::1", "2001:0:7f00:1::", "100::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


async def test_fetches_each_picture_once() -> None:
    asked: list[str] = []

    async def counted(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=PNG, content_type="image/PNG")

    async with site(a=counted, b=counted) as base:
        urls = [f"{base}/a", f"{base}/b", f"{base}/a"]
        fetched = await Pictures(allowed=anywhere).fetch(urls)
    assert fetched == dict.fromkeys(urls, Picture(PNG, "image/png"))
    assert sorted(asked) == ["/a", "/b"]


async def test_a_picture_is_kept_for_the_next_turns() -> None:
    asked: list[str] = []
    now = 0.0

    async def counted(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=PNG, content_type="image/png")

    async with site(a=counted, b=counted) as base:
        pictures = Pictures(allowed=anywhere, clock=lambda: now)
        await pictures.fetch([f"{base}/a"])
        now = KEPT_S - 1
        assert (await pictures.fetch([f"{base}/b", f"{base}/a"])).keys() == {
            f"{base}/a",
            f"{base}/b",
        }
        assert asked == ["/a", "/b"]
        now = KEPT_S + 1
        await pictures.fetch([f"{base}/a", f"{base}/b"])
    assert asked == ["/a", "/b", "/a"]


async def test_not_more_is_kept_than_memory_allows() -> None:
    size = MAX_KEPT_BYTES // 2
    asked: list[str] = []

    async def large(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=bytes(size), content_type="image/png")

    async with site(a=large, b=large, c=large) as base:
        pictures = Pictures(allowed=anywhere, max_bytes=size)
        for name in ("a", "b", "c", "b", "a"):
            await pictures.fetch([f"{base}/{name}"])
    assert asked == ["/a", "/b", "/c", "/a"]


async def test_nothing_to_fetch_opens_nothing() -> None:
    assert await Pictures(allowed=lambda address: pytest.fail(address)).fetch([]) == {}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0",
        "[::1]",
        "[::ffff:7f00:1]",
    ],
)
async def test_no_spelling_of_this_machine_is_connected_to(host: str) -> None:
    met = asyncio.Event()

    async def met_someone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        writer.close()

    server = await asyncio.start_server(met_someone, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await refusal(Pictures(), f"http://{host}:{port}/a.png")
    assert not met.is_set()


async def test_the_address_that_was_vetted_is_the_one_connected_to() -> None:
    seen: list[str] = []

    def watch(address: str) -> bool:
        seen.append(address)
        return True

    async with site(a=picture) as base:
        await Pictures(allowed=watch).fetch([base.replace("127.0.0.1", "localhost") + "/a"])
    assert "127.0.0.1" in seen


async def test_a_redirect_is_vetted_like_the_first_address() -> None:
    """The first server counts as public, the one it redirects to does not."""
    ports: list[str] = []

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.2:{ports[0]}/a")

    async with site(a=picture, away=away) as base:
        ports.append(base.rpartition(":")[2])
        said = await refusal(Pictures(allowed=lambda ip: ip == "127.0.0.1"), f"{base}/away")
    assert "public internet" in said


async def test_follows_a_few_redirects() -> None:
    async def hop(request: web.Request) -> web.Response:
        left = int(request.query["left"])
        raise web.HTTPFound(f"/hop?left={left - 1}" if left else "/a")

    async with site(a=picture, hop=hop) as base:
        url = f"{base}/hop?left=2"
        assert await Pictures(allowed=anywhere).fetch([url]) == {url: Picture(PNG, "image/png")}
        assert "redirects" in await refusal(Pictures(allowed=anywhere), f"{base}/hop?left=9")


async def test_a_redirect_to_another_scheme_is_refused() -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

    async with site(away=away) as base:
        await refusal(Pictures(allowed=anywhere), f"{base}/away")


@pytest.mark.parametrize(
    "url", ["https://", "http://a b/", "http://[::1", "http://x:99999/", "http://\x00/"]
)
async def test_an_address_that_is_not_a_url_is_refused(url: str) -> None:
    await refusal(Pictures(allowed=anywhere), url)


async def test_a_picture_that_is_too_large_is_not_read_to_its_end() -> None:
    stopped = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1000))
        finally:
            stopped.set()

    async with site(a=endless) as base:
        said = await refusal(Pictures(allowed=anywhere, max_bytes=50_000), f"{base}/a")
        assert "over 50000 bytes" in said
        await asyncio.wait_for(stopped.wait(), 5)


async def test_the_limit_is_for_all_pictures_of_a_request() -> None:
    async with site(a=picture, b=picture) as base:
        pictures = Pictures(allowed=anywhere, max_bytes=len(PNG) * 2 - 1)
        await pictures.fetch([f"{base}/a"])
        with pytest.raises(PictureError, match="over"):
            await Pictures(allowed=anywhere, max_bytes=len(PNG) * 2 - 1).fetch(
                [f"{base}/a", f"{base}/b"]
            )


async def test_a_picture_that_takes_too_long_is_given_up() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        await response.prepare(request)
        await response.write(PNG)
        await asyncio.Event().wait()
        return response

    async with site(a=slow) as base:
        said = await refusal(Pictures(allowed=anywhere, timeout_s=0.1), f"{base}/a")
    assert "longer than 0.1 s" in said


async def test_content_that_is_not_a_picture_is_refused() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    async def missing(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async def zipped(request: web.Request) -> web.Response:
        return web.Response(
            body=b"", content_type="image/png", headers={"Content-Encoding": "gzip"}
        )

    async with site(page=page, missing=missing, zipped=zipped) as base:
        pictures = Pictures(allowed=anywhere)
        assert "'text/html'" in await refusal(pictures, f"{base}/page")
        assert "404" in await refusal(pictures, f"{base}/missing")
        assert "compressed" in await refusal(pictures, f"{base}/zipped")


async def test_a_server_that_hangs_up_is_reported() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nabc")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await refusal(Pictures(allowed=anywhere), f"http://127.0.0.1:{port}/")
    assert "could not be fetched" in said


async def test_one_bad_picture_ends_the_fetching_of_all() -> None:
    async def forever(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def missing(request: web.Request) -> web.Response:
        raise web.HTTPGone

    async with site(forever=forever, missing=missing) as base:
        with pytest.raises(PictureError, match="410") as caught:
            await Pictures(allowed=anywhere).fetch([f"{base}/forever", f"{base}/missing"])
    assert caught.value.url == f"{base}/missing"


async def test_there_is_a_limit_to_how_many() -> None:
    urls = [f"http://127.0.0.1/{i}" for i in range(MAX_PICTURES + 1)]
    with pytest.raises(PictureError, match="More than"):
        await Pictures(allowed=anywhere).fetch(urls)


async def test_no_credentials_or_cookies_are_sent() -> None:
    heads: list[dict[str, str]] = []

    async def look(request: web.Request) -> web.Response:
        heads.append({name.lower(): value for name, value in request.headers.items()})
        raise web.HTTPFound("/a", headers={"Set-Cookie": "a=b"})

    async def again(request: web.Request) -> web.Response:
        heads.append({name.lower(): value for name, value in request.headers.items()})
        return await picture(request)

    async with site(look=look, a=again) as base:
        await Pictures(allowed=anywhere).fetch([f"{base}/look"])
    assert all(head.keys() == {"host", "accept", "accept-encoding", "user-agent"} for head in heads)


async def test_the_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with site(a=picture) as here:
        url = f"{here}/a"
        assert await Pictures(allowed=anywhere).fetch([url]) == {url: Picture(PNG, "image/png")}
