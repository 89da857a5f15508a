"""What we remember of conversations: where the last answer came from.

The history that a caller sends is the conversation; nothing else identifies it. A request is
recognised when its messages begin with those of an earlier one. Everything stays correct, only
less sticky, when this memory is lost.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from router.backend import Target
from router.request import ChatRequest
from router.scoring.turns import human_text

CACHE_LIVES_S: Final = 300
"""How long a prompt cache is taken to stay warm (Claude's and Gemini's default is five minutes)."""
MOST_MESSAGES: Final = 400
GIST_CHARS: Final = 400


@dataclass(frozen=True, slots=True)
class Memory:
    """The last answer of a conversation. `at`: seconds of the store's clock."""

    target: Target
    at: float
    escalated: bool = False
    private: str | None = None
    model: str = ""


class Conversations:
    """A bounded map from a conversation's hash to its last answer; the oldest are forgotten."""

    def __init__(self, limit: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._memories: OrderedDict[bytes, Memory] = OrderedDict()

    def recall(self, prefixes: Sequence[bytes]) -> Memory | None:
        """The latest memory of the conversation whose prefixes these are."""
        for prefix in reversed(prefixes):
            if memory := self._memories.get(prefix):
                return memory
        return None

    def remember(self, prefixes: Sequence[bytes], memory: Memory) -> None:
        if not prefixes:
            return
        self._memories[prefixes[-1]] = memory
        self._memories.move_to_end(prefixes[-1])
        while len(self._memories) > self._limit:
            self._memories.popitem(last=False)

    def memory(
        self, target: Target, *, escalated: bool, private: str | None, model: str = ""
    ) -> Memory:
        return Memory(target, self._clock(), escalated, private, model)

    def is_warm(self, memory: Memory) -> bool:
        return self._clock() - memory.at < CACHE_LIVES_S


def prefixes_of(request: ChatRequest) -> list[bytes]:
    """A digest of the conversation up to each message that is not the model's, first to last.

    System text is left out: agents put the time and the weather there.
    """
    prefixes = []
    running = blake2b(digest_size=16)
    for message in request.messages[:MOST_MESSAGES]:
        role = message["role"]
        if role in ("system", "developer"):
            continue
        running.update(role.encode())
        running.update(_gist(message.get("content")))
        for call in message.get("tool_calls") or ():
            running.update(_ends(call.get("id")))
        if role != "assistant":
            prefixes.append(running.digest())
    return prefixes


def in_tool_loop(request: ChatRequest) -> bool:
    """Does the model go on with a turn that it has begun, with what its tools have found?"""
    for message in reversed(request.messages):
        role = message["role"]
        if role in ("tool", "function"):
            return True
        if role == "assistant" or (role == "user" and human_text(message.get("content"))):
            return False
    return False


def _gist(content: Any) -> bytes:
    """Enough of a message's content to tell it from others."""
    if isinstance(content, list):
        return b"\n".join(_ends(part.get("text")) or part["type"].encode() for part in content)
    return _ends(content)


def _ends(text: object) -> bytes:
    """A short text, or the length and both ends of a long one; nothing of what is no text."""
    if not isinstance(text, str):
        return b""
    if len(text) > 2 * GIST_CHARS:
        text = f"{text[:GIST_CHARS]}{len(text)}{text[-GIST_CHARS:]}"
    return text.encode("utf-8", "surrogatepass")
