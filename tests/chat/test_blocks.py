"""The blocks of an answer: what is code, and what is finished."""

import pytest

from chat.blocks import Growing, blocks

CODES = [
    ("```py\nx\n```\n", ["x"]),
    ("a\n```py\nx\n```\nb\n\n~~~\ny\n~~~", ["x", "y"]),
    ("````md\n```py\nx\n```\n````\n", ["```py\nx\n```"]),
    ("~~~\n```\n~~~\n", ["```"]),
    ("```\n``` py\n```\n", ["``` py"]),
    ("- a\n\n  ```sh\n  if true; then\n    ls\n  ```\n", ["if true; then\n  ls"]),
    ("```make\nall:\n\tcc  \n\n\n```", ["all:\n\tcc  \n\n"]),
    ("```\n```\n", [""]),
    ("``` `x` ```\n", []),
    ("```py\nnot closed\n", ["not closed"]),
    ("```\na\u2028b\n```", ["a\u2028b"]),
    ("no code", []),
]


@pytest.mark.parametrize(("text", "codes"), CODES)
def test_code_is_what_stands_between_two_fences(text: str, codes: list[str]) -> None:
    assert [block.code for block in blocks(text) if block.code is not None] == codes


@pytest.mark.parametrize("text", [text for text, _ in CODES])
def test_no_character_of_a_text_is_lost(text: str) -> None:
    assert "".join(block.source for block in blocks(text)) == text
    growing = Growing()
    assert "".join([growing.add(character) for character in text]) + growing.open == text


def test_prose_is_finished_with_a_blank_line_and_code_with_its_fence() -> None:
    growing = Growing()
    pieces = ("a\nb", "\n\nc", "\n\n```\nx\n\n", "y\n``", "`\nd")
    assert [growing.add(piece) for piece in pieces] == [
        "", "a\nb\n\n", "c\n\n", "", "```\nx\n\ny\n```\n",
    ]  # fmt: skip
    assert growing.open == "d"
