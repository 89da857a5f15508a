"""Readers of the model lists of local servers: pure functions over JSON, one for each kind.

A reader returns None for another server's answer. It looks at the shape of the JSON, because LM
Studio answers unknown paths with status 200 and an error. Fields as documented by LM Studio (REST
API v1 and v0), llama.cpp (tools/server/README), Ollama (docs.ollama.com/api) and vLLM (ModelCard),
and as sent by the llama.cpp server that comes with the router.
"""

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from router.backend import Model

ALONE: Final = "local"
"""Name of the server at LOCAL_BASE_URL."""
_EMBEDDING_NAME: Final = re.compile(r"embed|rerank|(?:^|[-/_])(?:bge|gte|e5)[-_]", re.IGNORECASE)
_REMOTE_NAME: Final = re.compile(r"[-:]cloud\Z", re.IGNORECASE)
_STEP_TOKENS: Final = 4096
_SIZE: Final = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)\s?([BMbm])\b")

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model on a server, and further names for it that the server accepts."""

    model: Model
    names: tuple[str, ...] = ()
    chat: bool = True
    """False for models that only embed or rank."""


def lmstudio(body: object) -> list[ListedModel] | None:
    """Read `GET /api/v1/models` of LM Studio 0.4 and later. Each loaded instance has its own id."""
    items = _objects(body, "models")
    if items is None or not all("key" in item and "loaded_instances" in item for item in items):
        return None
    return [entry for item in items for entry in _lmstudio_entries(item)]


def _lmstudio_entries(item: Json) -> list[ListedModel]:
    key = str(item["key"])
    chat = item.get("type") != "embedding"
    can = _object(item, "capabilities")
    model = Model(
        key,
        loaded=False,
        max_context_tokens=_number(item, "max_context_length"),
        vision=_flag(can, "vision"),
        tools=_flag(can, "trained_for_tool_use"),
        parameters_b=_billions(item.get("params_string")),
        quantization=_text(_object(item, "quantization"), "name"),
    )
    instances = []
    for instance in _objects(item, "loaded_instances") or []:
        config = _object(instance, "config")
        loaded = replace(
            model,
            id=str(instance.get("id", key)),
            loaded=True,
            context_tokens=_number(config, "context_length"),
            parallel=_number(config, "parallel"),
        )
        instances.append(loaded)
    variants = item.get("variants")
    names = tuple(map(str, variants)) if isinstance(variants, list) else ()
    if not instances:
        return [ListedModel(model, names, chat)]
    # A request by key may reach any instance: assume the smallest.
    least = min(instances, key=lambda loaded: loaded.context_tokens or math.inf)
    if len(instances) == 1:
        return [ListedModel(replace(least, id=key), (*names, least.id), chat)]
    apart = [ListedModel(loaded, chat=chat) for loaded in instances if loaded.id != key]
    return [ListedModel(replace(least, id=key), names, chat), *apart]


def lmstudio_v0(body: object) -> list[ListedModel] | None:
    """Read `GET /api/v0/models` of LM Studio 0.3.6 and later."""
    items = _objects(body, "data")
    if not items or not all("id" in item and "state" in item for item in items):
        return None
    entries = []
    for item in items:
        can = item.get("capabilities")
        model = Model(
            str(item["id"]),
            loaded=item["state"] == "loaded",
            context_tokens=_number(item, "loaded_context_length"),
            max_context_tokens=_number(item, "max_context_length"),
            vision=item.get("type") == "vlm",
            tools="tool_use" in can if isinstance(can, list) else None,
            quantization=_text(item, "quantization"),
        )
        entries.append(ListedModel(model, chat=item.get("type") != "embeddings"))
    return entries


def openai(body: object) -> tuple[str, list[ListedModel]] | None:
    """Read `GET /v1/models` of any server; return its kind ("openai" if unknown) and its models."""
    items = _objects(body, "data")
    if items is None or not all("id" in item for item in items):
        return None
    owners = [item.get("owned_by") for item in items]
    if "llamacpp" in owners:
        return "llama.cpp", [_llamacpp_entry(item) for item in items]
    kind = "vllm" if "vllm" in owners else "openai"
    return kind, [_openai_entry(item) for item in items]


def model_ids(body: object) -> list[str]:
    """Read the ids of `GET /v1/models`, also of models that do not chat."""
    return [str(item["id"]) for item in _objects(body, "data") or [] if "id" in item]


def _openai_entry(item: Json) -> ListedModel:
    name = str(item["id"])
    context = _number(item, "max_model_len")
    model = Model(
        name,
        loaded=None if context is None else True,
        context_tokens=context,
        max_context_tokens=context,
        origin=root if (root := _text(item, "root")) != name else "",
    )
    return ListedModel(model, chat=not _EMBEDDING_NAME.search(name))


def _llamacpp_entry(item: Json) -> ListedModel:
    """Read one model; in router mode there are many, and `status` says which are loaded."""
    status = _object(item, "status").get("value")
    meta = _object(item, "meta")
    shape = _object(item, "architecture")
    takes, gives = shape.get("input_modalities"), shape.get("output_modalities")
    aliases = item.get("aliases")
    model = Model(
        str(item["id"]),
        loaded=status is None or status == "loaded",
        context_tokens=_number(meta, "n_ctx"),
        max_context_tokens=_number(meta, "n_ctx_train"),
        vision="image" in takes if isinstance(takes, list) else None,
        parameters_b=_in_billions(_number(meta, "n_params")),
        quantization=_text(meta, "ftype"),
    )
    chat = "text" in gives if isinstance(gives, list) else True
    names = tuple(map(str, aliases)) if isinstance(aliases, list) else ()
    return ListedModel(model, names, chat and not _EMBEDDING_NAME.search(model.id))


def with_llamacpp_props(model: Model, body: object) -> Model:
    """Return the model with the details of `GET /props` of llama.cpp."""
    props: Json = body if isinstance(body, dict) else {}
    settings = _object(props, "default_generation_settings")
    vision = _flag(_object(props, "modalities"), "vision")
    return replace(
        model,
        loaded=model.loaded and props.get("is_sleeping") is not True,
        context_tokens=model.context_tokens or _number(settings, "n_ctx"),
        vision=model.vision if vision is None else vision,
        tools=_flag(_object(props, "chat_template_caps"), "supports_tool_calls"),
        parallel=_number(props, "total_slots"),
        quantization=model.quantization or _text(props, "model_ftype"),
        origin=_text(props, "model_path"),
    )


def ollama(tags: object, running: object) -> list[ListedModel] | None:
    """Read `GET /api/tags` and `GET /api/ps` of Ollama: all models, and those in memory."""
    items, loaded = _objects(tags, "models"), _objects(running, "models")
    if items is None or loaded is None:
        return None
    contexts = {str(item.get("name")): _number(item, "context_length") for item in loaded}
    entries = []
    for item in items:
        if not isinstance(name := item.get("name"), str):
            return None
        details = _object(item, "details")
        family = str(details.get("family"))
        remote = _is_remote(item)
        model = Model(
            name,
            loaded=None if remote else name in contexts,
            context_tokens=contexts.get(name),
            parameters_b=_billions(details.get("parameter_size")),
            quantization=_text(details, "quantization_level"),
            remote=remote,
        )
        chat = not (_EMBEDDING_NAME.search(name) or "bert" in family)
        entries.append(ListedModel(model, (name.removesuffix(":latest"),), chat))
    return entries


def with_ollama_show(model: Model, body: object) -> tuple[Model, bool]:
    """Return the model with the details of Ollama's `POST /api/show`, and whether it can chat."""
    show: Json = body if isinstance(body, dict) else {}
    info = _object(show, "model_info")
    known = replace(
        model,
        max_context_tokens=_number(info, f"{info.get('general.architecture')}.context_length"),
        parameters_b=_in_billions(_number(info, "general.parameter_count")) or model.parameters_b,
        remote=model.remote or _is_remote(show),
    )
    can = show.get("capabilities")
    if not isinstance(can, list):
        return known, True
    return replace(known, vision="vision" in can, tools="tools" in can), "completion" in can


def setting_of(server: str, option: Literal["URL", "key", "model"]) -> str:
    """Return the name of the setting that an option of a server comes from, for messages."""
    if server in (ALONE, "openai"):
        names = {"URL": "BASE_URL", "key": "API_KEY", "model": "MODEL"}
        return f"{server.upper()}_{names[option]}"
    return f"the {option} of {server} in LOCAL_SERVERS"


def has_remote_name(name: str) -> bool:
    """Return whether a model is named like those of Ollama's cloud: `gpt-oss:120b-cloud`."""
    return _REMOTE_NAME.search(name) is not None


def _is_remote(item: Json) -> bool:
    """Return whether Ollama names another host that runs the model."""
    return bool(item.get("remote_host") or item.get("remote_model"))


def fix_command(server: str, model: Model, need_tokens: int) -> str:
    """Return the command that loads a model with room for so many tokens; empty without one."""
    tokens = -(-need_tokens // _STEP_TOKENS) * _STEP_TOKENS
    if model.max_context_tokens is not None:
        if need_tokens > model.max_context_tokens:
            return ""
        tokens = min(tokens, model.max_context_tokens)
    name = shlex.quote(model.id)
    match server:
        case "lmstudio":
            # Loading without unloading would add a second copy.
            unload = f"lms unload {name} && " if model.loaded else ""
            return f"{unload}lms load {name} --context-length {tokens}"
        case "ollama":
            return f"OLLAMA_CONTEXT_LENGTH={tokens} ollama serve"
        case "llama.cpp":
            # -c is the sum of all slots.
            return f"llama-server -c {tokens * (model.parallel or 1)}"
        case "vllm":
            return f"vllm serve {name} --max-model-len {tokens}"
    return ""


def _objects(body: object, name: str) -> list[Json] | None:
    """Return the list of objects under this name; None if it is something else."""
    items = body.get(name) if isinstance(body, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    return items


def _object(body: Json, name: str) -> Json:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _number(body: Json, name: str) -> int | None:
    value = body.get(name)
    return value if isinstance(value, int) and value > 0 else None


def _flag(body: Json, name: str) -> bool | None:
    value = body.get(name)
    return value if isinstance(value, bool) else None


def _text(body: Json, name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _in_billions(count: int | None) -> float | None:
    return None if count is None else round(count / 1e9, 3)


def _billions(size: object) -> float | None:
    """Read a size as servers write it for people: "32B", "4.3B", "135M", "8x7B"."""
    found = _SIZE.search(size) if isinstance(size, str) else None
    if found is None:
        return None
    number = int(found[1] or 1) * float(found[2])
    return number / 1000 if found[3] in "Mm" else number
