"""Marks of private conversations, and the findings that the user has allowed in them.

A mark is the digest of a message with the alarm that the message was part of. Marks are kept in a
file beside the journal, so that a restart forgets none: 16 bytes of digest and 4 of the alarm's id
each, nothing else. What was allowed is kept in memory only.

Several processes may use one file: each reads the marks of the others when it starts, and keeps
them when it writes the file anew. They agree on no more than that: a mark that one gives up at
the limit may be missing in the file although another still has it, and an alarm that was allowed
in one comes back when another, which has read its marks, writes the file anew.
"""

import logging
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from router.state.file_lock import locked

log = logging.getLogger("router")

MOST_MARKS: Final = 20_000
"""Digests that are kept; the ones that were not seen for longest are given up."""
MOST_ALARMS: Final = 2_000
MOST_ALARMS_EACH: Final = 8
"""Alarms that one message is marked with; a phrase may stand in more conversations than that."""
MORE: Final = "00000000"
"""Stands for all further alarms of a message. It cannot be allowed, so the message stays marked."""
_DIGEST_BYTES: Final = 16
_ALARM_BYTES: Final = 4
_MARK_BYTES: Final = _DIGEST_BYTES + _ALARM_BYTES


@dataclass(frozen=True, slots=True)
class Alarm:
    """A finding in one conversation. `finding` is the scanner's id of what was found."""

    id: str
    finding: str
    rule: str


class Listener(Protocol):
    """Is called with each change that was made here; `learn` and `know` are not such changes."""

    def marked(self, digests: Iterable[bytes], alarm: str) -> None:
        """Note that messages were marked."""
        ...

    def raised(self, alarm: Alarm) -> None:
        """Note a new alarm."""
        ...

    def allowed(self, alarm: Alarm) -> None:
        """Note that the user has allowed the finding of an alarm."""
        ...


class PrivateMarks:
    """The marks of all conversations. Disk is touched in a thread of its own."""

    def __init__(self, path: Path | None = None, limit: int = MOST_MARKS) -> None:
        self.listener: Listener | None = None
        self._path = path
        self._limit = limit
        self._marks: OrderedDict[bytes, frozenset[str]] = OrderedDict()
        self._allowed: OrderedDict[bytes, frozenset[str]] = OrderedDict()
        self._alarms: OrderedDict[str, Alarm] = OrderedDict()
        self._loading = threading.Lock()
        self._loaded = path is None
        self._writer = ThreadPoolExecutor(1, "private-marks") if path is not None else None
        self._complained = False
        self._unwritten: list[bytes] = []
        """What the thread will write, or could not. It is asked once for all that comes until it
        does so."""
        self._is_asked = False
        self._anew = False
        """Whether that replaces the file."""
        self._dropped: set[bytes] = set()
        """Marks that the file has and memory has not, and alarms without any: a file that is
        written anew lacks them. Other marks in it are those of other processes."""
        self._to_drop: set[bytes] = set()
        """Those that were handed over with marks to replace the file with."""
        self._dropping: set[bytes] = set()
        """Those that the thread has not taken out of the file yet."""
        self._handing_over = threading.Lock()
        self._kept = 0
        """Pairs of a message and an alarm in memory."""
        self._in_file = 0
        """Such pairs in the file."""

    def load(self) -> None:
        """Read the file, once; the first use does so if it was not called before."""
        with self._loading:
            if self._loaded or self._path is None:
                return
            try:
                raw = self._path.read_bytes()
            except FileNotFoundError:
                raw = b""
            except OSError as error:
                raw = b""
                self._complain(error)
            for mark in _split(raw):
                digest, alarm = mark[:_DIGEST_BYTES], mark[_DIGEST_BYTES:].hex()
                self._put(digest, alarm)
                self._in_file += 1
                if alarm not in self._marks[digest]:  # it is among MORE now
                    self._dropped.add(mark)
            self._loaded = True
            self._keep_short()

    @property
    def is_empty(self) -> bool:
        """Return whether no conversation is marked, nor anything allowed in one."""
        self.load()
        return not (self._marks or self._allowed)

    def alarms(self, digests: Sequence[bytes]) -> list[str]:
        """Return the alarms with which any of these messages is marked."""
        self.load()
        found = (alarm for digest in digests for alarm in self._marks.get(digest, ()))
        return list(dict.fromkeys(found))

    def allowed(self, digests: Sequence[bytes]) -> frozenset[str]:
        """Return the findings that the user has allowed in the conversation of these messages."""
        if not self._allowed:
            return frozenset()
        return frozenset().union(*(self._allowed.get(digest, ()) for digest in digests))

    def raise_alarm(self, digests: Sequence[bytes], finding: str, rule: str) -> Alarm:
        """Mark the messages; a finding that their conversation was marked with keeps its alarm."""
        known = (self._alarms.get(id) for id in self.alarms(digests))
        alarm = next((a for a in known if a is not None and a.finding == finding), None)
        if alarm is None:
            alarm = Alarm(secrets.token_hex(_ALARM_BYTES), finding, rule)
            self.know(alarm)
            if self.listener is not None:
                self.listener.raised(alarm)
        self.mark(digests, alarm.id)
        return alarm

    def mark(self, digests: Iterable[bytes], alarm: str) -> None:
        """Add messages to a conversation that an alarm was raised in."""
        fresh = self.learn(digests, alarm)
        if fresh and self.listener is not None:
            self.listener.marked(fresh, alarm)

    def learn(self, digests: Iterable[bytes], alarm: str) -> list[bytes]:
        """Keep marks without a call of the listener; return the messages that did not have them."""
        fresh = {digest: kept for digest in digests if (kept := self._put(digest, alarm))}
        if fresh:
            self._in_file += len(fresh)
            self._hand_over(b"".join(_mark(digest, kept) for digest, kept in fresh.items()))
            self._keep_short()
        return [*fresh]

    def know(self, alarm: Alarm) -> None:
        """Keep an alarm."""
        self._alarms[alarm.id] = alarm
        while len(self._alarms) > MOST_ALARMS:
            self._alarms.popitem(last=False)

    def alarm(self, id: str) -> Alarm | None:
        """Return an alarm; None if it is from before a restart."""
        return self._alarms.get(id)

    def by_alarm(self) -> dict[str, list[bytes]]:
        """Return all marked messages by their alarms."""
        self.load()
        found: dict[str, list[bytes]] = {}
        for digest, alarms in self._marks.items():
            for alarm in alarms:
                found.setdefault(alarm, []).append(digest)
        return found

    def rule(self, alarm: str) -> str:
        """Return the rule of an alarm; one from before a restart is not known any more."""
        known = self._alarms.get(alarm)
        return known.rule if known else "something private"

    def allow(self, alarm: str) -> bool:
        """Allow what an alarm was raised for, in its conversation; False if there is none such."""
        is_known = self.forget(alarm)
        known = self._alarms.get(alarm)
        if is_known and known is not None and self.listener is not None:
            self.listener.allowed(known)
        return is_known

    def forget(self, alarm: str) -> bool:
        """Take an alarm off its conversation, which may hold its finding from now on."""
        self.load()
        digests = [digest for digest, alarms in self._marks.items() if alarm in alarms]
        if not digests or alarm == MORE:
            return False
        self._kept -= len(digests)
        self._dropped.add(bytes.fromhex(alarm))
        for digest in digests:
            others = self._marks[digest] - {alarm}
            if others:
                self._marks[digest] = others
            else:
                del self._marks[digest]
        if (known := self._alarms.get(alarm)) is not None:
            self.keep_allowed(digests, frozenset({known.finding}))
        self._rewrite()
        return True

    def keep_allowed(self, digests: Iterable[bytes], findings: frozenset[str]) -> None:
        """Let the messages belong to a conversation in which these findings are allowed."""
        for digest in digests:
            self._allowed[digest] = self._allowed.get(digest, frozenset()) | findings
            self._allowed.move_to_end(digest)
        while len(self._allowed) > self._limit:
            self._allowed.popitem(last=False)

    def close(self) -> None:
        """Write what is left, also what could not be written before."""
        if self._writer is not None:
            with suppress(RuntimeError):  # it is closed already
                self._writer.submit(self._take_over)
            self._writer.shutdown()

    def _put(self, digest: bytes, alarm: str) -> str | None:
        """Keep a mark; return its alarm or MORE, None if it is not new."""
        before = self._marks.setdefault(digest, frozenset())
        self._marks.move_to_end(digest)
        if alarm not in before and len(before - {MORE}) >= MOST_ALARMS_EACH:
            alarm = MORE
        if alarm in before:
            return None
        self._marks[digest] = before | {alarm}
        self._kept += 1
        while len(self._marks) > self._limit:
            old, given_up = self._marks.popitem(last=False)
            self._kept -= len(given_up)
            if self._path is not None:
                self._dropped.update(_mark(old, one) for one in given_up)
        return alarm

    def _keep_short(self) -> None:
        """Write the file anew when half of it or more is no longer kept."""
        if self._in_file > 2 * max(self._kept, self._limit):
            self._rewrite()

    def _rewrite(self) -> None:
        kept = [_mark(digest, one) for digest, alarms in self._marks.items() for one in alarms]
        self._in_file = len(kept)
        self._hand_over(b"".join(kept), anew=True)

    def _hand_over(self, data: bytes, *, anew: bool = False) -> None:
        """Let the thread append the data, or replace the file."""
        if self._writer is None:
            return
        with self._handing_over:
            if anew:
                self._unwritten.clear()
                self._anew = True
                self._to_drop |= self._dropped
                self._dropped = set()
            self._unwritten.append(data)
            is_asked, self._is_asked = self._is_asked, True
        if not is_asked:
            self._writer.submit(self._take_over)

    def _take_over(self) -> None:
        """Write what was handed over; runs in the thread."""
        with self._handing_over:
            data, anew = b"".join(self._unwritten), self._anew
            self._dropping |= self._to_drop
            self._to_drop.clear()
            self._unwritten.clear()
            self._anew = self._is_asked = False
        if (data or anew) and not self._write(data, anew=anew):
            self._take_back(data, anew=anew)

    def _take_back(self, data: bytes, *, anew: bool) -> None:
        """Let what could not be written go with what comes next; runs in the thread."""
        with self._handing_over:
            if not self._anew:  # else the file is replaced by all that is known
                self._unwritten.insert(0, data)
                self._anew = anew

    def _write(self, data: bytes, *, anew: bool) -> bool:
        """Append to the file or replace it; False if that fails. Runs in the thread."""
        path = self._path
        assert path is not None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path):
                if anew:
                    self._replace(path, data)
                else:
                    _write_to(path, data, os.O_APPEND)
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _replace(self, path: Path, data: bytes) -> None:
        """Replace the file by these marks and those of other processes; runs in the thread."""
        own, dropped = set(_split(data)), self._dropping
        others = [
            mark
            for mark in dict.fromkeys(_split(path.read_bytes() if path.exists() else b""))
            if not (mark in own or mark in dropped or mark[_DIGEST_BYTES:] in dropped)
        ]
        new = path.with_name(f"{path.name}.new")
        _write_to(new, b"".join(others[-self._limit :]) + data, os.O_TRUNC)
        os.replace(new, path)
        dropped.clear()

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "Which conversations are private cannot be kept over a restart (%s: %s).",
                self._path,
                error.strerror,
            )


def _mark(digest: bytes, alarm: str) -> bytes:
    return digest + bytes.fromhex(alarm)


def _split(raw: bytes) -> Iterator[bytes]:
    """Yield the marks of a file, without one that was written in part."""
    for at in range(0, len(raw) - _MARK_BYTES + 1, _MARK_BYTES):
        yield raw[at : at + _MARK_BYTES]


def _write_to(path: Path, data: bytes, how: int) -> None:
    """Write to a file for its owner alone. `how`: O_APPEND or O_TRUNC."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600), "wb") as file:
        # A mark that was written in part, on a full disk, would shift all that follow.
        file.truncate(os.fstat(file.fileno()).st_size // _MARK_BYTES * _MARK_BYTES)
        file.write(data)
