"""Checks the key of a request. ROUTER_API_KEY opens everything, a team's keys open the models."""

import hmac
from typing import Final

from router.errors import Forbidden, Unauthorized
from router.state.team import Member, Team
from web.asgi import Scope, header

MEMBER: Final = "router.member"
"""The key of the team's `Member` in a request's scope, where one of their keys was sent."""
OPEN_PATHS: Final = frozenset({"/", "/docs", "/favicon.ico", "/health", "/identity", "/ready"})
"""Paths that need no key: a browser cannot send one for a page. Pages hold no data."""
OPEN_FILES: Final = "/static-offline-docs/"
"""Begins the paths of the files that /docs loads."""
MEMBERS_PATHS: Final = frozenset({"/classify", "/feedback", "/openapi.json"})
"""Paths outside /v1 that the team's keys open."""


def member_of(scope: Scope) -> Member | None:
    """Return the owner of a request's key; None for ROUTER_API_KEY, or if no key is set."""
    member: Member | None = scope.get(MEMBER)
    return member


def name_of(scope: Scope) -> str:
    """Return the name of that member, or ""."""
    member = member_of(scope)
    return member.name if member is not None else ""


class Keys:
    """Checks the key of a request."""

    def __init__(self, api_key: str | None, team: Team | None) -> None:
        self._api_key = api_key.encode() if api_key else None
        self._team = team

    def check(self, scope: Scope, path: str) -> None:
        """Store the owner of the key in the scope. Raises Unauthorized and Forbidden."""
        if (self._api_key is None and self._team is None) or path in OPEN_PATHS:
            return
        if path.startswith(OPEN_FILES):
            return
        sent = header(scope, b"authorization")
        key = sent[7:] if sent[:7].lower() == "bearer " else header(scope, b"x-api-key")
        key = key.strip()
        if self._api_key and hmac.compare_digest(key.encode("latin-1"), self._api_key):
            return
        member = self._team.member(key) if self._team is not None and key else None
        if member is None:
            raise Unauthorized(self._refusal(key))
        if not path.startswith("/v1/") and path not in MEMBERS_PATHS:
            raise Forbidden(f"{path} is not for the team's keys: send the ROUTER_API_KEY.")
        scope[MEMBER] = member

    def _refusal(self, key: str) -> str:
        whose = "this server's ROUTER_API_KEY" if self._team is None else "your key"
        if not key:
            return f"Send {whose} as `Authorization: Bearer …`."
        if self._team is None:
            return "This is not the server's ROUTER_API_KEY."
        return "This key is not known; it may have been revoked."
