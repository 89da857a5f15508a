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
