"""The commit point: hold a local answer back until it shows that it is one.

Until then the caller has seen nothing, so the cloud can still start over. What counts: the first
words (reasoning does not), or, for a request with tools, a call that names one of them with
arguments that its schema allows.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import orjson

from router.backend import Relayed, Reply
from router.errors import BackendBroken
from router.request import ChatRequest
from router.wire import sse


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
    if not isinstance(reply, Relayed) or reply.format != "chat":
        return
    proof = _Proof(request, backend)
    held: list[bytes] = []
    until = None
    async for block in reply.chunks:
        held.append(block)
        if proof.seen(_bodies(block, request.stream)):
            break
        now = clock()
        until = until or now + hold_s
        if now >= until:
            break
    else:
        proof.must_be_proven()
    reply.chunks = _again(held, reply.chunks)


class _Proof:
    """What an answer has shown so far."""

    def __init__(self, request: ChatRequest, backend: str) -> None:
        self._request = request
        self._backend = backend
        self._names: dict[int, str] = {}
        self._arguments: dict[int, list[str]] = {}

    def seen(self, bodies: Iterator[dict[str, Any]]) -> bool:
        """Take in the next pieces; True once they prove the answer."""
        for body in bodies:
            for choice in body.get("choices") or ():
                said = choice.get("delta") or choice.get("message") or {}
                if said.get("content") or said.get("refusal"):
                    return True
                for position, call in enumerate(said.get("tool_calls") or ()):
                    self._take(call.get("index", position), call.get("function") or {})
                reason = choice.get("finish_reason")
                if reason and (self._names or reason not in ("stop", "tool_calls")):
                    if self._names:
                        self.must_be_proven()
                    return True  # cut short by the caller's own limit: nobody's fault
        return False

    def must_be_proven(self) -> None:
        """Raises BackendBroken if what has come is no answer."""
        if not self._names:
            raise self._broken("gave an empty answer")
        for index, name in self._names.items():
            if fault := _fault(name, "".join(self._arguments[index]), self._request.tools):
                raise self._broken(fault)

    def _take(self, index: int, function: dict[str, Any]) -> None:
        self._names.setdefault(index, "")
        self._names[index] = self._names[index] or function.get("name") or ""
        self._arguments.setdefault(index, []).append(function.get("arguments") or "")

    def _broken(self, how: str) -> BackendBroken:
        return BackendBroken(
            f"The {self._backend} model {how}.", backend=self._backend, code="no_usable_answer"
        )


def _fault(name: str, arguments: str, tools: list[dict[str, Any]]) -> str:
    """Why the caller could not run this tool call; empty if it could."""
    schemas = {
        function.get("name"): function.get("parameters") or {}
        for tool in tools
        if (function := tool.get("function"))
    }
    if name not in schemas:
        return "called a tool that does not exist"
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return "called a tool with broken JSON"
    import jsonschema  # slow to import, and most answers call no tool
    from referencing.exceptions import Unresolvable

    try:
        jsonschema.validate(value, schemas[name])
    except jsonschema.ValidationError:
        return "called a tool with arguments that its schema does not allow"
    except (jsonschema.SchemaError, Unresolvable):
        pass  # the caller's schema is beyond us: not the model's fault
    return ""


def _bodies(block: bytes, stream: bool) -> Iterator[dict[str, Any]]:
    for data in sse.data_of(block) if stream else (block,):
        if data != b"[DONE]":
            body = orjson.loads(data)
            if isinstance(body, dict):
                yield body


async def _again(
    held: list[bytes], rest: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    try:
        for block in held:
            yield block
        async for block in rest:
            yield block
    finally:
        await rest.aclose()
