"""A proxy that passes everything on to one server."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

UNUSABLE = [
    "socks5://me:secret@127.0.0.1:9",
    "ftp://me:secret@127.0.0.1:9",
    "http://me:secret@",
    "http://127.0.0.1:secret",
]
"""Addresses of proxies that the clouds' clients cannot speak to."""


class PlayedProxy:
    """A proxy that knows one server, whatever name it is asked for."""

    def __init__(self, server_port: int, refuses: str = "") -> None:
        self.heads: list[str] = []
        self.url = ""
        self._server_port = server_port
        self._refuses = refuses

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self._refuses:
            writer.write(f"HTTP/1.1 {self._refuses}\r\n\r\n".encode())
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        if head.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            method, address, rest = head.split(" ", 2)
            path = urlsplit(address)._replace(scheme="", netloc="").geturl()
            to_server.write(f"{method} {path} {rest}".encode())
        await asyncio.gather(_copied(reader, to_server), _copied(from_server, writer))


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65_536):
            writer.write(block)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def proxy_before(
    port: int, refuses: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[PlayedProxy]:
    """Play a proxy before the server at a port. `tls`: the proxy itself is reached over TLS."""
    proxy = PlayedProxy(port, refuses)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls) as server:
        scheme = "http" if tls is None else "https"
        proxy.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
        server.close()


def forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of the environment."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
