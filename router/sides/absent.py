"""Sides that cannot answer, because the settings have none or do not allow it."""

from typing import Final

from router.backend import Status
from router.deciding.facts import Side

UNCONFIGURED: Final = Status(
    "unconfigured",
    detail="No cloud is configured: set ANTHROPIC_API_KEY, GEMINI_API_KEY or"
    " OPENAI_API_KEY in .env.",
)
OFFLINE: Final = Status(
    "unconfigured", detail="OFFLINE=true: nothing leaves this machine, so no cloud is asked."
)
NO_CLOUD: Final = Side("cloud", "", UNCONFIGURED)
NO_PRIVATE_SERVER: Final = Side(
    "local",
    "",
    Status(
        "unconfigured",
        detail="None of the local servers may get private requests: set private=yes for one.",
    ),
)
SWITCHED_OFF: Final = Side("local", "", Status("unconfigured"))
