"""Prices: known ones come from the dated list, own ones win, unknown ones stay unknown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from router.backend import Target
from router.events import Usage
from router.telemetry.prices import MTOK, Prices
from router.telemetry.record import Record

SONNET = "claude-sonnet-4-6"  # since 2026-03-13 3 in, 0.30 cached, 3.75 cache write, 15 out
AUTUMN_2026 = datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def prices(**values: Any) -> Prices:
    defaults: dict[str, Any] = {"cloud_model": SONNET, "clock": lambda: AUTUMN_2026}
    return Prices(**defaults | values)


def record(target: Target | None, **values: Any) -> Record:
    defaults: dict[str, Any] = {"id": "r", "time": AUTUMN_2026, "model": SONNET}
    return Record(target=target, **defaults | values)


def test_a_cloud_answer_costs_the_price_of_its_tokens() -> None:
    usage = Usage(prompt_tokens=1_000_000, completion_tokens=10_000)
    assert prices().cost_usd(SONNET, usage) == pytest.approx(3 + 0.15)


def test_cached_tokens_are_part_of_the_prompt_and_have_their_own_prices() -> None:
    usage = Usage(1_000_000, 0, cached_tokens=500_000, cache_write_tokens=100_000)
    assert prices().cost_usd(SONNET, usage) == pytest.approx(0.4 * 3 + 0.5 * 0.3 + 0.1 * 3.75)


def test_reasoning_tokens_are_part_of_the_answer() -> None:
    usage = Usage(0, 1_000_000, reasoning_tokens=900_000)
    assert prices().cost_usd(SONNET, usage) == pytest.approx(15)


def test_an_unknown_price_is_unknown_and_not_0() -> None:
    assert prices().cost_usd("claude-nonesuch-9", Usage(10, 10)) is None
    assert prices().cost_usd("", Usage(10, 10)) is None
    assert prices(cloud_model="claude-nonesuch-9").saved_usd(Usage(10, 10)) is None
    assert prices(cloud_model=None).saved_usd(Usage(10, 10)) is None


def test_the_users_prices_win_and_cached_input_costs_the_same_by_default() -> None:
    own = {
        SONNET: {"input": 1.0, "output": 2.0},
        "mine": {"input": 1.0, "cached": 0.5, "output": 2.0},
    }
    half_cached = Usage(1_000_000, 1_000_000, cached_tokens=500_000)
    assert prices(overrides=own).cost_usd(SONNET, half_cached) == pytest.approx(3)
    assert prices(overrides=own).cost_usd("mine", half_cached) == pytest.approx(2.75)


def test_a_long_prompt_is_charged_by_the_tier_it_reaches() -> None:
    known = prices()
    short, long = (known.cost_usd("gemini-2.5-pro", Usage(n, 0)) for n in (200_000, 200_001))
    assert short == pytest.approx(0.2 * 1.25)
    assert long == pytest.approx(200_001 * 2.5 / 1e6)


def test_prices_change_on_their_day() -> None:
    now = datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()
    known = Prices(clock=lambda: now)
    usage = Usage(1_000_000, 0)
    assert known.cost_usd("gemini-3.8-flash", usage) == pytest.approx(0.75)
    now += 86_400
    assert known.cost_usd("gemini-3.8-flash", usage) == pytest.approx(1.5)


def test_a_local_answer_is_free_and_saves_what_the_cloud_would_have_cost() -> None:
    answer = record("local", model="qwen", usage=Usage(1_000_000, 100_000))
    prices().price(answer)
    assert answer.cost_usd == 0
    assert answer.saved_usd == pytest.approx(3 + 1.5)


def test_a_cloud_answer_saves_nothing_and_without_usage_its_cost_is_unknown() -> None:
    known, unknown = record("cloud", usage=Usage(1_000_000, 0)), record("cloud")
    for answer in (known, unknown):
        prices().price(answer)
    assert known.cost_usd == pytest.approx(3)
    assert known.saved_usd is None
    assert (unknown.cost_usd, unknown.saved_usd) == (None, None)


def test_a_cloud_answer_of_an_unknown_model_is_of_unknown_cost() -> None:
    answer = record("cloud", model="claude-nonesuch-9", usage=Usage(1_000, 10))
    prices().price(answer)
    assert (answer.cost_usd, answer.saved_usd) == (None, None)


def test_a_local_answer_whose_comparison_has_no_price_saves_an_unknown_amount() -> None:
    answer = record("local", usage=Usage(1_000, 10))
    prices(cloud_model="claude-nonesuch-9").price(answer)
    assert (answer.cost_usd, answer.saved_usd) == (0, None)


def test_a_request_without_an_answer_has_no_cost_and_no_savings() -> None:
    answer = record(None)
    prices().price(answer)
    assert (answer.cost_usd, answer.saved_usd) == (None, None)


def test_the_last_minutes_of_a_conversation_count_as_cached() -> None:
    known = prices()

    def saved(after_s: float, conversation: str, prompt_tokens: int) -> float:
        answer = record(
            "local",
            time=AUTUMN_2026 + after_s,
            conversation=conversation,
            usage=Usage(prompt_tokens, 0),
        )
        known.price(answer)
        assert answer.saved_usd is not None
        return answer.saved_usd

    assert saved(0, "a", 100_000) == pytest.approx(0.3)
    assert saved(60, "a", 150_000) == pytest.approx((50_000 * 3 + 100_000 * 0.3) / 1e6)
    assert saved(60, "b", 150_000) == pytest.approx(0.45), "another conversation"
    assert saved(400, "a", 150_000) == pytest.approx(0.45), "five minutes have passed"
    assert saved(410, "a", 10_000) == pytest.approx(0.003), "never more than the prompt itself"
    assert saved(0, "c", 1_023) == saved(1, "c", 1_023), "too short to be cached"
    assert saved(0, "d", 1_024) > saved(1, "d", 1_024), "just long enough"


def test_memory_of_conversations_is_bounded() -> None:
    known = prices()
    for i in range(5_000):
        known.price(record("local", conversation=f"c{i}", usage=Usage(2_000, 10)))
    assert len(known._sent) == 2_000
    again = [record("local", conversation=f"c{i}", usage=Usage(2_000, 10)) for i in (4_999, 0)]
    for one in again:
        known.price(one)
    newest, oldest = [one.saved_usd or 0 for one in again]
    assert newest < oldest, "only the newest conversations are known to be cached"


def test_parts_of_another_model_cost_its_price() -> None:
    prices = Prices({"a": {"input": 1, "output": 10}, "b": {"input": 2, "output": 20}})
    usage = Usage(3 * MTOK, 2 * MTOK, by_model=(("b", Usage(MTOK, MTOK)),))
    assert prices.cost_usd("a", usage) == 2 * 1 + 1 * 10 + 1 * 2 + 1 * 20
    unknown = Usage(3 * MTOK, 2 * MTOK, by_model=(("nobody", Usage(MTOK, MTOK)),))
    assert prices.cost_usd("a", unknown) is None
