import time

import pytest

from router.privacy.normalize import normalize
from tests.support.texts import many_kinds_of_text


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ('{\\"cmd\\":\\"export GH=\\u0022KEY\\u0022\\"}', '{"cmd":"export GH="KEY""}'),
        ("a\\\\\\\\u003Db", "a=b"),
        ("\\u00fc \\u00FC", "ü ü"),
        ("\\/x\\u002Fy", "/x/y"),
        ("line\\\\nnext\\ttab", "line\nnext\ttab"),
        ("\\ud83d\\ude00", "\U0001f600"),
        ("\\x41\\u{1F600}", "A\U0001f600"),
        ("a%2fb%2Fc", "a/b/c"),
        ("%253D", "="),
        ("%25252541", "A"),
        ("caf%C3%A9", "café"),
        ("a&amp;b&nbsp;c&#45;d&#x2d;e", "a&b c-d-e"),
        ("&amp;lt;", "<"),
        ("\x1b[01;31m\x1b[Kkey\x1b[m", "key"),
        ("^[[32mkey^[[0m", "key"),
        ("\\x1b[1mkey\\033[0m\\e[32m\\u001b[0m", "key"),
        ("\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("s\0k\0", "sk"),
        ("s\u200bk\u2060\ufeff", "sk"),
        ("pass\u00adword", "password"),
        ("\uff53\uff4b\uff0d\uff11", "sk-1"),
        ("e\u0301", "é"),
        ("a\u2011b\u2013c", "a-b-c"),
        ("\\101\\102c", "ABc"),
        ("%u0041%u00fc%42", "AüB"),
        ("H\bHi\b_\bi", "Hi"),
        ("a\x01b\x7fc\x1fd", "abcd"),
        ("a\u2800b\ufff9c", "abc"),
        ("Hi\U000e0061\U000e0062", "Hi\nab"),
        ("\\uu0041\\x{42}", "AB"),
        ("a\\u{110000}b\\u{0}c", "abc"),
        ("\x1b]8;;https://x.example\x07link\x1b]8;;\x07", "link"),
        ("\x9b32mkey\x9b0m", "key"),
    ],
)
def test_each_spelling_becomes_plain(written: str, plain: str) -> None:
    assert normalize(written) == plain
    assert normalize(plain) == plain


@pytest.mark.parametrize(
    "text",
    [
        "An ordinary sentence, with 100 % of nothing & more.",
        "for i in range(10):\n    print(f'{i:%d}', a && b)",
        "C:\\Users\\me",
        "see [1] ^ and caret ^[x]",
    ],
)
def test_text_without_other_spellings_stays_unchanged(text: str) -> None:
    assert normalize(text) is text or normalize(text) == text


def test_text_that_has_nothing_to_undo_is_the_same_object() -> None:
    text = "nothing to see here\n" * 100
    assert normalize(text) is text


def test_a_text_that_is_encoded_without_end_is_decoded_a_few_times() -> None:
    assert normalize("%" + "25" * 1000 + "41").startswith("%25")


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", many_kinds_of_text(100).keys())
def test_normalizing_takes_time_in_proportion(kind: str) -> None:
    for size, limit_s in ((200_000, 0.1), (2_000_000, 1)):
        text = many_kinds_of_text(size)[kind]
        began = time.process_time()
        normalize(text)
        assert time.process_time() - began < limit_s
