"""The protocol of the decoders of streams: blocks of whole SSE events in, events out."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Protocol

from router.errors import BackendError
from router.events import Batch, Event, Usage


class Decoder(Protocol):
    """Converts one stream into events."""

    @property
    def is_over(self) -> bool:
        """Return whether the stream has said its last word."""

    @property
    def has_finished(self) -> bool:
        """Return whether the answer is complete, though the stream may go on."""

    def feed(self, block: bytes) -> Iterator[Event]:
        """Yield the events of a block. Raises BackendError."""

    def end(self) -> Iterator[Event]:
        """Yield what remains when a stream ends without its last word. Raises BackendError."""


class WordDecoder(Decoder, Protocol):
    """A decoder that can read a block of words at once."""

    @property
    def usage(self) -> Usage | None:
        """Return the tokens that the stream has counted so far; None if it has not."""

    def words(self, block: bytes) -> Batch | None:
        """Decode a block that holds only words. Never raises.

        Returns None for any other block, which `feed` has to read.
        """


async def decoded(blocks: AsyncIterator[bytes], decoder: Decoder) -> AsyncGenerator[Batch, None]:
    """Yield the events of a stream, those of a block as one batch.

    A failure of `blocks` after the answer was complete counts as the end of the stream.
    """
    try:
        async for block in blocks:
            batch: list[Event] = []
            try:
                batch.extend(decoder.feed(block))
            except BackendError:
                if batch:  # what was said before the failure
                    yield batch
                raise
            if batch:
                yield batch
            if decoder.is_over:
                return
    except Exception:
        if not decoder.has_finished:
            raise
    if batch := list(decoder.end()):
        yield batch
