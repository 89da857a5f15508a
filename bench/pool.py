"""Simulates several local servers: python -m bench.pool

The router's own balancer (router/sides/pool.py) and three usual policies serve the same callers on
the same simulated fleet (bench/fleet.py). One server is slow, one stops and comes back. All times
are simulated, except the time to decide, which is measured.

The summary is of the mixed fleet, at the size where the balancer does worst. The last line is
SUMMARY p95 ratio R (best other: NAME) hits OURS/BEST cost_us C8 C100
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from bench.fleet import KINDS, Callers, Clock, Fleet, Kind, Outcome, Request
from router.backend import Model, Status
from router.classifier import Score
from router.deciding.facts import Ask, Side
from router.sides.pool import MOST_BLOCKS, Balancer
from router.sides.pooled_server import Visit

SIZES: Final = (2, 4, 8, 16, 32, 100)
EQUAL_SIZES: Final = (2, 8, 32)
MOST_CONVERSATIONS: Final = 1_000
CONVERSATIONS: Final = 50
"""Conversations for each server."""
FEWEST_CONVERSATIONS: Final = 300
EVERY_S: Final = 37.0
"""Seconds between two new conversations for each server."""
SEED: Final = 7
RUNS: Final = 300
COST_SIZES: Final = (8, 100)
OURS: Final = "llm-router"
EASY: Final = Score(0, {}, 1, 0)
DOWN: Final = Status("down")


class Ours:
    """The router's balancer, called as the router calls it."""

    def __init__(self, fleet: Fleet) -> None:
        self.balancer = Balancer(fleet.clock)
        self.sides: list[Side] = []
        self._up: list[Side] = []
        self._visits: dict[Request, Visit] = {}
        self.asks: list[Ask] = []
        for number, server in enumerate(fleet.servers):
            self.balancer.add(f"server{number}")
            # The slots share the cache, which the balancer does not know, as with real servers: it
            # takes the cache for larger than it is.
            slots, cache_tokens = server.kind.slots, server.kind.cache_tokens
            model = Model("m", True, cache_tokens, tools=True, parallel=slots)
            self._up.append(Side("local", f"server{number}", Status("ready", model, (model,))))
        self.sides = list(self._up)

    def choose(self, request: Request) -> int:
        ask = Ask(
            EASY,
            size_tokens=request.prompt_tokens,
            max_tokens=request.answer_tokens,
            has_tools=True,
            blocks=request.blocks[:MOST_BLOCKS],
        )
        self.asks.append(ask)
        number = self.balancer.ranked(ask, self.sides)[0]
        visit = self.balancer.begin(self.sides[number].backend, ask)
        visit.started()
        self._visits[request] = visit
        return number

    def began(self, request: Request) -> None:
        self._visits[request].opened()

    def ended(self, request: Request) -> None:
        self._visits.pop(request).ended()

    def failed(self, number: int) -> None:
        up = self._up[number]
        self.sides[number] = Side("local", up.backend, DOWN)

    def back(self, number: int) -> None:
        self.sides[number] = self._up[number]


class Other:
    """Base of the three usual policies: stores which servers are up and what they run."""

    def __init__(self, fleet: Fleet) -> None:
        self._up = [True] * len(fleet.servers)
        self._running = [0] * len(fleet.servers)
        self._at: dict[Request, int] = {}
        self._turn = 0

    def choose(self, request: Request) -> int:
        number = self._pick(request, [n for n, up in enumerate(self._up) if up])
        self._at[request] = number
        self._running[number] += 1
        return number

    def began(self, request: Request) -> None:
        pass

    def ended(self, request: Request) -> None:
        self._running[self._at.pop(request)] -= 1

    def failed(self, number: int) -> None:
        self._up[number] = False

    def back(self, number: int) -> None:
        self._up[number] = True

    def _pick(self, request: Request, up: Sequence[int]) -> int:
        raise NotImplementedError


class RoundRobin(Other):
    """Takes one server after the other."""

    def _pick(self, request: Request, up: Sequence[int]) -> int:
        self._turn += 1
        return up[self._turn % len(up)]


class LeastConnections(Other):
    """Takes the server with the fewest requests; among equals one after the other."""

    def _pick(self, request: Request, up: Sequence[int]) -> int:
        self._turn += 1
        least = min(self._running[n] for n in up)
        free = [n for n in up if self._running[n] == least]
        return free[self._turn % len(free)]


class HashByConversation(Other):
    """Keeps each conversation at one server while that is up (rendezvous hashing)."""

    def _pick(self, request: Request, up: Sequence[int]) -> int:
        return max(up, key=lambda n: _digest(request.conversation, n))


def _digest(conversation: int, number: int) -> bytes:
    return blake2b(b"%d %d" % (conversation, number), digest_size=8).digest()


OTHERS: Final[dict[str, Callable[[Fleet], Other]]] = {
    "round-robin": RoundRobin,
    "least-connections": LeastConnections,
    "hash-by-conversation": HashByConversation,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one fleet."""

    name: str
    outcome: Outcome
    policy: Ours | Other

    @property
    def p95_s(self) -> float:
        return self.outcome.percentile_s(95)


def simulate(
    size: int,
    policy: Callable[[Fleet], Ours | Other],
    kinds: Sequence[Kind] = KINDS,
    every_s: float = EVERY_S,
) -> tuple[Outcome, Ours | Other]:
    """Return the callers' figures for a fleet of this size, and the policy at the end."""
    clock = Clock()
    fleet = Fleet(size, clock, kinds)
    fleet.policy = chosen = policy(fleet)
    conversations = min(max(FEWEST_CONVERSATIONS, CONVERSATIONS * size), MOST_CONVERSATIONS)
    callers = Callers(fleet, conversations, every_s / size, SEED)
    dying = size - 1
    clock.after(callers.lasts_s * 0.4, lambda: fleet.kill(dying, callers.lasts_s * 0.3))
    clock.run()
    return fleet.outcome, chosen


def compared(size: int, kinds: Sequence[Kind], every_s: float) -> list[Row]:
    """Return a row for each policy, ours first."""
    policies: dict[str, Callable[[Fleet], Ours | Other]] = {OURS: Ours, **OTHERS}
    return [Row(name, *simulate(size, policy, kinds, every_s)) for name, policy in policies.items()]


def cost_us(ours: Ours) -> float:
    """Return the median time to choose a server, in microseconds."""
    balancer, took = ours.balancer, []
    for ask in ours.asks[-RUNS:]:
        began = time.perf_counter()
        number = balancer.ranked(ask, ours.sides)[0]
        took.append((time.perf_counter() - began) * 1e6)
        balancer.begin(ours.sides[number].backend, ask).ended()
    return statistics.median(took)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each size, then the summary."""
    parser = argparse.ArgumentParser(prog="python -m bench.pool")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="servers")
    parser.add_argument(
        "--every", type=float, default=EVERY_S, help="seconds between conversations a server"
    )
    options = parser.parse_args(arguments)
    print("A mixed fleet: " + ", ".join(kind.name for kind in KINDS) + ", and so on")
    tables = {size: _table(size, KINDS, options.every) for size in options.sizes}
    print(f"For comparison, equal machines ({KINDS[0].name}); they are not in the summary")
    for size in EQUAL_SIZES:
        _table(size, KINDS[:1], options.every)
    print(summary(tables))
    return 0


def summary(tables: dict[int, list[Row]]) -> str:
    """Return the last line: the size at which the balancer does worst."""
    bests = {size: min(rows[1:], key=lambda row: row.p95_s) for size, rows in tables.items()}
    ratios = {size: tables[size][0].p95_s / best.p95_s for size, best in bests.items()}
    worst = max(ratios, key=lambda size: ratios[size])
    best, ours = bests[worst], tables[worst][0]
    costs = []
    for size in COST_SIZES:
        rows = tables.get(size)
        policy = rows[0].policy if rows else simulate(size, Ours)[1]
        assert isinstance(policy, Ours)
        costs.append(f"{cost_us(policy):.1f}")
    return (
        f"SUMMARY p95 ratio {ratios[worst]:.2f} (best other: {best.name})"
        f" hits {ours.outcome.hits:.0%}/{best.outcome.hits:.0%} cost_us {' '.join(costs)}"
    )


def _table(size: int, kinds: Sequence[Kind], every_s: float) -> list[Row]:
    rows = compared(size, kinds, every_s)
    print(f"{size} servers, {len(rows[0].outcome.waits_s)} requests")
    for row in rows:
        print(
            f"  {row.name:22} first word p50 {row.outcome.percentile_s(50):8.2f} s,"
            f" p95 {row.p95_s:8.2f} s; {row.outcome.hits:4.0%} from caches"
        )
    print(flush=True)
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
