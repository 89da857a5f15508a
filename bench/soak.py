"""Runs mixed traffic with injected faults, and lists failures that no fault explains.

    python -m bench.soak --seconds 600

Callers ask in three dialects, for streams and whole answers, with and without a forced side; some
leave early. The two sides behind the server refuse, stall, cut off and send garbage. The prompt
says how each side treats the request, so the valid outcomes are known. At the end the server must
hold no more sockets than at the start. Exit status 1 if it holds more, or if a failure is not
explained.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import httpx2

from bench import targets
from bench.faults import FAULTS, Side
from bench.targets import Target
from tests.support.chaos.callers import CHAT, DIALECTS, Dialect, Heard
from tests.support.chaos.sides import CLAUDE, HELLO, LOCAL, models
from tests.support.scripted import ScriptedServer, scripted

FAULTY: Final = 0.25
"""Share of requests to which a side responds with a fault."""
LEAVING: Final = 0.1
"""Share of requests whose caller leaves at a random moment."""
CALLERS: Final = 24
LIMIT_S: Final = 3.0
"""The server's time limits to the first byte and between two pieces."""
HANG_S: Final = 30.0
"""After this time the server has forgotten a caller."""
OUTAGE_EVERY_S: Final = 8.0
OUTAGE_S: Final = 1.0
"""Every OUTAGE_EVERY_S one side, in turn, is gone for OUTAGE_S."""
PAUSED: Final = "failed a moment ago"
"""Part of the error while a side's breaker is open."""
CALM_S: Final = 120.0
"""Time after the faults until both sides must answer: the breaker's longest pause, and more."""
TEXTS: Final = (
    "What is the capital of France?",
    "Design a distributed rate limiter for a multi-region API: derive the consistency"
    " requirements, compare token bucket and sliding window under clock skew, and prove that yours"
    " never admits more than the limit.",
)


@dataclass(frozen=True)
class Question:
    """One request, and how each side will respond to it."""

    number: int
    dialect: Dialect
    stream: bool
    force: str
    local: str = "well"
    cloud: str = "well"

    def __str__(self) -> str:
        how = f"{self.dialect.name} stream={self.stream} force={self.force!r}"
        return f"{self.number} {how} local={self.local} cloud={self.cloud}"

    def send(self, http: httpx2.AsyncClient) -> httpx2.Request:
        order = f"Question {self.number}: local={self.local} cloud={self.cloud}"
        words = f"{TEXTS[self.number % 2]}\n\n{order}"
        body = self.dialect.question(words) | {"stream": self.stream}
        headers = {"X-Force-Route": self.force} if self.force else {}
        return http.build_request("POST", self.dialect.path, json=body, headers=headers)

    def concerns(self, side: str) -> bool:
        return self.force in ("", side)


class Level(NamedTuple):
    """The memory and sockets of the server while no request is under way."""

    memory_mb: float
    sockets: int


@dataclass
class Soak:
    """The traffic and its outcomes."""

    local: Side
    cloud: Side
    outcomes: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def call(self, url: str, until: float) -> None:
        """Ask questions one after the other, and record their outcomes."""
        async with httpx2.AsyncClient(base_url=url, timeout=None) as http:
            while time.monotonic() < until:
                question = self._any()
                began = time.monotonic()
                outcome, trouble = await self._ask(http, question)
                self.outcomes[outcome] += 1
                if trouble and not self.explains(question, trouble, began):
                    came = self._came(question.number, began)
                    self.unexplained.append(f"{trouble}: question {question}, {came}")

    def _came(self, number: int, began: float) -> str:
        """Return when a question reached each side, as a text for the report."""
        came = [
            f"at {side.kind.name} after {side.heard_at[number] - began:.2f} s"
            for side in (self.local, self.cloud)
            if number in side.heard_at
        ]
        return f"{' and '.join(came) or 'at no side'}, over after {time.monotonic() - began:.2f} s"

    def _any(self) -> Question:
        local, cloud = (
            random.choice(FAULTS) if random.random() < FAULTY else "well" for _ in range(2)
        )
        stream = random.random() < 0.6
        force = random.choice(("", "", "local", "cloud"))
        return Question(next(self._numbers), random.choice(DIALECTS), stream, force, local, cloud)

    async def _ask(self, http: httpx2.AsyncClient, question: Question) -> tuple[str, str]:
        """Return the outcome, and what went wrong or ""."""
        leaves_after_s = random.uniform(0, 0.3) if random.random() < LEAVING else HANG_S
        try:
            async with asyncio.timeout(leaves_after_s):
                heard = question.dialect.hear(await http.send(question.send(http)))
        except TimeoutError:
            return ("left", "") if leaves_after_s < HANG_S else ("forgotten", "forgotten")
        except (httpx2.HTTPError, AssertionError, KeyError, ValueError) as error:
            return "unreadable", f"unreadable, {error!r}"
        return outcome_of(heard, question)

    def explains(self, question: Question, trouble: str, began: float) -> bool:
        """Return whether a reported error is explained by a fault of a side that was asked."""
        if not trouble.startswith("error"):
            return False
        if PAUSED in trouble and not question.force:
            return True
        sides = [("local", self.local, question.local), ("cloud", self.cloud, question.cloud)]
        return any(
            question.concerns(name)
            and (fault != "well" or side.was_gone(began, trouble.startswith("error 503")))
            for name, side, fault in sides
        )

    async def calm(self, server: Target) -> Level:
        """Wait until each side answers, when dead connections are noticed too; return the level."""
        until = time.monotonic() + CALM_S
        async with httpx2.AsyncClient(base_url=server.url, timeout=None) as http:
            for side in ("local", "cloud"):
                outcome = trouble = ""
                while outcome != "answered" and time.monotonic() < until:
                    question = Question(next(self._numbers), CHAT, False, side)
                    outcome, trouble = await self._ask(http, question)
                    await asyncio.sleep(0.2)
                if trouble:
                    self.unexplained.append(f"{side} is not back: {trouble}")
        await asyncio.sleep(1)
        return Level(server.rss_mb, server.sockets)


def outcome_of(heard: Heard, question: Question) -> tuple[str, str]:
    if error := heard.error:
        where = "reported by the status" if heard.status != 200 else "reported in the stream"
        return f"error {where}", f"error {heard.status} {error.get('code')} {error['message']}"
    if not heard.finish:
        return "cut off in silence", "cut off in silence"
    if heard.text != f"{HELLO} number {question.number}":
        return "wrong answer", f"wrong answer {heard.text!r}"
    return "answered", ""


async def outages(sides: list[tuple[Side, ScriptedServer]], seconds: float) -> None:
    """Stop each side in turn for a while; all run again at the end."""
    pause_s = min(OUTAGE_EVERY_S, seconds / 4)
    until = time.monotonic() + seconds - pause_s - OUTAGE_S
    for turn in count():
        if time.monotonic() > until:
            return
        await asyncio.sleep(pause_s)
        side, server = sides[turn % 2]
        await side.outage(server, OUTAGE_S)


async def soak(seconds: float, folder: Path) -> tuple[Soak, Level, Level]:
    """Run the traffic for so many seconds; return it with the levels before and after."""
    run = Soak(Side(LOCAL), Side(CLAUDE))
    async with (
        scripted(run.local.answer, models) as near,
        scripted(run.cloud.answer, models) as far,
    ):
        server = await asyncio.to_thread(_start, near, far, folder)
        try:
            before = await run.calm(server)
            until = time.monotonic() + seconds
            async with asyncio.TaskGroup() as group:
                group.create_task(outages([(run.local, near), (run.cloud, far)], seconds))
                for _ in range(CALLERS):
                    group.create_task(run.call(server.url, until))
            for connection in (*near.open, *far.open):
                connection.reset()
            return run, before, await run.calm(server)
        finally:
            await asyncio.to_thread(server.stop)


def _start(near: ScriptedServer, far: ScriptedServer, folder: Path) -> Target:
    return targets.router(
        near.port,
        folder,
        LOCAL_MODEL="local-model",
        ANTHROPIC_BASE_URL=far.url,
        COMPLEXITY_THRESHOLD="50",
        FIRST_BYTE_TIMEOUT_S=str(LIMIT_S),
        IDLE_TIMEOUT_S=str(LIMIT_S),
        KEEPALIVE_AFTER_S="0.5",
        STATUS_TTL_S="1",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    asked = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.exit(1, "Memory and sockets are read from /proc: this needs Linux.\n")
    with tempfile.TemporaryDirectory() as name:
        run, before, after = asyncio.run(soak(asked.seconds, Path(name)))
    print(f"{run.outcomes.total():,} requests in {asked.seconds:g} s")
    for outcome, times in run.outcomes.most_common():
        print(f"  {outcome:24} {times:8,}")
    print(f"not explained by a fault   {len(run.unexplained):8,}")
    for line in run.unexplained[:20]:
        print(f"  {line[:300]}")
    print(f"resident memory            {before.memory_mb:.1f} MB, then {after.memory_mb:.1f} MB")
    print(f"open sockets               {before.sockets}, then {after.sockets}")
    if run.unexplained or after.sockets > before.sockets:
        sys.exit(1)


if __name__ == "__main__":
    main()
