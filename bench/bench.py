"""Measures the router against direct requests and nginx: `make bench`, about two minutes.

    python -m bench.bench [--seconds 0.6] [--rounds 5]

The targets take turns in every round, and each ratio is taken within a round, so other work on the
machine affects all of them. CPU is that of the target's process; ratios below 1.3 are noise. A
comparison with other routers is in bench/RESULTS.md. Needs Linux, and nginx-light for nginx.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench import deciding, targets
from bench.load import Caller, Seen, in_a_loop, request
from bench.targets import Target

HELD: Final = 1000
HELD_S: Final = 6.0
HELD_PAUSE_MS: Final = 200


@dataclass(frozen=True)
class Scenario:
    """One kind of load. `per`: the unit that its CPU is divided by."""

    name: str
    what: str
    prompt: str
    per: str = "request"
    callers: int = 32
    longer: float = 1
    """Factor on its running time."""


SCENARIOS: Final = (
    Scenario("json", "JSON answers", "Say hi."),
    Scenario("paced", "streams, a token every 20 ms", "tokens=25 pause_ms=20", "token"),
    Scenario("burst", "streams, 100 tokens at once", "tokens=100 pause_ms=0", "token"),
    Scenario("first", "streams, 1 at a time", "tokens=10 pause_ms=5", "token", 1, 2),
    Scenario("200k", "prompts of 200 KB, 1 at a time", "word " * 40_000, "request", 1),
    Scenario("2m", "prompts of 2 MB, 1 at a time", "word " * 400_000, "request", 1),
)


@dataclass
class Figures:
    """The figures of one target in one scenario, one value for each round."""

    cpu_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    took_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)


def middle(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


async def window(scenario: Scenario, target: Target, seconds: float, into: Figures) -> None:
    """Load one target for `seconds`, and add the figures to `into`."""
    cpu, began = target.cpu_ms, time.monotonic()
    seen = await in_a_loop(
        target.port,
        scenario.prompt,
        stream=scenario.per == "token",
        callers=scenario.callers,
        seconds=seconds * scenario.longer,
    )
    of = seen.tokens if scenario.per == "token" else seen.answers
    into.cpu_ms.append((target.cpu_ms - cpu) / of)
    into.per_s.append(seen.answers / (time.monotonic() - began))
    into.took_ms.append(middle(seen.took_ms))
    into.first_ms.append(middle(seen.first_ms))


async def in_turns(
    scenario: Scenario, running: dict[str, Target], rounds: int, seconds: float
) -> dict[str, Figures]:
    """Return figures of all targets, which take turns in each round after a warm-up."""
    found = {name: Figures() for name in running}
    for target in running.values():
        await window(scenario, target, seconds / 3, Figures())
    names = list(running)
    for turn in range(rounds):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            await window(scenario, running[name], seconds, found[name])
    return found


def ratio(ours: list[float], others: list[float]) -> float:
    """Return `ours` divided by `others`: the median over the rounds."""
    return middle([a / b for a, b in zip(ours, others, strict=True)])


@dataclass
class Held:
    """Figures of 1,000 streams that are open at the same time."""

    open_s: float
    """Seconds until each had a token."""
    delivered: float
    late_ms: float
    kb_each: float
    left_upstream: int
    """Streams still open at the mock 1.5 s after the callers hung up."""


async def hold(target: Target, mock: Target) -> Held:
    seen = Seen()
    asked = request(target.port, f"tokens=100000 pause_ms={HELD_PAUSE_MS}", stream=True)
    before_mb, began = target.rss_mb, time.monotonic()
    callers = [asyncio.create_task(_listen(target.port, asked, seen)) for _ in range(HELD)]
    for _ in range(1000):
        if len(seen.first_ms) == HELD:
            break
        await asyncio.sleep(0.01)
    open_s = time.monotonic() - began
    tokens, late, began = seen.tokens, len(seen.late_ms), time.monotonic()
    await asyncio.sleep(HELD_S)
    expected = HELD * (time.monotonic() - began) * 1000 / HELD_PAUSE_MS
    held = Held(
        open_s,
        (seen.tokens - tokens) / expected,
        middle(seen.late_ms[late:]),
        (target.rss_mb - before_mb) * 1024 / HELD,
        0,
    )
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await asyncio.sleep(1.5)
    with await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{mock.port}/open") as r:
        held.left_upstream = int(r.read())
    return held


async def _listen(port: int, asked: bytes, seen: Seen) -> None:
    async with Caller(port, seen) as caller:
        await caller.ask(asked)


@contextmanager
def started(folder: Path) -> Iterator[tuple[Target, dict[str, Target]]]:
    """Start the mock and the targets in front of it, and stop them at the end."""
    with ExitStack() as stack:

        def keep(target: Target) -> Target:
            stack.callback(target.stop)
            return target

        mock = keep(targets.mock())
        running = {"direct": mock, "router": keep(targets.router(mock.port, folder))}
        if nginx := targets.nginx(mock.port, folder):
            running["nginx"] = keep(nginx)
        yield mock, running


async def measure(rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, started(Path(name)) as (mock, running):
        ours = running["router"]
        await asyncio.sleep(2)  # what it does after its start
        at_start_mb = ours.rss_mb
        costs = await deciding.costs(mock.port)
        say("start to first answer", f"{ours.start_s:.2f} s", "1.0 s")
        say("resident memory at start, no cloud SDK", f"{at_start_mb:.0f} MB", "70 MB")
        say("deciding: a chat turn, median", f"{costs['chat']:.3f} ms", "0.2 ms")
        say("deciding: an agent's 10,000 tokens", f"{costs['agent']:.3f} ms", "1 ms")
        say("privacy scan of 200 KB", f"{costs['scan']:.3f} ms", "3 ms")
        stages = await deciding.stages(mock.port)
        print("stages of a chat turn, us: ", end="")
        print(", ".join(f"{name} {us:.0f}" for name, us in stages.items()), flush=True)
        print(f"\n{'CPU, 32 at a time':36} {'router':>11} {'nginx':>11} {'times':>6} {'added':>9}")
        for scenario in SCENARIOS:
            found = await in_turns(scenario, running, rounds, seconds)
            print(line(scenario, found), flush=True)
        print(f"\n{HELD:,} streams at 5 tokens/s each")
        for target_name in running:
            held = await hold(running[target_name], mock)
            print(f"{target_name:8} {held_line(held)}", flush=True)
        print()
        say("memory grown by all that", f"{ours.rss_mb - at_start_mb:.0f} MB", "40 MB")
        share = await journal_share(mock, ours, Path(name), rounds, seconds)
        say("journal on disk, of a JSON answer's CPU", f"{share:+.1%}", "5 %")


def say(what: str, figure: str, bar: str) -> None:
    print(f"{what:40} {figure:>10}   (at most {bar})", flush=True)


def line(scenario: Scenario, found: dict[str, Figures]) -> str:
    """Return a table row: CPU of the router and nginx, their ratio, and the added time."""
    ours, direct, nginx = found["router"], found["direct"], found.get("nginx")
    us = scenario.per == "token"
    scale, unit = (1000, "us") if us else (1, "ms")
    times = "first_ms" if us else "took_ms"
    added = middle(getattr(ours, times)) - middle(getattr(direct, times))
    cells = [f"{middle(ours.cpu_ms) * scale:8.3f} {unit}"]
    if nginx:
        cells.append(f"{middle(nginx.cpu_ms) * scale:8.3f} {unit}")
        cells.append(f"{ratio(ours.cpu_ms, nginx.cpu_ms):6.1f}")
    else:
        cells += [" " * 11, " " * 6]
    added_cell = f"{added:6.2f} ms" if scenario.callers == 1 else ""
    return f"{scenario.what:36} {' '.join(cells)} {added_cell:>9}"


def held_line(held: Held) -> str:
    return (
        f"open in {held.open_s:.1f} s, {held.delivered:.1%} delivered, p50 {held.late_ms:.2f} ms,"
        f" {held.kb_each:.0f} KB each, {held.left_upstream} left upstream"
    )


async def journal_share(
    mock: Target, ours: Target, folder: Path, rounds: int, seconds: float
) -> float:
    """Return the share that the journal adds to the CPU of a request, compared with none."""
    without = targets.router(mock.port, folder, JOURNAL_PATH="off")
    try:
        pair = {"with": ours, "without": without}
        found = await in_turns(SCENARIOS[0], pair, 2 * rounds, seconds)
    finally:
        without.stop()
    return ratio(found["with"].cpu_ms, found["without"].cpu_ms) - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.6, help="of each window")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.exit(1, "The benchmark reads CPU times from /proc: it needs Linux.\n")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))
    if targets.nginx_command() is None:
        print("nginx is not installed (apt install nginx-light): its columns stay empty.\n")
    uvloop.run(measure(asked.rounds, asked.seconds))


if __name__ == "__main__":
    main()
