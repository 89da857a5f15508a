"""What a relay must know of a stream whose bytes it passes on."""

from collections.abc import Callable
from typing import Protocol

from router.events import Sink
from router.wire.sse import Cutter

OfferTo = Callable[[Callable[[bytes], bool]], None]
"""The method `offer_to` of an answer; see `router/http/answer.py`."""


class Tally(Protocol):
    """Collects what matters later in the blocks of a stream."""

    def is_plain(self, block: bytes) -> bool:
        """Return whether `passed` returns the block unchanged, and nothing ends in it."""

    def passed(self, block: bytes) -> bytes:
        """Return what goes on to the caller of a block of whole events."""


def forward(offer_to: OfferTo, cutter: Cutter, tally: Tally, sink: Sink[bytes]) -> None:
    """Forward the pieces that go on as they come to a sink."""

    def take(piece: bytes) -> bool:
        if not (cutter.passes(piece) and tally.is_plain(piece) and sink.is_ready()):
            return False
        sink.send(tally.passed(piece))
        return True

    offer_to(take)
