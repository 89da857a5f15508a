"""Download of pictures from the web, for backends that need them inside the request.

The address is the caller's, so only the public internet may be reached: every socket is checked
when it is opened, after names are resolved and for each redirect.
"""

import asyncio
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import aiohttp  # imported late: few requests need it, and it takes 0.1 s and 10 MB

MAX_BYTES: Final = 32 * 2**20
MAX_PICTURES: Final = 50
"""MAX_BYTES and MAX_PICTURES limit all pictures of a request together."""
MAX_REDIRECTS: Final = 3
TIMEOUT_S: Final = 10.0
"""Time limit of one picture, from resolving the name to the last byte."""
KEPT_S: Final = 600.0
"""A conversation repeats its pictures on every turn, and they should not change."""
MAX_KEPT_BYTES: Final = 64 * 2**20

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_SPECIAL: Final = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10")))
"""Further networks that are not public; some releases of Python 3.11 do not know them."""

_MIME: Final = re.compile(r"image/[\w.+-]+", re.ASCII)


class Picture(NamedTuple):
    """A picture and the media type of its server."""

    data: bytes
    mime_type: str


class PictureError(Exception):
    """A picture cannot be downloaded. `url` is the caller's; the message does not contain it."""

    def __init__(self, message: str, url: str) -> None:
        super().__init__(message)
        self.url = url


def is_public(address: str) -> bool:
    """Return whether an IP address is public; also checks IPv4 addresses inside IPv6 ones."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        wrapped = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            wrapped = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    special = ip.is_multicast or ip.is_reserved or any(ip in network for network in _SPECIAL)
    return ip.is_global and not special


class Pictures:
    """Downloads pictures and keeps them for a while. Opens nothing before the first one."""

    def __init__(
        self,
        *,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = TIMEOUT_S,
        allowed: Callable[[str], bool] = is_public,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._allowed = allowed
        self._clock = clock
        self._kept: dict[str, tuple[float, Picture]] = {}
        """By URL, the oldest first, each with the time until which it is kept."""

    async def fetch(self, urls: Iterable[str]) -> dict[str, Picture]:
        """Return all pictures by address, downloaded at the same time. Raises PictureError."""
        urls = list(dict.fromkeys(urls))
        self._forget_old()
        found = {url: self._kept[url][1] for url in urls if url in self._kept}
        if wanted := [url for url in urls if url not in found]:
            fetched = await self._fetch_all(wanted)
            for url, picture in fetched.items():
                self._kept.pop(url, None)  # so that it moves to the end
                self._kept[url] = (self._clock() + KEPT_S, picture)
            found |= fetched
        return found

    async def _fetch_all(self, wanted: list[str]) -> dict[str, Picture]:
        if len(wanted) > MAX_PICTURES:
            raise PictureError(f"More than {MAX_PICTURES} pictures to fetch.", wanted[MAX_PICTURES])
        import aiohttp

        # The address is not trusted: no cookies, proxy or credentials from the environment.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=8, socket_factory=self._vetted_socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            headers={"Accept": "image/*", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        ) as session:
            room = _Room(self._max_bytes)
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._fetch(session, url, room)) for url in wanted]
            except* PictureError as failed:
                raise failed.exceptions[0] from None
        return dict(zip(wanted, (task.result() for task in tasks), strict=True))

    async def _fetch(self, session: "aiohttp.ClientSession", url: str, room: "_Room") -> Picture:
        import aiohttp

        try:
            async with session.get(url, max_redirects=MAX_REDIRECTS + 1) as answer:
                return await self._read(answer, url, room)
        except TimeoutError:
            message = f"took longer than {self._timeout_s:g} s"
        except aiohttp.TooManyRedirects:
            message = f"redirects more than {MAX_REDIRECTS} times"
        except aiohttp.InvalidURL:
            message = "has an address that is not a URL"
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, _NotPublic)
            message = str(error.os_error) if refused else "could not be reached"
        except (aiohttp.ClientError, OSError, ValueError):
            message = "could not be fetched"
        raise PictureError(f"The picture {message}.", url)

    def _forget_old(self) -> None:
        size = sum(len(picture.data) for _, picture in self._kept.values())
        for url, (until, picture) in list(self._kept.items()):
            if size <= MAX_KEPT_BYTES and until > self._clock():
                break
            size -= len(picture.data)
            del self._kept[url]

    async def _read(self, answer: "aiohttp.ClientResponse", url: str, room: "_Room") -> Picture:
        if answer.status != 200:
            raise PictureError(f"The picture's server answered with {answer.status}.", url)
        mime_type = answer.content_type.lower()
        if not _MIME.fullmatch(mime_type):
            raise PictureError(f"The address leads to {mime_type!r}, not to a picture.", url)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise PictureError("The picture came compressed, which was not asked for.", url)
        data = bytearray()
        async for chunk in answer.content.iter_any():
            data += chunk
            room.left -= len(chunk)
            if room.left < 0:
                raise PictureError(f"The pictures are over {self._max_bytes} bytes.", url)
        return Picture(bytes(data), mime_type)

    def _vetted_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for one resolved address, after checking that address."""
        family, kind, protocol, _, address = info
        if not self._allowed(address[0]):
            raise _NotPublic("is not on the public internet")
        return socket.socket(family, kind, protocol)


@dataclass(slots=True)
class _Room:
    """The bytes that are left for the pictures of one request."""

    left: int


class _NotPublic(OSError):
    """An address that is not public; nothing is sent to it."""
