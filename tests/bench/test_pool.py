"""The simulated fleet keeps its own rules, and the summary is what the tables say."""

import re

import pytest

from bench import pool
from bench.fleet import KINDS, Callers, Clock, Fleet, Outcome, Request, SimulatedServer
from bench.pool import OTHERS, Ours, Row, simulate, summary
from router.sides.pooled_server import BLOCK_TOKENS


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[str, Request]] = []

    def began(self, request: Request) -> None:
        self.heard.append(("began", request))

    def ended(self, request: Request) -> None:
        self.heard.append(("ended", request))

    def refused(self, request: Request) -> None:
        self.heard.append(("refused", request))


def request(*blocks: str, answer_tokens: int = 10) -> Request:
    prompt = [block.encode() for block in blocks]
    return Request(0, len(prompt) * BLOCK_TOKENS, answer_tokens, prompt, [])


def test_a_cached_beginning_is_not_read_again() -> None:
    clock, listener = Clock(), Listener()
    server = SimulatedServer(KINDS[0], clock)
    first, later = request("a", "b"), request("a", "b", "c")
    server.send(first, listener)
    clock.run()
    server.send(later, listener)
    clock.run()
    assert (first.cached_tokens, later.cached_tokens) == (0, 2 * BLOCK_TOKENS)
    assert [what for what, _ in listener.heard] == ["began", "ended"] * 2


def test_prompts_are_read_one_after_the_other() -> None:
    clock, listener = Clock(), Listener()
    server = SimulatedServer(KINDS[0], clock)
    one, other = request(*"abcdef"), request(*"uvwxyz")
    server.send(one, listener)
    server.send(other, listener)
    clock.run()
    assert other.first_word == pytest.approx(2 * one.first_word)


def test_a_dying_server_refuses_waiting_requests_and_loses_its_cache() -> None:
    clock, listener = Clock(), Listener()
    server = SimulatedServer(KINDS[0], clock)
    early, late = request("a"), request("b", answer_tokens=10_000)
    server.send(early, listener)
    clock.run()
    server.send(late, listener)
    server.die()
    clock.run()
    assert listener.heard[-1] == ("refused", late)
    server.up = True
    again = request("a")
    server.send(again, listener)
    clock.run()
    assert again.cached_tokens == 0


@pytest.mark.parametrize("name", ["llm-router", *OTHERS])
def test_every_request_gets_its_first_word_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "FEWEST_CONVERSATIONS", 40)
    monkeypatch.setattr(pool, "CONVERSATIONS", 1)
    outcome, _ = simulate(3, OTHERS.get(name, Ours))
    assert len(outcome.waits_s) >= 40
    assert min(outcome.waits_s) > 0
    assert 0 < outcome.hits < 1


def test_callers_are_the_same_for_every_policy() -> None:
    sizes = []
    for policy in OTHERS.values():
        fleet = Fleet(2, Clock())
        fleet.policy = policy(fleet)
        Callers(fleet, 10, 1.0, seed=3)
        fleet.clock.run()
        sizes.append((len(fleet.outcome.waits_s), fleet.outcome.prompt_tokens))
    assert len(set(sizes)) == 1


def test_the_summary_names_the_worst_size_and_the_best_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "FEWEST_CONVERSATIONS", 20)
    monkeypatch.setattr(pool, "CONVERSATIONS", 1)
    ours = simulate(8, Ours)[1]

    def row(name: str, wait_s: float) -> Row:
        return Row(name, Outcome([wait_s], 100, 40), ours)

    tables = {
        2: [row("llm-router", 1.0), row("slow", 9.0), row("fair", 4.0)],
        8: [row("llm-router", 3.0), row("slow", 9.0), row("quick", 6.0)],
    }
    line = summary(tables)
    assert re.fullmatch(
        r"SUMMARY p95 ratio 0\.50 \(best other: quick\) hits 40%/40% cost_us [\d.]+ [\d.]+", line
    )
