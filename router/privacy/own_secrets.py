"""Finds the user's secrets in a text, while keeping only four bytes and a keyed hash of each."""

import hashlib
import logging
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from router.privacy.key_shapes import places
from router.privacy.normalize import normalize
from router.privacy.runs import SHORTEST_RUN, Text, runs_in
from router.privacy.secret_files import SHORTEST_SECRET, read_values, secrets_of

log = logging.getLogger("router")

_SHORT_TEXT: Final = 2_000
_LONG_LINE: Final = 32
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_WORD_BREAK: Final = re.compile(r"\s|--")


@dataclass(frozen=True, slots=True)
class OwnSecret:
    """A secret that cannot be read back.

    `anchor` is four bytes of it, at `offset`; `digest` is the hash of all its `size` bytes.
    `in_run`: the anchor is within a run, so searching the runs is enough.
    """

    rule: str
    anchor: bytes
    offset: int
    size: int
    digest: bytes
    in_run: bool
    apart: bool
    """A short secret counts only if no letter or digit is next to it."""


class OwnSecrets:
    """Finds the user's own secrets in a text."""

    def __init__(self) -> None:
        self._hash_key = secrets.token_bytes(16)

    def hashed(self, rule: str, value: str) -> list[OwnSecret]:
        """Return the secret to look for, once for each spelling that `normalize` keeps apart.

        Of a value of several lines, such as a private key, each long line counts by itself too.
        """
        plain = normalize(value)
        spellings = {value, plain, plain.replace(" ", "+"), *_long_lines(plain)}
        return [
            self._hashed(rule, spelling.encode("utf-8", "surrogatepass")) for spelling in spellings
        ]

    def _hashed(self, rule: str, spelling: bytes) -> OwnSecret:
        runs, _ = runs_in(spelling)
        # Prefer a place in a run: runs are a small part of most texts.
        start, end = max(runs, key=lambda run: run[1] - run[0], default=(0, len(spelling)))
        offset = max(
            range(start, max(start + 1, end - 3)), key=lambda i: _rarity(spelling[i : i + 4])
        )
        anchor = spelling[offset : offset + 4]
        apart = len(spelling) < SHORTEST_SECRET
        digest = self._digest(spelling)
        # Runs leave out the digests of a list (runs_in), and this secret may be one.
        in_run = bool(runs) and bool(anchor.strip(_HEX_DIGITS))
        return OwnSecret(rule, anchor, offset, len(spelling), digest, in_run, apart)

    def find(self, read: Text, wanted: list[OwnSecret]) -> Iterator[tuple[str, int, int]]:
        """Yield rule, start and end of each wanted secret that is in the text."""
        if not wanted:
            return
        text, runs = read.data, read.runs
        in_runs = text
        if len(runs) * SHORTEST_RUN < len(text) / 8:  # otherwise nearly all of it is runs
            in_runs = b" ".join([text[start:end] for start, end in runs])
        for secret in wanted:
            if not _has(in_runs if secret.in_run else text, secret.anchor):
                continue
            for at in places(text, secret.anchor):
                start = at - secret.offset
                piece = text[start : start + secret.size] if start >= 0 else b""
                if self._digest(piece) == secret.digest and not (
                    secret.apart and _is_within_word(text, start, start + secret.size)
                ):
                    yield secret.rule, start, start + secret.size
                    break

    def _digest(self, piece: bytes) -> bytes:
        return hashlib.blake2b(piece, digest_size=16, key=self._hash_key).digest()


class SecretFile:
    """The secrets of one file, read again when it changes."""

    def __init__(self, path: Path, own: OwnSecrets) -> None:
        self.secrets: list[OwnSecret] = []
        self._path = path
        self._own = own
        self._seen: tuple[int, int] | None = None
        self._complaint = ""

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it was read.

        If that fails, the secrets that were read before stay.
        """
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return False
            values = read_values(self._path)
            self._seen = seen
        except FileNotFoundError:
            # A missing .env is normal: the settings may come from the environment.
            if self._path.name != ".env":
                self._complain("there is no such file")
            return False
        except (OSError, ValueError) as error:
            self._complain(f"it cannot be read ({type(error).__name__})")
            return False
        self._complaint = ""
        self.secrets = [
            secret
            for name, value in secrets_of(values)
            for secret in self._own.hashed(f"value of {name} in {self._path.name}", value)
        ]
        if not self.secrets and self._path.name != ".env":
            self._complain("it has no value of a variable that is named as a secret (like *_KEY)")
        return True

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("No secrets of %s are looked for: %s.", self._path, complaint)


def _long_lines(value: str) -> list[str]:
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) < 2:
        return []
    return [line for line in lines if len(line) >= _LONG_LINE and not _WORD_BREAK.search(line)]


def _rarity(piece: bytes) -> int:
    """Return how unlikely a piece is to be found in ordinary text."""
    return sum(0 if 97 <= byte <= 122 else 1 for byte in piece) + len(set(piece))


def _is_within_word(text: bytes, start: int, end: int) -> bool:
    return text[max(0, start - 1) : start].isalnum() or text[end : end + 1].isalnum()


def _has(text: bytes, piece: bytes) -> bool:
    # Searching for one byte is twenty times as fast, and often one of the four is missing.
    if len(text) > _SHORT_TEXT:
        for byte in piece:
            if byte not in text:
                return False
    return piece in text
