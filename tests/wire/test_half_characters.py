"""Characters that a server or a caller has cut in half."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.wire import half_characters, sse
from router.wire.anthropic import messages
from router.wire.chat import completions
from router.wire.fields import arguments
from router.wire.responses import responses


def event(text: bytes) -> bytes:
    return b'data: {"d": {"content": "%b"}}\n\n' % text


def joined(*blocks: bytes) -> bytes:
    joiner = half_characters.Joiner()
    return b"".join([joiner.feed(block) for block in blocks]) + joiner.end()


def texts(stream: bytes) -> list[str]:
    return [orjson.loads(data)["d"]["content"] for data in sse.data_of(stream)]


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        pytest.param([rb"go \ud83d", rb"\ude80!"], ["go ", "🚀!"], id="two escapes"),
        pytest.param([rb"\uD83D", rb"\uDE80"], ["", "🚀"], id="in capitals"),
        pytest.param([b"\xf0\x9f\x9a", b"\x80"], ["", "🚀"], id="bytes"),
        pytest.param([b"\xf0", b"\x9f", b"\x9a", b"\x80"], ["", "", "", "🚀"], id="byte by byte"),
        pytest.param([b"na\xc3", b"\xafve"], ["na", "ïve"], id="a letter of two bytes"),
        pytest.param([rb"\ud83d", b"x"], ["\ufffd", "x"], id="the second half is missing"),
        pytest.param([b"x", rb"\ude80"], ["x", "\ufffd"], id="the first half is missing"),
        pytest.param([rb"\ud83d"], ["\ufffd"], id="the stream ends"),
        pytest.param([rb"\ud83d", rb"\ud83d", rb"\ude80"], ["\ufffd", "", "🚀"], id="twice"),
        pytest.param([b"a\xffb"], ["a\ufffdb"], id="a byte that UTF-8 lacks"),
        pytest.param([rb"a\\ud83d"], ["a\\ud83d"], id="a backslash before the letter u"),
        pytest.param([rb"a\\\ud83d", rb"\ude80"], ["a\\", "🚀"], id="after a backslash"),
        pytest.param([rb"\ud83d\ude80"], ["🚀"], id="a whole pair"),
    ],
)
@pytest.mark.parametrize("in_one_block", [True, False])
def test_halves_are_joined_or_replaced(
    pieces: list[bytes], said: list[str], in_one_block: bool
) -> None:
    events = [event(piece) for piece in pieces]
    stream = joined(b"".join(events)) if in_one_block else joined(*events)
    assert texts(stream) == said


def test_a_comment_does_not_wait_for_the_other_half() -> None:
    joiner = half_characters.Joiner()
    assert joiner.feed(event(rb"\ud83d")) == b""
    assert joiner.feed(b": ping\n\n") == b": ping\n\n"
    assert texts(joiner.feed(event(rb"\ude80"))) == ["", "🚀"]


@given(st.lists(st.text() | st.sampled_from(["\ud83d", "\ude80", "\\", '"', "é", "🚀"])))
def test_whatever_a_server_says_is_valid_afterwards(said: list[str]) -> None:
    pieces = [event(repr_json(text)) for text in said]
    assert len(texts(joined(*pieces))) == len(said)


def repr_json(text: str) -> bytes:
    """Return the inside of a JSON string; lone surrogates stay escapes, as sloppy servers send."""
    escaped = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return b"".join(
        b"\\u%04x" % ord(char) if "\ud800" <= char <= "\udfff" else orjson.dumps(char)[1:-1]
        for char in escaped
    )


@given(st.lists(st.text()))
def test_whole_text_passes_as_the_same_object(said: list[str]) -> None:
    joiner = half_characters.Joiner()
    for text in said:
        block = event(orjson.dumps(text)[1:-1])
        assert joiner.feed(block) is block


HALF = rb'{"role": "user", "content": "go \ud83d now"}'


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (completions.parse, b'{"messages": [%b]}' % HALF),
        (responses.parse, b'{"input": [%b]}' % HALF),
        (messages.parse, b'{"max_tokens": 9, "messages": [%b]}' % HALF),
    ],
    ids=["chat", "responses", "messages"],
)
def test_half_an_emoji_in_the_history_is_replaced(parse: object, body: bytes) -> None:
    assert callable(parse)
    assert parse(body, {}).messages[0]["content"] == "go \ufffd now"


@pytest.mark.parametrize("body", [b'{"messages": "\xff"}', rb'{"a": "\ud83d", "b": NaN}', b"{"])
def test_a_body_that_is_wrong_in_another_way_is_still_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        completions.parse(body)


def test_half_an_emoji_inside_a_calls_arguments_is_replaced() -> None:
    assert arguments(r'{"text": "go \ud83d"}') == {"text": "go \ufffd"}
