"""Asks local servers for log-probabilities, and removes them from the answers.

They stay in the answer only if the caller asked for them. Otherwise its bytes are those that the
server would have sent without them. llama.cpp refuses them for a stream with tools; LM Studio's
chat ignores the request for them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from router.backend import ConfidenceMode, Token
from router.request import ChatRequest

LEFT_BEHIND: Final[Mapping[str, bytes]] = {
    "llama.cpp": b"",
    "ollama": b"",
    "vllm": b',"logprobs":null',
}
"""Servers that send log-probabilities, and what they write instead if not asked for them."""
SHADOW_FIRST: Final = 4
SHADOW_EVERY: Final = 64
"""In shadow mode the first SHADOW_FIRST answers of a model have them, then one in SHADOW_EVERY.
An answer that has them takes 1.6 (a stream) to 2 times (a short whole answer) the router's CPU, so
this keeps the cost under 2 %; they also take some servers a few percent of their speed."""
MISSES: Final = 3
"""After this many answers without them in a row, a model is not asked for them again."""
MOST_EVENTS: Final = 4_000
"""Most pieces of an answer whose log-probabilities are kept."""

_STRING: Final = rb'"(?>[^"\\]+|\\.)*+"'
_FLAT: Final = rb'[^{}"]+|' + _STRING
_NESTED: Final = rb"\{(?>" + _FLAT + rb"|\{(?>" + _FLAT + rb")*+\})*+\}"
_BEGIN: Final = b',"logprobs":{'
_END: Final = b'}],"created":'
"""Follows them in llama.cpp's JSON, where they end the only choice."""
# JSON escapes quotes in the model's text, so a quoted key in the bytes is always a key.
_LOGPROBS: Final = re.compile(
    rb',\s*"logprobs"\s*:\s*(\{(?>' + _FLAT + rb"|" + _NESTED + rb")*+\})"
)
_ABOUT_LOGPROBS: Final = re.compile(r"log_?prob|n_probs", re.IGNORECASE)
_THOUGHT: Final = re.compile(rb'"reasoning(?:_content)?"\s*:\s*"')


class LogprobsWish:
    """Decides which answers of one server are asked for log-probabilities.

    It remembers the models that give none.
    """

    def __init__(self, mode: ConfidenceMode) -> None:
        self._mode = mode
        self._shadowed: dict[str, int] = {}
        self._misses: dict[str, int] = {}

    def add_to(
        self, body: dict[str, Any], request: ChatRequest, model: str, server: str
    ) -> "Logprobs | None":
        """Ask for them in `body`; return their reader, or None if they are not to be read."""
        if self._mode == "off" or request.body.get("n") not in (None, 1):
            return None
        if request.body.get("logprobs"):
            return Logprobs(None)
        left_behind = LEFT_BEHIND.get(server)
        if left_behind is None or "logprobs" in body or (request.stream and request.tools):
            return None
        if self._misses.get(model, 0) >= MISSES or not self._has_turn(model):
            return None
        body["logprobs"] = True
        if server == "llama.cpp":
            body["top_logprobs"] = 1  # with 0 it sends none
        return Logprobs(left_behind)

    def _has_turn(self, model: str) -> bool:
        if self._mode == "on":
            return True
        before = self._shadowed.get(model, 0)
        self._shadowed[model] = before + 1
        return before < SHADOW_FIRST or before % SHADOW_EVERY == 0

    def came(self, model: str, logprobs: "Logprobs") -> None:
        """Note whether an ended answer had them."""
        self._misses[model] = 0 if logprobs.found else self._misses.get(model, 0) + 1

    def refused(self, model: str, message: str) -> bool:
        """Return whether this error is about them. If so, the model is not asked for them again."""
        if not _ABOUT_LOGPROBS.search(message):
            return False
        self._misses[model] = MISSES
        return True


class Logprobs:
    """The log-probabilities of one answer, complete once it was read to its end."""

    def __init__(self, left_behind: bytes | None) -> None:
        """Begin without any. `left_behind` replaces them in the answer; None keeps them there."""
        self._left_behind = left_behind
        self._events: list[bytes] = []

    @property
    def for_the_caller(self) -> bool:
        """Return whether the caller asked for them."""
        return self._left_behind is None

    @property
    def found(self) -> bool:
        """Return whether any have come."""
        return bool(self._events)

    def cut(self, block: bytes) -> bytes:
        """Return the block without log-probabilities, unless the caller asked for them."""
        if b'"logprobs"' not in block:
            return block
        if b'"reasoning' in block:
            return b"".join(map(self._cut, _events(block)))
        if self._left_behind == b"" and (cut := self._cut_at_ends(block)) is not None:
            return cut
        return _LOGPROBS.sub(self._take, block)

    def _cut_at_ends(self, block: bytes) -> bytes | None:
        """Cut a block as llama.cpp writes it, in a fifth of the time; None for other blocks."""
        kept = []
        found = []
        at = 0
        while (start := block.find(_BEGIN, at)) >= 0:
            end = block.find(_END, start)
            if end < 0 or not block.endswith(b"]}", start, end) or b"\n\n" in block[start:end]:
                return None
            kept.append(block[at:start])
            found.append(block[start + len(_BEGIN) - 1 : end])
            at = end
        if not found:
            return None
        self._events += found[: MOST_EVENTS - len(self._events)]
        return b"".join((*kept, block[at:]))

    def _cut(self, event: bytes) -> bytes:
        """Cut one event; the log-probabilities of a thought are not kept."""
        kept = len(self._events)
        cut = _LOGPROBS.sub(self._take, event)
        if b'"delta"' in event and _THOUGHT.search(event):
            del self._events[kept:]
        return cut

    def _take(self, found: re.Match[bytes]) -> bytes:
        if len(self._events) < MOST_EVENTS:
            self._events.append(found[1])
        return found[0] if self._left_behind is None else self._left_behind

    def tokens(self) -> list[Token]:
        """Return the tokens so far; with the model's thoughts if the server mixes them in."""
        return [token for event in self._events for token in _tokens(event)]

    def first_alternatives(self) -> list[float]:
        """Return the log-probabilities that the server listed for the first token."""
        listed = next((_content(event)[:1] for event in self._events), [])
        top = listed[0].get("top_logprobs") if listed and isinstance(listed[0], dict) else None
        return [logprob for _, logprob in _pairs(top)]


def _events(block: bytes) -> Sequence[bytes]:
    """Return the events of a block with their blank lines, and what follows the last one."""
    *whole, rest = block.split(b"\n\n")
    events = [event + b"\n\n" for event in whole]
    return [*events, rest] if rest else events


def _tokens(event: bytes) -> list[Token]:
    return _pairs(_content(event))


def _content(event: bytes) -> list[Any]:
    try:
        content = orjson.loads(event).get("content")
    except orjson.JSONDecodeError:
        return []
    return content if isinstance(content, list) else []


def _pairs(listed: Any) -> list[Token]:
    """Return the tokens of a list, without entries of another form."""
    pairs = []
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            token, logprob = one.get("token"), one.get("logprob")
            if isinstance(token, str) and isinstance(logprob, int | float):
                pairs.append((token, logprob))
    return pairs
