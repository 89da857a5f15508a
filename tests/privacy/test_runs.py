"""Where in a text keys can be."""

import base64
import random

import pytest

from router.privacy.key_shapes import keys_in
from router.privacy.named_values import values_in
from router.privacy.runs import Text
from tests.support.keys import CANARIES, LOWER_HEX, made_up

KEY = CANARIES["GitHub"]
HEX = made_up(LOWER_HEX, 64, "hex")
UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
BYTES = random.Random("digest").randbytes(64)
DIGEST = base64.b64encode(BYTES).decode()
LINES = {
    "npm": f'"integrity": "sha512-{DIGEST}",',
    "uv": f'url = "https://x.example/{HEX[:60]}/a-1.0-py3-none-any.whl", hash = "sha256:{HEX}"',
    "pip": f"    --hash=sha256:{HEX} \\",
    "go": f"example.com/a v1.2.3 h1:{base64.b64encode(BYTES[:32]).decode()}",
    "a wheel": f"a/b.py,sha256={base64.urlsafe_b64encode(BYTES[:32]).decode().rstrip('=')},120",
    "sha256sum": f"{HEX}  a.tar.gz",
    "ids": UUID,
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_a_list_of_digests_has_no_runs_to_look_at(line: str) -> None:
    read = Text.of("\n".join([line] * 20).encode())
    assert (read.likely, read.hexadecimal) == ([], [])


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
@pytest.mark.parametrize("between", ["\n", " ", ",", "\t"])
def test_a_key_beside_a_digest_is_found(line: str, between: str) -> None:
    for text in (f"{line}{between}{KEY}", f"{KEY}{between}{line}", f"{line}{between}{KEY}\n{line}"):
        assert list(keys_in(Text.of(text.encode()))), text


@pytest.mark.parametrize("value", [HEX, HEX[:32], UUID, HEX.upper()])
def test_hexadecimal_digits_are_a_key_where_a_name_says_so(value: str) -> None:
    assert list(values_in(Text.of(f"ACME_API_KEY={value}".encode())))
    assert not list(values_in(Text.of(f"checksum = '{value}'".encode())))


def test_of_a_list_of_digests_only_the_first_is_a_run() -> None:
    for line in (f"{HEX}  a.tar.gz", f"    --hash=sha256:{HEX} \\"):
        assert len(Text.of("\n".join([line] * 20).encode()).runs) == 1


def test_text_in_hexadecimal_is_no_digest() -> None:
    line = b"thirty-two characters of a text!".hex()
    assert len(Text.of("\n".join([line] * 20).encode()).runs) == 20
