"""The models of /v1/models as Codex's own catalogue has them.

Without it Codex warns that it has no metadata for a model, and assumes a context of 272,000 tokens.
It asks with `client_version` in the query, where its provider has an `auth` command. The fields are
those that Codex 0.171.0 and earlier versions need (codex-rs/protocol/src/openai_models.rs).
"""

from collections.abc import Sequence
from typing import Any, Final

from router.backend import Model
from router.deciding.facts import Side

Json = dict[str, Any]

INSTRUCTIONS: Final = """\
You are a coding agent in a terminal, in a folder of the user's. You work with the tools that you \
are given, and with nothing else.

- Look before you change: read the files that matter, search with `rg` if it is there.
- Do what was asked, completely, and nothing besides. Follow the style of the code around you, and \
the rules in AGENTS.md files.
- Make small, exact changes. Never undo changes that are not yours. Commit only if you are asked to.
- Test what you changed if there is a way to. If a command fails, read its message and mend the \
cause.
- If something is missing that only the user knows, ask; else go on until the work is done.
- At the end say in a few sentences what you did, where, and what is left. Name files with their \
path and line. Show no whole files.
"""
"""Codex sends these for a model of this catalogue; its own are for its built-in models only."""

_CARD: Final[Json] = {
    "default_reasoning_level": None,
    "supported_reasoning_levels": [],
    "shell_type": "default",
    "visibility": "list",
    "supported_in_api": True,
    "upgrade": None,
    "base_instructions": INSTRUCTIONS,
    "supports_reasoning_summaries": False,
    "support_verbosity": False,
    "default_verbosity": None,
    "apply_patch_tool_type": None,
    "truncation_policy": {"mode": "bytes", "limit": 10_000},
    "supports_parallel_tool_calls": True,
    "experimental_supported_tools": [],
}
"""Fields that are the same for every model, with the values that Codex assumes by default."""


def catalogue(own: dict[str, str], locals_: Sequence[Side], cloud: Side) -> list[Json]:
    """Return the catalogue: the router's `own` names with what they do, then each side's models.

    A prompt that is too long for the local model goes to the cloud, so `auto` has the largest room
    of the models that would answer now.
    """
    here = [side.status.model for side in locals_ if side.usable and side.status.model]
    there = [cloud.status.model] if cloud.usable and cloud.status.model else []
    meant = {"auto": [*here, *there], "local": here[:1], "cloud": there}
    rows = [_row(name, says, meant[name]) for name, says in own.items()]
    listed = [model for side in locals_ for model in side.status.models]
    named = {model.id: model for model in (*listed, *there)}
    rows += [_row(name, "", [model]) for name, model in named.items()]
    # Negative, because Codex sorts them among its built-in models, which begin at 1.
    return [row | {"priority": place - len(rows)} for place, row in enumerate(rows)]


def _row(name: str, says: str, models: Sequence[Model]) -> Json:
    """Return the row of a name that may mean any of these models."""
    rooms = [model.room_tokens for model in models]
    known = [room for room in rooms if room is not None]
    sees = not models or any(model.vision is not False for model in models)
    return _CARD | {
        "slug": name,
        "display_name": name,
        "description": says or None,
        "context_window": max(known) if known and len(known) == len(rooms) else None,
        "input_modalities": ["text", "image"] if sees else ["text"],
    }
