"""Relays /completions and /embeddings requests unchanged to the local server.

No decision is made for them, but each one is recorded like any other request.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import StreamingResponse

from router.errors import Forbidden, RouterError
from router.telemetry.ledger import Entry, Ledger
from web.asgi import CallerLeft, Receive, Scope, Send, header, trace_of, unless_left
from web.context import Context
from web.ids import new_id
from web.keys import member_of, name_of


class ClosingStream(StreamingResponse):
    """A stream that always closes its source at the end; Starlette leaves it open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().__call__(scope, receive, send)


async def relayed(path: str, request: Request, here: Context) -> ClosingStream:
    """Send the body to a path of a local server; return its answer, and record the request.

    Raises RouterError and CallerLeft, after recording them.
    """
    ledger = here.ledger
    entry = Entry(
        f"req_{new_id()}",
        user_agent=header(request.scope, b"user-agent"),
        caller=name_of(request.scope),
    )
    operation = "embeddings" if path == "/embeddings" else "text_completion"
    ledger.trace(entry, trace_of(request.scope), operation)
    record = entry.record
    record.target = "local"
    try:
        body = await here.json_body(request)
        entry.read(body)
        if (member := member_of(request.scope)) and (refusal := member.refusal("local")):
            raise Forbidden(refusal)
        server = await here.router.server_for(record.asked_model)
        record.backend = server.name
        record.model = record.asked_model or server.model
        content_type, chunks = await unless_left(request.receive, server.relay(path, body))
    except RouterError as error:
        error.request_id = entry.id
        entry.failed(error)
        ledger.end_soon(entry, None)
        raise
    except (CallerLeft, asyncio.CancelledError):
        entry.left()
        ledger.end_soon(entry, None)
        raise
    entry.opened()
    stream = _recorded(chunks, entry, ledger)
    await anext(stream)  # only a started generator closes its source
    return ClosingStream(stream, headers={"x-request-id": entry.id}, media_type=content_type)


async def _recorded(
    chunks: AsyncGenerator[bytes, None], entry: Entry, ledger: Ledger
) -> AsyncGenerator[bytes, None]:
    """Yield nothing, then the chunks; record the request at their end."""
    entry.left()
    try:
        async with aclosing(chunks):
            yield b""
            async for chunk in chunks:
                yield chunk
        entry.done()
    except RouterError as error:  # the last chunk has reported it to the caller
        entry.failed(error)
    finally:
        ledger.end_soon(entry, None)
