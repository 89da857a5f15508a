"""A text in its plain spelling, of which only the lines that need it are converted."""

from collections.abc import Callable

import pytest

from router.privacy.normalize import normalize
from router.privacy.spellings import Spellings
from tests.support.hiding import SPELLINGS
from tests.support.keys import CANARIES
from tests.support.texts import many_kinds_of_text

LINES = "".join(f"    value_{i} = some_function(of={i}, limit=100)\n" for i in range(60))


def plain(text: str) -> str:
    return Spellings.of(text).plain.decode("utf-8", "surrogatepass")


def test_only_the_lines_that_are_written_otherwise_are_read_twice() -> None:
    text = f"{LINES}first = '\\u0041%42'\nsecond\nthird = &lt;\n{LINES}"
    assert plain(text) == f"{LINES}first = 'AB'\nsecond\nthird = <\n{LINES}"
    assert Spellings.of(text).written.decode().split("\n\v\n") == [
        "first = '\\u0041%42'",
        "third = &lt;",
    ]


@pytest.mark.parametrize("text", ["", LINES, "É is one\n" * 9, f"100 % & \\d\n{LINES}"])
def test_a_text_in_plain_spelling_is_read_once(text: str) -> None:
    assert Spellings.of(text) == (text.encode(), b"")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("before", ["", "\n", LINES, LINES[:-1], "é" * 200 + "\n" + LINES])
@pytest.mark.parametrize("behind", ["", "\n", "\n" + LINES])
def test_lines_are_converted_as_the_whole_text_is(
    spelling: Callable[[str], str], before: str, behind: str
) -> None:
    text = before + spelling(CANARIES["GitHub"]) + behind
    assert plain(text) == normalize(text)


@pytest.mark.parametrize("text", many_kinds_of_text(3_000).values())
def test_all_kinds_of_text_are_converted_amid_ordinary_lines(text: str) -> None:
    whole = f"{LINES}{text}\n{LINES}"
    assert plain(whole) == normalize(whole)


@pytest.mark.parametrize("character", ["\u2026", "\u200b", "\uff21", "e\u0301", "\ufe0f"])
def test_a_character_is_found_wherever_a_chunk_of_the_search_ends(character: str) -> None:
    for size in range(250, 262):
        text = f"{'x' * size}{character}\n{LINES}"
        assert plain(text) == normalize(text)


def test_a_separator_that_is_written_as_an_escape_does_no_harm() -> None:
    text = f"{LINES}a%0A%0B%0Ab\n{LINES}c%0A%0B%0Ad"
    assert plain(text) == normalize(text)
