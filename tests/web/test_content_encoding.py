"""Compressed request bodies."""

import gzip
import sys
import zlib
from importlib import import_module
from typing import Any

import orjson
import pytest

from router.errors import InvalidRequest, RouterError, TooLarge
from tests.support.running_app import running_app
from web.content_encoding import MOST_RATIO, SMALL_BYTES, decoded

zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

BODY = orjson.dumps({"messages": [{"role": "user", "content": "Is a tomato a fruit? " * 200}]})
LIMIT = 4 * 2**20


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("X-GZip", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", raw_deflate(BODY)),
        ("zstd", zstd.compress(BODY)),
        ("identity", BODY),
        ("zstd, gzip", gzip.compress(zstd.compress(BODY), mtime=0)),
        ("gzip", gzip.compress(BODY[:99], mtime=0) + gzip.compress(BODY[99:], mtime=0)),
        ("zstd", zstd.compress(BODY[:99]) + zstd.compress(BODY[99:])),
    ],
)
async def test_a_compressed_body_is_read(encoding: str, body: bytes) -> None:
    assert await decoded(body, encoding, LIMIT) == BODY


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, br", "gzip, gzip, gzip"])
async def test_another_encoding_is_415_and_names_those_that_work(encoding: str) -> None:
    with pytest.raises(InvalidRequest, match="gzip, deflate, zstd") as raised:
        await decoded(BODY, encoding, LIMIT)
    assert raised.value.status == 415


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("fault", ["not compressed", "cut off", "more behind it", "empty"])
async def test_a_body_that_does_not_match_its_encoding_is_400(encoding: str, fault: str) -> None:
    compress: Any = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
    whole = compress[encoding](BODY)
    body = {"not compressed": b"x" + BODY, "cut off": whole[:-5], "more behind it": whole + b"x",
            "empty": b""}[fault]  # fmt: skip
    with pytest.raises(InvalidRequest, match=encoding) as raised:
        await decoded(body, encoding, LIMIT)
    assert raised.value.status == 400


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
async def test_a_body_of_very_many_parts_is_refused_at_once(compress: Any) -> None:
    encoding = "gzip" if compress is gzip.compress else "zstd"
    with pytest.raises(InvalidRequest, match="as one"):
        await decoded(compress(b"") * 100_000, encoding, 2**30)


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
async def test_a_body_may_not_grow_beyond_the_limit(compress: Any) -> None:
    encoding = "gzip" if compress is gzip.compress else "zstd"
    assert len(await decoded(compress(bytes(SMALL_BYTES)), encoding, LIMIT)) == SMALL_BYTES
    noise = bytes(range(256)) * 20
    with pytest.raises(TooLarge, match="MAX_BODY_MB"):
        await decoded(compress(noise), encoding, 5000)
    with pytest.raises(TooLarge, match=f"{MOST_RATIO} times"):
        await decoded(compress(bytes(LIMIT)), encoding, LIMIT)


async def test_a_window_that_takes_much_memory_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(BODY) + compressor.flush()
    with pytest.raises(RouterError):
        await decoded(body, "zstd", LIMIT)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/classify", "/v1/embeddings"]
)
async def test_every_route_reads_compressed_bodies(path: str) -> None:
    said = [{"role": "user", "content": "Hi"}]
    body = {"model": "local", "messages": said, "input": said, "max_tokens": 9}
    async with running_app() as app:
        for encoding, status in (("zstd", 200), ("br", 415)):
            answer = await app.http.post(
                path,
                content=zstd.compress(orjson.dumps(body)),
                headers={"content-encoding": encoding},
            )
            assert answer.status_code == status, answer.text
