"""The answers of /v1/models: every name that `model` can have, in the shape of the caller's client.

Anthropic's clients get further names: Claude Code shows only names that hold "claude", with the
description of each. Codex gets its own catalogue beside the list (web/codex_catalogue.py).
"""

from typing import Any, Final

from router.router import Router
from web.codex_catalogue import catalogue

Json = dict[str, Any]

OWN_NAMES: Final = {
    "auto": "The router decides for each prompt",
    "local": "Always the local model",
    "cloud": "Always the cloud",
}
"""The router's own names, with their descriptions."""
CLAUDE_NAMES: Final = {
    "claude-auto": "The router decides for each prompt",
    "claude-local": "Always the local model",
}
"""Further names, for clients that show only names of Claude models."""


async def model_list(router: Router, dialect: str) -> Json:
    """Return every name that `model` can have, in the shape of the caller's dialect."""
    named = await router.models()
    if dialect == "messages":
        rows = [_claude_row(name, says) for name, says in (OWN_NAMES | CLAUDE_NAMES).items()]
        rows += [_claude_row(name, f"A model of the {side} side") for name, side in named.items()]
        first, last = rows[0]["id"], rows[-1]["id"]
        return {"data": rows, "has_more": False, "first_id": first, "last_id": last}
    rows = [_openai_row(name, "llm-router") for name in OWN_NAMES]
    rows += [_openai_row(name, side) for name, side in named.items()]
    return {"object": "list", "data": rows}


async def codex_catalogue(router: Router) -> list[Json]:
    """Return the same names as Codex's catalogue has them, with the context of each."""
    local, cloud = await router.sides()
    others = [side for side in await router.local_sides() if side.backend != local.backend]
    return catalogue(OWN_NAMES, (local, *others), cloud)


def _claude_row(name: str, says: str) -> Json:
    row = {"type": "model", "id": name, "display_name": name, "description": says}
    return row | {"created_at": "2026-01-01T00:00:00Z"}


def _openai_row(name: str, owner: str) -> Json:
    return {"id": name, "object": "model", "created": 1767225600, "owned_by": owner}
