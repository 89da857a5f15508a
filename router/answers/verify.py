"""Checks a local answer before the caller gets any of it, while the cloud can still start over.

A stream is held until its first words (thoughts and blanks do not count) or, for a request with
tools, until a call that names one of them with arguments that its schema allows. Words do not count
if the caller requires a call, or if they are a call that the model's server could not read.

A whole answer is read to its end. It must hold no faulty call after its words either, must not end
in a loop, and must not be cut off unless the caller set the limit.
"""

import re
import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final

import orjson

from router.answers.loops import ends_in_a_loop
from router.answers.tool_schema import allows, undeclared
from router.backend import Chained, Item, Items, Reply, Translated
from router.deadlines import within
from router.errors import BackendTimeout, NoUsableAnswer
from router.events import Event, Finish, RefusalDelta, TextDelta, ToolCallDelta, ToolCallStart
from router.request import ChatRequest, text_of
from router.wire.anthropic import claude, messages_relay
from router.wire.chat import completions
from router.wire.decoder import Decoder

_THOUGHTS: Final = ("<think>", "<thinking>", "<thought>", "[THINK]")
_THOUGHT: Final = re.compile(
    r"\s*(?:<(think|thinking|thought)>.*?(?:</\1>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z))", re.DOTALL
)
# How models write tool calls. A server that cannot read a call passes it on as text.
_CALLS: Final = (
    *(
        "<tool_call",
        "<function=",
        "<function_call",
        "<|tool_call",
        "<|python_tag|>",
        "<\uff5ctool",
        "<minimax:tool_call",
    ),
    *("[TOOL_REQUEST]", "[TOOL_CALL", "<|channel|>commentary to="),
)
_MARKS: Final = (*_THOUGHTS, *_CALLS)
_LONGEST_MARK: Final = max(map(len, _MARKS))
# Calls as plain JSON, without blanks, up to the tool's name.
_JSON_CALLS: Final = (
    '{"name":"',
    '{"function":"',
    '{"tool":"',
    '{"tool_name":"',
    '{"function":{"name":"',
    '{"type":"function","name":"',
    '{"type":"function","function":{"name":"',
)
_JSON_CALL_CHARS: Final = 400
_FENCES: Final = ("```json", "```tool_call", "```tool_code", "```")
# A false match would disable the fallback, so it is strict; all other forms are decoded.
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
    """Return once the reply is a usable answer, or has been held back for `hold_s` seconds.

    What was read for this is put back in front of the reply. Raises NoUsableAnswer if the answer
    or a tool call in it cannot be used, and BackendTimeout if the model is silent for `hold_s`
    while it thinks or writes a call.
    """
    proof = _Proof(request, backend)
    if isinstance(reply, Translated):
        # A caller that does not stream waits for the end anyway.
        hold_s = hold_s if request.stream else inf
        reply.events = await proof.held(reply.events, proof.has_seen, hold_s, clock)
        return
    is_chat = reply.format == "chat"
    if reply.document is not None:
        decode_complete = completions.decode_complete if is_chat else messages_relay.decode_complete
        proof.has_seen(decode_complete(reply.document, backend))
        return
    decoder: Decoder = (
        completions.ChatDecoder(backend) if is_chat else claude.ClaudeDecoder(backend)
    )
    has_plain_words = is_chat and not request.tools and request.body.get("n") in (None, 1)

    def proven_by(block: bytes) -> bool:
        if has_plain_words and proof.begins_with_a_word(block):
            return True
        return proof.has_seen(decoder.feed(block))

    def ended() -> None:
        if not decoder.is_over:
            proof.has_seen(decoder.end())

    reply.chunks = await proof.held(reply.chunks, proven_by, hold_s, clock, ended)


async def read_whole(reply: Reply) -> None:
    """Read all events of a reply, for a caller that does not stream."""
    if isinstance(reply, Translated):
        reply.events = Chained([batch async for batch in reply.events], reply.events)


class _Proof:
    """The part of an answer that has been read, and what it proves."""

    def __init__(self, request: ChatRequest, backend: str) -> None:
        self._request = request
        self._backend = backend
        self._heard = 0
        self._text = ""
        self._names: dict[int, str] = {}
        self._arguments: dict[int, list[str]] = {}
        self._tools = [_name_of(tool) for tool in request.tools]
        self._must_call = bool(request.tools) and _requires_call(request.body.get("tool_choice"))
        self._worded = False
        self._refused = False

    async def held(
        self,
        items: Items[Item],
        proven_by: Callable[[Item], bool],
        hold_s: float,
        clock: Callable[[], float],
        ended: Callable[[], None] = lambda: None,
    ) -> Chained[Item]:
        """Read up to the item that proves the answer; return all items, also those read already."""
        read: list[Item] = []
        until: float | None = None
        try:
            # No limit at first: the model may be reading a long prompt.
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

    def has_seen(self, events: Iterable[Event]) -> bool:
        """Read the next events; return whether they prove the answer. Raises like `seen`."""
        return any(map(self.seen, events))

    def seen(self, event: Event) -> bool:
        """Read the next event; return whether the answer is proven now.

        A whole answer is proven at its end. Raises NoUsableAnswer as soon as it cannot be used.
        """
        self._heard += 1
        proven = False
        match event:
            case RefusalDelta():
                proven = self._refused = True
            case TextDelta(text):
                self._text += text
                proven = self._has_words()
            case ToolCallStart(index, _, name):
                self._names[index] = name
                self._arguments[index] = []
            case ToolCallDelta(index, arguments):
                self._arguments[index].append(arguments)
            case Finish(reason):
                self._check(reason)
                return True
        return proven and self._request.stream

    def begins_with_a_word(self, block: bytes) -> bool:
        """Return whether a block of a chat stream is a single event and holds the first words.

        This takes a tenth of the time of decoding the block, and most blocks pass.
        """
        one = not self._text and block.count(b"data:") == 1 and block.endswith(b"}\n\n")
        return one and _FIRST_WORD.search(block) is not None

    def _has_words(self) -> bool:
        if not self._request.stream and self._worded:
            return True  # checked once already: a whole answer may come in a thousand pieces
        words = self._words()
        if self._request.tools and (words.startswith(_CALLS) or _is_json_call(words, self._tools)):
            raise self._unusable("wrote a tool call that its server could not read")
        if len(words) <= _LONGEST_MARK and any(mark.startswith(words) for mark in _MARKS):
            return False
        if self._tools and _may_be_json_call(words, self._tools):
            return False
        self._worded = True
        return not self._must_call

    def _check(self, reason: str) -> None:
        """Raise NoUsableAnswer if the ended answer cannot be used."""
        self._check_calls()
        words = self._words()
        # An answer that the caller's limit or a filter has cut off is accepted.
        allowed = reason == "content_filter" or (reason == "length" and self._request.max_tokens)
        if not (words or self._names or self._refused or allowed):
            raise self._unusable("gave an empty answer")
        if not self._request.stream:
            if reason == "length" and not allowed:
                raise self._unusable("was cut off, though the caller had set no limit")
            if ends_in_a_loop(words, self._asked(), ended=reason == "stop"):
                raise self._unusable("repeated itself without end")
        if self._must_call and not (self._names or self._refused or allowed):
            raise self._unusable("called no tool, though it had to")

    def _check_calls(self) -> None:
        calls: set[tuple[str, bytes]] = set()
        for index, name in self._names.items():
            arguments = "".join(self._arguments[index])
            if fault := _fault(name, arguments, self._request.tools):
                raise self._unusable(fault)
            value = orjson.loads(arguments or "{}")
            try:
                call = name, orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
            except TypeError:
                raise self._unusable("called a tool with arguments nested too deeply") from None
            if call in calls:
                raise self._unusable("made the same tool call twice")
            calls.add(call)

    def _asked(self) -> str:
        said = (m.get("content") for m in reversed(self._request.messages) if m["role"] == "user")
        return text_of(next(said, ""))

    def _words(self) -> str:
        text = self._text
        if "<" in text or "[THINK]" in text:
            text = _THOUGHT.sub("", text, count=1)
        return text.strip()

    def _unusable(self, how: str) -> NoUsableAnswer:
        return NoUsableAnswer(f"The {self._backend} model {how}.", backend=self._backend)


def _requires_call(tool_choice: Any) -> bool:
    match tool_choice:
        case "required" | {"type": "function"} | {"allowed_tools": {"mode": "required"}}:
            return True
    return False


def _is_json_call(words: str, tools: list[str]) -> bool:
    """Return whether the text begins as a call of one of the tools, written in JSON."""
    bare = _bare_json(words)
    return bare.startswith(_JSON_CALLS) and bare.startswith(tuple(_json_calls(tools)))


def _may_be_json_call(words: str, tools: list[str]) -> bool:
    """Return whether the text so far may become such a call."""
    if not words.startswith(("{", "[", "`")):
        return False
    bare = _bare_json(words)
    return any(begin.startswith(words) for begin in _FENCES) or any(
        call.startswith(bare) for call in _json_calls(tools)
    )


def _bare_json(words: str) -> str:
    """Return the beginning of a text without a fence, a list's bracket and blanks."""
    begin = words[:_JSON_CALL_CHARS]
    fence = next((fence for fence in _FENCES if begin.startswith(fence)), "")
    return "".join(begin.removeprefix(fence).split()).removeprefix("[")


def _json_calls(tools: list[str]) -> list[str]:
    return [f'{begin}{name}"' for begin in _JSON_CALLS for name in tools if name]


def _name_of(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _fault(name: str, arguments: str, tools: list[dict[str, Any]]) -> str:
    """Return why the caller could not run this tool call; empty if it could."""
    if not name:
        return "called a tool without a name"
    schemas = [tool["function"].get("parameters") for tool in tools if _name_of(tool) == name]
    if not schemas:
        return "called a tool that does not exist"
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return "called a tool with broken JSON"
    if not allows(schemas[-1] or {}, value):
        return "called a tool with arguments that its schema does not allow"
    if undeclared(schemas[-1], value):
        return "called a tool with an argument that it does not declare"
    return ""
