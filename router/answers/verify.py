"""The commit point: hold a local answer back until it shows that it is one.

Until then the caller has seen nothing, so the cloud can still start over. What counts: the first
words (thoughts and blanks do not), or, for a request with tools, a call that names one of them with
arguments that its schema allows. Words do not count where the caller insists on a call, nor where
they are a call that the model's server could not read.
"""

import re
import time
from collections.abc import Callable
from math import inf
from typing import Any, Final

import orjson

from router.answers.tool_schema import allows
from router.backend import Chained, Item, Items, Reply, Translated
from router.deadlines import within
from router.errors import BackendTimeout, NoUsableAnswer
from router.events import Event, Finish, RefusalDelta, TextDelta, ToolCallDelta, ToolCallStart
from router.request import ChatRequest
from router.wire.anthropic import claude, messages_relay
from router.wire.chat import completions
from router.wire.decoder import Decoder

_THOUGHTS: Final = ("<think>", "<thinking>", "<thought>", "[THINK]")
_THOUGHT: Final = re.compile(
    r"\s*(?:<(think|thinking|thought)>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z))", re.DOTALL
)
# As models write calls, for their server to read. What it cannot read it passes on as text.
_CALLS: Final = (
    *(
        "<tool_call",
        "<function=",
        "<|tool_call",
        "<|python_tag|>",
        "<\uff5ctool",
        "<minimax:tool_call",
    ),
    *("[TOOL_REQUEST]", "[TOOL_CALL", "<|channel|>commentary to="),
)
_MARKS: Final = (*_THOUGHTS, *_CALLS)
# A yes too many would cost the fallback: every other form in which words come is read in full.
_FIRST_WORD: Final = re.compile(
    rb'"delta"\s*:\s*\{\s*(?:"role"\s*:\s*"assistant"\s*,\s*)?"content"\s*:\s*"[0-9A-Za-z]'
)


async def verify(
    reply: Reply,
    request: ChatRequest,
    backend: str,
    hold_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once the reply is known to be an answer, or has been held for `hold_s` seconds.

    Nothing of it is lost: what was read to judge it is put back in front. Raises NoUsableAnswer
    on an empty answer and on a tool call that the caller could not run, and BackendTimeout when
    the model falls silent for `hold_s` while it thinks or writes a call.
    """
    proof = _Proof(request, backend)
    if isinstance(reply, Translated):
        reply.events = await proof.held(reply.events, proof.seen, hold_s, clock)
        return
    is_chat = reply.format == "chat"
    if reply.document is not None:
        decode_complete = completions.decode_complete if is_chat else messages_relay.decode_complete
        any(map(proof.seen, decode_complete(reply.document, backend)))
        return
    decoder: Decoder = (
        completions.ChatDecoder(backend) if is_chat else claude.ClaudeDecoder(backend)
    )
    has_plain_words = is_chat and not request.tools and request.body.get("n") in (None, 1)

    def proven_by(block: bytes) -> bool:
        if has_plain_words and proof.begins_with_a_word(block):
            return True
        return any(map(proof.seen, decoder.feed(block)))

    def ended() -> None:
        if not decoder.is_over:
            any(map(proof.seen, decoder.end()))

    reply.chunks = await proof.held(reply.chunks, proven_by, hold_s, clock, ended)


async def read_whole(reply: Reply) -> None:
    """Read events to their end, for a caller that sees nothing of them before."""
    if isinstance(reply, Translated):
        reply.events = Chained([event async for event in reply.events], reply.events)


class _Proof:
    """What an answer has shown so far."""

    def __init__(self, request: ChatRequest, backend: str) -> None:
        self._request = request
        self._backend = backend
        self._heard = 0
        self._text = ""
        self._names: dict[int, str] = {}
        self._arguments: dict[int, list[str]] = {}
        self._must_call = bool(request.tools) and _insists(request.body.get("tool_choice"))

    async def held(
        self,
        items: Items[Item],
        proven_by: Callable[[Item], bool],
        hold_s: float,
        clock: Callable[[], float],
        ended: Callable[[], None] = lambda: None,
    ) -> Chained[Item]:
        """Read up to the item that proves the answer; all items, with what was read in front."""
        read: list[Item] = []
        until: float | None = None
        try:
            # Before it says anything, it may be reading a long prompt.
            with within(inf) as silence:
                async for item in items:
                    read.append(item)
                    heard = self._heard
                    if proven_by(item):
                        break
                    if self._heard == heard:
                        continue
                    now = clock()
                    until = until or now + hold_s
                    if now >= until:
                        break
                    silence.restart(hold_s)
                else:
                    ended()
        except TimeoutError:
            raise BackendTimeout(
                f"The {self._backend} model fell silent before it had said anything.",
                backend=self._backend,
            ) from None
        return Chained(read, items)

    def seen(self, event: Event) -> bool:
        """Take in what comes next; True once it proves the answer.

        Raises NoUsableAnswer at the end of what is no answer.
        """
        self._heard += 1
        match event:
            case RefusalDelta():
                return True
            case TextDelta(text):
                self._text += text
                return self._has_words()
            case ToolCallStart(index, _, name):
                self._names[index] = name
                self._arguments[index] = []
            case ToolCallDelta(index, arguments):
                self._arguments[index].append(arguments)
            case Finish(reason):
                self._check(reason)
                return True
        return False

    def begins_with_a_word(self, block: bytes) -> bool:
        """Is this block of a chat stream one event, the first that says something, and plainly a
        word? Most are, and it takes a tenth of reading all that stands around it."""
        one = not self._text and block.count(b"data:") == 1 and block.endswith(b"}\n\n")
        return one and _FIRST_WORD.search(block) is not None

    def _has_words(self) -> bool:
        words = self._words()
        if self._request.tools and words.startswith(_CALLS):
            raise self._unusable("wrote a tool call that its server could not read")
        may_become_mark = any(mark.startswith(words) for mark in _MARKS)
        return not may_become_mark and not self._must_call

    def _check(self, reason: str) -> None:
        """Is what has come an answer, now that it has ended for this reason?"""
        for index, name in self._names.items():
            if fault := _fault(name, "".join(self._arguments[index]), self._request.tools):
                raise self._unusable(fault)
        # Cut short by the caller's own limit, or by a filter, it is nobody's fault.
        cut = reason == "content_filter" or (reason == "length" and self._request.max_tokens)
        if self._names or cut:
            return
        if not self._words():
            raise self._unusable("gave an empty answer")
        if self._must_call:
            raise self._unusable("called no tool, though it had to")

    def _words(self) -> str:
        text = self._text
        if "<" in text or "[THINK]" in text:
            text = _THOUGHT.sub("", text, count=1)
        return text.strip()

    def _unusable(self, how: str) -> NoUsableAnswer:
        return NoUsableAnswer(f"The {self._backend} model {how}.", backend=self._backend)


def _insists(tool_choice: Any) -> bool:
    match tool_choice:
        case "required" | {"type": "function"} | {"allowed_tools": {"mode": "required"}}:
            return True
    return False


def _fault(name: str, arguments: str, tools: list[dict[str, Any]]) -> str:
    """Why the caller could not run this tool call; empty if it could."""
    functions = [tool.get("function") for tool in tools]
    schemas = [
        f.get("parameters") for f in functions if isinstance(f, dict) and f.get("name") == name
    ]
    if not schemas:
        return "called a tool that does not exist"
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return "called a tool with broken JSON"
    if not allows(schemas[-1] or {}, value):
        return "called a tool with arguments that its schema does not allow"
    return ""
