"""The stream of an answer in a caller's format, made of batches of events."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from router.errors import RouterError
from router.events import Batch


class EncodedStream:
    """The bytes of a streamed answer, one item per batch.

    `encode` encodes a batch that bypasses the iterator. Call it only after the iterator's first
    item, while the iterator waits for another one, and never with a Finish. `fail` returns the
    last events of a stream that fails; it is None where a failure looks alike in every stream.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        encode: Callable[[Batch], bytes],
        fail: Callable[[RouterError], bytes] | None = None,
    ) -> None:
        self.encode = encode
        self.fail = fail
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        """Stop encoding. The batches stay open: their reply closes them."""
        await self._chunks.aclose()


def encoded(batches: AsyncIterator[Batch], encode: Callable[[Batch], bytes]) -> EncodedStream:
    """Return the stream of what `encode` makes of each batch; that may be nothing."""

    async def chunks() -> AsyncGenerator[bytes, None]:
        async for batch in batches:
            if chunk := encode(batch):
                yield chunk

    return EncodedStream(chunks(), encode)
