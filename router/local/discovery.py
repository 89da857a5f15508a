"""Discovery of the kind of a local server and of its models.

Only the server itself knows which model is loaded and with which context length. The first probe
finds the kind of server; later probes send only the requests for that kind.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

import orjson

from router.backend import Model, State, Status
from router.local.servers import (
    ALONE,
    ListedModel,
    has_remote_name,
    lmstudio,
    lmstudio_v0,
    ollama,
    openai,
    setting_of,
    with_llamacpp_props,
    with_ollama_show,
)

Get = Callable[[str], Awaitable[tuple[int, bytes]]]
"""Takes a URL; returns status and body. Raises OSError, TimeoutError if no answer comes."""
Post = Callable[[str, dict[str, Any]], Awaitable[tuple[int, bytes]]]
"""The same for a POST of JSON."""
Found = tuple[str, list[ListedModel]]
"""The kind of a server, and its models."""

SHOW_TIMEOUT_S: Final = 3.0
MOST_NAMES: Final = 6
UNKNOWN_MODEL: Final = "default"
"""Name for the model that a llama.cpp server is still loading; the server ignores the name."""
LOADING: Final = "It is loading its model."
LOADING_LOOK_S: Final = 1.0
MOST_LOADING_LOOKS: Final = 300
ONE_TOKEN: Final[dict[str, Any]] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 1,
}
LOAD_PATHS: Final = {"lmstudio": "/api/v1/models/load", "llama.cpp": "/models/load"}
_WANTS_LOADING: Final = re.compile(rb"models? (?:is )?(?:not )?loaded", re.IGNORECASE)

log = logging.getLogger("router")


class _Locked(Exception):
    """The server needs a key, or another one."""


class _Loading(Exception):
    """The server answers, but is still loading its model."""


class Discovery:
    """Probes one server. `base_url` includes /v1.

    `wanted`: the model to ask for, or "" for the one that is loaded. `is_set`: whether the user
    set it; advice does not name a default.
    """

    def __init__(
        self,
        base_url: str,
        wanted: str,
        get: Get,
        post: Post,
        *,
        name: str = ALONE,
        is_set: bool = True,
    ) -> None:
        self._name = name
        self._base = base_url.rstrip("/")
        self._root = self._base.removesuffix("/v1")
        self._wanted = wanted
        self._set = wanted if is_set else ""
        self._get = get
        self._post = post
        self._ask: Callable[[], Awaitable[Found | None]] | None = None
        self._kind = ""
        self._last_status = 0
        self._details: dict[Model, object] = {}
        """Details that do not change while a model runs, requested once."""

    async def look(self) -> Status:
        """Return the status now; never raises."""
        began = time.perf_counter()
        try:
            found = await self._found()
        except TimeoutError:
            return Status("down", detail=f"{self._base} accepts connections, but does not answer.")
        except OSError:
            return Status(
                "down",
                detail=f"Nothing answers at {self._base}: start the server there "
                f"(LM Studio: lms server start), or set {setting_of(self._name, 'URL')}.",
            )
        except _Locked:
            return Status(
                "locked",
                detail=f"{self._base} needs a key: set {setting_of(self._name, 'key')} to a token"
                " that it accepts.",
            )
        except _Loading:
            model = Model(self._wanted or UNKNOWN_MODEL, loaded=False)
            return Status("cold", model, (model,), "llama.cpp", detail=LOADING)
        if found is None and self._last_status >= 500:
            return Status("down", detail=f"{self._base} fails with HTTP {self._last_status}.")
        if found is None:
            return Status(
                "down",
                detail=f"What answers at {self._base} (HTTP {self._last_status}) is no "
                f"OpenAI-compatible server: check {setting_of(self._name, 'URL')}, which ends in"
                " /v1.",
            )
        latency_ms = (time.perf_counter() - began) * 1000
        return replace(_status(*found, self._wanted, self._set, self._name), latency_ms=latency_ms)

    async def warm_up(self, model: str) -> bool:
        """Make the server load this model; return whether it has done so now.

        Returns once it is loaded, within the time limit of a POST. Raises what that raises.
        """
        # The model may be loaded by now.
        status = await self.look()
        for _ in range(MOST_LOADING_LOOKS):
            if status.detail != LOADING:
                break
            await asyncio.sleep(LOADING_LOOK_S)
            status = await self.look()
        if not _is_cold(status, model):
            return False
        if status.server == "ollama":
            # A request without a prompt only loads the model.
            code, body = await self._post(self._root + "/api/generate", {"model": model})
        else:
            # A model loaded by a request stays loaded for the time that the user has set there.
            code, body = await self._post(
                self._base + "/chat/completions", ONE_TOKEN | {"model": model}
            )
        # Some servers are set not to load models on request, or let another model answer.
        path = LOAD_PATHS.get(status.server)
        ignored = path and (code == 200 or _WANTS_LOADING.search(body))
        if ignored and _is_cold(await self.look(), model):
            code, body = await self._post(f"{self._root}{path}", {"model": model})
        if code != 200:
            log.warning("%s could not load %s: HTTP %d %s", self._base, model, code, body[:200])
        return code == 200

    async def _found(self) -> Found | None:
        ask, self._ask = self._ask, None
        if ask is not None:
            found = await ask()
            if self._last_status >= 500 or (found is not None and found[0] == self._kind):
                self._ask = ask
                return found
        # The kind is unknown, or another server answers at this address now.
        self._details.clear()
        for ask in (self._ask_lmstudio, self._ask_lmstudio_v0, self._ask_ollama, self._ask_openai):
            found = await ask()
            if found is not None:
                self._ask, self._kind = ask, found[0]
                return found
        return None

    async def _ask_lmstudio(self) -> Found | None:
        entries = lmstudio(await self._json(self._root + "/api/v1/models"))
        return None if entries is None else ("lmstudio", entries)

    async def _ask_lmstudio_v0(self) -> Found | None:
        entries = lmstudio_v0(await self._json(self._root + "/api/v0/models"))
        return None if entries is None else ("lmstudio", entries)

    async def _ask_ollama(self) -> Found | None:
        running = await self._json(self._root + "/api/ps")
        if not isinstance(running, dict) or "models" not in running:
            return None
        entries = ollama(await self._json(self._root + "/api/tags"), running)
        if entries is None:
            return None
        for i, entry in enumerate(entries):
            # A server may hold hundreds of models; only those that may answer are examined.
            if entry.model.loaded or _answers_to(entry, self._wanted):
                model, chats = with_ollama_show(entry.model, await self._show(entry.model))
                entries[i] = replace(entry, model=model, chat=chats and entry.chat)
        return "ollama", entries

    async def _show(self, model: Model) -> object:
        if model not in self._details:
            async with asyncio.timeout(SHOW_TIMEOUT_S):
                status, body = await self._post(self._root + "/api/show", {"model": model.id})
            self._details[model] = _parsed(status, body)
        return self._details[model]

    async def _ask_openai(self) -> Found | None:
        found = openai(await self._json(self._base + "/models", final=True))
        if found is None or found[0] != "llama.cpp":
            return found
        kind, entries = found
        for i, entry in enumerate(entries):
            if entry.model.loaded:
                props = await self._props(entry.model, alone=len(entries) == 1)
                entries[i] = replace(entry, model=with_llamacpp_props(entry.model, props))
        return kind, entries

    async def _props(self, model: Model, *, alone: bool) -> object:
        query = "" if alone else f"?model={quote(model.id, safe='')}&autoload=false"
        return await self._json(f"{self._root}/props{query}")

    async def _json(self, url: str, *, final: bool = False) -> object:
        """Return the JSON at this address; None if there is none.

        Raises _Loading, and _Locked at the `final` address: some proxies forbid unknown paths.
        """
        status, raw = await self._get(url)
        self._last_status = status
        if final and status in (401, 403):
            raise _Locked
        if status == 503 and b"loading" in raw[:1000].lower():
            raise _Loading
        return _parsed(status, raw)


def _is_cold(status: Status, model: str) -> bool:
    return any(known.id == model and known.loaded is False for known in status.models)


def _parsed(status: int, raw: bytes) -> object:
    try:
        return orjson.loads(raw) if status == 200 else None
    except orjson.JSONDecodeError:
        return None


def _status(
    kind: str, entries: list[ListedModel], wanted: str, set_model: str, server: str
) -> Status:
    """Return the status: the model that would answer, and advice for the user."""
    chat = [_marked(entry) for entry in entries if entry.chat]
    models = tuple(entry.model for entry in chat)
    model = _wanted(chat, wanted)
    detail = ""
    if model is None:
        here = [m for m in models if not m.remote]
        present = [m for m in here if m.loaded is not False] or here
        if len(present) == 1:
            model = present[0]
            if set_model:
                missing = _missing(set_model, server)
                detail = f"{missing} is not on the server; its {model.id} answers instead."
        else:
            detail = _which(present, set_model, server)
    elif model.remote:
        detail = (
            f"{model.id} does not run on this machine: private requests are not sent to it."
            f" Set {setting_of(server, 'model')} to a model that does."
        )
    elif model.loaded is False:
        detail = f"{model.id} is not loaded; the first answer takes as long as loading it."
    ready = model is not None and model.loaded is not False
    others = tuple(entry.model.id for entry in entries if not entry.chat)
    state: State = "ready" if ready else "cold"
    return Status(state, model, models, kind, embedders=others, detail=detail)


def _marked(entry: ListedModel) -> ListedModel:
    """Return the entry, its model marked as remote if its name says so."""
    if not any(map(has_remote_name, (entry.model.id, *entry.names))):
        return entry
    return replace(entry, model=replace(entry.model, remote=True))


def _missing(set_model: str, server: str) -> str:
    return f"LOCAL_MODEL={set_model}" if server == ALONE else set_model


def _which(models: tuple[Model, ...] | list[Model], set_model: str, server: str) -> str:
    setting = setting_of(server, "model")
    if not models:
        return f"The server has no chat model: download one there, and set {setting} to its name."
    names = ", ".join(model.id for model in models[:MOST_NAMES])
    more = " and others" if len(models) > MOST_NAMES else ""
    if set_model and server == ALONE:
        return f"LOCAL_MODEL={set_model} is not on the server; set it to one of: {names}{more}."
    problem = f"{set_model} is not on the server" if set_model else "The server has several models"
    return f"{problem}; set {setting} to one of: {names}{more}."


def _wanted(entries: list[ListedModel], wanted: str) -> Model | None:
    for entry in entries:
        if entry.model.id == wanted:
            return entry.model
    for entry in entries:
        if wanted in entry.names:
            # The server itself resolves this name.
            return replace(entry.model, id=wanted)
    near = [entry for entry in entries if _answers_to(entry, wanted)]
    return near[0].model if len(near) == 1 else None


def _answers_to(entry: ListedModel, wanted: str) -> bool:
    """Return whether the names differ only in case, publisher and `:latest`."""
    return plain_name(wanted) in {plain_name(name) for name in (entry.model.id, *entry.names)}


def plain_name(name: str) -> str:
    """Return a model's name without case, publisher, `:latest` and `.gguf`."""
    return name.lower().rpartition("/")[2].removesuffix(":latest").removesuffix(".gguf")
