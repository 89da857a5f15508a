"""Texts that end in a loop, and texts that only look like it."""

import time

import pytest

from router.answers.loops import ends_in_a_loop

SENTENCE = "You can also use the other option to do the same. "
TABLE = "".join(f"| {n} | {n * n} | a row of the table |\n" for n in range(60))
CODE = "".join(f"    assert add({n}, 0) == {n}\n" for n in range(40))
CHORUS = "Row, row, row your boat,\nGently down the stream,\n" * 3


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE * 6,
        f"The answer is 4.\n{SENTENCE * 40}You can also use the",
        "no " * 200,
        "ha" * 400,
        ("First, open the file.\nThen, close the file.\n" * 9) + "First, open",
        "Ende. Und noch einmal von vorn, weil es so sch\u00f6n war. " * 8,
        "\u540c\u3058\u6587\u304c\u7e70\u308a\u8fd4\u3055\u308c\u308b\u3002" * 40,
        ("A long paragraph, " * 40 + "that ends here.\n\n") * 6,
    ],
)
def test_a_text_that_repeats_to_its_end_is_a_loop(text: str) -> None:
    assert ends_in_a_loop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No.",
        SENTENCE * 3,
        TABLE,
        CODE,
        CHORUS,
        "-" * 400,
        "0, " * 300,
        "| --- " * 80 + "|",
        SENTENCE * 40 + "But the first one is faster, so take that one, and be done with it.",
    ],
)
def test_lists_tables_and_verses_are_no_loops(text: str) -> None:
    assert not ends_in_a_loop(text)


def test_a_repetition_that_the_caller_asked_for_is_no_loop() -> None:
    assert not ends_in_a_loop("I will be on time. " * 100, "Write it 100 times: i will be on time")
    assert ends_in_a_loop("I will be on time. " * 100, "Write a letter about being late.")


@pytest.mark.parametrize(("times", "loops"), [(8, False), (22, False), (31, True), (200, True)])
def test_a_text_that_the_model_ended_has_to_repeat_more(times: int, loops: bool) -> None:
    text = "Here it is: " + "The quick brown fox jumps over the lazy dog. " * times
    assert ends_in_a_loop(text)
    assert ends_in_a_loop(text, ended=True) == loops


def test_a_long_text_takes_no_time() -> None:
    text = "ab" * 500_000 + "b"
    began = time.process_time()
    ends_in_a_loop(text, text)
    assert time.process_time() - began < 0.05
