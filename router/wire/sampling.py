"""Fields of a chat request that a cloud does not support: reported, or refused if they matter."""

import re
from collections.abc import Callable, Mapping, Set
from typing import Any, Final

from router.errors import BackendUnfit
from router.request import IMAGE_PARTS, ChatRequest

# Values that equal the default: leaving such a field out changes nothing and is not reported.
_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "parallel_tool_calls": (True,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "temperature": (1,),
    "top_logprobs": (0,),
    "top_p": (1,),
    "verbosity": ("medium",),
}
_ALWAYS_READ: Final = frozenset(
    [
        *("model", "messages", "stream", "stream_options", "n", "modalities"),
        *("functions", "function_call"),
    ]
)
_NAME: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
"""Field names that can stand in a response header."""


def check(request: ChatRequest, cloud: str, unfit: Callable[[str, str], BackendUnfit]) -> None:
    """Raise BackendUnfit for fields that would change the meaning if they were left out."""
    body = request.body
    if body.get("n") not in (None, 1):
        raise unfit(f"{cloud} gives one answer at a time: `n` must be 1.", "n")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and any(each != "text" for each in modalities):
        raise unfit(f"{cloud} answers with text only: so must `modalities`.", "modalities")
    if body.get("functions"):
        raise unfit("`functions` is not supported any more: use `tools`.", "functions")


def left_out(request: ChatRequest, read: Set[str]) -> list[str]:
    """Return the names of fields that differ from the default and are not in `read`."""
    names = [
        name
        for name, value in request.body.items()
        if value is not None
        and name not in read
        and name not in _ALWAYS_READ
        and value not in _NOTHING.get(name, ())
        and _NAME.fullmatch(name)
    ]
    if any(m.get("name") and m["role"] not in ("tool", "function") for m in request.messages):
        names.append("messages.name")
    if any(map(_asks_for_detail, request.messages)):
        names.append("messages.image_url.detail")
    return names


def _asks_for_detail(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return any(
        part.get("type") in IMAGE_PARTS and _detail(part) not in (None, "auto")
        for part in (content if isinstance(content, list) else ())
    )


def _detail(part: Mapping[str, Any]) -> Any:
    image = part.get("image_url")
    return image.get("detail") if isinstance(image, Mapping) else part.get("detail")
