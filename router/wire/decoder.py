"""What the decoders of streams have in common: blocks of whole SSE events in, our events out."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Protocol

from router.events import Event


class Decoder(Protocol):
    """Turns one stream into our events."""

    @property
    def is_over(self) -> bool:
        """Has the stream said that it ends?"""

    def feed(self, block: bytes) -> Iterator[Event]:
        """What a block says. Raises BackendError."""

    def end(self) -> Iterator[Event]:
        """What follows when nothing more comes, of a stream that has not said that it ends.

        Raises BackendError.
        """


async def decoded(blocks: AsyncIterator[bytes], decoder: Decoder) -> AsyncGenerator[Event, None]:
    """The events of a stream."""
    async for block in blocks:
        for event in decoder.feed(block):
            yield event
        if decoder.is_over:
            return
    for event in decoder.end():
        yield event
