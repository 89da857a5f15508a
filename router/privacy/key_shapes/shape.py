"""A row of the tables of key formats.

Its template is literal text with random parts in braces: `{alphabet:length}`, where a length is
a number, a range (`8-10`) or a least number (`24+`). The pattern that finds a key is made from the
template, and so are the keys for tests: the source has no keys.
"""

import random
import re
import string
from dataclasses import dataclass, field
from typing import Final

ALPHABETS: Final = {
    "a": "A-Za-z0-9",
    "b": "A-Za-z0-9+/",
    "c": "A-Z0-9",
    "d": "0-9",
    "l": "a-z0-9",
    "p": "A-Za-z0-9_.=-",
    "s": "A-Za-z0-9!@#$%^&*()_=+-",
    "t": "A-Za-z0-9_.~+/=-",
    "u": "A-Za-z0-9_-",
    "v": "A-Za-z0-9_.~-",
    "w": "A-Za-z0-9_",
    "x": "a-f0-9",
    "X": "A-Fa-f0-9",
    "z": "A-Za-z",
}
"""alphanumeric, base64, capitals, digits, lower case, punctuated, with symbols, of tokens (RFC
6750), URL-safe, unreserved (RFC 3986), word characters, hexadecimal in lower and in any case,
letters only."""
UUID: Final = "{X:8}-{X:4}-{X:4}-{X:4}-{X:12}"
OPEN: Final = 100
"""Most characters of an open part beyond its least length; this keeps a search linear."""

_PART: Final = re.compile(r"\{([a-zA-Z]):(\d+)(?:(\+)|-(\d+))?\}")
_LETTERS: Final = frozenset("alzuwpstv")
_NAMES: Final = frozenset("uwpstv")
"""Alphabets in which words (_LETTERS) or names (_NAMES) can be written. A key must not look like
one."""
_BREAKING: Final = frozenset("bpstv")
_DISTINCT: Final = 4
_RARE: Final = 8
_WORDS: Final = frozenset(
    {"live_", "test_", "secret_", "key-", "key_", "api-", "sdk-", "web_", "phs_"}
)
"""Anchors that end many names."""
_RUN_AT_END: Final = re.compile(r"[^A-Za-z0-9_-].*", re.DOTALL)
_NO_MORE: Final = "(?![A-Za-z0-9])"


@dataclass(frozen=True, slots=True)
class _Part:
    """Literal text, or `low` to `high` random characters; `high` is None where it is open."""

    text: str = ""
    alphabet: str = ""
    low: int = 0
    high: int | None = 0


@dataclass(frozen=True, slots=True, eq=False)
class KeyShape:
    """A kind of key: its name, its template, and where the format is documented."""

    name: str
    template: str
    source: str
    anchor: str = field(init=False)
    """The literal that is searched for: the first one, unless a later one is much rarer."""
    pattern: str = field(init=False)
    """The pattern of a key from its anchor on."""
    before: str = field(init=False)
    """The pattern before its anchor; mostly empty."""
    behind: str = field(init=False)
    """The pattern of what stands directly behind the anchor."""
    inside: bool = field(init=False)
    """The anchor is unlike any word, so it is also found after a letter, as in `nameKEY`."""
    reach_back: int = field(init=False)
    """Most characters of a key before its anchor."""
    run: int = field(init=False)
    """Least length of the run around the end of its anchor: letters, digits, `_` and `-`."""
    is_broken: bool = field(init=False)
    """Characters that end a run may follow the anchor, as in base64."""
    may_be_word: bool = field(init=False)
    may_be_name: bool = field(init=False)

    def __post_init__(self) -> None:
        parts = _parts(self.template)
        literals = [part.text for part in parts if part.text]
        longest = max(literals, key=len)
        anchor = parts[0].text
        if len(anchor) < _DISTINCT and (not anchor or len(longest) >= _RARE):
            anchor = longest
        at = [part.text for part in parts].index(anchor)
        before = parts[:at]
        distinct = len(anchor) >= _DISTINCT and any(mark in anchor for mark in "_-.")
        distinct &= anchor not in _WORDS
        values = {
            "anchor": anchor,
            "pattern": _pattern(parts[at:]),
            "before": "".join(map(_written, before)),
            "behind": "".join(map(_written, parts[at + 1 : at + 2])),
            "inside": distinct and not before,
            "reach_back": sum(part.high or len(part.text) for part in before),
            "run": _run_at_end(anchor, parts[at + 1 :]),
            "is_broken": parts[at + 1].alphabet in _BREAKING if at + 1 < len(parts) else False,
            "may_be_word": any(part.alphabet in _LETTERS for part in parts if part.alphabet),
            "may_be_name": any(part.alphabet in _NAMES for part in parts if part.alphabet),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def example(self, seed: str = "") -> str:
        """Make up a key of this kind; the same for the same seed."""
        dice = random.Random(f"{seed} {self.template}")
        return "".join(part.text or _made_up(part, dice) for part in _parts(self.template))


def _run_at_end(anchor: str, behind: list[_Part]) -> int:
    size = len(_RUN_AT_END.sub("", anchor[::-1]))
    for part in behind:
        if part.text:
            run = _RUN_AT_END.sub("", part.text)
            size += len(run)
            if run != part.text:
                break
        else:
            size += part.low
    return size


def _parts(template: str) -> list[_Part]:
    parts, end = [], 0
    for found in _PART.finditer(template):
        if found.start() > end:
            parts.append(_Part(template[end : found.start()]))
        alphabet, low, is_open, high = found.groups()
        limit = None if is_open else int(high or low)
        parts.append(_Part(alphabet=alphabet, low=int(low), high=limit))
        end = found.end()
    return [*parts, _Part(template[end:])] if end < len(template) else parts


def _pattern(parts: list[_Part]) -> str:
    written = "".join(map(_written, parts))
    return written if parts[-1].text or parts[-1].high is None else written + _NO_MORE


def _written(part: _Part) -> str:
    if part.text:
        return re.escape(part.text)
    high = part.low + OPEN if part.high is None else part.high
    return f"[{ALPHABETS[part.alphabet]}]{{{part.low},{high}}}"


def _made_up(part: _Part, dice: random.Random) -> str:
    allowed = re.compile(f"[{ALPHABETS[part.alphabet]}]")
    characters = [character for character in string.printable if allowed.match(character)]
    ends = [character for character in characters if character.isalnum()]
    middle = dice.choices(characters, k=max(0, part.low - 2))
    return "".join([dice.choice(ends), *middle, dice.choice(ends)][: part.low])
