"""The keys of a team: the sides and the daily budget of each member.

ROUTER_KEYS_FILE is a JSON list of members. It has digests of the keys, never a key, and is written
by `llm-router keys`. A running server reads it again when it changes.
"""

import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from env_file import replace_file
from router.backend import Target

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
SIDES: Final[tuple[Target, ...]] = ("local", "cloud")
KEY_PREFIX: Final = "lr-"
KEY_BYTES: Final = 32
RELOAD_S: Final = 1.0
"""Seconds after which the file is checked for changes again."""

log = logging.getLogger("router")


class BadKeysFile(Exception):
    """The file cannot be used; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the team. `sha256`: the digest of the key, in hexadecimal."""

    name: str
    sha256: str
    budget_usd_per_day: float | None = None
    """Most USD a day for the cloud; None: no limit for this member."""
    sides: tuple[Target, ...] = SIDES
    created: str = ""
    """The day of creation, as YYYY-MM-DD."""

    def refusal(self, side: Target) -> str:
        """Return why this member may not use a side; "" if it may."""
        return "" if side in self.sides else f"The key of {self.name} is not for the {side} side."


class Team:
    """Finds the member of a key. `clock` is in seconds of any steady clock."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file. Raises BadKeysFile."""
        self._path = path
        self._clock = clock
        self._stamp = _stamp(path)
        self._members = {member.sha256: member for member in read(path)}
        self._looked_at = clock()

    @property
    def members(self) -> list[Member]:
        """Return the members in the order of the file."""
        self._refresh()
        return list(self._members.values())

    def member(self, key: str) -> Member | None:
        """Return the member with this key; None for an unknown key."""
        self._refresh()
        return self._members.get(digest(key))

    def _refresh(self) -> None:
        """Read the file again if it has changed. If it cannot be read, the members stay."""
        now = self._clock()
        if now - self._looked_at < RELOAD_S:
            return
        self._looked_at = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._members = {member.sha256: member for member in read(self._path)}
        except BadKeysFile as error:
            log.warning("%s Until then the keys stay as they were.", error)
        else:
            log.info("%s was read again: %d keys", self._path, len(self._members))


def digest(key: str) -> str:
    """Return the digest of a key for the file. Keys are random, so it needs no salt."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read(path: Path) -> list[Member]:
    """Return the members that the file lists. Raises BadKeysFile."""
    fix = f"Write it with: llm-router keys add NAME --file {path}"
    try:
        rows = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadKeysFile(f"ROUTER_KEYS_FILE={path}: there is no such file. {fix}") from None
    except OSError as error:
        raise BadKeysFile(f"ROUTER_KEYS_FILE={path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise BadKeysFile(f"ROUTER_KEYS_FILE={path} is not JSON in UTF-8. {fix}") from None
    if not isinstance(rows, list):
        raise BadKeysFile(f"ROUTER_KEYS_FILE={path} is not a list of keys. {fix}")
    members = [_member(row, f"ROUTER_KEYS_FILE={path}, key {i}") for i, row in enumerate(rows, 1)]
    names = [member.name for member in members]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise BadKeysFile(f"ROUTER_KEYS_FILE={path}: {twice} comes twice. Remove one of them.")
    return members


def add(path: Path, name: str, *, budget_usd_per_day: float | None, sides: Iterable[Target]) -> str:
    """Add a member and return the new key, which is not stored. Raises BadKeysFile."""
    members = read(path) if path.exists() else []
    if any(member.name == name for member in members):
        raise BadKeysFile(f"{name} has a key. Revoke it first: llm-router keys revoke {name}")
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    row = {"name": name, "sha256": digest(key), "budget_usd_per_day": budget_usd_per_day}
    today = date.today().isoformat()
    new = _member(row | {"sides": [*sides], "created": today}, f"{name}'s key")
    _write(path, [*members, new])
    return key


def revoke(path: Path, name: str) -> None:
    """Remove a member. Raises BadKeysFile."""
    members = read(path)
    left = [member for member in members if member.name != name]
    if len(left) == len(members):
        raise BadKeysFile(f"{name} has no key in {path}. See: llm-router keys list")
    _write(path, left)


def _member(row: Any, where: str) -> Member:
    """Return the member of a row. Raises BadKeysFile, which names the first wrong field."""
    if not isinstance(row, dict):
        raise BadKeysFile(f"{where}: must be an object.")
    unknown = row.keys() - {"name", "sha256", "budget_usd_per_day", "sides", "created"}
    name, sha256 = row.get("name"), row.get("sha256")
    budget, sides = row.get("budget_usd_per_day"), row.get("sides", [*SIDES])
    if not isinstance(name, str) or not NAME.fullmatch(name):
        rule = "name must be 1 to 64 of A-Z a-z 0-9 _ . @ - and begin with a letter or a digit"
    elif not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        rule = "sha256 must be 64 hexadecimal digits"
    elif budget is not None and (type(budget) not in (int, float) or not 0 <= budget < 1e9):
        rule = "budget_usd_per_day must be an amount from 0, or null"
    elif not isinstance(sides, list) or not sides or any(side not in SIDES for side in sides):
        rule = "sides must be a list with local, cloud or both"
    elif unknown:
        rule = f"{min(unknown)} is no field of a key"
    else:
        return Member(name, sha256, budget, tuple(sides), str(row.get("created", "")))
    raise BadKeysFile(f"{where}: {rule}.")


def _write(path: Path, members: list[Member]) -> None:
    """Replace the file. Raises BadKeysFile."""
    text = json.dumps([asdict(member) for member in members], indent=1) + "\n"
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise BadKeysFile(f"{path} cannot be written: {error.strerror}.") from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return a value that changes with the file: time, size and inode; None without a file."""
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino
