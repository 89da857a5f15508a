"""Forwards the words of a stream to a sink, past the generators that read it."""

from collections.abc import Callable
from typing import TypeVar

from router.events import Sink
from router.wire.sse import Cutter

Item = TypeVar("Item")


def forward(
    offer_to: Callable[[Callable[[bytes], bool]], None],
    cutter: Cutter,
    words: Callable[[bytes], Item | None],
    sink: Sink[Item],
) -> None:
    """Send to the sink what `words` makes of each piece, and leave to the reader where it is None.

    `offer_to`: that of the answer (router/http/answer.py). `cutter`: the one of the reader.
    """

    def take(piece: bytes) -> bool:
        if not (cutter.passes(piece) and sink.is_ready()):
            return False
        item = words(piece)
        if item is None:
            return False
        sink.send(item)
        return True

    offer_to(take)
