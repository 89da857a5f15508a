"""Chooses the model that replaces a default model if its provider has retired that."""

import re
from collections.abc import Iterable

_VERSION = re.compile(r"\d{1,2}(?:\.\d{1,2})?")
"""Part of a name that counts as a version: longer numbers are dates and builds."""


def nearest(gone: str, names: Iterable[str]) -> str | None:
    """Return the model of the same tier with the next newer version, else with the newest one.

    The tier is the name without its numbers: claude-sonnet, gemini-flash. None if no name has it.
    """
    tier, version = _parts(gone)
    same = sorted((_parts(name)[1], -len(name), name) for name in names if _parts(name)[0] == tier)
    newer = [one for one in same if one[0] > version]
    if newer:
        # Of several names of one version the shortest: the others end in a date.
        return max(one for one in newer if one[0] == newer[0][0])[2]
    return same[-1][2] if same else None


def says(gone: str, other: str, variable: str) -> str:
    """Return the sentences that tell the user which model answers."""
    return f"{gone} is gone, so {other} answers. Set {variable} to choose another."


def _parts(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the tier's words and the version of a model's name."""
    words: list[str] = []
    version: list[int] = []
    for part in name.split("-"):
        if _VERSION.fullmatch(part):
            version += map(int, part.split("."))
        elif not part.isdecimal() and part != "latest":
            words.append(part)
    return tuple(words), tuple(version)
