"""Removes keys from every text that leaves the program: log lines, tracebacks, error bodies."""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote

import orjson

from router.privacy.key_shapes import Found, keys_in
from router.privacy.named_values import PRIVATE_KEY, values_in
from router.privacy.runs import Text

GONE: Final = "[redacted]"
SHORTEST_SECRET: Final = 8
"""Shorter secrets are words (`none`, `ollama`), which must stay in texts."""

_REST_OF_KEY: Final = re.compile(rb"[A-Za-z0-9_.=+/-]*")
_REST_OF_PEM: Final = re.compile(rb"[A-Za-z0-9+/=\s\\]*")
_NAMED: Final = (
    re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=:-]{8,}"),
    re.compile(r"\b([Bb]asic\s+)(?=[a-z]{0,80}[A-Z0-9])[A-Za-z0-9+/=]{8,}"),
    re.compile(
        r"(?i)([?&](?:api[-_]?key|key|(?:access|auth|id|refresh)?_?token|secret|sig|signature)=)"
        r"[^&\s\"'<>]+"
    ),
    re.compile(
        r"(?i)\b((?:x-(?:[a-z]{1,12}-)?(?:api-)?(?:key|token)|api-key|(?:proxy-)?authorization|cookie)"
        r"[\"']?\s{0,3}[:=,]\s{0,3}(?:b(?=[\"']))?[\"']?)(?!bearer\b|basic\b)[^\s\"',;}]+"
    ),
    re.compile(r"(://[^/\s:@]{1,100}:)[^@\s/]{1,200}(?=@)"),
)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without keys: given secrets, known formats, and values named as keys."""
    return _redacted(text, _spellings(secrets))


def _redacted(text: str, spellings: Iterable[str]) -> str:
    for spelling in spellings:
        text = text.replace(spelling, GONE)
    text = _without_known_keys(text)
    for pattern in _NAMED:
        text = pattern.sub(rf"\1{GONE}", text)
    return text


def _without_known_keys(text: str) -> str:
    # A byte for each character, so that places in the bytes are places in the text.
    data = text.encode("ascii", "replace")
    read = Text.of(data)
    kept, done = [], 0
    for rule, start, end in sorted((*keys_in(read), *values_in(read)), key=_start):
        rest = _REST_OF_PEM if rule == PRIVATE_KEY else _REST_OF_KEY
        whole = rest.match(data, end)
        if start >= done:
            kept += [text[done:start], f"PRIVATE KEY----- {GONE}" if rule == PRIVATE_KEY else GONE]
        done = max(done, whole.end() if whole else end)
    return "".join(kept) + text[done:]


def _start(found: Found) -> int:
    return found.start


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Return how the secrets can appear: plain, in a URL, in JSON; the longest first."""
    found = set()
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            found |= {secret, quote(secret, safe=""), orjson.dumps(secret).decode()[1:-1]}
    return sorted(found, key=len, reverse=True)


class RedactingFilter(logging.Filter):
    """Removes keys from all parts of log records.

    Add it to handlers: a filter on a logger does not see records of child loggers.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._spellings: list[str] = []
        self._formatter = logging.Formatter()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Remove these secrets too from now on."""
        # Spelled twice, because a log line may quote JSON in JSON, or an address in an address.
        known = {*self._spellings, *_spellings(_spellings(secrets))}
        self._spellings = sorted(known, key=len, reverse=True)

    def clean(self, text: str) -> str:
        """Return a text without keys."""
        return _redacted(text, self._spellings)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info:
            # Formatters print exc_text as it is; the exception itself must not reach them.
            record.exc_text = record.exc_text or self._formatter.formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:
            record.exc_text = self.clean(record.exc_text)
        if record.stack_info:
            record.stack_info = self.clean(record.stack_info)
        self._clean_message(record)
        return True

    def _clean_message(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a library's arguments do not fit its message
            message = record.msg = f"{record.msg} {record.args}"
            record.args = ()
        clean = self.clean(message)
        if clean == message:
            return
        if isinstance(record.args, tuple):
            # Some formatters (uvicorn's access log) want the arguments one by one.
            record.args = tuple(_cleaned(arg, self.clean) for arg in record.args)
            if record.getMessage() == clean:
                return
        record.msg, record.args = clean, ()


def _cleaned(arg: object, clean: Callable[[str], str]) -> object:
    return clean(arg) if isinstance(arg, str) else arg
