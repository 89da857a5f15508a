"""`python chat.py` as a program: in a terminal, with a question, in a pipe."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from config import Settings
from router.embedded.server import ROOT
from tests.support.scripted import Connection, Request, ScriptedServer, scripted
from tests.support.terminal import Terminal, terminal

CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"


def piece(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "model": "local-model"}
    return b"data: %b\n\n" % orjson.dumps({**body, "choices": [choice]})


USAGE = b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":42}}\n\n'
DONE = b"data: [DONE]\n\n"
HELLO = (piece("Hello **dear** "), piece("friend."), piece("", "stop"), USAGE, DONE)


async def says_hello(connection: Connection, request: Request) -> None:
    await connection.stream(*HELLO)


async def talks_on(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.chunk(piece("It all began "))
    await connection.silence()


async def refuses(connection: Connection, request: Request) -> None:
    await connection.answer(b'{"error": {"message": "out of order"}}', 500)


def environment(home: Path, local: ScriptedServer | None, **settings: object) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields} | {"NO_COLOR", "COLUMNS"}
    env = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    url = f"{local.url}/v1" if local else "http://127.0.0.1:9/v1"
    values: dict[str, object] = {
        "local_base_url": url, "local_model": "local-model", "embedded_model": "off",
        "journal_path": "off", "complexity_threshold": 100, **settings,
    }  # fmt: skip
    env |= {name.upper(): str(value) for name, value in values.items()}
    return env | {"HOME": str(home), "XDG_DATA_HOME": str(home), "TERM": "xterm-256color"}


@asynccontextmanager
async def chatting(
    home: Path, local: ScriptedServer, *words: str, columns: int = 100, **settings: object
) -> AsyncIterator[Terminal]:
    """The chat in a terminal, ready for its first line."""
    env = environment(home, local, **settings)
    async with terminal(ROOT / "chat.py", *words, env=env, columns=columns) as shown:
        await shown.shows(" >")
        yield shown


async def run(
    home: Path, local: ScriptedServer | None, *words: str, piped: bytes = b"", **settings: object
) -> tuple[int, str, str]:
    """The chat without a terminal: exit status, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "chat.py",
        *words,
        env=environment(home, local, **settings),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate(piped)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_an_answer_is_shown_with_where_it_came_from(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("prove it\r")
        await chat.shows("42 tokens")
        assert "Hello dear friend.\nlocal · local-model · score" in chat.text
        chat.type("/route\r")
        await chat.shows("(threshold 100)")
        assert re.search(r"complex_keywords +\+[\d.]+ +prove", chat.text)
        chat.type("/info\r")
        await chat.shows("ready, local-model")
        chat.type("/help\r")
        await chat.shows("/retry [local|cloud]")
        chat.type("/nonsense\r")
        await chat.shows("there is no /nonsense")
        chat.type("/exit\r")
        assert await chat.ends() == 0
    assert local.requests[0].json["messages"] == [{"role": "user", "content": "prove it"}]


async def test_the_conversation_is_sent_until_it_is_cleared(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("one\r")
        await chat.shows("42 tokens")
        chat.type("two\r")
        await chat.shows("42 tokens", times=2)
        chat.type("/clear\r")
        await chat.shows("forgotten")
        chat.type("three\r")
        await chat.shows("42 tokens", times=3)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    said = [[m["content"] for m in request.json["messages"]] for request in local.requests]
    assert said == [["one"], ["one", "Hello **dear** friend.", "two"], ["three"]]


async def test_ctrl_c_stops_the_answer_and_keeps_the_chat(tmp_path: Path) -> None:
    async with scripted(talks_on) as local, chatting(tmp_path, local) as chat:
        chat.type("tell me\r")
        await chat.shows("It all began")
        chat.type(CTRL_C)
        await chat.shows("stopped")
        await local.all_closed()
        local.script = says_hello
        chat.type("/retry\r")
        await chat.shows("Hello dear friend.")
        await chat.shows("auto >", times=3)
        chat.type(CTRL_C)
        await chat.shows("Ctrl-C again")
        chat.type(CTRL_C)
        assert await chat.ends() == 0
    assert [m["content"] for m in local.requests[1].json["messages"]] == ["tell me"]


async def test_a_failure_is_one_line_and_can_be_tried_again(tmp_path: Path) -> None:
    async with scripted(refuses) as local, chatting(tmp_path, local) as chat:
        chat.type("hi\r")
        await chat.shows("out of order")
        assert "Traceback" not in chat.text
        local.script = says_hello
        chat.type("/retry local\r")
        await chat.shows("Hello dear friend.")


async def test_a_side_can_be_chosen_at_the_start_and_while_chatting(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local, "--local") as chat:
        await chat.shows("local >")
        chat.type("hi\r")
        await chat.shows("forced")
        chat.type("/cloud\r")
        await chat.shows("cloud >")
        chat.type("hi\r")
        await chat.shows("ANTHROPIC_API_KEY")
        chat.type("/auto\r")
        await chat.shows("auto >")


async def test_several_lines_can_be_pasted(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("\x1b[200~first line\nsecond line\x1b[201~\r")
        await chat.shows("42 tokens")
    assert local.requests[0].json["messages"][0]["content"] == "first line\nsecond line"


async def test_lines_of_earlier_sessions_come_back(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        for key in ("remember me", UP):
            async with chatting(tmp_path, local) as chat:
                chat.type(key)
                await chat.shows("remember me")
                chat.type("\r")
                await chat.shows("42 tokens")
                chat.type(CTRL_D)
                assert await chat.ends() == 0
    assert [r.json["messages"][0]["content"] for r in local.requests] == ["remember me"] * 2


async def test_a_narrow_terminal_breaks_lines_between_words(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local, columns=16) as chat:
        chat.type("hi\r")
        await chat.shows("42")
        assert "Hello dear\nfriend." in chat.text


async def test_no_colour_means_none(tmp_path: Path) -> None:
    async with scripted(refuses) as local:
        for settings, colours in (({}, True), ({"no_color": 1}, False)):
            async with chatting(tmp_path, local, **settings) as chat:
                chat.type("hi\r")
                await chat.shows("out of order")
                assert (b"\x1b[31m" in chat.raw) == colours


@pytest.mark.parametrize("piped", [False, True], ids=["argument", "pipe"])
async def test_a_single_question_gets_plain_text(tmp_path: Path, piped: bool) -> None:
    async with scripted(says_hello) as local:
        if piped:
            status, out, err = await run(tmp_path, local, piped=b"hi there\n")
        else:
            status, out, err = await run(tmp_path, local, "hi", "there")
    assert (status, out, err) == (0, "Hello **dear** friend.\n", "")
    assert local.requests[0].json["messages"][0]["content"] == "hi there"


async def test_a_failed_question_is_one_line_and_status_1(tmp_path: Path) -> None:
    status, out, err = await run(tmp_path, None, "hi")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert "127.0.0.1:9" in err


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        ([], {}, "no question"),
        (["hi"], {"complexity_threshold": "much"}, "COMPLEXITY_THRESHOLD"),
        (["hi"], {"private_patterns": "(a+)+$"}, "PRIVATE_PATTERNS"),
    ],
    ids=["no question", "bad setting", "bad pattern"],
)
async def test_what_cannot_be_is_one_line_and_status_2(
    tmp_path: Path, words: list[str], settings: dict[str, Any], said: str
) -> None:
    status, out, err = await run(tmp_path, None, *words, **settings)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


async def test_what_was_typed_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    home = tmp_path / "data"
    async with scripted(says_hello) as local, chatting(home, local):
        pass
    history = home / "llm-router" / "chat_history"
    assert history.stat().st_mode & 0o077 == 0
    assert history.parent.stat().st_mode & 0o077 == 0
