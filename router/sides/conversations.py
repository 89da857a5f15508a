"""Remembers for each conversation which side gave the last answer.

Only the messages identify a conversation. A request belongs to a known one if its messages begin
with those of an earlier request, or contain some of them (`marks_of`). If this memory is lost,
answers stay correct, but a conversation may change sides.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from router.backend import Target
from router.request import ChatRequest
from router.scoring.turns import human_text

CACHE_LIVES_S: Final = 300
"""How long a prompt cache is expected to stay warm (Claude's and Gemini's default)."""
MOST_MESSAGES: Final = 400
"""Messages of a long conversation that are read at its beginning, and as many at its end."""
GIST_CHARS: Final = 400
LEAST_LOOP_MESSAGES: Final = 2
"""A tool loop has at least the model's calls and one result."""
DISTINCT_BYTES: Final = 24
"""Shorter messages (`yes`) occur in many conversations, so they count with the one before."""
GREETING_BYTES: Final = 100
"""Most bytes of an answer to a short first message (`hi`) that occurs in many conversations."""

_SYSTEM: Final = ("system", "developer")


@dataclass(frozen=True, slots=True)
class Memory:
    """The last answer of a conversation. `at`: seconds of the store's clock."""

    target: Target
    at: float
    escalated: bool = False
    model: str = ""


class Conversations:
    """A bounded map from a conversation's hash to its last answer; the oldest are forgotten."""

    def __init__(self, limit: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._memories: OrderedDict[bytes, Memory] = OrderedDict()

    def recall(self, prefixes: Sequence[bytes]) -> Memory | None:
        """Return the latest memory of the conversation whose prefixes these are."""
        for prefix in reversed(prefixes):
            if memory := self._memories.get(prefix):
                return memory
        return None

    def learn(self, prefix: bytes, memory: Memory) -> None:
        """Keep what another router remembers, unless this one has answered later."""
        before = self._memories.get(prefix)
        if before is None or before.at < memory.at:
            self._keep(prefix, memory)

    def remember(self, prefixes: Sequence[bytes], memory: Memory) -> Memory:
        """Store the last answer. An earlier failure of the local model stays recorded.

        Returns what is stored.
        """
        if not prefixes:
            return memory
        before = self.recall(prefixes)  # another request may have ended
        if before is not None and before.escalated:
            memory = replace(memory, escalated=True)
        self._keep(prefixes[-1], memory)
        return memory

    def memory(
        self, target: Target, *, escalated: bool, model: str = "", age_s: float = 0
    ) -> Memory:
        """Return a memory of an answer that was given so long ago."""
        return Memory(target, self._clock() - age_s, escalated, model)

    def is_warm(self, memory: Memory) -> bool:
        """Return whether the cache of that answer is likely to be there still."""
        return self._clock() - memory.at < CACHE_LIVES_S

    def _keep(self, prefix: bytes, memory: Memory) -> None:
        self._memories[prefix] = memory
        self._memories.move_to_end(prefix)
        while len(self._memories) > self._limit:
            self._memories.popitem(last=False)


def prefixes_of(request: ChatRequest) -> list[bytes]:
    """Return a digest of the conversation up to each message that the model did not write.

    System text is left out: agents put the time and the weather there.
    """
    prefixes = []
    running = blake2b(digest_size=16)
    for message in request.messages[:MOST_MESSAGES]:
        role = message["role"]
        if role in _SYSTEM:
            continue
        running.update(_digest(_parts(message)))
        if role != "assistant":
            prefixes.append(running.digest())
    return prefixes


class Marks(NamedTuple):
    """Digests of messages. They identify a conversation even if some messages are removed."""

    all: list[bytes]
    """One for each message; a short message is hashed together with the one before it."""
    own: list[bytes]
    """The same without messages that other conversations have too: user messages that another user
    message follows, which clients put in front of every conversation, and an exchange of greetings
    at the beginning."""


def marks_of(request: ChatRequest) -> Marks:
    """Return the marks of a conversation; of a very long one only those of its two ends."""
    messages = request.messages
    if len(messages) > 2 * MOST_MESSAGES:
        messages = [*messages[:MOST_MESSAGES], *messages[-MOST_MESSAGES:]]
    return _marks(_read(messages))


def prefixes_and_marks_of(request: ChatRequest) -> tuple[list[bytes], Marks]:
    """Return both; each message is read once."""
    if len(request.messages) > MOST_MESSAGES:
        return prefixes_of(request), marks_of(request)
    said = _read(request.messages)
    return _prefixes(said), _marks(said)


def answered_before(request: ChatRequest) -> bytes | None:
    """Return the digest, as of `prefixes_of`, with which the request before this one ended.

    None in the first turn, and where the conversation is too long to know.
    """
    if len(request.messages) > MOST_MESSAGES:
        return None
    said = _read(request.messages)
    answers = [at for at, (role, _, _) in enumerate(said) if role == "assistant"]
    prefixes = _prefixes(said[: answers[-1]]) if answers else []
    return prefixes[-1] if prefixes else None


_Said = tuple[str, list[bytes], bytes]
"""Role, parts and digest of a message."""


def _read(messages: Iterable[dict[str, Any]]) -> list[_Said]:
    """Return each message with its digest, without system messages."""
    said = []
    for message in messages:
        if message["role"] not in _SYSTEM:
            parts = _parts(message)
            said.append((message["role"], parts, _digest(parts)))
    return said


def _prefixes(said: Iterable[_Said]) -> list[bytes]:
    """Return the result of `prefixes_of`, which itself is faster for requests without marks."""
    running = blake2b(digest_size=16)
    ends = []
    for role, _, digest in said:
        running.update(digest)
        ends.append(b"" if role == "assistant" else running.digest())
    return [end for end in ends if end]


def _marks(said: Sequence[_Said]) -> Marks:
    marks, before = Marks([], []), b""
    greetings = 2 if _begins_with_greetings(said) else 0
    for at, ((role, parts, digest), following) in enumerate(zip_longest(said, said[1:])):
        mark = digest if _is_longer(parts, DISTINCT_BYTES) else _digest([before, digest])
        marks.all.append(mark)
        is_preface = following is not None and role == following[0] == "user"
        if at >= greetings and not is_preface:
            marks.own.append(mark)
        before = digest
    return marks


def _begins_with_greetings(said: Sequence[_Said]) -> bool:
    """Return whether the first message and its answer could begin any conversation."""
    if [role for role, _, _ in said[:2]] != ["user", "assistant"]:
        return False
    (_, first, _), (_, answer, _) = said[:2]
    return not _is_longer(first, DISTINCT_BYTES) and not _is_longer(answer, GREETING_BYTES)


def _is_longer(parts: Sequence[bytes], least_bytes: int) -> bool:
    """Return whether a message has so many bytes, or the id of a tool call."""
    return sum(map(len, parts[1:])) >= least_bytes or any(parts[2:])


def _parts(message: dict[str, Any]) -> list[bytes]:
    """Return what identifies a message: role, content, ids of tool calls."""
    parts = [
        message["role"].encode(),
        _gist(message.get("content")),
        _ends(message.get("tool_call_id")),
    ]
    if calls := message.get("tool_calls"):
        parts += [_ends(call.get("id")) for call in calls]
    return parts


def _digest(parts: list[bytes]) -> bytes:
    return blake2b(b"\0".join(parts), digest_size=16).digest()


def in_tool_loop(request: ChatRequest) -> bool:
    """Return whether the model continues a turn with the results of its tool calls."""
    if len(request.messages) < LEAST_LOOP_MESSAGES:
        return False
    for message in reversed(request.messages):
        role = message["role"]
        if role in ("tool", "function"):
            return True
        if role == "assistant" or (role == "user" and human_text(message.get("content"))):
            return False
    return False


def _gist(content: Any) -> bytes:
    """Return enough of a message's content to tell it from others."""
    if isinstance(content, list):
        return b"\n".join(_ends(part.get("text")) or _attached(part) for part in content)
    return _ends(content)


def _attached(part: dict[str, Any]) -> bytes:
    """Return what identifies a part without text: its type, and its longest string (its data)."""
    values = [*part.values()]
    values += [inner for value in values if isinstance(value, dict) for inner in value.values()]
    texts = [value for value in values if isinstance(value, str)]
    return f"{part['type']} ".encode() + _ends(max(texts, key=len))


def _ends(text: object) -> bytes:
    """Return a short text; of a long one its length and both ends; b"" if it is no string."""
    if not isinstance(text, str):
        return b""
    text = text.strip()
    if len(text) > 2 * GIST_CHARS:
        text = f"{text[:GIST_CHARS]}{len(text)}{text[-GIST_CHARS:]}"
    return text.encode("utf-8", "surrogatepass")
