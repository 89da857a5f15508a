"""Names and arguments of tool calls, as models vary them."""

import pytest

from router.events import ToolCallDelta
from router.wire.call_ids import OpenCalls, UniqueIds
from router.wire.chat.completions import decode_complete
from router.wire.fields import arguments
from router.wire.tool_arguments import ArgumentsReader
from router.wire.tool_names import full_names


@pytest.mark.parametrize(
    ("names", "full"),
    [
        (["files.search"], {"search": "files.search"}),
        (["mcp__files__search", "mcp__web__open"], {"search": "mcp__files__search",
                                                    "open": "mcp__web__open"}),
        (["a/b/c", "x:y"], {"c": "a/b/c", "y": "x:y"}),
        (["a.search", "b.search"], {}),
        (["a.search", "search"], {}),
        (["a.search", "a.search"], {"search": "a.search"}),
        (["get_weather", "__init__"], {}),
        ([], {}),
    ],
)  # fmt: skip
def test_a_unique_last_part_gives_the_full_name(names: list[str], full: dict[str, str]) -> None:
    assert full_names(names) == full


@pytest.mark.parametrize(
    ("pieces", "passed"),
    [
        ([], "{}"),
        ([""], "{}"),
        ([" \n"], "{}"),
        (["null"], "{}"),
        (["n", "ull", " "], "{}"),
        ([" ", '{"a"', ":1}"], ' {"a":1}'),
        (["{}"], "{}"),
        (["nu", "1"], "nu1"),
    ],
)
def test_no_arguments_are_an_empty_object(pieces: list[str], passed: str) -> None:
    reader = ArgumentsReader()
    assert "".join([*map(reader.feed, pieces), reader.end()]) == passed


@pytest.mark.parametrize("given", ["", " ", "null", None, "{}", {}])
def test_calls_without_arguments_in_a_history_and_in_an_answer(given: object) -> None:
    assert arguments(given) == {}
    call = {"id": "a", "function": {"name": "f", "arguments": given}}
    body = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    assert ToolCallDelta(0, "{}") in decode_complete(body)


def test_ids_that_repeat_get_numbers_and_never_collide() -> None:
    ids = UniqueIds()
    wanted = ["call", "call", "call_2", "call", "call_2", "other"]
    made = [ids.make(name) for name in wanted]
    assert made[:2] == ["call", "call_2"]
    assert made[-1] == "other"
    assert len({*made}) == len(made)


def test_results_find_their_calls_by_id_and_else_by_order() -> None:
    calls = OpenCalls()
    for theirs, id in [("a", "1"), ("b", "2"), ("b", "3"), ("", "4")]:
        calls.add(theirs, id)
    answered = [calls.take(theirs) for theirs in ("b", None, "gone", "b", "b", "", None)]
    assert answered == ["2", "1", None, "3", None, "4", None]
