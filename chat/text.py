"""Text as a terminal may show it."""

import re
import sys
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """Remove control characters, tab and newline excepted.

    A terminal takes them as commands: they could set its title, its clipboard or its colours.
    """
    return _CONTROL.sub("", text)


def valid(text: str) -> str:
    """Replace what a command-line argument holds that is no text: bytes it could not decode."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def with_document(question: str, piped: str) -> str:
    """Return the question, followed by the piped text between fences that it cannot close."""
    document = piped.strip()
    if not question or not document:
        return question or document
    longest = max(map(len, re.findall("`+", document)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{question}\n\n{fence}\n{document}\n{fence}"


def tolerate_any_text() -> None:
    """Have stdout and stderr show `?` for what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
