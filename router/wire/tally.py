"""What a relay must know of a stream whose bytes it passes on."""

from collections.abc import Callable
from typing import Protocol

from router.events import Sink
from router.wire.sse import Cutter


class Tally(Protocol):
    """Collects what matters later in the blocks of a stream."""

    def is_plain(self, block: bytes) -> bool:
        """Return whether a block goes on as it is, and only has to be noted."""

    def note(self, block: bytes) -> None:
        """Note a plain block that goes on."""


def pour(
    offer_to: Callable[[Callable[[bytes], bool]], None],
    cutter: Cutter,
    tally: Tally,
    sink: Sink[bytes],
) -> None:
    """Send to the sink the pieces that go on as they come; `offer_to` is that of the answer."""

    def take(piece: bytes) -> bool:
        if not (cutter.passes(piece) and tally.is_plain(piece) and sink.is_ready()):
            return False
        tally.note(piece)
        sink.send(piece)
        return True

    offer_to(take)
