"""The parts that a handler of FastAPI uses: those of the settings that its request began with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from config import Settings
from router.parts.assembly import Assembly
from router.request import parse_json
from router.router import Router
from router.telemetry.ledger import Ledger
from web.asgi import App, Receive, Scope, Send, read_body
from web.events import Feed
from web.readiness import Readiness
from web.reload import Reread, Source

_KEY: Final = "router.context"
"""The key of the `Context` in a request's scope."""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts that all handlers share for one reading of the settings."""

    parts: Assembly
    readiness: Readiness
    source: Source
    reread: Reread
    feed: Feed
    caller_pause_s: float

    @property
    def router(self) -> Router:
        """Return the router."""
        return self.parts.router

    @property
    def ledger(self) -> Ledger:
        """Return the ledger, which records requests."""
        return self.parts.ledger

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        return self.parts.settings

    async def body(self, request: Request) -> bytes:
        """Return a request's body. Raises RouterError and CallerLeft."""
        limit = self.settings.max_body_bytes
        return await read_body(request.scope, request.receive, limit, self.caller_pause_s)

    async def json_body(self, request: Request) -> dict[str, Any]:
        """Return the JSON object in a request's body. Raises RouterError and CallerLeft."""
        return parse_json(await self.body(request))

    def given_to(self, app: App) -> App:
        """Return the app, whose handlers find this context in each request."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[_KEY] = self
            await app(scope, receive, send)

        return answer


def context_in(scope: Mapping[str, Any]) -> Context:
    """Return the context of a request."""
    found: Context = scope[_KEY]
    return found


async def _context_of(request: Request) -> Context:
    return context_in(request.scope)


Here = Annotated[Context, Depends(_context_of)]
"""Parameter of a handler: its request's context.

Handlers are plain functions: FastAPI caches thousands of handlers, and a cached method would keep
its object in memory.
"""
