"""Private marks of all routers: a conversation that one marks stays local on the others too.

The store has a set of alarms for each marked message, and for each alarm its rule, the id of its
finding, and whether the user has allowed it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

import orjson

from router.state.private_marks import MOST_ALARMS, Alarm, PrivateMarks
from router.state.shared import Store, Values

KEPT_S: Final = 30 * 86_400
"""How long a message is remembered as part of a private conversation."""
MARK: Final = b"mark:"
ALARM: Final = b"alarm:"
_ALARM_BYTES: Final = 4


class SharedMarks:
    """Passes marks on to the store, and takes over those of other routers.

    It passes them on once it is the listener of the marks; `renew` is for the store's `on_return`.
    """

    def __init__(self, store: Store, marks: PrivateMarks) -> None:
        self._store = store
        self._marks = marks
        self._allowed: dict[str, Alarm] = {}
        """Alarms that were allowed; their marks stay in the store until they expire."""

    def keys(self, digests: Sequence[bytes]) -> list[bytes]:
        """Return the keys to read for a conversation; `learn` takes their values."""
        marked = [MARK + digest for digest in digests]
        return marked + [ALARM + alarm.encode() for alarm in self._marks.alarms(digests)]

    async def learn(self, digests: Sequence[bytes], values: Values) -> None:
        """Take over the marks and alarms of a conversation. `values`: those of `keys`."""
        here = self._marks.alarms(digests)
        for value in values[len(digests) :]:
            self._know(value)
        found: dict[str, list[bytes]] = {alarm: [] for alarm in here if alarm in self._allowed}
        for digest, value in zip(digests, values, strict=False):
            for alarm in _members(value):
                found.setdefault(alarm, []).append(digest)
        new = [id for id in found if id not in self._allowed and self._marks.alarm(id) is None]
        if new:
            for value in await self._store.ask([ALARM + id.encode() for id in new]) or ():
                self._know(value)
        for id, marked in found.items():
            if (allowed := self._allowed.get(id)) is not None:
                if id in here:
                    self._marks.forget(id)
                self._marks.keep_allowed(marked, frozenset({allowed.finding}))
            else:
                self._marks.learn(marked, id)

    async def allow(self, id: str) -> bool:
        """Allow the finding of another router's alarm; False if there is no such alarm."""
        for value in await self._store.ask([ALARM + id.encode("utf-8", "replace")]) or ():
            self._know(value)
        alarm = self._marks.alarm(id)
        if alarm is not None:
            self.allowed(alarm)
        return alarm is not None

    def marked(self, digests: Iterable[bytes], alarm: str) -> None:
        for digest in digests:
            self._store.add_member(MARK + digest, bytes.fromhex(alarm), KEPT_S)

    def raised(self, alarm: Alarm) -> None:
        self._put(alarm, is_allowed=False)

    def allowed(self, alarm: Alarm) -> None:
        self._allow(alarm)
        self._put(alarm, is_allowed=True)

    def renew(self) -> None:
        """Write all marks that this router knows."""
        for id, digests in self._marks.by_alarm().items():
            self.marked(digests, id)
            if (alarm := self._marks.alarm(id)) is not None:
                self.raised(alarm)
        for alarm in [*self._allowed.values()]:
            self.allowed(alarm)

    def _put(self, alarm: Alarm, *, is_allowed: bool) -> None:
        value = orjson.dumps(asdict(alarm) | {"allowed": is_allowed})
        # An alarm that was allowed on another router stays allowed.
        self._store.put(ALARM + alarm.id.encode(), value, KEPT_S, only_new=not is_allowed)

    def _know(self, value: bytes | None) -> None:
        if value is None:
            return
        row = orjson.loads(value)
        alarm = Alarm(row["id"], row["finding"], row["rule"])
        self._marks.know(alarm)
        if row["allowed"]:
            self._allow(alarm)

    def _allow(self, alarm: Alarm) -> None:
        self._allowed[alarm.id] = alarm
        if len(self._allowed) > MOST_ALARMS:
            del self._allowed[next(iter(self._allowed))]


def _members(value: bytes | None) -> list[str]:
    """Return the alarms of a set as it is stored."""
    ids = value or b""
    return [ids[at : at + _ALARM_BYTES].hex() for at in range(0, len(ids), _ALARM_BYTES)]
