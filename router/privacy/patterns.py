"""Finds the user's private words: plain words, and patterns that run in linear time.

A plain word is found in any case and spelling (NFKC, `ß` as `ss`), on word boundaries. `_` is a
boundary too, so `falcon` is found in `falcon_v2`. In scripts that do not separate words it is found
anywhere. A blank in it stands for up to 16 separators: blanks, line breaks, `_`, `-`, `.` and `+`.
Text with any of `\\ [ ] ( ) { } * + ? ^ $ |` is a pattern in Python's syntax, case-sensitive.
Patterns that could take more than linear time are refused.
"""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from router.privacy.normalize import normalize

REACH: Final = 64
"""Most characters that `*` and `+` match; this keeps a search linear."""
MOST_REPEATS: Final = 200
WAYS: Final = 16
"""Most ways in which a pattern may match from one place. A pattern that begins with plain text is
tried in fewer places, so it may have as many more for each different character of that text."""

_SPECIAL: Final = re.compile(r"[\\\[\](){}*+?^$|]")
_SEPARATOR: Final = re.compile(r"[\s_-]+")
_SEPARATORS: Final = r"[\s_.+-]{1,16}"
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
    """A pattern is wrong or could take too long. The message says why, without the pattern."""


@dataclass(frozen=True, slots=True)
class _Word:
    hint: str
    """Lower-case text that is part of every match; may be empty."""
    pattern: re.Pattern[str]
    plain: bool


class Words:
    """Finds the user's words in a text. Raises ValueError on a bad pattern."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words: list[_Word] = []
        for number, word in enumerate(words, 1):
            try:
                self._words.append(_pattern(word) if _SPECIAL.search(word) else _plain(word))
            except NotLinear as error:
                raise ValueError(f"PRIVATE_PATTERNS: entry {number}: {error}") from None

    def __bool__(self) -> bool:
        return bool(self._words)

    def find(self, text: str) -> Iterator[int]:
        """Yield the numbers, from 1, of the words that are in the text."""
        folded = _folded(text)
        for number, word in enumerate(self._words, 1):
            if word.hint in folded and word.pattern.search(folded if word.plain else text):
                yield number


def _folded(text: str) -> str:
    """Return the text in lower case and composed form."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text.casefold())


def _plain(word: str) -> _Word:
    parts = [part for part in _SEPARATOR.split(_folded(normalize(word))) if part]
    if not parts:
        raise NotLinear("it is empty")
    escaped = [re.escape(part) for part in parts]
    # Searching for a literal is fast, so it comes first, and the boundary before it is checked
    # afterwards.
    before = rf"(?<![^\W_]{escaped[0]})" if _has_edge(parts[0][0]) else ""
    after = r"(?![^\W_])" if _has_edge(parts[-1][-1]) else ""
    pattern = re.compile(
        escaped[0] + before + "".join(_SEPARATORS + part for part in escaped[1:]) + after
    )
    return _Word(max(parts, key=len), pattern, plain=True)


def _has_edge(character: str) -> bool:
    """Return whether a word must end here; only scripts with two cases mark that reliably."""
    return character.isdecimal() or character.lower() != character.upper()


@dataclass(slots=True)
class _Group:
    """The state of a group, or of the whole pattern, while it is read."""

    ways: int = 1
    """Ways in which the current branch can match from one place."""
    ways_before: int = 0
    """Ways in which the earlier branches can match."""
    repeats: bool = False
    last: "_Group | None" = None
    """The last item, which a quantifier may follow."""
    begin: int = 0
    """Index of its first item in `_Reader._written`."""

    @property
    def all_ways(self) -> int:
        return self.ways + self.ways_before

    def add(self, item: "_Group") -> None:
        self.ways *= item.all_ways
        self.repeats |= item.repeats
        self.last = item

    def branch(self) -> None:
        self.ways_before, self.ways, self.last = self.all_ways, 1, None

    def repeat(self, low: int, high: int) -> int:
        """Repeat the last item; return the factor on the number of ways."""
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
        return ways + high - low


def _pattern(source: str) -> _Word:
    """Return the compiled pattern, with bounds on its open repeats. Raises NotLinear."""
    is_any_case = source.startswith("(?i)")
    body = source[4:] if is_any_case else source
    reader = _Reader()
    for token in _TOKEN.finditer(body):
        reader.read(token)
    flags = re.DOTALL | (re.IGNORECASE if is_any_case else 0)
    pattern = _compiled(reader.written(), flags)
    if pattern.search(""):
        raise NotLinear("it matches everything")
    return _Word(_folded(reader.hint), pattern, plain=False)


class _Reader:
    """Reads a pattern token by token and writes one that is found in the same texts in linear time.

    For being found, the first and the last item of a branch need not repeat more often than their
    least number: `\\w+@` is searched for as `\\w@`, in a fraction of the time.
    """

    def __init__(self) -> None:
        self._groups = [_Group()]
        self._written: list[str] = []
        self._literals = [""]
        self._branch_at = 0
        """Index in `_written` of the current branch of the whole pattern."""
        self._last_repeat: tuple[int, int, int] | None = None
        """A repeat that may be the last item of its branch: its index, least number and ways."""

    @property
    def hint(self) -> str:
        """Return the longest text that is part of every match; may be empty."""
        return "" if self._groups[0].ways_before else max(self._literals, key=len)

    def read(self, token: re.Match[str]) -> None:
        """Read the next token. Raises NotLinear."""
        text, groups, literal = token.group(), self._groups, ""
        match token.lastgroup:
            case "wrong":
                raise NotLinear(_WRONG[text])
            case "repeat":
                self._literals[-1] = self._literals[-1][:-1]
                text = self._repeated(token)
            case "open":
                groups.append(_Group(begin=len(self._written)))
            case "close":
                if len(groups) == 1:
                    raise NotLinear("a ) without its (; a ) itself is written \\)")
                group = groups.pop()
                groups[-1].add(group)
            case "either":
                if len(groups) == 1:
                    self._end_branch()
                    self._branch_at = len(self._written) + 1
                groups[-1].branch()
            case kind:
                if kind == "escape" and text[1].isdigit():
                    raise NotLinear("references back to a group are not allowed")
                groups[-1].add(_Group(begin=len(self._written)))
                if len(groups) == 1 and _is_literal(text):
                    literal = text[-1]
        if token.lastgroup != "repeat":
            self._last_repeat = None
        # A literal goes on as long as the items are plain characters.
        self._literals[-1:] = (
            [self._literals[-1] + literal] if literal else [self._literals[-1], ""]
        )
        self._written.append(text)

    def written(self) -> str:
        """Return the whole pattern. Raises NotLinear if it could take too long."""
        if len(self._groups) > 1:
            raise NotLinear("a ( without its ); a ( itself is written \\(")
        self._end_branch()
        if self._groups[0].all_ways > WAYS * (1 + self._plain_start()):
            raise NotLinear(
                f"too many repeats of open length; * and + stand for up to {REACH} characters, "
                "so use bounds such as {0,9}, or begin with four plain characters and use one"
            )
        return "".join(self._written)

    def _plain_start(self) -> int:
        """Return the number of different plain characters it begins with; `\\b` counts as two."""
        if self._groups[0].ways_before:
            return 0
        written = [text for text in self._written if text]
        edge = written[:1] == [r"\b"]
        return 2 * edge + len(set(takewhile(_is_literal, written[edge:])))

    def _repeated(self, token: re.Match[str]) -> str:
        """Return the quantifier to write in place of this one."""
        low, high = _bounds(token)
        group = self._groups[-1]
        item = group.last
        ways = group.repeat(low, high)
        kind = token.group().removeprefix(token["mark"])
        if len(self._groups) > 1 or item is None or kind == "+":
            return f"{{{low},{high}}}{kind}"
        if item.begin > self._branch_at:
            self._last_repeat = (len(self._written), low, ways)
            return f"{{{low},{high}}}{kind}"
        group.ways //= ways
        if low == 0:
            del self._written[item.begin :]
            self._branch_at = item.begin + 1
            return ""
        return f"{{{low}}}"

    def _end_branch(self) -> None:
        if self._last_repeat is not None:
            at, low, ways = self._last_repeat
            self._written[at] = f"{{{low}}}"
            self._groups[0].ways //= ways
            self._last_repeat = None


def _is_literal(item: str) -> bool:
    """Return whether this item stands for one printable character."""
    if item == "." or not item[-1].isprintable():
        return False
    return len(item) == 1 or (item[0] == "\\" and not item[1].isalnum())


def _bounds(token: re.Match[str]) -> tuple[int, int]:
    """Return the least and the greatest number of a quantifier."""
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
