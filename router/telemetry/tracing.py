"""OpenTelemetry spans, one a request, by the conventions for generative AI.

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set. A span holds numbers, names of models and
the router's own words; never a prompt, an answer or an answer's id.
Source: OpenTelemetry, "Semantic conventions for generative client AI spans" (in development; as of
version 1.41).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from config import VERSION
from router.call import Call
from router.clouds.calls import may_use_proxy
from router.events import FinishReason
from router.http.trace_context import Trace
from router.telemetry.record import Record
from router.wire.anthropic.claude_decoder import FINISH

if TYPE_CHECKING:
    from router.telemetry.ledger import Entry

EXPORT_S: Final = 3.0
"""Longest time for one batch; the process ends only after its last batch."""
PROVIDERS: Final = {"claude": "anthropic", "gemini": "gcp.gemini", "openai": "openai"}
"""The conventions' names of the clouds; a local server has its own name."""
PARAMETERS: Final = {
    "frequency_penalty": ("frequency_penalty", float),
    "max_completion_tokens": ("max_tokens", int),
    "max_tokens": ("max_tokens", int),
    "presence_penalty": ("presence_penalty", float),
    "seed": ("seed", int),
    "temperature": ("temperature", float),
    "top_k": ("top_k", float),
    "top_p": ("top_p", float),
}
"""Numbers of a request, with their attribute `gen_ai.request.…` and its type."""
FINISHES: Final[Mapping[str, FinishReason]] = {
    **FINISH,
    **{reason: reason for reason in get_args(FinishReason)},
}
"""The reasons of Chat Completions and of Claude's Messages."""
MOST_INT: Final = 2**63 - 1
"""Attributes hold no larger number."""
PORTS: Final = {"http": 80, "https": 443}

_propagator: Final = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans, and sends them from its own thread."""

    def __init__(self, endpoint: str, addresses: Mapping[str, str]) -> None:
        """Set up the export of spans.

        `endpoint`: the collector's base address (OTLP over HTTP). `addresses`: each backend's.

        Further OTEL_ variables of the environment (headers, sampler, service name…) are read by
        the SDK.
        """
        self._addresses = {name: _host_and_port(url) for name, url in addresses.items()}
        own = Resource.create({"service.name": "llm-router", "service.version": VERSION})
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()))
        session = requests.Session()
        session.trust_env = may_use_proxy(endpoint)
        url = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(url, timeout=EXPORT_S, session=session)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("llm-router", VERSION)

    def begin(self, operation: str, sent: Trace, time_s: float) -> tuple[Span, Trace]:
        """Return a new span in the caller's trace, and the trace to pass on.

        `time_s`: when the request came, in seconds since 1970.
        """
        span = self._tracer.start_span(
            operation,
            _propagator.extract(sent),
            SpanKind.CLIENT,
            {"gen_ai.operation.name": operation},
            start_time=_nanoseconds(time_s),
        )
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, set_span_in_context(span))
        return span, carrier

    def end(self, span: Span, entry: "Entry", call: Call | None) -> None:
        """Fill in a request's span and end it."""
        record = entry.record
        span.update_name(f"{entry.operation} {record.model}".strip())
        span.set_attributes(_of_record(record))
        span.set_attributes(self._of_backend(record.backend))
        if entry.request is not None:
            span.set_attributes(_of_request(entry.request.body))
        if entry.answering_model:
            span.set_attribute("gen_ai.response.model", entry.answering_model)
        if reasons := _finish_reasons(entry, call):
            span.set_attribute("gen_ai.response.finish_reasons", reasons)
        for attempt in record.attempts:
            failed: dict[str, str | float] = {
                "backend": attempt.backend,
                "model": attempt.model,
                "error.type": attempt.error,
                "duration_ms": attempt.ms,
            }
            span.add_event("llm_router.failed_attempt", failed)
        if record.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", record.error)
        span.end(_nanoseconds(record.time + (record.total_ms or 0) / 1000))

    def close(self) -> None:
        """Send what is left. Takes up to EXPORT_S; call it in a thread."""
        self._provider.shutdown()

    def _of_backend(self, backend: str) -> dict[str, Any]:
        host, port = self._addresses.get(backend, ("", 0))
        found: dict[str, Any] = {}
        if backend:
            found["gen_ai.provider.name"] = PROVIDERS.get(backend, backend)
        return found | ({"server.address": host, "server.port": port} if host else {})


def _of_record(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.request.model": record.model or None,
        "gen_ai.request.stream": record.stream or None,
        "llm_router.request_id": record.id,
        "llm_router.dialect": record.dialect,
        "llm_router.outcome": record.outcome,
        "llm_router.target": record.target,
        "llm_router.reason": record.reason or None,
        "llm_router.score": record.score if record.reason else None,
        "llm_router.fallback": record.fallback,
        "llm_router.cost_usd": record.cost_usd,
    }
    if record.stream and record.first_byte_ms is not None:
        found["gen_ai.response.time_to_first_chunk"] = record.first_byte_ms / 1000
    if usage := record.usage:
        found |= {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        }
    return {name: value for name, value in found.items() if value is not None}


def _finish_reasons(entry: "Entry", call: Call | None) -> list[FinishReason]:
    """Return why each choice of the answer ended; empty where its bytes passed unread."""
    if entry.finish_reason is not None:
        return [entry.finish_reason]
    if call is None or (document := call.document) is None:
        return []
    choices = document.get("choices")
    said = (
        [one.get("finish_reason") for one in choices] if choices else [document.get("stop_reason")]
    )
    return [FINISHES[one] for one in said if isinstance(one, str) and one in FINISHES]


def _of_request(body: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (attribute, kind) in PARAMETERS.items():
        value = body.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        if abs(value) <= MOST_INT:
            found[f"gen_ai.request.{attribute}"] = kind(value)
    if type(choices := body.get("n")) is int and choices != 1:
        found["gen_ai.request.choice.count"] = choices
    match body.get("response_format"):
        case {"type": "json_object" | "json_schema"}:
            found["gen_ai.output.type"] = "json"
    return found


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def _nanoseconds(time_s: float) -> int:
    return int(time_s * 1e9)
