"""Routes of a local server that are relayed as they are: /completions and /embeddings."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import orjson

from router.backend import TimeLimits
from router.errors import BackendError, InvalidRequest, RouterError, UnknownModel
from router.http.answer import Answer
from router.local.errors import FAILED, LocalErrors, read_refusal
from router.privacy.redact import GONE
from router.wire import sse
from router.wire.chat import completions, relay

Post = Callable[[str, bytes], Awaitable[Answer]]
"""Sends JSON to a path of the server."""
ListModels = Callable[[], Awaitable[list[str]]]
"""Returns the ids of all models of the server; none if it does not list them."""
IsRemote = Callable[[str], bool]
"""Says whether the server passes requests for a model on to another machine."""
MOST_NAMES: Final = 30
_ROUTER_NAMES: Final = ("", "auto", "local")
"""Values of `model` that leave the choice to the router."""


class OtherRoutes:
    """Relays /completions and /embeddings to one server. `model` is LOCAL_MODEL."""

    def __init__(
        self,
        model: str,
        post: Post,
        list_models: ListModels,
        is_remote: IsRemote,
        errors: LocalErrors,
        key: str,
        limits: TimeLimits,
    ) -> None:
        self._model = model
        self._post = post
        self._list_models = list_models
        self._is_remote = is_remote
        self._errors = errors
        self._key = key
        self._limits = limits

    async def relay(
        self, path: str, body: dict[str, Any]
    ) -> tuple[str, AsyncGenerator[bytes, None]]:
        """Send a body to a path by POST; return the answer's content type and bytes.

        Raises BackendError, and UnknownModel, which lists the models of the server. If a stream
        fails after it has begun, the failure is yielded as its last event and then raised.
        """
        if not isinstance(body.get("model"), str) or body["model"] in _ROUTER_NAMES:
            body = {**body, "model": self._model}
        model = body["model"]
        if self._is_remote(model):
            # These bodies are not scanned for private content, so they must stay on this machine.
            raise InvalidRequest(
                f"{model[:200]} does not run on this machine; name a model that does.",
                param="model",
            )
        try:
            answer = await self._post(path, orjson.dumps(body))
            try:
                if answer.status != 200:
                    raise await self._refusal(answer, path, model)
                if answer.content_type == "text/event-stream":
                    chunks = self._stream(answer, model)
                    await anext(chunks)  # only a started generator closes the answer
                else:
                    chunks = sse.once(self._without_key(await answer.read()))
            except BaseException:
                answer.close()
                raise
        except FAILED as error:
            raise self._errors.of_client(error) from None
        return answer.content_type, chunks

    async def _refusal(self, answer: Answer, path: str, model: str) -> RouterError:
        refusal = await read_refusal(answer)
        error = self._errors.reported(refusal.status, refusal.error, model, refusal.wait_s)
        if not refusal.is_unknown_model or error.code == "local_not_ready":
            return error
        names = await self._list_models()
        if model in names:
            return BackendError(
                f"The {error.backend} server does not answer {path} with {model}. {error.message}",
                backend=error.backend,
            )
        listed = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        choice = f"It has: {listed}." if names else "It does not list its models."
        return UnknownModel(
            f"The {error.backend} server has no model {model[:200]!r}. {choice}", param="model"
        )

    async def _stream(self, answer: Answer, model: str) -> AsyncGenerator[bytes, None]:
        answer.flowing(self._limits.idle_s, self._limits.total_s)
        cutter = sse.Cutter()
        try:
            yield b""
            while piece := await answer.piece():
                block, reported = relay.before_error(cutter.whole(piece))
                if block:
                    yield block
                if reported is not None:
                    raise self._errors.reported(200, reported, model)
            if last := cutter.last() + cutter.rest:
                yield last
        except FAILED as failed:
            error = self._errors.of_client(failed)
            yield b"\n\n" + completions.error_event(error)
            raise error from None
        except BackendError as error:
            yield completions.error_event(error)
            raise
        finally:
            answer.close()

    def _without_key(self, document: bytes) -> bytes:
        """Return an answer without the server's key, which an error message may repeat."""
        if self._key and b'"error"' in document:
            return document.replace(self._key.encode(), GONE.encode())
        return document
