"""Decoding of compressed request bodies, by their Content-Encoding header.

Codex compresses its bodies with zstd. A small body can expand to a huge one, so the size of the
result is limited twice: by MAX_BODY_MB, and by a ratio to the compressed size.
"""

import asyncio
import importlib
import sys
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from router.errors import InvalidRequest, TooLarge

MOST_RATIO: Final = 200
"""Largest growth of a body by decompression; real requests grow by a factor of 3 to 50."""
SMALL_BYTES: Final = 2**20
"""A decompressed body up to this size may have grown by any factor."""
MOST_MEMBERS: Final = 16
"""Compressed parts that a body may consist of. For each one the rest of the body is copied."""
MOST_WINDOW_LOG: Final = 25
"""Memory that zstd may use for its window: 32 MB."""
MOST_ENCODINGS: Final = 2
"""Most encodings that may be applied one after the other."""


class _Decompressor(Protocol):
    """The part of zlib's and zstd's objects that is used here."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _deflate(data: bytes) -> _Decompressor:
    """Return a decompressor for deflate; some clients leave out zlib's head around it."""
    is_zlib = len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def _gzip(data: bytes) -> _Decompressor:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zstd(data: bytes) -> _Decompressor:
    zstd = _zstd_module()
    decompressor: _Decompressor = zstd.ZstdDecompressor(
        options={zstd.DecompressionParameter.window_log_max: MOST_WINDOW_LOG}
    )
    return decompressor


def _zstd_module() -> Any:
    # Imported late: few callers compress their bodies.
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return importlib.import_module(name)


_DECODERS: Final[dict[str, Callable[[bytes], _Decompressor]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}


async def decoded(body: bytes, content_encoding: str, limit_bytes: int) -> bytes:
    """Return the body without the encodings that the header names.

    Raises InvalidRequest for a body that does not match its encoding, with status 415 for an
    unknown encoding, and TooLarge.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    unknown = [name for name in names if name not in _DECODERS]
    if unknown or len(names) > MOST_ENCODINGS:
        what = f"{unknown[0][:40]!r}" if unknown else f"more than {MOST_ENCODINGS} encodings"
        raise InvalidRequest(
            f"Content-Encoding: {what} is not supported. Use gzip, deflate, zstd or none.",
            param="Content-Encoding",
            code="unsupported_content_encoding",
            status=415,
        )
    for name in reversed(names):
        # In a thread: a large body takes a tenth of a second, which would delay other requests.
        body = await asyncio.to_thread(_decoded, body, name, limit_bytes)
    return body


def _decoded(body: bytes, name: str, limit_bytes: int) -> bytes:
    most_bytes = min(limit_bytes, max(SMALL_BYTES, MOST_RATIO * len(body)))
    pieces: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest or not pieces:  # a body may hold several members one after the other
            decompressor = _DECODERS[name](rest)
            pieces.append(decompressor.decompress(rest, most_bytes - size + 1))
            size += len(pieces[-1])
            if size > most_bytes:
                raise _too_large(name, size > limit_bytes, limit_bytes)
            if not decompressor.eof:
                raise EOFError
            if len(pieces) > MOST_MEMBERS:
                raise InvalidRequest(
                    f"The body has more than {MOST_MEMBERS} {name} parts. Compress it as one.",
                    param="Content-Encoding",
                )
            rest = decompressor.unused_data
    except _errors(name):
        raise InvalidRequest(
            f"The body is not valid {name}, though Content-Encoding says so.",
            param="Content-Encoding",
        ) from None
    return b"".join(pieces)


def _errors(name: str) -> tuple[type[Exception], ...]:
    """Return the errors for a body that does not match its encoding."""
    own: type[Exception] = _zstd_module().ZstdError if name == "zstd" else zlib.error
    return (own, EOFError)


def _too_large(name: str, over_limit: bool, limit_bytes: int) -> TooLarge:
    if over_limit:
        limit_mb = limit_bytes / 2**20
        return TooLarge(
            f"The body is larger than {limit_mb:g} MB once decompressed. MAX_BODY_MB sets the"
            " limit."
        )
    return TooLarge(
        f"The {name} body expands to more than {MOST_RATIO} times its size. Send it uncompressed."
    )
