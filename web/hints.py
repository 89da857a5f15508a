"""Reads the purpose of a request from headers of certain clients. No backend gets these headers.

Claude Code sends its agent's id from 2.1.139 on, and the class of a request where
CLAUDE_CODE_GATEWAY_HINT_HEADERS=1 is set (seen in 2.1.332). Codex names the agents that its agent
has started in x-openai-subagent, and its compactions in the JSON of x-codex-turn-metadata (seen in
0.171.0), before that in x-openai-subagent too.
"""

from collections.abc import Mapping
from typing import Final

from router.request import Purpose
from web.asgi import Scope, header, headers_of

_CLASSES: Final[Mapping[str, Purpose]] = {
    "subagent": "subagent",
    "workflow": "subagent",
    "compaction": "compaction",
    "auxiliary": "background",
}
"""Purposes of Claude Code's classes. The other classes (main, side_reply) are the user's turns."""
_CODEX_AGENTS: Final[Mapping[str, Purpose]] = {
    "collab_spawn": "subagent",
    "compact": "compaction",
}
_HINTS: Final = frozenset(
    [
        b"x-claude-code-request-class",
        b"x-claude-code-agent-id",
        b"x-codex-turn-metadata",
        b"x-openai-subagent",
    ]
)
_CODEX_COMPACTS: Final = '"request_kind":"compaction"'


def purpose_of(scope: Scope) -> Purpose | None:
    """Return the purpose that the client declares; None for a turn of the user, or if unknown."""
    if _HINTS.isdisjoint(headers_of(scope)):
        return None
    if named := header(scope, b"x-claude-code-request-class"):
        return _CLASSES.get(named)
    if header(scope, b"x-claude-code-agent-id"):
        return "subagent"
    if _CODEX_COMPACTS in header(scope, b"x-codex-turn-metadata"):
        return "compaction"
    return _CODEX_AGENTS.get(header(scope, b"x-openai-subagent"))
