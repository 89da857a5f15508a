"""Settings of a Gemini request: sampling, thinking, output format, tools and their choice.

They become `generationConfig`, `tools` and `toolConfig`. Names and ranges are those of the Gemini
API reference and of the google-genai SDK's types.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from router.errors import InvalidRequest
from router.request import ChatRequest
from router.wire import sampling
from router.wire.gemini.rpc_status import unfit
from router.wire.gemini.schema import TooDeep, cleaned, strictest
from router.wire.tool_names import full_names

_KNOBS: Final = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_PENALTIES: Final = ("presence_penalty", "frequency_penalty")
"""Some models refuse any penalty: zero is not sent, and a second attempt leaves them out."""

_READ: Final = frozenset(
    {
        *("max_tokens", "max_completion_tokens", "stop", "seed", "tools", "tool_choice"),
        *("response_format", "reasoning_effort", "logprobs", "top_logprobs", "service_tier"),
        *_KNOBS,
    }
)
_LEVELS: Final = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_BUDGETS: Final = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Thinking tokens for Gemini 2.5: the same steps as Google's own OpenAI endpoint."""

_LEAST_PRO_BUDGET: Final = 128
_TIERS: Final = {"flex": "flex", "priority": "priority", "fast": "priority"}
_FORMATS: Final = ("text", "json_object", "json_schema")
_TOOL_NAME: Final = re.compile(r"[A-Za-z_][\w.:-]{0,127}", re.ASCII)
_MOST_CHARS: Final = 128
"""Limit of a tool's name."""
_MODEL: Final = re.compile(r"gemini-(?:(\d+)(?:\.(\d+))?|(?:pro|flash|flash-lite)-latest)")
_NOT_THINKING: Final = re.compile(r"image|tts|audio|live|embedding")
_NEWEST: Final = (99, 0)
_INT32: Final = 2**31
_MOST_LOGPROBS: Final = 20


def version_of(model: str) -> tuple[int, int] | None:
    """Return the version in a Gemini model's name; the newest for aliases, None for others."""
    if (found := _MODEL.search(model)) is None:
        return None
    return (int(found[1]), int(found[2] or 0)) if found[1] else _NEWEST


def dropped_fields(request: ChatRequest) -> list[str]:
    """Return the fields that Gemini does not support. Raises BackendUnfit if one matters."""
    sampling.check(request, "Gemini", unfit)
    return sampling.left_out(request, _READ)


def generation_config(
    request: ChatRequest, model: str, strict: bool, most_tokens: int | None, dropped: list[str]
) -> dict[str, Any]:
    """Return `generationConfig`; add fields that this model does not support to `dropped`."""
    body = request.body
    config: dict[str, Any] = {}
    for name, theirs in _KNOBS.items():
        value = body.get(name)
        if value is None or (name in _PENALTIES and value == 0):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(f"`{name}` must be a number.", param=name)
        if name == "top_k" and isinstance(value, float) and not value.is_integer():
            raise InvalidRequest("`top_k` must be a whole number.", param=name)
        if strict and name in _PENALTIES:
            dropped.append(name)
        else:
            config[theirs] = value
    if (limit := request.max_tokens) is not None:
        config["maxOutputTokens"] = min(limit, most_tokens or limit)
    if (seed := body.get("seed")) is not None:
        if type(seed) is not int:
            raise InvalidRequest("`seed` must be a whole number.", param="seed")
        config["seed"] = seed if -_INT32 <= seed < _INT32 else seed % _INT32
    if stop := body.get("stop"):
        config["stopSequences"] = _stop_sequences(stop)
    config |= _logprobs(body, strict, dropped)
    config |= _thinking(request, model, strict, dropped)
    config |= _output(request, model, strict, dropped)
    return config


def service_tier(request: ChatRequest, strict: bool, dropped: list[str]) -> dict[str, str]:
    """Return `serviceTier`, if the caller wants another than the default."""
    wanted = request.body.get("service_tier")
    if wanted in (None, "auto", "default"):
        return {}
    if strict or not isinstance(wanted, str) or wanted not in _TIERS:
        dropped.append("service_tier")
        return {}
    return {"serviceTier": _TIERS[wanted]}


def json_instruction(request: ChatRequest, model: str) -> str:
    """Return an instruction for a model that accepts no output format next to tools; else ""."""
    form = _json_format(request)
    if form is None or not _only_tells(request, model):
        return ""
    if (schema := _json_schema(form)) is None:
        return "Give the final answer as one JSON object, with no text around it."
    text = orjson.dumps(schema).decode()
    return f"Give the final answer as JSON, with no text around it, that fits this schema: {text}"


def tools_and_choice(
    request: ChatRequest, strict: bool, dropped: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return `tools` and `toolConfig`, and the caller's tool names by those that may come back."""
    if not request.tools:
        if request.body.get("tool_choice") not in (None, "none", "auto"):
            raise InvalidRequest("`tool_choice` needs `tools` to choose from.", param="tool_choice")
        return {}, {}
    names = [_function(tool, i)["name"] for i, tool in enumerate(request.tools)]
    sent = {name: sent_name(name) for name in names}
    allowed, mode = _choice(request.body.get("tool_choice"), names)
    wants_strict = any(tool["function"].get("strict") for tool in request.tools)
    if mode == "AUTO" and strict and wants_strict:
        dropped.append("tools.strict")
    elif mode == "AUTO" and (wants_strict or allowed is not None) and not strict:
        mode = "VALIDATED"
    declarations = [
        _declaration(tool["function"], i, strict, dropped)
        for i, tool in enumerate(request.tools)
        if mode != "AUTO" or allowed is None or tool["function"]["name"] in allowed
    ]
    calling: dict[str, Any] = {"mode": mode}
    if mode != "AUTO" and allowed is not None:  # AUTO takes no names: the others are left out
        calling["allowedFunctionNames"] = [sent[name] for name in names if name in allowed]
    out = {
        "tools": [{"functionDeclarations": declarations}],
        "toolConfig": {"functionCallingConfig": calling},
    }
    return out, full_names(names) | {
        theirs: name for name, theirs in sent.items() if theirs != name
    }


def sent_name(name: str) -> str:
    """Return a tool's name as Gemini accepts it: the same one, or always the same substitute.

    A substitute for a name with other characters ends with a digest, so that names stay different.
    """
    if _TOOL_NAME.fullmatch(name):
        return name
    plain = "_" + re.sub(r"[^\w.:-]", "_", name, flags=re.ASCII)
    if plain[1:] == name and len(plain) <= _MOST_CHARS:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{plain[: _MOST_CHARS - 13]}_{digest}"


def _stop_sequences(stop: Any) -> list[str]:
    sequences = [stop] if isinstance(stop, str) else stop
    if not isinstance(sequences, list) or not all(isinstance(each, str) for each in sequences):
        raise InvalidRequest("`stop` must be a string or a list of strings.", param="stop")
    return [each for each in sequences if each]


def _logprobs(body: Mapping[str, Any], strict: bool, dropped: list[str]) -> dict[str, Any]:
    """Return the request for log probabilities; some models refuse it, so a retry leaves it out."""
    if body.get("logprobs") is not True:
        return {}
    most = body.get("top_logprobs")
    if most is not None and (type(most) is not int or not 0 <= most <= _MOST_LOGPROBS):
        raise InvalidRequest(
            f"`top_logprobs` must be a whole number from 0 to {_MOST_LOGPROBS}.",
            param="top_logprobs",
        )
    if strict:
        dropped.append("logprobs")
        return {}
    return {"responseLogprobs": True} | ({"logprobs": most} if most else {})


def _thinking(request: ChatRequest, model: str, strict: bool, dropped: list[str]) -> dict[str, Any]:
    effort = request.body.get("reasoning_effort")
    if effort is not None and not (isinstance(effort, str) and effort in _LEVELS):
        allowed = ", ".join(_LEVELS)
        raise InvalidRequest(
            f"`reasoning_effort` must be one of {allowed}.", param="reasoning_effort"
        )
    version = version_of(model)
    if version is None or version < (2, 5) or _NOT_THINKING.search(model):
        if effort is not None:
            dropped.append("reasoning_effort")
        return {}
    pro = "pro" in model
    thinking: dict[str, Any] = {}
    if effort is not None and version >= (3, 0):
        thinking["thinkingLevel"] = _level(effort, version, pro, strict)
    elif effort is not None:
        least = _LEAST_PRO_BUDGET if pro else 0
        thinking["thinkingBudget"] = max(_BUDGETS[effort], least)
    off_by_default = version < (3, 0) and "lite" in model
    thinks = thinking.get("thinkingBudget") != 0 and (effort is not None or not off_by_default)
    if thinks and not strict:  # a model without thoughts refuses this
        thinking["includeThoughts"] = True
    return {"thinkingConfig": thinking} if thinking else {}


def _level(effort: str, version: tuple[int, int], pro: bool, strict: bool) -> str:
    level = _LEVELS[effort]
    if strict:  # every model has these two
        return "LOW" if level in ("MINIMAL", "LOW") else "HIGH"
    if level == "MINIMAL" and (pro or version >= (3, 8)):
        return "LOW"
    if level == "MEDIUM" and pro and version < (3, 1):
        return "HIGH"
    if level == "XHIGH" and version <= (3, 1):
        return "HIGH"
    return level


def _output(request: ChatRequest, model: str, strict: bool, dropped: list[str]) -> dict[str, Any]:
    if (form := _json_format(request)) is None:
        return {}
    schema = _json_schema(form)
    if _only_tells(request, model):
        dropped.append("response_format")
        return {}
    out: dict[str, Any] = {"responseMimeType": "application/json"}
    if schema is not None:
        field = "responseSchema" if strict else "responseJsonSchema"
        where = "response_format.json_schema.schema"
        out[field] = _schema(schema, strict, where, dropped, ordered=True)
    return out


def _json_format(request: ChatRequest) -> Mapping[str, Any] | None:
    """Return the response format if it asks for JSON."""
    form = request.body.get("response_format")
    if form is None:
        return None
    if not isinstance(form, Mapping) or form.get("type") not in _FORMATS:
        raise InvalidRequest(
            f"`response_format.type` must be one of {', '.join(_FORMATS)}.", param="response_format"
        )
    return None if form["type"] == "text" else form


def _json_schema(form: Mapping[str, Any]) -> Any:
    """Return the schema of a response format; None if it allows any JSON."""
    if form["type"] == "json_object":
        return None
    described = form.get("json_schema")
    if not isinstance(described, Mapping):
        raise InvalidRequest(
            "`response_format.json_schema` must be an object with a `schema`.",
            param="response_format.json_schema",
        )
    return described.get("schema")


def _only_tells(request: ChatRequest, model: str) -> bool:
    """Return whether the format must be put into words: before Gemini 3, tools exclude one."""
    return bool(request.tools) and (version_of(model) or (0, 0)) < (3, 0)


def _function(tool: Mapping[str, Any], i: int) -> Mapping[str, Any]:
    if tool["type"] != "function":
        raise unfit(f"Gemini has no tools of type {tool['type']!r} in a chat.", f"tools[{i}]")
    function: Mapping[str, Any] = tool["function"]
    if not function["name"]:
        raise InvalidRequest(
            f"`tools[{i}].function.name` must not be empty.", param=f"tools[{i}].function.name"
        )
    return function


def _declaration(
    function: Mapping[str, Any], i: int, strict: bool, dropped: list[str]
) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": sent_name(function["name"])}
    if isinstance(description := function.get("description"), str) and description:
        declaration["description"] = description
    parameters = function.get("parameters")
    if not isinstance(parameters, Mapping):
        return declaration
    # An object without properties is refused; a function without parameters has none.
    where = f"tools[{i}].function.parameters"
    schema = _schema({**parameters, "type": "object"}, strict, where, dropped)
    if any(schema.get(key) for key in ("properties", "additionalProperties", "$ref", "anyOf")):
        declaration["parameters" if strict else "parametersJsonSchema"] = schema
    return declaration


def _schema(
    schema: Any, strict: bool, where: str, dropped: list[str], ordered: bool = False
) -> dict[str, Any]:
    """Return a schema as Gemini accepts it; add each lost `<field>.<keyword>` to `dropped`."""
    lost: dict[str, None] = {}
    try:
        sent = (strictest if strict else cleaned)(schema, ordered=ordered, lost=lost)
    except TooDeep:
        raise unfit(f"`{where}` is nested too deeply for Gemini.", where) from None
    field = where.partition("[")[0].partition(".")[0]
    dropped += [f"{field}.{keyword}" for keyword in lost]
    return sent


def _choice(choice: Any, names: list[str]) -> tuple[frozenset[str] | None, str]:
    """Return the tools that may be called (None: all), and the mode."""
    known = set(names)
    match choice:
        case None | "auto":
            return None, "AUTO"
        case "none":
            return None, "NONE"
        case "required":
            return None, "ANY"
        case {"type": "function", "function": {"name": str(name)}} if name in known:
            return frozenset((name,)), "ANY"
        case {"type": "allowed_tools", "allowed_tools": {"tools": list(tools), **rest}}:
            allowed = frozenset(
                tool["function"]["name"]
                for tool in tools
                if isinstance(tool, Mapping)
                and isinstance(function := tool.get("function"), Mapping)
                and isinstance(function.get("name"), str)
                and function["name"] in known
            )
            if allowed:
                return allowed, "ANY" if rest.get("mode") == "required" else "AUTO"
    raise InvalidRequest(
        "`tool_choice` must be none, auto, required, or name functions that are in `tools`.",
        param="tool_choice",
    )
