"""The commit point: hold a local answer back until it shows that it is one.

Until then the caller has seen nothing, so the cloud can still start over. What counts: the first
words (reasoning does not), or, for a request with tools, a call that names one of them with
arguments that its schema allows.
"""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import cache
from typing import Any, TypeVar

import orjson

from router.backend import Reply, Translated, chained
from router.errors import BackendBroken
from router.events import Event, Finish, RefusalDelta, TextDelta, ToolCallDelta, ToolCallStart
from router.request import ChatRequest, Dialect
from router.wire import claude, messages_relay, openai

Item = TypeVar("Item")


async def prove(
    reply: Reply,
    request: ChatRequest,
    backend: str,
    hold_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once the reply has proven itself or has been held for `hold_s` seconds.

    Nothing of it is lost: what was read to judge it is put back in front. Raises BackendBroken
    on an empty answer and on a tool call that the caller could not run.
    """
    proof = _Proof(request, backend)
    if isinstance(reply, Translated):
        told: list[Event] = []
        async with aclosing(_noting(reply.events, told)) as events:
            await _wait_for(proof, events, hold_s, clock)
        reply.events = chained(told, reply.events)
    elif reply.document is not None:
        native = reply.format == "messages"
        decode_complete = messages_relay.decode_complete if native else openai.decode_complete
        any(map(proof.seen, decode_complete(reply.document, backend)))
    else:
        held: list[bytes] = []
        async with (
            aclosing(_noting(reply.chunks, held)) as chunks,
            aclosing(_said(chunks, reply.format, backend)) as events,
        ):
            await _wait_for(proof, events, hold_s, clock)
        reply.chunks = chained(held, reply.chunks)


async def read_whole(reply: Reply) -> None:
    """Read events to their end, for a caller that sees nothing of them before."""
    if isinstance(reply, Translated):
        reply.events = chained([event async for event in reply.events], reply.events)


async def _wait_for(
    proof: "_Proof",
    events: AsyncGenerator[Event, None],
    hold_s: float,
    clock: Callable[[], float],
) -> None:
    until = None
    async for event in events:
        if proof.seen(event):
            return
        now = clock()
        until = until or now + hold_s
        if now >= until:
            return


def _said(
    chunks: AsyncGenerator[bytes, None], format: Dialect, backend: str
) -> AsyncGenerator[Event, None]:
    """What a relayed stream says, in either of the formats that local servers answer in."""
    if format == "messages":
        return claude.decode(chunks, backend=backend)
    return openai.decode(chunks, backend)


async def _noting(
    items: AsyncGenerator[Item, None], noted: list[Item]
) -> AsyncGenerator[Item, None]:
    """The items, each noted; closing this leaves `items` open."""
    async for item in items:
        noted.append(item)
        yield item


class _Proof:
    """What an answer has shown so far."""

    def __init__(self, request: ChatRequest, backend: str) -> None:
        self._request = request
        self._backend = backend
        self._names: dict[int, str] = {}
        self._arguments: dict[int, list[str]] = {}

    def seen(self, event: Event) -> bool:
        """Take in what comes next; True once it proves the answer.

        Raises BackendBroken at the end of what is no answer.
        """
        match event:
            case TextDelta() | RefusalDelta():
                return True
            case ToolCallStart(index, _, name):
                self._names[index] = name
                self._arguments[index] = []
            case ToolCallDelta(index, arguments):
                self._arguments[index].append(arguments)
            case Finish(reason):
                # Cut short by the caller's own limit, it is nobody's fault.
                if not self._names and reason in ("stop", "tool_calls"):
                    raise self._broken("gave an empty answer")
                self._check_calls()
                return True
        return False

    def _check_calls(self) -> None:
        for index, name in self._names.items():
            if fault := _fault(name, "".join(self._arguments[index]), self._request.tools):
                raise self._broken(fault)

    def _broken(self, how: str) -> BackendBroken:
        return BackendBroken(
            f"The {self._backend} model {how}.", backend=self._backend, code="no_usable_answer"
        )


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
    if not _allows(schemas[-1] or {}, value):
        return "called a tool with arguments that its schema does not allow"
    return ""


def _allows(schema: Any, value: Any) -> bool:
    """Does the schema allow the value? What is beyond us is allowed: it is not the model's fault.

    The schema is the caller's: nothing that it refers to is fetched, and its patterns are passed
    over, for one can keep us busy for ever.
    """
    import jsonschema  # slow to import, and most answers call no tool
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if b'"patternProperties"' in orjson.dumps(schema):
        return True
    try:
        draft = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        draft.check_schema(schema)
        return bool(_judge(draft)(schema, registry=Registry()).is_valid(value))
    except (jsonschema.SchemaError, Unresolvable, RecursionError, ArithmeticError, TypeError):
        return True


@cache
def _judge(draft: Any) -> Any:
    """The validator of a draft, without patterns."""
    from jsonschema.validators import extend

    return extend(draft, {"pattern": lambda *_: None})  # type: ignore[no-untyped-call]
