"""Finds well-known keys in a text, by tables with one row for each format.

The tables serve both what must stay on this machine and what must not be logged.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from router.privacy.key_shapes.ai import AI
from router.privacy.key_shapes.clouds import CLOUDS
from router.privacy.key_shapes.code import CODE
from router.privacy.key_shapes.services import SERVICES
from router.privacy.key_shapes.shape import KeyShape
from router.privacy.randomness import is_placeholder, looks_like_key
from router.privacy.runs import SHORTEST_RUN, Text

__all__ = ["SHAPES", "Found", "KeyShape", "keys_in", "places"]

SHAPES: Final[tuple[KeyShape, ...]] = (*AI, *CLOUDS, *CODE, *SERVICES)


class Found(NamedTuple):
    """A key in a text, by its rule's name."""

    rule: str
    start: int
    end: int


class _Search(NamedTuple):
    """The search for one shape."""

    shape: KeyShape
    anchor: bytes
    pattern: re.Pattern[bytes]
    before: re.Pattern[bytes] | None
    lead: int
    """Characters of the anchor before the run in which it is."""
    to_mark: int
    """Characters of it up to its last `_` or `-`."""
    to_dot: int
    behind: bytes
    """A pattern of what stands behind the anchor, at its least length."""


_Table = dict[bytes, list[_Search]]
_LEAD: Final = re.compile(r":?")
_BEHIND_MARK: Final = 10
_MARK_IN_RUN: Final = re.compile(r"[_-][A-Za-z0-9]*\Z")
_ALONE: Final = frozenset({"_mmk", "-us", "_gitlab_session=", "1//0", "hf_", "api_org_"})
"""Anchors that are looked for by themselves, since no run begins or ends with them."""
_ANYWHERE: Final = (b"hooks.", b"CONTRIBSYS__COM=")
"""Parts of anchors of keys that may have no likely run near them."""
_GATES: Final = (*_ANYWHERE, b"hook", b"Key=", b"~", b"pscale_", b"snyk_", b"klarna_", b"+A", b"Az")
"""A part that several anchors share: a text without it is searched for none of them."""


def _way(shape: KeyShape) -> str:
    """Return the cheapest way to look for a shape's anchor.

    mark: by its last `_` or `-`, anywhere in a run. start: by its first letters, where a run
    begins. dot: by what stands before its last dot, where a run follows. end: by the one character
    behind a run. other: as it is.
    """
    anchor = shape.anchor
    if len(anchor) == 1 and shape.before and not anchor.isalnum():
        return "end"
    if anchor in _ALONE or shape.is_broken or shape.run < SHORTEST_RUN:
        return "other"
    if len(_to_mark(shape)) > 2 and not shape.before and _MARK_IN_RUN.search(anchor):
        return "mark" if shape.run - len(anchor) >= _BEHIND_MARK else "other"
    begins_run = not shape.before or not anchor[0].isalnum()
    if begins_run and re.fullmatch(r"[A-Za-z0-9]+", _in_run(shape)):
        return "start"
    return "dot" if re.fullmatch(r".*\.[A-Za-z]*", anchor) else "other"


def _to_mark(shape: KeyShape) -> str:
    """Return the anchor up to its last `_` or `-`."""
    return re.sub(r"[^_-]*\Z", "", shape.anchor)


def _to_dot(shape: KeyShape) -> str:
    return re.sub(r"[^.]*\Z", "", shape.anchor)


def _in_run(shape: KeyShape) -> str:
    """Return the anchor as far as it is within a run."""
    return _LEAD.sub("", shape.anchor, count=1)


def _table(way: str, anchor: Callable[[KeyShape], str], key: slice) -> _Table:
    table: defaultdict[bytes, list[_Search]] = defaultdict(list)
    for shape in SHAPES:
        if _way(shape) == way:
            before = re.compile(rb"%b\Z" % shape.before.encode()) if shape.before else None
            pattern = re.compile(shape.pattern.encode())
            lead = len(shape.anchor) - len(_in_run(shape))
            to_mark, to_dot = len(_to_mark(shape)), len(_to_dot(shape))
            search = _Search(
                shape,
                shape.anchor.encode(),
                pattern,
                before,
                lead,
                to_mark,
                to_dot,
                shape.behind.encode(),
            )
            table[anchor(shape).encode()[key]].append(search)
    return dict(table)


def _places_of(anchor: bytes) -> re.Pattern[bytes]:
    """Return a pattern for an anchor before a character that may follow it."""
    behind = [search.behind for search in _BY_ANCHOR[anchor]]
    return re.compile(rb"%b(?=%b)" % (re.escape(anchor), b"|".join(behind)))


_BY_MARK: Final = _table("mark", _to_mark, slice(-3, None))
_BY_START: Final = _table("start", _in_run, slice(3))
"""By three characters, or the one or two that there are."""
_BY_DOT: Final = _table("dot", _to_dot, slice(-3, None))
_BY_END: Final = _table("end", lambda shape: shape.anchor, slice(None))
_BY_ANCHOR: Final = _table("other", lambda shape: shape.anchor, slice(None))
_GATED: Final = {
    gate: [
        (_places_of(anchor), _BY_ANCHOR[anchor])
        for anchor in _BY_ANCHOR
        if gate == next((gate for gate in _GATES if gate in anchor), anchor)
    ]
    for gate in (*_GATES, *(a for a in _BY_ANCHOR if not any(gate in a for gate in _GATES)))
}
_SHORT: Final = frozenset(start[0] for start in _BY_START if len(start) < 3)
_INSIDE: Final = re.compile(rb"[_-](?=[A-Za-z0-9_-]{%d})" % _BEHIND_MARK)
_DIGEST: Final = re.compile(rb"sha(?:256|384|512)[=-][A-Za-z0-9+/_-]{0,90}\Z")
"""Of a file; lists of files have thousands of them, in which anything may stand."""
_DOT: Final = ord(".")
_JUDGED: Final = 64
"""Characters of a key that are checked for randomness."""


def keys_in(text: Text) -> Iterator[Found]:
    """Find the well-known keys of a text."""
    return _Finder(text.data).keys(text)


class _Finder:
    """Looks through one text."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._no_key_until: dict[KeyShape, int] = {}

    def keys(self, where: Text) -> Iterator[Found]:
        text, find_mark = self._text, where.kinds.find
        for start, end in where.likely:
            if text[start : start + 3] in _BY_START or text[start] in _SHORT:
                yield from self._starting(start)
            if start and text[start - 1] == _DOT:
                for size in (3, 2):
                    for search in _BY_DOT.get(text[max(0, start - size) : start], ()):
                        yield from self._at(start - search.to_dot, search)
            if find_mark(b"-", start, end) >= 0:
                yield from self._inside(start, end)
        for _, end in where.uneven:
            for search in _BY_END.get(text[end : end + 1], ()):
                yield from self._at(end, search)
        for gate, anchors in _GATED.items():
            if gate in (text if gate in _ANYWHERE else where.near):
                for pattern, searches in anchors:
                    for place in pattern.finditer(text):
                        for search in searches:
                            yield from self._at(place.start(), search)

    def _inside(self, start: int, end: int) -> Iterator[Found]:
        """Find keys whose anchor ends at a `_` or `-`, or begins behind one, as in `-pKEY`."""
        text = self._text
        for mark in _INSIDE.finditer(text, start, end):
            at = mark.end()
            for search in _BY_MARK.get(text[at - 3 : at], ()):
                yield from self._at(at - search.to_mark, search)
            for begin in (at, at + 1) if at == start + 1 else (at,):
                if text[begin : begin + 3] in _BY_START or text[begin] in _SHORT:
                    yield from self._starting(begin)

    def _starting(self, at: int) -> Iterator[Found]:
        text = self._text
        for size in (3, 2, 1):
            for search in _BY_START.get(text[at : at + size], ()):
                yield from self._at(at - search.lead, search)

    def _at(self, at: int, search: _Search) -> Iterator[Found]:
        """Find the key whose anchor is here, if there is one."""
        text, shape = self._text, search.shape
        if (
            at < 0
            or at < self._no_key_until.get(shape, 0)
            or not text.startswith(search.anchor, at)
        ):
            return
        if not (shape.inside or search.before or _begins(text, at)):
            return
        if _DIGEST.search(text, max(0, at - 100), at):
            return
        found = search.pattern.match(text, at)
        if found is None:
            return
        start, tail = at, at + len(search.anchor)
        if search.before is not None:
            before = search.before.search(text, max(0, at - shape.reach_back), at)
            if before is None:
                return
            start = before.start()
        judged = text[start:at] + text[tail : min(found.end(), tail + _JUDGED)]
        if shape.may_be_word and not looks_like_key(judged, may_be_name=shape.may_be_name):
            if len(judged) == _JUDGED:
                # A key that began in the first half of it would have made it random.
                self._no_key_until[shape] = at + _JUDGED // 2
            return
        if not is_placeholder(text[tail : found.end()].decode("latin-1")):
            yield Found(shape.name, start, found.end())


def _begins(text: bytes, at: int) -> bool:
    """Return whether a word begins here, or an option's value as in `-pKEY`, or an escape ends."""
    if at == 0 or not text[at - 1 : at].isalnum():
        return True
    return text[at - 1 : at].isalpha() and text[at - 2 : at - 1] in (b"-", b"\\")


def places(text: bytes, piece: bytes) -> Iterator[int]:
    at = text.find(piece)
    while at >= 0:
        yield at
        at = text.find(piece, at + 1)
