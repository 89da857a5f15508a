"""The balancer by itself: servers that are able, have the prompt cached, or are free."""

from itertools import count
from typing import Any

import pytest

from router.backend import Model, State, Status
from router.classifier import Score
from router.deciding.facts import Ask, Side
from router.request import ChatRequest
from router.sides import pool
from router.sides.pool import Balancer, blocks_of
from router.sides.pooled_server import BLOCK_BYTES, BLOCK_TOKENS
from tests.support.clock import Clock

EASY = Score(0, {}, 1, 0)


def side(name: str, state: State = "ready", **facts: Any) -> Side:
    status = {key: facts.pop(key) for key in ("blocked", "full") if key in facts}
    model = Model(facts.pop("id", "m"), loaded=state == "ready", **facts)
    return Side("local", name, Status(state, model, (model,)), **status)


def ask(tokens: int = 100, **facts: Any) -> Ask:
    return Ask(EASY, size_tokens=tokens, max_tokens=10, **facts)


def prompt(*names: str) -> tuple[bytes, ...]:
    return tuple(name.encode() for name in names)


def of(*names: str, clock: Clock | None = None, **settings: Any) -> Balancer:
    balancer = Balancer(clock or Clock())
    for name in names:
        balancer.add(name, **settings)
    return balancer


ABLE: list[tuple[str, Side, dict[str, Any]]] = [
    ("is down", side("a", "down"), {}),
    ("failed a moment ago", side("a", blocked=True), {}),
    ("must load its model", side("a", "cold"), {}),
    ("has a full queue", side("a", full=True), {}),
    ("has too little context", side("a", context_tokens=4096), {"tokens": 4000}),
    ("sees no pictures", side("a", vision=False), {"has_images": True}),
    ("was not trained for tools", side("a", tools=False), {"has_tools": True}),
    ("lacks the model", side("a", id="other"), {"force_model": "m"}),
]


@pytest.mark.parametrize(("fault", "first", "needs"), ABLE, ids=[row[0] for row in ABLE])
def test_a_server_that_can_answer_comes_before_one_that(
    fault: str, first: Side, needs: dict[str, Any]
) -> None:
    balancer = of("a", "b")
    assert balancer.ranked(ask(**needs), [first, side("b")])[0] == 1
    assert balancer.ranked(ask(**needs), [side("a"), side("b")])[0] == 0


@pytest.mark.parametrize(
    "unable", [side("b", "down"), side("b", blocked=True), side("b", context_tokens=1000)]
)
def test_a_server_that_cannot_answer_is_no_spare(unable: Side) -> None:
    request = ask(tokens=2000)
    assert of("a", "b").ranked(request, [side("a"), unable]) == [0]
    assert of("a", "b").ranked(request, [side("a"), side("b")]) == [0, 1]


def test_the_first_server_is_ranked_if_none_can_answer() -> None:
    assert of("a", "b").ranked(ask(), [side("a", "down"), side("b", "down")]) == [0]


def test_a_private_request_goes_to_private_servers_only() -> None:
    balancer = Balancer(Clock())
    balancer.add("gpu", private=False)
    balancer.add("desk", private=True)
    balancer.add("shelf", private=False)
    sides = [side("gpu"), side("desk"), side("shelf")]
    assert balancer.ranked(ask(private="key"), sides) == [1]
    assert len(balancer.ranked(ask(), sides)) == 3


def test_a_private_request_goes_nowhere_without_a_private_server() -> None:
    balancer = of("gpu", private=False)
    assert balancer.ranked(ask(private="key"), [side("gpu")]) == []


def test_a_private_server_that_is_down_is_not_replaced_by_an_open_one() -> None:
    balancer = Balancer(Clock())
    balancer.add("gpu", private=False)
    balancer.add("desk", private=True)
    assert balancer.ranked(ask(private="key"), [side("gpu"), side("desk", "down")]) == [1]


def test_models_that_are_too_weak_come_last() -> None:
    sides = [side("a", id="small"), side("b", id="large")]
    assert of("a", "b").ranked(ask(), sides, {"small"}) == [1, 0]


def test_a_conversation_stays_where_its_prompt_is_cached() -> None:
    balancer, sides = of("a", "b", "c"), [side("a"), side("b"), side("c")]
    first = ask(900, blocks=prompt("1", "2", "3"))
    balancer.begin("b", first).ended()
    later = ask(1200, blocks=prompt("1", "2", "3", "4"))
    assert balancer.ranked(later, sides)[0] == 1
    assert balancer.unread_tokens("b", later) == 1200 - 3 * BLOCK_TOKENS
    assert balancer.unread_tokens("a", later) == 1200


def test_the_longest_beginning_wins() -> None:
    balancer, sides = of("a", "b"), [side("a"), side("b")]
    balancer.begin("a", ask(300, blocks=prompt("1"))).ended()
    balancer.begin("b", ask(600, blocks=prompt("1", "2"))).ended()
    assert balancer.ranked(ask(900, blocks=prompt("1", "2", "3")), sides)[0] == 1
    assert balancer.ranked(ask(900, blocks=prompt("1", "x")), sides)[0] == 0


def test_a_warm_server_is_left_when_its_queue_is_too_long() -> None:
    balancer, sides = of("a", "b"), [side("a"), side("b")]
    request = ask(600, blocks=prompt("1", "2"))
    visits = [balancer.begin("b", request) for _ in range(pool.LONGER_QUEUE)]
    assert balancer.ranked(request, sides)[0] == 1
    visits += [balancer.begin("b", ask(2000, blocks=prompt("x"))) for _ in range(2)]
    assert balancer.ranked(request, sides)[0] == 0
    for visit in visits:
        visit.ended()
    assert balancer.ranked(request, sides)[0] == 1


def test_requests_at_once_are_spread() -> None:
    balancer, sides = of("a", "b", "c"), [side("a"), side("b"), side("c")]
    chosen = []
    for number in range(6):
        request = ask(1000, blocks=prompt(f"{number}"))
        first = balancer.ranked(request, sides)[0]
        balancer.begin(sides[first].backend, request)
        chosen.append(first)
    assert sorted(chosen) == [0, 0, 1, 1, 2, 2]


def test_a_server_that_reads_slowly_gets_less() -> None:
    clock = Clock()
    balancer, sides = of("slow", "fast", clock=clock), [side("slow"), side("fast")]
    for name, took_s in (("slow", 10.0), ("fast", 1.0)):
        for number in range(5):
            visit = balancer.begin(name, ask(1000, blocks=prompt(f"{name}{number}")))
            visit.started()
            clock.now += took_s
            visit.opened()
            visit.ended()
    chosen = []
    for number in range(8):
        request = ask(1000, blocks=prompt(f"new{number}"))
        first = balancer.ranked(request, sides)[0]
        balancer.begin(sides[first].backend, request)
        chosen.append(first)
    assert chosen.count(1) == 8


def test_whole_answers_teach_the_speed_too() -> None:
    clock = Clock()
    balancer, sides = of("slow", "fast", clock=clock), [side("slow"), side("fast")]
    for name, took_s in (("slow", 40.0), ("fast", 8.0)):
        for _ in range(3):
            visit = balancer.begin(name, ask(100))
            visit.started()
            clock.now += took_s
            visit.opened(written_tokens=300)
            visit.ended()
    assert balancer.ranked(ask(), sides)[0] == 1


def test_a_full_server_counts_the_answers_before_it() -> None:
    balancer = of("a", "b", limit=1)
    sides = [side("a"), side("b")]
    balancer.ranked(ask(), sides)
    visit = balancer.begin("a", ask(1))
    visit.started()
    visit.opened()
    assert balancer.ranked(ask(), sides)[0] == 1
    visit.ended()
    assert balancer.ranked(ask(), sides)[0] == 0


def test_a_visit_that_ends_in_any_state_leaves_nothing_behind() -> None:
    balancer = of("a", limit=2)
    server = balancer.servers[0]
    for steps in (0, 1, 2):
        visit = balancer.begin("a", ask(500))
        for step in (visit.started, visit.opened)[:steps]:
            step()
        assert server.queue == 1
        visit.ended()
        visit.ended()
        assert (server.queue, server.wait_s) == (0, 0.0)


GONE: list[tuple[str, Side]] = [
    ("was down", side("b", "down")),
    ("has another model", side("b", id="other")),
    ("has unloaded its model", side("b", "cold")),
]


@pytest.mark.parametrize(("change", "between"), GONE, ids=[row[0] for row in GONE])
def test_the_cache_is_taken_as_empty_when_the_server(change: str, between: Side) -> None:
    balancer, request = of("a", "b"), ask(900, blocks=prompt("1", "2", "3"))
    balancer.ranked(request, [side("a"), side("b")])
    balancer.begin("b", request).ended()
    balancer.ranked(request, [side("a"), between])
    assert balancer.ranked(request, [side("a"), side("b")])[0] == 0
    assert balancer.unread_tokens("b", request) == 900


def test_a_second_loaded_model_does_not_empty_the_cache() -> None:
    balancer, request = of("a", "b"), ask(900, blocks=prompt("1", "2", "3"))
    models = (Model("m", loaded=True), Model("n", loaded=True))
    balancer.ranked(request, [side("a"), Side("local", "b", Status("ready", models[0], models))])
    balancer.begin("b", request).ended()
    other = Side("local", "b", Status("ready", models[1], models))
    assert balancer.ranked(request, [side("a"), other])[0] == 1


def test_the_blocks_unused_for_longest_are_forgotten() -> None:
    balancer, number = of("a", "b"), count()
    small = side("a", context_tokens=10 * BLOCK_TOKENS)
    sides = [small, side("b")]
    kept, lost = prompt("kept"), prompt("lost")
    balancer.ranked(ask(), sides)
    balancer.begin("a", ask(blocks=lost)).ended()
    for _ in range(30):
        balancer.begin("a", ask(blocks=kept)).ended()
        balancer.begin("a", ask(blocks=prompt(f"{next(number)}"))).ended()
    assert balancer.unread_tokens("a", ask(1000, blocks=kept)) < 1000
    assert balancer.unread_tokens("a", ask(1000, blocks=lost)) == 1000
    assert len(balancer.servers[0].blocks) == 10


def conversation(*texts: str, **body: Any) -> ChatRequest:
    roles = ("user", "assistant")
    said = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return ChatRequest({"messages": said, **body})


def test_the_blocks_of_a_later_turn_begin_with_those_of_an_earlier_one() -> None:
    long = "word " * BLOCK_BYTES
    earlier, later = conversation(long), conversation(long, long, "and now?")
    assert blocks_of(later)[: len(blocks_of(earlier))] == blocks_of(earlier)
    assert len(blocks_of(later)) > len(blocks_of(earlier)) > 3


def test_other_tools_make_other_blocks() -> None:
    long = "word " * BLOCK_BYTES
    tools = [{"type": "function", "function": {"name": "look"}}]
    assert blocks_of(conversation(long))[0] != blocks_of(conversation(long, tools=tools))[0]


def test_a_short_prompt_has_no_block() -> None:
    assert blocks_of(conversation("Hi")) == ()


def test_blocks_are_bounded() -> None:
    assert len(blocks_of(conversation(*["x" * 100_000] * 9))) == pool.MOST_BLOCKS
