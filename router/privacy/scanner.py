"""What must not leave the machine: the user's own secrets, well-known keys, the user's words.

One scan over the JSON of a whole request, tool results included. Found are

- the router's own keys, and values of 16 characters or more of variables named *KEY, *TOKEN,
  *SECRET or *PASSWORD in the user's `.env` files, wherever in the text they stand; held as keyed
  hashes, so that no secret of a file is kept in memory for longer than it takes to read the file;
- keys of well-known shapes, where a word begins (keyshapes.py);
- the user's own words and patterns (words.py).

Written with JSON's escapes, in JSON within JSON, percent-encoded or in a terminal's colours they
are found too. Not found: what is in base64 or in hexadecimal, cut in pieces by line breaks or
spaces, or within the data of a picture or file (an unbroken run of 512 or more base64 characters),
which is skipped.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

import orjson
from dotenv import dotenv_values

from router.privacy.key_shapes import PEM, SHAPES, KeyShape
from router.privacy.patterns import Words

log = logging.getLogger("router")

SHORTEST_SECRET: Final = 16
MOST_KNOWN: Final = 5_000
"""Pieces of conversations that are remembered as clean, about."""
LOOK_AGAIN_S: Final = 2.0
"""How often the files are looked at for changes, at most."""

_NAMED_AS_SECRET: Final = re.compile(r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD)$")
_FILLER: Final = re.compile(
    r"\$\{?\w+\}?|<.*>|(.)\1{5,}.*|(?:your|change|replace|insert|enter|paste|put)[a-z_ -]*",
    re.IGNORECASE,
)
"""No secrets: a reference to another variable, `<your key>`, `xxxxxxxx`, `your-key-goes-here`."""

_TOKEN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_MASK: Final = bytes(ord("x") if byte in _TOKEN_BYTES else ord(" ") for byte in range(256))
_LONG: Final = b"x" * SHORTEST_SECRET
_DATA: Final = re.compile(rb"[A-Za-z0-9+/]{512,}+={0,2}")
_ESCAPE: Final = re.compile(rb"\\[u/]")
_COLOUR: Final = re.compile(rb"\\u001b\[[0-9;]{0,20}[mK]")
_SHORT: Final = 2_000
_BACKSLASH: Final = ord("\\")
_PERCENT: Final = ord("%")
_DOT: Final = ord(".")
_NESTED: Final = 3
"""JSON within JSON within JSON."""

Run = tuple[int, int]
"""Where a run of 16 or more letters, digits, `_` and `-` begins and ends: all that can be a key."""


@dataclass(frozen=True, slots=True)
class _Secret:
    """A secret that cannot be read back: where to look for it, and how to know it.

    `anchor` is four bytes of it, at `offset`; the hash is of its whole `size` bytes.
    """

    rule: str
    anchor: bytes
    offset: int
    size: int
    digest: bytes
    in_run: bool
    """The anchor is within a run, so that looking through the runs is enough."""


class PrivacyScanner:
    """Says whether a request must stay here, and by which rule. Raises ValueError on a bad pattern.

    `files`: `.env` files; one that does not exist (yet) is none. `patterns`: PRIVATE_PATTERNS.
    `keys`: the router's own by their names, for they need not come from a file.
    """

    def __init__(
        self,
        files: Iterable[str | Path] = (),
        patterns: Iterable[str] = (),
        *,
        keys: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words = Words(patterns)
        self._hash_key = secrets.token_bytes(16)
        self._files = [_SecretFile(Path(file).expanduser(), self._hash_key) for file in files]
        self._keys = [
            secret
            for name, value in (keys or {}).items()
            if _is_secret(value)
            for secret in _hashed(f"value of {name}", value, self._hash_key)
        ]
        self._clock = clock
        self._look_at = clock()
        self._clean: set[tuple[int, int]] = set()

    def scan_pieces(self, pieces: Iterable[bytes]) -> str | None:
        """`scan` of a request in pieces, each a JSON value that orjson has written.

        A conversation is sent again with each of its turns: a piece that was found clean is not
        searched again while the rules are the same. It is known by its size and hash; Python's
        hashes of bytes have a key that each process draws anew. The user's own patterns may span
        pieces, so with any of them all is searched.
        """
        if self._words:
            return self.scan(b" ".join(pieces), is_canonical=True)
        self._refresh()
        fresh = {
            key: piece for piece in pieces if (key := (len(piece), hash(piece))) not in self._clean
        }
        found = self._rule_broken(b" ".join(fresh.values())) if fresh else None
        if found is None:
            if len(self._clean) > MOST_KNOWN:
                self._clean.clear()
            self._clean.update(fresh)
        return found

    def scan(self, body: bytes, *, is_canonical: bool = False) -> str | None:
        """The name of the first rule that the JSON text breaks, never what broke it; else None.

        `is_canonical`: orjson has written it, which escapes only what must be.
        """
        self._refresh()
        return self._rule_broken(body if is_canonical else _canonical(body))

    def _rule_broken(self, body: bytes) -> str | None:
        body = _uncoloured(body)
        runs, data = _runs(body)
        return self._own_secret(body, runs) or _known_key(body, runs) or self._word(body, data)

    def _refresh(self) -> None:
        """Learn of secrets that have changed."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S
            for file in self._files:
                if file.refresh():
                    self._clean.clear()

    def _own_secret(self, body: bytes, runs: list[Run]) -> str | None:
        in_runs = body
        if len(runs) * SHORTEST_SECRET < len(body) / 8:  # else there is little but runs in it
            in_runs = b" ".join([body[start:end] for start, end in runs])
        for secrets_ in (*(file.secrets for file in self._files), self._keys):
            for secret in secrets_:
                text = in_runs if secret.in_run else body
                if _has(text, secret.anchor) and self._holds(body, secret):
                    return secret.rule
        return None

    def _holds(self, body: bytes, secret: _Secret) -> bool:
        for at in _places(body, secret.anchor):
            start = at - secret.offset
            piece = body[start : start + secret.size] if start >= 0 else b""
            if _digest(piece, self._hash_key) == secret.digest:
                return True
        return False

    def _word(self, body: bytes, data: list[Run]) -> str | None:
        if not self._words:
            return None
        text = b" ".join(_outside(body, data)).decode("utf-8", "replace")
        number = self._words.find(text)
        # By its number: the word itself would be as private in the log.
        return None if number is None else f"entry {number} of PRIVATE_PATTERNS"


class _SecretFile:
    """The secrets of one `.env` file, read again when it changes."""

    def __init__(self, path: Path, hash_key: bytes) -> None:
        self.secrets: list[_Secret] = []
        self._path = path
        self._hash_key = hash_key
        self._seen: tuple[int, int] | None = None
        self._complaint = ""

    def refresh(self) -> bool:
        """Read the file again if it has changed; True if it was read.

        On failure, what was known of it still counts.
        """
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return False
            if self._path.is_dir():
                raise IsADirectoryError
            values = dotenv_values(self._path, interpolate=False, encoding="utf-8")
            self._seen = seen
        except FileNotFoundError:
            # Without a .env the settings come from the environment: nothing is wrong.
            if self._path.name != ".env":
                self._complain("there is no such file")
            return False
        except (OSError, UnicodeDecodeError) as error:
            self._complain(f"it cannot be read ({type(error).__name__})")
            return False
        self._complaint = ""
        self.secrets = [
            secret
            for name, value in values.items()
            if value and _NAMED_AS_SECRET.search(name) and _is_secret(value)
            for secret in _hashed(f"value of {name} in {self._path.name}", value, self._hash_key)
        ]
        return True

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("No secrets of %s are looked for: %s.", self._path, complaint)


def _hashed(rule: str, value: str, hash_key: bytes) -> Iterator[_Secret]:
    for spelling in _spellings(value):
        runs, _ = _runs(spelling)
        # In a run if there is one: there are few of them in a text, and much else.
        start, end = max(runs, key=lambda run: run[1] - run[0], default=(0, len(spelling)))
        offset = max(range(start, end - 3), key=lambda i: _rarity(spelling[i : i + 4]))
        anchor = spelling[offset : offset + 4]
        digest = _digest(spelling, hash_key)
        yield _Secret(rule, anchor, offset, len(spelling), digest, bool(runs))


def _is_secret(value: str) -> bool:
    if len(value) < SHORTEST_SECRET or _FILLER.fullmatch(value):
        return False
    # `SSL_KEY=/etc/ssl/server.key` names a file; that name is in every listing of the folder.
    return not (value[0] in "/.~" and os.path.exists(os.path.expanduser(value)))


def _spellings(value: str) -> set[bytes]:
    """How a value is written: as it is, in an address, in JSON within JSON (arguments of tools)."""
    found: set[str] = set()
    level = {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1]}
    for _ in range(_NESTED):
        level = {orjson.dumps(spelling).decode()[1:-1] for spelling in level}
        found |= level
    return {spelling.encode() for spelling in found}


def _rarity(piece: bytes) -> int:
    """How unlikely a piece is to be found in ordinary text."""
    return sum(0 if 97 <= byte <= 122 else 1 for byte in piece) + len(set(piece))


def _digest(piece: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(piece, digest_size=16, key=key).digest()


def _canonical(body: bytes) -> bytes:
    """The same JSON with nothing escaped that need not be."""
    if _ESCAPE.search(body):
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.dumps(orjson.loads(body))
    return body


def _uncoloured(body: bytes) -> bytes:
    """Without a terminal's colours. A search that shows what it found colours a part of a word, so
    nothing is put in their place."""
    return _COLOUR.sub(b"", body) if _has(body, b"\\u001b[") else body


def _runs(body: bytes) -> tuple[list[Run], list[Run]]:
    """Where keys can be, and where the data of pictures and files is."""
    mask = body.translate(_MASK)
    find = mask.find
    runs: list[Run] = []
    data: list[Run] = []
    start = find(_LONG)
    while start >= 0:
        end = find(b" ", start + SHORTEST_SECRET)
        if end < 0:
            end = len(mask)
        elif body[end] in b"+/" and (match := _DATA.match(body, start)):
            end = match.end()
            data.append((start, end))
            start = find(_LONG, end)
            continue
        runs.append((start, end))
        start = find(_LONG, end)
    return runs, data


def _outside(body: bytes, gaps: list[Run]) -> Iterator[bytes]:
    done = 0
    for start, end in gaps:
        yield body[done:start]
        done = end
    yield body[done:]


def _has(text: bytes, piece: bytes) -> bool:
    # Looking for one byte is twenty times as fast, and of a random piece one is often missing.
    if len(text) > _SHORT:
        for byte in piece:
            if byte not in text:
                return False
    return piece in text


def _places(text: bytes, piece: bytes) -> Iterator[int]:
    at = text.find(piece)
    while at >= 0:
        yield at
        at = text.find(piece, at + 1)


Shapes = tuple[tuple[str, re.Pattern[bytes]], ...]


def _by_beginning(key: Callable[[KeyShape], str | None]) -> dict[bytes, Shapes]:
    table: defaultdict[bytes, Shapes] = defaultdict(tuple)
    for shape in SHAPES:
        if beginning := key(shape):
            table[beginning.encode()] += ((shape.name, re.compile(shape.pattern.encode())),)
    return dict(table)


# A key begins where a run does, but for those with a dot in their literal beginning.
_AT_RUN: Final = _by_beginning(lambda shape: None if "." in shape.start else shape.start[:3])
_FIRST: Final = frozenset(beginning[0] for beginning in _AT_RUN)
_BEFORE_RUN: Final = _by_beginning(lambda shape: shape.start if "." in shape.start else None)
_WORD_BEGINS: Final = re.compile(rb"(?:[^A-Za-z0-9_-]|\\[nrt]|%[0-9A-Fa-f]{2})\Z")
_PEM: Final = re.compile(PEM.pattern.encode())


def _known_key(body: bytes, runs: list[Run]) -> str | None:
    starts = [
        start for start, _ in runs if body[start] in _FIRST and body[start : start + 3] in _AT_RUN
    ]
    before = {body[start - 1] for start, _ in runs}
    # What is left of an escaped line break or a percent-encoded character is not part of the word.
    for mark, left in ((_BACKSLASH, 1), (_PERCENT, 2)):
        if mark in before:
            starts += [
                start + left
                for start, _ in runs
                if body[start + left] in _FIRST
                and body[start - 1] == mark
                and body[start + left : start + left + 3] in _AT_RUN
            ]
    for start in starts:
        for name, pattern in _AT_RUN[body[start : start + 3]]:
            if pattern.match(body, start):
                return name
    dotted = [start for start, _ in runs if body[start - 1] == _DOT] if _DOT in before else []
    for run in dotted:
        for beginning, shapes in _BEFORE_RUN.items():
            start = max(0, run - len(beginning))
            if not body.startswith(beginning, start):
                continue
            if _WORD_BEGINS.search(body, max(0, start - 3), start):
                for name, pattern in shapes:
                    if pattern.match(body, start):
                        return name
    if _has(body, b"PRIVATE KEY") and _PEM.search(body):
        return PEM.name
    return None
