"""Text as a terminal may show it, and as a question holds it."""

import re
import sys
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LEAST_USD: Final = 0.0001
CENT_USD: Final = 0.01


def visible(text: str) -> str:
    """Remove control characters, tab and newline excepted.

    A terminal takes them as commands: they could set its title, its clipboard or its colours.
    """
    return _CONTROL.sub("", text)


def valid(text: str) -> str:
    """Replace the parts of typed text that are no text: undecodable bytes, half characters."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def with_document(question: str, piped: str) -> str:
    """Return the question, followed by the piped text between fences that it cannot close."""
    document = piped.strip()
    if not question or not document:
        return question or document
    return f"{question}\n\n{fenced(document)}"


def fenced(document: str) -> str:
    """Return a text between fences that it cannot close."""
    longest = max(map(len, re.findall("`+", document)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{document}\n{fence}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 answer`, `2 answers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def money(usd: float) -> str:
    """Return an amount: `$0`, `$0.0012`, `$1.20`."""
    if usd == 0:
        return "$0"
    if usd < LEAST_USD:
        return f"under ${LEAST_USD}"
    return f"${usd:.2f}" if usd >= CENT_USD else f"${usd:.4f}"


def tolerate_any_text() -> None:
    """Make stdout and stderr show `?` for characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def show_plain(text: str) -> None:
    """Write a piece of an answer to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
