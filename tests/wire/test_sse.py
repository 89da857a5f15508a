"""The cutter of byte streams into server-sent events."""

from collections.abc import AsyncIterator

import pytest

from router.wire import sse

STREAM = (
    'data: {"a":"é"}\n\n: ping\n\nevent: x\r\ndata: 1\r\ndata: 2\r\n\r\ndata: [DONE]\n\n'.encode()
)


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for i in range(0, len(data), size):
        yield data[i : i + size]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
async def test_every_block_holds_whole_events_however_the_stream_is_cut(size: int) -> None:
    blocks = [block async for block in sse.blocks(pieces(STREAM, size))]
    assert b"".join(blocks) == STREAM
    assert all(sse.ends_whole(block) for block in blocks)
    data = [data for block in blocks for data in sse.data_of(block)]
    assert data == ['{"a":"é"}'.encode(), b"1\n2", b"[DONE]"]


async def test_an_event_that_was_cut_off_comes_last_without_a_blank_line() -> None:
    blocks = [block async for block in sse.blocks(pieces(STREAM + b'data: {"b"', 1000))]
    assert blocks == [STREAM, b'data: {"b"']
    assert not sse.ends_whole(blocks[-1])


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (b"data: 1\n\ndata:2\n\n", [b"1", b"2"]),
        (b": ping\n\ndata: 1\n\n", [b"1"]),
        (b"event: x\ndata: 1\nid: 7\n\n", [b"1"]),
        (b"data: 1\ndata: 2\n\ndata: 3\n\n", [b"1\n2", b"3"]),
        (b"data: 1\nid: 7\ndata: 2\n\n: ping\n\n", [b"1\n2"]),
        (b"data: 1\ndata: 2\n\n: ping\n\n", [b"1\n2"]),
        (b'data: "data: 1"\n\n', [b'"data: 1"']),
        (b"data:\n\ndata: 1\n\n", [b"", b"1"]),
        (b"data: 1\n\ndata: 2", [b"1", b"2"]),
        (b"data: 1\r\n\r\ndata: 2\r\rdata: 3\n\n", [b"1", b"2", b"3"]),
        (b"error: gone\n\n", [b'{"error":"gone"}']),
        (b": ping\n\n", []),
        (b"", []),
    ],
)
def test_the_data_of_each_event_is_read(block: bytes, data: list[bytes]) -> None:
    assert list(sse.data_of(block)) == data
    assert sse.first_data(block) == next(filter(None, data), b"")
