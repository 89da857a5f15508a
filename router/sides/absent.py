"""Sides that cannot answer, because the settings have none or do not allow it."""

from typing import Final

from router.backend import Status
from router.deciding.facts import Side

NO_PRIVATE_SERVER: Final = Side(
    "local",
    "",
    Status(
        "unconfigured",
        detail="None of the local servers may get private requests: set private=yes for one.",
    ),
)
SWITCHED_OFF: Final = Side("local", "", Status("unconfigured"))


def no_cloud(reason: str) -> Side:
    """Return the cloud side where none may be asked. `reason`: why, and what to set."""
    return Side("cloud", "", Status("unconfigured", detail=reason))
