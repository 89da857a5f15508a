"""Formats the server's log: aligned text, coloured on a terminal, or JSON lines."""

import json
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Final, Literal

from router.privacy.redact import RedactingFilter
from router.telemetry.log_line import Colour, request_fields, request_line
from router.telemetry.record import Record

LogFormat = Literal["text", "json"]
ESCAPES: Final[dict[Colour, str]] = {
    "green": "\x1b[32m",
    "cyan": "\x1b[36m",
    "red": "\x1b[31m",
    "yellow": "\x1b[33m",
    "dim": "\x1b[2m",
}
RESET: Final = "\x1b[0m"
LEVELS: Final[dict[str, Colour]] = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
QUIET: Final = ("httpx2", "httpcore2", "google_genai", "uvicorn")
"""Libraries whose INFO lines are of no use to a user."""


def set_up_logging(
    log_format: LogFormat, secrets: Iterable[str], *, colours: bool
) -> RedactingFilter:
    """Send the log to stderr, without `secrets`; return its filter, which can hide more later."""
    without_keys = RedactingFilter(secrets)
    handler = logging.StreamHandler()
    handler.addFilter(without_keys)
    handler.setFormatter(
        JsonFormatter(without_keys.clean)
        if log_format == "json"
        else TextFormatter(colours=colours and sys.stderr.isatty())
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # When the time for running requests is over, uvicorn logs that as an error.
    logging.getLogger("uvicorn.error").addFilter(_is_fault)
    # This library warns of each retry, and then reports the failure as an error.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    return without_keys


def _is_fault(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Cancel %s running task")


class TextFormatter(logging.Formatter):
    """Time, level and message; a request's line is coloured."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._colours = colours

    def formatMessage(self, record: logging.LogRecord) -> str:
        if not self._colours:
            return super().formatMessage(record)
        request = getattr(record, "request", None)
        message = request_line(request, _paint) if isinstance(request, Record) else record.message
        level = f"{record.levelname:<7}"
        if colour := LEVELS.get(record.levelname):
            level = _paint(level, colour)
        return f"{_paint(record.asctime, 'dim')} {level} {message}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and the fields of a request."""

    def __init__(self, clean: Callable[[str], str]) -> None:
        """Set the format. `clean` removes keys from a text."""
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%S%z")
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": self.formatTime(record, self.datefmt), "level": record.levelname}
        request = getattr(record, "request", None)
        if isinstance(request, Record):
            entry |= request_fields(request)
        else:
            entry["message"] = record.getMessage()
        if record.exc_text:  # the filter has put the traceback there
            entry["traceback"] = record.exc_text
        return self._clean(json.dumps(entry, ensure_ascii=False))


def _paint(text: str, colour: Colour) -> str:
    return f"{ESCAPES[colour]}{text}{RESET}"
