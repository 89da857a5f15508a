"""The journal: keeps every decision and its outcome, without making a request wait.

`add()` appends to a queue, and a thread commits it to the store within 200 ms: a file, or a
database. While the store fails, one warning says so, the last BACKLOG records wait, and writing is
tried again.
"""

import hashlib
import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import platformdirs

from router.telemetry.journal_file import JournalFile
from router.telemetry.journal_store import JournalStore, StoreError, Unstorable
from router.telemetry.record import Attempt, Feedback, Outcome, Record
from router.telemetry.spending import Spending, day_of
from router.telemetry.wanted import EVERYTHING, Wanted

__all__ = ["Attempt", "Feedback", "Journal", "Outcome", "Record", "journal_path"]

log = logging.getLogger("router.journal")

BATCH_S: Final = 0.1
"""How often the thread looks for records, while there are any."""
AWAKE_S: Final = 2.0
"""How long it goes on looking after the last record."""
LOOK_S: Final = 15.0
"""Greatest age of the figure for what other processes have spent."""
CLOSE_S: Final = 5.0
"""Longest wait for the last rows when the journal closes."""
TIDY_S: Final = 3600.0
MEMORY: Final = 500
"""Records kept in memory."""
BACKLOG: Final = 5_000
"""Most records that wait while the store fails; beyond it the oldest are dropped."""
REPEAT_S: Final = 600.0
"""The same question asked of the cloud within this time counts as a bad local answer."""
PROMPT_CHARS: Final = 20_000
"""Only this beginning of a longer prompt is kept."""
DAY_S: Final = 86_400


def journal_path(setting: str | None) -> Path | None:
    """Return the journal's file: JOURNAL_PATH, else in the data folder; None for `off`."""
    if setting is None:
        return platformdirs.user_data_path("llm-router", appauthor=False) / "journal.db"
    return None if setting == "off" else Path(setting).expanduser()


class Verdict(NamedTuple):
    """Feedback on a request, which may be stored already."""

    feedback: Feedback
    source: str
    time: float
    id: str


class Journal:
    """Keeps the records of ended requests, and finds them again.

    `add`, `spent_today_usd` and `hashed` are for the event loop. What reads the store (`recent`,
    `find`, `feedback`, `store.rows`) takes milliseconds and may be called from any thread.
    """

    def __init__(
        self,
        store: JournalStore | None = None,
        days: int = 90,
        prompts: bool = False,
        clock: Callable[[], float] = time.time,
        replica: str = "",
    ) -> None:
        """Take the store; open nothing.

        `store`: None keeps rows in memory. `days`: how long a row is kept. `replica`: this router's
        name in its rows.
        """
        self.store: JournalStore = store or JournalFile(None)
        self.prompts = prompts
        """Whether prompt texts are kept."""
        self.trouble = ""
        """Why rows cannot be written, in one sentence; empty while they can."""
        self.dropped = 0
        """Rows that were lost because too many waited for the store."""
        self._days = days
        self._clock = clock
        self._replica = replica
        self._salt = secrets.token_bytes(16)
        self._recent: deque[Record] = deque(maxlen=MEMORY)
        self._asked: dict[str, Record] = {}
        self._spending = Spending(clock())
        self._queue: queue.SimpleQueue[Record | Verdict | threading.Event] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._dozing = False
        self._closing = False
        self._dropping = False
        self._looked = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ending = threading.Lock()

    def add(self, record: Record) -> None:
        """Keep a record. Costs microseconds; a failing store raises nothing here."""
        record.replica = self._replica
        if record.private or not self.prompts:
            record.prompt = None
        elif record.prompt is not None:
            record.prompt = record.prompt[:PROMPT_CHARS]
        self._spending.add(record, self._clock())
        if record.question:
            self._notice_repeat(record)
        self._recent.append(record)
        self._tell(record)

    def hashed(self, text: str) -> str:
        """Return a short hash of a text, with a key that only this process has."""
        raw = text.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(raw, key=self._salt, digest_size=8).hexdigest()

    def feedback(self, request_id: str, feedback: Feedback, source: str = "caller") -> bool:
        """Note how good an answer was. False when there is no such request."""
        record = self._remembered(request_id)
        if record is not None:
            self._judge(record, feedback, source)
            return True
        try:
            found = self.store.rows(self.store.sql.times_of, request_id)
        except StoreError:
            return False
        for (at,) in found:
            self._tell(Verdict(feedback, source, at, request_id))
        return bool(found)

    def find(self, request_id: str) -> Record | None:
        """Return a request's record, None if there is none."""
        record = self._remembered(request_id)
        if record is not None:
            return record
        try:
            return self.store.find(request_id)
        except StoreError:
            return None

    def recent(self, n: int = 50, wanted: Wanted = EVERYTHING) -> list[Record]:
        """Return the last `n` wanted records, newest first, including those not yet stored.

        Feedback that another process has stored counts.
        """
        found = {record.id: record for record in [*filter(wanted.has, list(self._recent))][-n:]}
        try:
            for record in self.store.recent(n, wanted):
                if (ours := found.get(record.id)) is None or ours.feedback is None:
                    found[record.id] = record
        except StoreError:
            pass
        return sorted(found.values(), key=lambda record: record.time, reverse=True)[:n]

    def spent_today_usd(self, caller: str | None = None) -> float:
        """Return what the cloud has cost since local midnight, other processes included.

        `caller`: only what this member of a team has spent.
        """
        if not self._looked.is_set():  # once, for what was spent before this process began
            if self._thread is None:
                self._start()
            self._looked.wait(timeout=1)
            self._looked.set()  # a store that hangs costs this second once
        return self._spending.today_usd(self._clock(), caller)

    def flush(self, timeout_s: float = 5) -> bool:
        """Wait until everything added so far is written or has failed; False after a timeout."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._queue.put(done)
        self._hurry.set()
        self._keep_running()
        return done.wait(timeout_s)

    def close(self) -> None:
        """Write the rest, also what comes meanwhile, and close the store."""
        with self._ending:  # several threads may close it
            while self._end_thread() and not self._queue.empty():
                self._start()
            self.store.close()

    def _end_thread(self) -> bool:
        """Let the thread write the rest and end; False if that takes too long."""
        if (thread := self._thread) is None:
            return True
        self._closing = True
        self._hurry.set()
        thread.join(CLOSE_S)
        has_ended = not thread.is_alive()
        with self._starting:
            self._closing = False  # before `add` may start another thread
            if has_ended:
                self._thread = None
        return has_ended

    def _remembered(self, request_id: str) -> Record | None:
        return next((r for r in reversed(list(self._recent)) if r.id == request_id), None)

    def _notice_repeat(self, record: Record) -> None:
        earlier = self._asked.pop(record.question, None)
        if record.target == "local" and not record.forced:
            self._asked[record.question] = record
            if len(self._asked) > MEMORY:
                del self._asked[next(iter(self._asked))]
        elif (
            record.forced
            and record.target == "cloud"
            and earlier is not None
            and earlier.feedback is None
            and record.time - earlier.time < REPEAT_S
        ):
            self._judge(earlier, "bad", "repeat")

    def _judge(self, record: Record, feedback: Feedback, source: str) -> None:
        record.feedback, record.feedback_source = feedback, source
        self._tell(Verdict(feedback, source, record.time, record.id))

    def _tell(self, entry: Record | Verdict) -> None:
        if self._queue.qsize() >= BACKLOG:  # the thread waits for the store
            self._drop_oldest()
        self._queue.put(entry)
        if self._dozing:
            self._hurry.set()
        self._keep_running()

    def _keep_running(self) -> None:
        """Start the thread if it does not run; `close` does so for what comes meanwhile."""
        if self._thread is None or not (self._thread.is_alive() or self._closing):
            self._start()

    def _drop_oldest(self) -> None:
        try:
            oldest = self._queue.get_nowait()
        except queue.Empty:  # the thread has just taken all
            return
        if isinstance(oldest, threading.Event):
            self._queue.put(oldest)
        else:
            self._count_dropped(1)

    def _count_dropped(self, count: int) -> None:
        if not self._dropping:
            self._dropping = True
            log.warning("%d rows wait to be written: the oldest are dropped from now on.", BACKLOG)
        self.dropped += count

    def _start(self) -> None:
        with self._starting:  # feedback comes from other threads
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._write, name="journal", daemon=True)
                thread.start()
                self._thread = thread

    def _write(self) -> None:
        """Commit records, and delete old ones every hour, until the journal closes.

        Runs in the thread.
        """
        backlog: deque[Record | Verdict] = deque()
        self._look()
        now = came_at = looked = tidy_at = time.monotonic()
        retry_at = 0.0
        closing = False
        while not closing or not self._queue.empty():
            closing = self._closing  # one round more, which tries to write all that waits
            if not closing:
                self._rest(doze=not backlog and now < tidy_at and now - came_at > AWAKE_S)
            waiting = self._gather(backlog)
            now = time.monotonic()
            came_at = now if backlog else came_at
            if backlog and (now >= retry_at or closing):
                retry_at = 0.0 if self._committed(backlog) else now + self.store.retry_s
            if now - looked >= LOOK_S:
                looked = now
                self._look()
            if now >= tidy_at and not retry_at and self._forget():
                tidy_at = now + TIDY_S
            for done in waiting:
                done.set()
        if backlog:
            log.warning("The last %d rows of the journal are lost.", len(backlog))

    def _rest(self, *, doze: bool) -> None:
        """Wait for the next round. With `doze`, until an entry comes or LOOK_S have passed."""
        # Waking for each record would take the interpreter just when the caller's next request
        # comes.
        self._dozing = doze
        self._hurry.wait(LOOK_S if doze and self._queue.empty() else BATCH_S)
        self._dozing = False
        self._hurry.clear()

    def _gather(self, backlog: deque[Record | Verdict]) -> list[threading.Event]:
        """Move queued entries to the backlog; returns the events of waiting flushes."""
        waiting: list[threading.Event] = []
        while True:
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(entry, threading.Event):
                waiting.append(entry)
            else:
                backlog.append(entry)
        if (excess := len(backlog) - BACKLOG) > 0:
            for _ in range(excess):
                backlog.popleft()
            self._count_dropped(excess)
        return waiting

    def _committed(self, backlog: deque[Record | Verdict]) -> bool:
        """Write the backlog and empty it; on failure False, and what is left waits."""
        records = [entry for entry in backlog if isinstance(entry, Record)]
        try:
            self.store.write(records, [entry for entry in backlog if isinstance(entry, Verdict)])
        except Unstorable as error:
            if len(backlog) > 1:
                return self._committed_singly(backlog)
            log.warning("A record cannot be journalled: %s", error)
            backlog.clear()
            return True
        except StoreError as error:
            self._complain(error)
            return False
        if self.trouble or self._dropping:
            lost = f"; {self.dropped} rows were dropped" if self._dropping else ""
            log.warning("The journal is written again: %s%s", self.store.place, lost)
            self.trouble = ""
            self._dropping = False
        backlog.clear()
        self._spending.written(records)
        return True

    def _committed_singly(self, backlog: deque[Record | Verdict]) -> bool:
        """Write entry by entry, to find those that cannot be stored."""
        while backlog:
            if not self._committed(deque([backlog[0]])):
                return False
            backlog.popleft()
        return True

    def _look(self) -> None:
        """Read what was spent today; on failure the last figure stays."""
        try:
            if self.store.place:
                now = self._clock()
                rows = self.store.rows(self.store.sql.spent, day_of(now)[0])
                self._spending.seen(rows, now)
        except StoreError:
            pass
        finally:
            self._looked.set()

    def _forget(self) -> bool:
        try:
            return self.store.forget(before=self._clock() - self._days * DAY_S)
        except StoreError as error:
            self._complain(error)
            return True

    def _complain(self, error: Exception) -> None:
        if not self.trouble:
            self.trouble = (
                f"The journal cannot be written ({self.store.place}: {error}). Requests go on."
                f" To mend it, {self.store.remedy}."
            )
            log.warning("%s", self.trouble)
        self.store.close()
