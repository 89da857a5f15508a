"""The user's own words that must not leave: plain words, and patterns that run in linear time.

A plain word is found whatever its case, on word boundaries (`_` counts as one, so that `falcon`
is found in `falcon_v2`; in scripts without spaces or with glued articles anywhere). Text with any
of `\\ [ ] ( ) { } * + ? ^ $ |` in it is a pattern, in Python's syntax and case-sensitive, but for
what could take more than linear time or means nothing here.
"""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import orjson

REACH: Final = 64
"""How many characters `*` and `+` reach at most; that keeps a search linear."""
MOST_REPEATS: Final = 200
MOST_WAYS: Final = 200
"""How many ways a pattern may have to match from one place."""

_SPECIAL: Final = re.compile(r"[\\\[\](){}*+?^$|]")
_JSON_ESCAPES: Final = (("\\n", "  "), ("\\t", "  "), ("\\r", "  "), ('\\"', '"'))
_BEFORE: Final = r"(?:(?<![^\W_]{0})|(?<=\\[nrt]{0}))"
_SPACE: Final = r"(?:\s|\\[nrt]){1,8}"
_TOKEN: Final = re.compile(
    r"(?P<escape>\\.)"
    r"|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<open>\((?:\?:)?(?!\?))"
    r"|(?P<close>\))"
    r"|(?P<either>\|)"
    r"|(?P<repeat>(?P<mark>[*+?]|\{(?P<low>\d+)(?P<to>,(?P<high>\d*))?\})[?+]?)"
    r"|(?P<wrong>[\\\[(){}^$])"
    r"|(?P<plain>.)",
    re.DOTALL,
)
_WRONG: Final = {
    "(": "only plain groups are allowed, no lookaround, names or conditions",
    "^": "^ and $ mean nothing here; \\b is a word's edge",
    "$": "^ and $ mean nothing here; \\b is a word's edge",
    "{": "a { without its }; a { itself is written \\{",
    "}": "a } without its {; a } itself is written \\}",
    "[": "a [ without its ]; a [ itself is written \\[",
    "\\": "a \\ at the end; a \\ itself is written \\\\",
}


class NotLinear(ValueError):
    """A pattern that could take too long, or is none; says why, never what it is."""


@dataclass(frozen=True, slots=True)
class _Word:
    hint: str
    """Lower-case text that is there wherever the pattern matches; may be empty."""
    pattern: re.Pattern[str]
    plain: bool


class Words:
    """Finds the first of the user's words in a JSON text. Raises ValueError on a bad pattern."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words: list[_Word] = []
        for number, word in enumerate(words, 1):
            try:
                self._words.append(_pattern(word) if _SPECIAL.search(word) else _plain(word))
            except NotLinear as error:
                raise ValueError(f"PRIVATE_PATTERNS: entry {number}: {error}") from None

    def __bool__(self) -> bool:
        return bool(self._words)

    def find(self, text: str) -> int | None:
        """The number, from 1, of the first word that is in the text."""
        lower = text.lower()
        unescaped: str | None = None
        for number, word in enumerate(self._words, 1):
            if word.hint not in lower:
                continue
            if not word.plain and unescaped is None:
                unescaped = _unescaped(text)
            if word.pattern.search(lower if word.plain else unescaped or ""):
                return number
        return None


def _unescaped(text: str) -> str:
    """The text as patterns expect it: to \\b the n of an escaped line break would be a letter."""
    for escape, character in _JSON_ESCAPES:
        text = text.replace(escape, character)
    return text


def _plain(word: str) -> _Word:
    parts = [orjson.dumps(part).decode()[1:-1] for part in word.lower().split()]
    if not parts:
        raise NotLinear("it is empty")
    escaped = [re.escape(part) for part in parts]
    # The literal comes first and what stands before it is checked after: searching for a literal
    # is fast, trying a condition at every place is not.
    before = _BEFORE.format(escaped[0]) if _has_edge(parts[0][0]) else ""
    after = r"(?![^\W_])" if _has_edge(parts[-1][-1]) else ""
    pattern = re.compile(
        escaped[0] + before + "".join(_SPACE + part for part in escaped[1:]) + after
    )
    return _Word(max(parts, key=len), pattern, plain=True)


def _has_edge(character: str) -> bool:
    """Do words end here? Only scripts with upper and lower case reliably set words apart."""
    return character.isdecimal() or character.lower() != character.upper()


@dataclass(slots=True)
class _Group:
    """What is known of a group, or of the whole pattern, while it is read."""

    ways: int = 1
    """Ways in which the branch that is being read can match from one place."""
    ways_before: int = 0
    """Ways of the branches before it."""
    repeats: bool = False
    last: "_Group | None" = None
    """The last item, which a quantifier may follow."""

    @property
    def all_ways(self) -> int:
        return self.ways + self.ways_before

    def add(self, item: "_Group") -> None:
        self.ways *= item.all_ways
        self.repeats |= item.repeats
        self.last = item

    def branch(self) -> None:
        self.ways_before, self.ways, self.last = self.all_ways, 1, None

    def repeat(self, low: int, high: int) -> None:
        item, self.last = self.last, None
        if item is None:
            raise NotLinear("a repeat of nothing")
        if high > MOST_REPEATS or high < low:
            raise NotLinear(f"a repeat is of at most {MOST_REPEATS}, the smaller number first")
        ways = item.all_ways
        if high > 1 and (ways > 1 or item.repeats):
            raise NotLinear("a repeat or a choice within a repeat is not allowed")
        self.ways = self.ways // ways * (ways + high - low)
        self.repeats = True


def _pattern(source: str) -> _Word:
    """Compile a pattern with its open repeats bounded. Raises NotLinear."""
    flags, body = (re.IGNORECASE, source[4:]) if source.startswith("(?i)") else (0, source)
    groups = [_Group()]
    bounded: list[str] = []
    literals = [""]
    for token in _TOKEN.finditer(body):
        text, literal = token.group(), ""
        match token.lastgroup:
            case "wrong":
                raise NotLinear(_WRONG[text])
            case "repeat":
                low, high = _bounds(token)
                groups[-1].repeat(low, high)
                literals[-1] = literals[-1][:-1]
                text = f"{{{low},{high}}}" + text.removeprefix(token["mark"])
            case "open":
                groups.append(_Group())
            case "close":
                if len(groups) == 1:
                    raise NotLinear("a ) without its (; a ) itself is written \\)")
                group = groups.pop()
                groups[-1].add(group)
            case "either":
                groups[-1].branch()
            case kind:
                if kind == "escape" and text[1].isdigit():
                    raise NotLinear("references back to a group are not allowed")
                groups[-1].add(_Group())
                if len(groups) == 1 and _is_literal(text):
                    literal = text[-1]
        # A literal goes on as long as the items are plain characters.
        literals[-1:] = [literals[-1] + literal] if literal else [literals[-1], ""]
        bounded.append(text)
    if len(groups) > 1:
        raise NotLinear("a ( without its ); a ( itself is written \\(")
    whole = groups[0]
    if whole.all_ways > MOST_WAYS:
        raise NotLinear(
            f"too many repeats of open length; * and + stand for up to {REACH} characters, "
            "so use one of them at most, or bounds such as {0,9}"
        )
    pattern = _compiled("".join(bounded), flags)
    if pattern.search(""):
        raise NotLinear("it matches everything")
    hint = "" if whole.ways_before else max(literals, key=len)
    return _Word(hint.lower(), pattern, plain=False)


def _is_literal(item: str) -> bool:
    """Does this item stand for one character that JSON does not escape?"""
    if item == "." or item[-1] in '"\\' or not item[-1].isprintable():
        return False
    return len(item) == 1 or (item[0] == "\\" and not item[1].isalnum())


def _bounds(token: re.Match[str]) -> tuple[int, int]:
    """How often a quantifier repeats: at least, at most."""
    match token["mark"]:
        case "?":
            return 0, 1
        case "*":
            return 0, REACH
        case "+":
            return 1, REACH
    low = int(token["low"])
    if token["to"] is None:
        return low, low
    return low, int(token["high"] or low + REACH)


def _compiled(source: str, flags: int) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(source, flags)
    except re.error as error:
        raise NotLinear(f"it is not a pattern: {error.msg}") from None
