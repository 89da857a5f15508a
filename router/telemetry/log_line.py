"""A request as one line of the log, or as the fields of a JSON log entry."""

from collections.abc import Callable
from typing import Any, Final, Literal

from router.telemetry.record import Record

Colour = Literal["green", "cyan", "red", "yellow", "dim"]
Paint = Callable[[str, Colour], str]
"""Colours a text for a terminal."""

MOST_COLUMNS: Final = 92
"""Most columns of a line; the time and the level before it take the rest of 120."""
DETAIL_COLUMNS: Final = 38
MESSAGE_COLUMNS: Final = 500
"""Of what went wrong, which says what to do: such a line may be longer."""
CLIENT_COLUMNS: Final = 12
SIDE_COLOURS: Final[dict[str, Colour]] = {"local": "green", "cloud": "cyan"}
UNNAMED: Final = ("", "local", "embedded")
"""Backends of a router with a single local server, which a line does not name."""


def plain(text: str, _: Colour) -> str:
    """Return the text without a colour."""
    return text


def request_line(record: Record, paint: Paint = plain) -> str:
    """Return side, score, reason, status, times, client, and the model or what went wrong.

    The columns are aligned, and the line of an answer has at most MOST_COLUMNS characters.
    """
    side = record.target or "-"
    failed = record.outcome == "failed"
    if failed:
        detail = record.message or record.error
    else:
        detail = record.model
        if record.target == "local" and record.backend not in UNNAMED:
            detail = f"{record.backend}: {detail}"
    if record.outcome == "left":
        detail = "the caller hung up"
    elif record.reason == "slow" and record.expected_ms is not None:
        detail = f"{_seconds(record.expected_ms)} to a local first word"
    cells = [
        paint(f"{side:<5}", SIDE_COLOURS.get(side, "dim")),
        f"{record.score:>3.0f}" if record.target else "  -",
        f"{record.reason or '-':<18}",
        paint(f"{record.status}", "red" if failed else "yellow" if record.status != 200 else "dim"),
        f"{_seconds(record.total_ms):>7}",
        f"{_cut(client_name(record.user_agent), CLIENT_COLUMNS):<{CLIENT_COLUMNS}}",
        paint(_cut(detail, MESSAGE_COLUMNS), "red") if failed else _cut(detail, DETAIL_COLUMNS),
    ]
    return " ".join(cells).rstrip()


def request_fields(record: Record) -> dict[str, Any]:
    """Return what a JSON log entry says of a request; what is unknown is left out."""
    usage = record.usage
    fields = {
        "id": record.id,
        "dialect": record.dialect,
        "client": client_name(record.user_agent),
        "score": round(record.score, 1) if record.target else None,
        "target": record.target,
        "backend": record.backend,
        "model": record.model,
        "reason": record.reason,
        "outcome": record.outcome,
        "status": record.status,
        "error": record.error,
        "error_message": record.message,
        "first_byte_ms": record.first_byte_ms and round(record.first_byte_ms, 1),
        "total_ms": record.total_ms and round(record.total_ms, 1),
        "prompt_tokens": usage and usage.prompt_tokens,
        "completion_tokens": usage and usage.completion_tokens,
        "cost_usd": record.cost_usd,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def client_name(user_agent: str) -> str:
    """Return the name in front of a User-Agent's version; browsers all call themselves Mozilla."""
    name = user_agent.split(" ", 1)[0].split("/", 1)[0]
    return "browser" if name == "Mozilla" else name


def _seconds(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _cut(text: str, columns: int) -> str:
    """Return the text on one line, without control characters, in at most so many columns."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown if len(shown) <= columns else shown[: columns - 1] + "…"
