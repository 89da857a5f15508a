"""Blocks of a stream that are only words, which a decoder reads at once."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from router.errors import BackendError
from router.events import Event, TextDelta, ToolCallStart
from router.wire.anthropic.claude import ClaudeDecoder
from router.wire.decoder import WordDecoder
from router.wire.gemini.generate_content import GeminiDecoder
from tests.support.paths import RECORDINGS

DECODERS: dict[str, Callable[[], WordDecoder]] = {
    "claude": ClaudeDecoder,
    "gemini": lambda: GeminiDecoder({}),
}
STREAMS = [(kind, path) for kind in DECODERS for path in sorted((RECORDINGS / kind).rglob("*.sse"))]


def decoded(decoder: WordDecoder, blocks: list[bytes], *, at_once: bool) -> list[Event | str]:
    """Return the events of a stream, and the failure that ends it."""
    events: list[Event | str] = []
    try:
        for block in blocks:
            found = decoder.words(block) if at_once else None
            for event in decoder.feed(block) if found is None else found:
                if isinstance(event, ToolCallStart):
                    event = replace(event, id="")  # those of Gemini's calls are random
                events.append(event)
        if not decoder.is_over:
            events += decoder.end()
    except BackendError as error:
        events.append(error.message)
    return events


@pytest.mark.parametrize(("kind", "path"), STREAMS, ids=[path.stem for _, path in STREAMS])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_a_stream_has_the_same_events_whether_its_words_are_read_at_once(
    kind: str, path: Path, newline: bytes
) -> None:
    stream = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", newline)
    blocks = re.findall(rb".+?(?:\n\n|\r\n\r\n|\Z)", stream, re.DOTALL)
    new = DECODERS[kind]
    assert decoded(new(), blocks, at_once=True) == decoded(new(), blocks, at_once=False)
    assert len(blocks) == 1 or new().words(stream) is None


def claude(*fields: str) -> bytes:
    return b"".join(
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":%b}\n\n'
        % field.encode()
        for field in fields
    )


def gemini(candidate: str, rest: str = "") -> bytes:
    return f'data: {{"candidates":[{candidate}]{rest}}}\n\n'.encode()


TEXT = '{"type":"text_delta","text":"%s"}'


@pytest.mark.parametrize(
    ("kind", "block", "words"),
    [
        ("claude", claude(TEXT % 'say \\"text_delta\\" \\u00e9'), 'say "text_delta" é'),
        ("claude", claude(TEXT % "a", TEXT % "b"), None),
        ("claude", claude('{"type":"thinking_delta","thinking":"Hm"}'), None),
        ("claude", claude('{"type":"text_delta","text":1}'), None),
        ("claude", claude('{"type":"text_delta"}'), None),
        ("claude", claude("7"), None),
        ("claude", claude('{"type":"text_delta","text":"a'), None),
        ("claude", claude(TEXT % "a").replace(b'"text":', b'"text":\n'), None),
        ("gemini", gemini('\n{"content":{"parts":[{"text":"a"}]}}'), None),
        ("claude", b'event: ping\ndata: {"type":"ping"}\n\n', None),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"}]},"index":0}'), "a"),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"}]}}', ',"usageMetadata":{}'), "a"),
        ("gemini", gemini('{"content":{"parts":[{"text":"a","thought":true}]}}'), None),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"},{"text":"b"}]}}'), None),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}'), None),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"}]},"index":1}'), None),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"}]}}', ',"error":{"code":1}'), None),
        ("gemini", gemini('{"content":{"parts":[{"text":""}]}}'), None),
        ("gemini", gemini('{"content":{"parts":["a"]}}'), None),
        ("gemini", gemini("7"), None),
        ("gemini", b"data: 7\n\n", None),
        ("gemini", b'{"error":{"code":400}}\n\n', None),
        ("gemini", gemini('{"content":{"parts":[{"text":"a"}]}}') * 2, None),
    ],
)
def test_only_one_piece_of_text_counts_as_words(kind: str, block: bytes, words: str | None) -> None:
    decoder = DECODERS[kind]()
    found = decoder.words(block)
    assert (found if found is None else list(found)) == (words and [TextDelta(words)])
