"""An HTTP proxy between the client and its server."""

import asyncio
import socket
from typing import Final
from urllib.parse import urlsplit

from router.http.answer import NotConnected
from router.http.login import basic_login

MOST_HEAD_BYTES: Final = 65_536
_BLOCK_BYTES: Final = 4_096


class Proxy:
    """The address of a proxy, with its login. Raises ValueError if it cannot be used."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("a proxy must have an address that starts with http://")
        self.host = parts.hostname
        self.port = parts.port or 80
        login = basic_login(parts)
        self.headers = {"Proxy-Authorization": login} if login is not None else {}

    async def tunnel(self, link: socket.socket, host: str, port: int) -> None:
        """Make the proxy connect this open socket to a server. Raises NotConnected and OSError."""
        loop = asyncio.get_running_loop()
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
        lines += [f"{header}: {value}" for header, value in self.headers.items()]
        await loop.sock_sendall(link, "\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            block = await loop.sock_recv(link, _BLOCK_BYTES)
            head += block
            if not block or len(head) > MOST_HEAD_BYTES:
                raise NotConnected("the proxy sent no answer")
        status = head.split(b"\r\n", 1)[0].split(b" ", 2)[1:2]
        if status != [b"200"]:
            said = b"".join(status).decode("ascii", "replace")
            raise NotConnected(f"the proxy refused it with HTTP {said}")
