"""A stand-in for an OpenTelemetry collector: takes spans over HTTP, as protobuf."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Seen:
    """A span that has come, with its attributes as Python values."""

    span: Span
    attributes: dict[str, Any]
    resource: dict[str, Any]

    @property
    def traceparent(self) -> str:
        """Return what a request within this span sends, without the flags."""
        return f"00-{self.span.trace_id.hex()}-{self.span.span_id.hex()}"

    @property
    def parent(self) -> str:
        """Return the id of the span that this one belongs to; "" for none."""
        return bytes(self.span.parent_span_id).hex()

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events' names and attributes."""
        return [(event.name, _values(event.attributes)) for event in self.span.events]


@dataclass
class Collector:
    """What has come so far."""

    url: str
    spans: list[Seen] = field(default_factory=list)
    raw: bytes = b""
    paths: set[str] = field(default_factory=set)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp decompresses it
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        self.raw += body
        self.paths.add(request.path)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [Seen(one, _values(one.attributes), resource) for one in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector("")
    app = web.Application()
    app.router.add_post("/{path:.*}", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield collector
    finally:
        await runner.cleanup()


def _values(attributes: Any) -> dict[str, Any]:
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        value = getattr(attribute.value, kind)
        if kind == "array_value":
            value = [one.string_value for one in value.values]
        found[attribute.key] = value
    return found
