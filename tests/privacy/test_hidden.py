"""Keys in other encodings and in pieces, and text that only resembles them."""

import base64
import time

import pytest

from router.privacy.hidden import hidden_in, unquoted
from router.privacy.runs import Text
from router.privacy.scanner import PrivacyScanner
from router.privacy.spellings import Spellings, readings
from tests.support.hiding import CODES, PIECES, cut
from tests.support.keys import CANARIES, made_up
from tests.support.texts import many_kinds_of_text

KEYS = {
    name: key
    for name, key in CANARIES.items()
    if len(key) >= 24 and not key.startswith(("aws", "AWS"))
}
"""Keys of which each piece is a piece of the value."""
DATA = base64.b64encode(bytes(range(256)) * 20).decode()
LONG = "a-name-that-is-long-enough-2"


def read(text: str) -> list[Text]:
    return list(readings(Spellings.of(text).plain))


def hidden(text: str) -> str:
    return hidden_in(Text.of(text.encode())).decode()


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_a_key_is_found_in_each_code(key: str) -> None:
    for name, coded in CODES.items():
        assert PrivacyScanner().scan(coded(key).encode()), name


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS.keys())
def test_a_key_is_found_that_is_in_pieces(key: str) -> None:
    for name, pieces in PIECES.items():
        assert PrivacyScanner().scan(pieces(key).encode()), name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"a: {base64.b64encode(b'what is written in here').decode()}.", "what is written in here"),
        (f"a={base64.urlsafe_b64encode(b'is it a?b>c~d or so').decode()}", "is it a?b>c~d or so"),
        (f"{DATA} {base64.b64encode(b'behind a picture').decode()}", "behind a picture"),
        ("0x" + b"some bytes, in letters".hex(), "some bytes, in letters"),
        (cut(LONG, "\n"), LONG),
        (cut(LONG, '" + "', '"', '"'), LONG),
        (cut(LONG, '" L"', 'L"', '"'), LONG),
        (cut(LONG, "`\n", "$k = "), LONG),
        (cut(LONG, "^\r\n", "set K="), LONG),
        (cut(LONG, "\\\n   \\", '"', '"'), LONG),
        (cut(LONG, "<!-- a note -->", "<p>", "</p>"), LONG),
        (cut(LONG, "]]><![CDATA[", "<![CDATA[", "]]>"), LONG),
        (cut(LONG, "**"), LONG),
        (cut(LONG, "\n") + "\nmore", f"{LONG}more\n\n{LONG}"),
        (cut("a-name-without-any-digit", "\n"), ""),
        (cut(LONG, " "), ""),
        (cut(LONG, ", "), ""),
        (cut(LONG, '", "', '"', '"'), ""),
        (cut(LONG, "\n\n"), ""),
    ],
)
def test_hidden_text_is_read(text: str, says: str) -> None:
    assert hidden(text) == says


@pytest.mark.parametrize(
    "text",
    [
        "An ordinary sentence.\nAnd another one, with someLongNameOfAThing2024 in it.",
        DATA,
        "\n".join(made_up("0123456789abcdef", 64, str(i)) for i in range(50)),
        "\n".join(made_up("0123456789abcdef", 40, str(i)) + f"  file{i}" for i in range(20)),
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        '{"first-name-that-is-long1": "first-value-that-is-long1",\n "b": "c"}',
    ],
)
def test_a_text_that_hides_nothing_is_read_once(text: str) -> None:
    assert hidden(text) == ""
    assert len(read(text)) == 1


def test_only_text_that_looks_like_mail_is_read_as_quoted_printable() -> None:
    assert unquoted(b"if a=10 and b==C0:\n    c =\\\n 5") == b""
    assert unquoted(b"a.py,sha256=3D5FCmW-23jetQTF,120") == b""
    assert unquoted(b"a=3D1=\n0 =C3=BC").decode() == "a=10 ü"


def test_codes_within_codes_are_read_a_few_times() -> None:
    text = "what stands in the middle of it all"
    for layers in range(1, 6):
        text = f"Read: {base64.b64encode(text.encode()).decode()}"
        found = any(b"in the middle" in reading.data for reading in read(text))
        assert found == (layers <= 3)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "piece",
    [
        base64.b64encode(b"some text in base64, many a time ").decode() + " ",
        base64.encodebytes(b"some text in base64, over many lines " * 2).decode(),
        "a-piece-of-text-14\n",
        '"a-piece-of-text-14" + "b2" + ',
        "a-piece-of-text-14\\\n",
        "\n> ",
        '"" ',
        "a-piece-of-text-14.",
        "a-piece-of-text-14/",
        "d2hhdCBpcyBpbiBoZXJl/",
        "=3D=\n",
        "a-piece-of-text-14<br>",
        "a-piece-of-text-14<b",
        "<b>" * 4 + "a-piece-of-text-14" + "</b>" * 4,
        "a-piece-of-text-14 " + " " * 70 + "│\n│",
        "x2 " * 10 + "\n" * 10,
        b"some text in hexadecimal".hex(),
        *many_kinds_of_text(40_000).values(),
    ],
)
def test_reading_takes_time_in_proportion(piece: str) -> None:
    for size, limit_s in ((200_000, 0.2), (2_000_000, 2)):
        text = piece * (size // len(piece))
        began = time.process_time()
        assert sum(len(reading.data) for reading in read(text)) <= 8 * len(text.encode())
        assert time.process_time() - began < limit_s
