import io
import json
import logging
import random
import string
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

import pytest

from router.privacy.key_shapes import SHAPES
from router.privacy.redact import RedactingFilter, redact
from tests.support.keys import CANARIES

OWN = "correct horse/battery+staple&42"


@pytest.mark.parametrize("key", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize(
    "text",
    ["{}", "key={}", '{{"error": "bad key {} given"}}', "a\n{}\nb", "https://x/y?z={}&a=b"],
)
def test_well_known_keys_are_taken_out_wherever_they_stand(key: str, text: str) -> None:
    clean = redact(text.format(key))
    assert key not in clean
    assert "[redacted]" in clean


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abcdefgh12", "Authorization: Bearer [redacted]"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [redacted]"),
        ("{'Authorization': 'Bearer abcdefgh12'}", "{'Authorization': 'Bearer [redacted]'}"),
        ("authorization: raw-token", "authorization: [redacted]"),
        ("GET /v1/models?key=abc123&alt=sse", "GET /v1/models?key=[redacted]&alt=sse"),
        ("/x?alt=sse&api_key=abc123", "/x?alt=sse&api_key=[redacted]"),
        ("/x?access_token=abc123", "/x?access_token=[redacted]"),
        ("x-api-key: abc123", "x-api-key: [redacted]"),
        ('"x-api-key": "abc123"', '"x-api-key": "[redacted]"'),
        ("(b'x-goog-api-key', b'abc123')", "(b'x-goog-api-key', b'[redacted]')"),
        ("cookie: session=1; other=2", "cookie: [redacted]; other=2"),
        ("http://me:hunter2@proxy:3128/", "http://me:[redacted]@proxy:3128/"),
    ],
)
def test_a_value_named_as_a_key_is_removed(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/models?alt=sse 200 in 12 ms",
        "The bearer of this letter is my friend.",
        "set ANTHROPIC_API_KEY in .env, then restart",
        "claude: no such model claude-opus-9 (ANTHROPIC_MODEL)",
        "see https://platform.claude.com/docs/en/api/errors",
        "task-management-system-with-a-very-long-name-and-2-digits",
        "-----BEGIN RSA PRIVATE KEY----- is how a key file begins",
        "A basic understanding of tokens",
        "keyboard: qwerty, monkey=banana",
        "request 0f8fad5b-d9cb-469f-a165-70867728950e took 3 s",
    ],
)
def test_ordinary_text_stays_unchanged(text: str) -> None:
    assert redact(text) == text


def test_a_private_key_is_taken_out_whole() -> None:
    body = "\n".join(
        "".join(random.Random(i).choices(string.ascii_letters, k=64)) for i in range(9)
    )
    pem = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----"
    clean = redact(f"before {pem} after")
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    assert not any(line in clean for line in body.splitlines())


@pytest.mark.parametrize(
    "spelling", [OWN, "correct%20horse%2Fbattery%2Bstaple%2642", f"password={OWN};"]
)
def test_given_secrets_are_taken_out_however_they_are_spelled(spelling: str) -> None:
    assert "battery" not in redact(f"failed: {spelling}", [OWN])


def test_a_given_secret_is_removed_from_json() -> None:
    assert redact(r'{"key": "say \"open sesame\" now"}', ['say "open sesame" now']) == (
        '{"key": "[redacted]"}'
    )


def test_short_secrets_do_not_garble_the_text() -> None:
    assert redact("asked ollama for a model", ["ollama", ""]) == "asked ollama for a model"


def test_a_secret_within_a_longer_one_leaves_nothing_of_it() -> None:
    assert redact("it is abcdefgh-12345678.", ["abcdefgh", "abcdefgh-12345678"]) == (
        "it is [redacted]."
    )


@pytest.mark.no_cover
@pytest.mark.parametrize("anchor", sorted({shape.anchor for shape in SHAPES} | {"PRIVATE KEY"}))
def test_no_text_takes_long(anchor: str) -> None:
    for filler in (anchor, "a", "1", "-", "a1-", f"{anchor}a", f"{anchor}a1.", f"{anchor}-----"):
        text = anchor + filler * (10_000 // len(filler))
        # Again if it was slow: the machine may be busy.
        assert any(_seconds(text) < 0.1 for _ in range(4))


def _seconds(text: str) -> float:
    began = time.thread_time()
    redact(text)
    return time.thread_time() - began


@pytest.fixture
def log() -> tuple[logging.Logger, io.StringIO]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter([OWN]))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, out


Log = tuple[logging.Logger, io.StringIO]


def test_the_filter_cleans_messages_and_arguments(log: Log) -> None:
    logger, out = log
    key = CANARIES["OpenAI project"]
    logger.warning("plain %s in %d ms", "text", 12)
    logger.warning("message with %s" % key)  # noqa: UP031
    logger.warning("%s as %d argument", key, 1)
    logger.warning("%(key)s in a mapping", {"key": key})
    logger.warning("in an object: %s", {"headers": {"x-api-key": "abc123"}})
    logger.warning("own: %s", OWN)
    logger.warning("split over two: Bearer %s", "abcdefghijkl")
    assert out.getvalue().splitlines() == [
        "plain text in 12 ms",
        "message with [redacted]",
        "[redacted] as 1 argument",
        "[redacted] in a mapping",
        "in an object: {'headers': {'x-api-key': '[redacted]'}}",
        "own: [redacted]",
        "split over two: Bearer [redacted]",
    ]


@pytest.mark.parametrize("around", [json.dumps, partial(quote, safe="")])
def test_the_filter_removes_a_secret_that_is_spelled_twice(around: Callable[[str], str]) -> None:
    secret = 'say "open sesame" now'
    clean = RedactingFilter([secret]).clean(around(around(f"it is {secret}.")))
    assert clean == around(around("it is SECRET.")).replace("SECRET", "[redacted]")


def test_the_filter_cleans_tracebacks(log: Log) -> None:
    logger, out = log
    key = CANARIES["Google"]
    try:
        try:
            raise ValueError(f"GET /v1beta/models?key={key}")
        except ValueError as error:
            raise RuntimeError(f"and {OWN}") from error
    except RuntimeError:
        logger.exception("it failed")
    text = out.getvalue()
    assert "it failed" in text
    assert "RuntimeError" in text
    assert "ValueError" in text
    assert key not in text
    assert OWN not in text


def test_the_filter_cleans_stacks(log: Log) -> None:
    logger, out = log
    logger.warning("here", stack_info=True)  # with x-api-key: abc123 in the source line
    assert "test_the_filter_cleans_stacks" in out.getvalue()
    assert "abc123" not in out.getvalue()


def test_the_filter_keeps_the_arguments_of_an_access_log_apart() -> None:
    record = logging.LogRecord(
        "uvicorn.access",
        logging.INFO,
        __file__,
        1,
        '%s - "%s %s HTTP/%s" %d',
        ("127.0.0.1:5", "GET", "/x?key=abc123", "1.1", 200),
        None,
    )
    assert RedactingFilter().filter(record)
    assert record.args == ("127.0.0.1:5", "GET", "/x?key=[redacted]", "1.1", 200)


def test_arguments_that_do_not_fit_a_message_break_nothing_and_leak_nothing() -> None:
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%d", (OWN,), None)
    RedactingFilter([OWN]).filter(record)
    assert OWN not in record.getMessage()


def test_a_record_without_keys_is_left_alone() -> None:
    args = ("text", object())
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "%s %s", args, None)
    RedactingFilter().filter(record)
    assert record.args is args
