"""Finds private content in requests: the user's secrets, well-known keys, the user's words.

Each part of a request is scanned once: its text, with attachments decoded, as it is written, in
its plain spelling, decoded, and joined if it is cut in pieces (spellings.py). Found are the values
of the user's secret files and the router's own keys (own_secrets.py), keys of known formats
(key_shapes), values that are named as secrets (named_values.py), and the user's own words
(patterns.py). docs/privacy.md says what is not found.
"""

import asyncio
import hashlib
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import orjson

from router.privacy.key_shapes import keys_in
from router.privacy.named_values import values_in
from router.privacy.own_secrets import OwnSecrets, SecretFile
from router.privacy.patterns import Words
from router.privacy.runs import Run, Text
from router.privacy.secret_files import SHORTEST_SECRET, is_filler, is_secret
from router.privacy.spellings import Spellings, readings
from router.privacy.texts import text_in

log = logging.getLogger("router")

MOST_KNOWN: Final = 20_000
"""Pieces of conversations whose findings are remembered; those not seen for longest are forgotten.
One takes some 200 bytes, an agent's long conversation has hundreds."""
MOST_FINDINGS: Final = 100
"""Most findings with an id of their own in one piece."""
LOOK_AGAIN_S: Final = 2.0
"""Least time between two checks of the files for changes."""
LARGE_BYTES: Final = 16 * 1024
"""From this size on, new text of a request is scanned in a thread, which takes 0.1 ms more. In one
go it would take 0.1 ms for prose, and 20 ms for lines like `name_key=20 random characters`."""
SHORTEST_OWN_KEY: Final = 6
"""Of a key that is the router's alone; a shorter one would be found in ordinary text."""
_MADE_UP: Final = re.compile(r"ROUTER_API_KEY|.* in (?:LOCAL_BASE_URL|the address of .*)")
"""Keys that the user may have made up, which may be short."""
_SWALLOWS: Final = b"\\%"
"""Characters with which undoing an escape may remove a key's first letter, as in `C:\\npm_...`."""


_Key = tuple[int, int]
"""Size of a piece, negative if it is no text, and its hash. Python's hashes of text and bytes have
a key that each process draws anew."""
_Piece = tuple[str, str, Any]
"""Place, role and value."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that found private content, and the part of the request; never the content.

    `id` names this finding wherever it stands; it is short, and cannot be traced back.
    """

    rule: str
    id: str
    where: str = ""
    role: str = ""

    def __str__(self) -> str:
        role = f", role {self.role}" if self.role else ""
        return f"{self.rule} in {self.where}{role}, finding {self.id}"


class PrivacyScanner:
    """Finds what must stay here. Raises ValueError on a bad pattern.

    `files`: files with secrets; a `.env` that does not exist (yet) is none. `patterns`:
    PRIVATE_PATTERNS. `keys`: the router's own by their names, for they need not come from a file.
    `id_key`: the key of the findings' ids, random if not given; with that of another scanner a
    finding has the same id in both.
    """

    def __init__(
        self,
        files: Iterable[str | Path] = (),
        patterns: Iterable[str] = (),
        *,
        keys: Mapping[str, str] | None = None,
        id_key: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words = Words(patterns)
        self._own = OwnSecrets()
        self._files = [SecretFile(Path(file).expanduser(), self._own) for file in files]
        self._keys = [
            secret
            for name, value in (keys or {}).items()
            if _is_own_key(name, value)
            for secret in self._own.hashed(f"value of {name}", value)
        ]
        self._too_short = [
            name
            for name, value in (keys or {}).items()
            if _MADE_UP.fullmatch(name) and len(value) < SHORTEST_OWN_KEY
        ]
        self._id_key = id_key or secrets.token_bytes(16)
        self._clock = clock
        self._look_at = clock()
        self._refreshing = threading.Lock()
        self._known: OrderedDict[_Key, tuple[Finding, ...]] = OrderedDict()
        """Replaced when the rules change, so that a scan by earlier rules cannot get into it."""
        self._in_thread = asyncio.Lock()

    def start(self) -> None:
        """Read the files, and warn about what cannot be looked for."""
        self._refresh()
        for name in self._too_short:
            log.warning(
                "%s is too short to be looked for in requests: make it %d characters or more.",
                name,
                SHORTEST_OWN_KEY,
            )

    def findings(self, pieces: Iterable[_Piece]) -> Iterator[Finding]:
        """Find all that is private in a request, of which each piece is place, role and value.

        A conversation is sent again with each of its turns: a piece is scanned once while the
        rules are the same.
        """
        self._refresh()
        yield from self._findings((_key(piece[2]), piece) for piece in pieces)

    async def read(self, pieces: Iterable[_Piece]) -> list[Finding]:
        """Return the findings in a request. Large new text is scanned in a thread, so that other
        requests go on meanwhile.

        One thread at a time: threads that compute only take turns. If the caller leaves, its thread
        runs on to the end and the findings are kept, so that nothing is scanned again.
        """
        self._refresh()
        keyed = [(_key(piece[2]), piece) for piece in pieces]
        if self._large_new(keyed):
            await self._in_thread.acquire()
            if new := self._large_new(keyed):  # an equal request may have been scanned meanwhile
                await asyncio.shield(self._scan_ahead(new))
            else:
                self._in_thread.release()
            self._refresh()
        return list(self._findings(keyed))

    def _findings(self, keyed: Iterable[tuple[_Key, _Piece]]) -> Iterator[Finding]:
        for key, (where, role, value) in keyed:
            found = self._known.get(key)
            if found is None:
                found = tuple(self._scan(text_in(value)))
                self._learn(key, found)
            else:
                self._known.move_to_end(key)
            for finding in found:
                yield replace(finding, where=where, role=role)

    def _large_new(self, keyed: Iterable[tuple[_Key, _Piece]]) -> dict[_Key, Any]:
        """Return the pieces that were not scanned yet; none if they are small together."""
        new = {key: piece[2] for key, piece in keyed if key not in self._known}
        return new if sum([abs(size) for size, _ in new]) >= LARGE_BYTES else {}

    async def _scan_ahead(self, new: Mapping[_Key, Any]) -> None:
        """Scan in a thread and keep the findings. Frees the lock once the thread has ended."""
        try:
            known = self._known
            found = await asyncio.to_thread(self._scanned, new)
            if known is self._known:
                for key, findings in found.items():
                    self._learn(key, findings)
        finally:
            self._in_thread.release()

    def _scanned(self, new: Mapping[_Key, Any]) -> dict[_Key, tuple[Finding, ...]]:
        return {key: tuple(self._scan(text_in(value))) for key, value in new.items()}

    def _learn(self, key: _Key, found: tuple[Finding, ...]) -> None:
        self._known[key] = found
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def finding(self, rule: str, value: bytes) -> Finding:
        """Return the finding of a value, with the id that it has wherever it stands."""
        digest = hashlib.blake2b(value, digest_size=6, key=self._id_key, person=b"finding")
        return Finding(rule, digest.hexdigest())

    def scan(self, body: bytes) -> str | None:
        """Return the rule of the first finding in a JSON text, or in any other; None without."""
        self._refresh()
        try:
            text = text_in(orjson.loads(body))
        except orjson.JSONDecodeError:
            text = body.decode("utf-8", "replace")
        return next((finding.rule for finding in self._scan(text)), None)

    def _scan(self, text: str) -> Iterator[Finding]:
        """Yield the findings in a text, each value once."""
        seen: set[str] = set()
        for rule, value in self._matches(text):
            if len(seen) == MOST_FINDINGS:
                # Further findings get no id, so that they cannot be allowed one by one.
                yield Finding(rule, "")
                return
            finding = self.finding(rule, value)
            if finding.id not in seen:
                seen.add(finding.id)
                yield finding

    def _matches(self, text: str) -> Iterator[tuple[str, bytes]]:
        """Yield rule and value of each finding in the readings of a text and in the text itself."""
        spelled = Spellings.of(text)
        for read in readings(spelled.plain):
            yield from self._own_secrets(read)
            for found in chain(keys_in(read), values_in(read)):
                yield found.rule, read.data[found.start : found.end]
            yield from self._own_words(read)
        if spelled.written:
            read = Text.of(spelled.written)
            yield from self._own_secrets(read)
            swallowed = [run for run in read.likely if read.data[run[0] - 1] in _SWALLOWS]
            for found in keys_in(read._replace(likely=swallowed, near=b"")):
                yield found.rule, read.data[found.start : found.end]
            yield from self._own_words(read)

    def _own_secrets(self, text: Text) -> Iterator[tuple[str, bytes]]:
        wanted = [*chain.from_iterable(file.secrets for file in self._files), *self._keys]
        for rule, start, end in self._own.find(text, wanted):
            yield rule, text.data[start:end]

    def _own_words(self, text: Text) -> Iterator[tuple[str, bytes]]:
        if self._words:
            readable = b" ".join(_outside(text.data, text.gaps)).decode("utf-8", "replace")
            for number in self._words.find(readable):
                # By its number: the word itself would be as private in the log.
                rule = f"entry {number} of PRIVATE_PATTERNS"
                yield rule, rule.encode()

    def _refresh(self) -> None:
        """Learn of secrets that have changed."""
        with self._refreshing:  # the first request may come while `start` reads in its thread
            now = self._clock()
            if now >= self._look_at:
                for file in self._files:
                    if file.refresh():
                        self._known = OrderedDict()
                self._look_at = now + LOOK_AGAIN_S


def _key(value: Any) -> _Key:
    if isinstance(value, str):
        return len(value), hash(value)
    raw = orjson.dumps(value)
    return -len(raw), hash(raw)


def _is_own_key(name: str, value: str) -> bool:
    if _MADE_UP.fullmatch(name):
        return len(value) >= SHORTEST_OWN_KEY
    return len(value) >= SHORTEST_SECRET and is_secret(value) and not is_filler(value)


def _outside(text: bytes, gaps: list[Run]) -> Iterator[bytes]:
    done = 0
    for start, end in gaps:
        yield text[done:start]
        done = end
    yield text[done:]
