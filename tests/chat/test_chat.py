"""`python chat.py` as a program: in a terminal, with a question, in a pipe."""

import asyncio
import re
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from router.embedded.server import ROOT
from router.telemetry.journal_file import JournalFile
from tests.support.chatting import (
    CTRL_C,
    CTRL_D,
    UP,
    chatting,
    environment,
    refuses,
    run,
    says,
    says_hello,
    talks_on,
)
from tests.support.scripted import scripted
from tests.support.terminal import terminal


async def test_an_answer_is_shown_with_where_it_came_from(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("prove it", "42 tokens")
        assert "Hello dear friend.\nlocal · local-model · score" in chat.text
        assert re.search(r" · \d\.\d s · 7 \+ 42 tokens · \$0$", chat.text, re.MULTILINE)
        await chat.enter("/route", "(threshold 100)")
        assert re.search(r"^complex_keywords +\+[\d.]+ +prove", chat.text, re.MULTILINE)
        await chat.enter("/info", "ready, local-model")
        await chat.enter("/help", "/retry [local|cloud]")
        await chat.enter("/nonsense", "there is no /nonsense")
        chat.type("/exit\r")
        assert await chat.ends() == 0
    assert local.requests[0].json["messages"] == [{"role": "user", "content": "prove it"}]


async def test_a_word_behind_two_counts_is_named_once(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("What is 2+2?", "42 tokens")
        await chat.enter("/route", "(threshold 100)")
        assert re.search(r"simple_keywords +-[\d.]+ +what is\n", chat.text)


async def test_the_conversation_is_sent_until_it_is_cleared(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("one", "42 tokens")
        await chat.enter("two", "42 tokens", times=2)
        await chat.enter("/clear", "forgotten")
        await chat.enter("three", "42 tokens", times=3)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    said = [[m["content"] for m in request.json["messages"]] for request in local.requests]
    assert said == [["one"], ["one", "Hello **dear** friend.", "two"], ["three"]]


async def test_ctrl_c_stops_the_answer_and_keeps_the_chat(tmp_path: Path) -> None:
    async with scripted(talks_on) as local, chatting(tmp_path, local) as chat:
        await chat.enter("tell me", "It all began")
        chat.type(CTRL_C)
        await chat.shows("stopped")
        await local.all_closed()
        local.script = says_hello
        await chat.enter("/retry", "Hello dear friend.")
        await chat.shows("auto >", times=3)
        chat.type(CTRL_C)
        await chat.shows("Ctrl-C again")
        chat.type(CTRL_C)
        assert await chat.ends() == 0
    assert [m["content"] for m in local.requests[1].json["messages"]] == ["tell me"]


async def test_a_stopped_answer_is_journalled_as_left(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with (
        scripted(talks_on) as local,
        chatting(tmp_path, local, journal_path=journal) as chat,
    ):
        await chat.enter("tell me", "It all began")
        chat.type(CTRL_C)
        await chat.shows("stopped")
        await chat.shows("auto >", times=2)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    assert JournalFile(journal).rows("SELECT outcome, status FROM requests") == [("left", 499)]


async def test_ctrl_c_clears_what_was_typed_and_only_twice_on_an_empty_line_leaves(
    tmp_path: Path,
) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type(CTRL_C)
        await chat.shows("Ctrl-C again")
        chat.type("half a line")
        await chat.shows("half a line")
        chat.type(CTRL_C)
        await chat.enter("hi", "42 tokens")
        assert "half a line" not in chat.text
        chat.type(CTRL_C)
        await chat.shows("Ctrl-C again", times=2)
        chat.type("x\x7f")
        await asyncio.sleep(0.1)
        chat.type(CTRL_C)
        await chat.shows("Ctrl-C again", times=3)
        chat.type(CTRL_C)
        assert await chat.ends() == 0
    assert [m["content"] for m in local.requests[0].json["messages"]] == ["hi"]


async def test_a_question_without_an_answer_is_not_rated_but_explained(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, journal_path=journal) as chat,
    ):
        await chat.enter("hi", "42 tokens")
        await chat.enter("/cloud", "cloud")
        await chat.enter("and now?", "No cloud is configured")
        for times, command in enumerate(("/bad", "/route"), 1):
            await chat.enter(command, "the last question was not answered: ", times=times)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    assert {row[0] for row in JournalFile(journal).rows("SELECT feedback FROM requests")} == {None}


async def test_a_cleared_conversation_cannot_be_rated_or_retried(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, journal_path=journal) as chat,
    ):
        await chat.enter("hi", "42 tokens")
        await chat.enter("/clear", "forgotten")
        for times, command in enumerate(("/bad", "/route", "/retry"), 1):
            await chat.enter(command, "nothing was asked yet", times=times)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    assert JournalFile(journal).rows("SELECT feedback FROM requests") == [(None,)]


async def test_a_side_that_cannot_answer_says_so_when_it_is_chosen(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("/cloud", "ANTHROPIC_API_KEY")
    assert local.requests == []


async def test_code_is_shown_as_it_is_so_that_it_can_be_copied(tmp_path: Path) -> None:
    long = "    return " + " + ".join(f"value_{i}" for i in range(20))
    answer = f"So:\n\n```python\ndef f():\n{long}\n\tx  \n```\n\nThat is all."
    async with scripted(says(answer)) as local, chatting(tmp_path, local) as chat:
        await chat.enter("code", "42 tokens")
        assert "```" not in chat.text
        redrawn = chat.raw.replace(b"\r\x1b[2K", b"\n")
        plain = re.sub(rb"\x1b\[[\d;]*[A-Za-z]|\r", b"", redrawn).decode()
    assert f"\ndef f():\n{long}\n\tx  \n" in plain


HOSTILE = "a\x1b]0;owned\x07b\x1b[2Jc\x9b31md\x7fe\x00f\tg"
HARMLESS = "a]0;ownedb[2Jc31mdef\tg"


async def test_an_answer_gives_the_terminal_no_commands(tmp_path: Path) -> None:
    async with scripted(says(*HOSTILE)) as local:
        async with chatting(tmp_path, local) as chat:
            await chat.enter("hi", "42 tokens")
            assert HARMLESS.partition("\t")[0] in chat.text
            assert b"\x07" not in chat.raw
        status, out, err = await run(tmp_path, local, "hi")
    assert (status, out, err) == (0, HARMLESS + "\n", "")


async def test_a_failure_is_one_line_and_can_be_tried_again(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with (
        scripted(refuses) as local,
        chatting(tmp_path, local, journal_path=journal) as chat,
    ):
        await chat.enter("hi", "out of order")
        assert "Traceback" not in chat.text
        local.script = says_hello
        await chat.enter("/retry local", "Hello dear friend.")
        await chat.shows("auto >", times=3)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    rows = JournalFile(journal).rows("SELECT outcome FROM requests ORDER BY time")
    assert rows == [("failed",), ("done",)]


async def test_an_answer_stays_when_another_try_fails(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, journal_path=journal) as chat,
    ):
        await chat.enter("hi", "42 tokens")
        await chat.enter("/retry cloud", "ANTHROPIC_API_KEY")
        assert chat.text.count("42 tokens") == 1
        await chat.enter("/copy", "characters copied")
        await chat.enter("/bad", "noted")
        await chat.enter("and you?", "42 tokens", times=2)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    said = [message["content"] for message in local.requests[-1].json["messages"]]
    assert said == ["hi", "Hello **dear** friend.", "and you?"]
    rows = JournalFile(journal).rows("SELECT outcome, feedback FROM requests ORDER BY time")
    assert [row for row in rows if row[1]] == [("done", "bad")]


async def test_a_side_can_be_chosen_at_the_start_and_while_chatting(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local, "--local") as chat:
        await chat.shows("local >")
        await chat.enter("hi", "forced")
        await chat.enter("/cloud", "cloud >")
        await chat.enter("hi", "ANTHROPIC_API_KEY")
        await chat.enter("/auto", "auto >")


async def test_several_lines_can_be_pasted(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("\x1b[200~first line\nsecond line\x1b[201~", "42 tokens")
    assert local.requests[0].json["messages"][0]["content"] == "first line\nsecond line"


async def test_lines_of_earlier_sessions_come_back(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        for key in ("remember me", UP):
            async with chatting(tmp_path, local) as chat:
                chat.type(key)
                await chat.shows("remember me")
                await chat.enter("", "42 tokens")
                chat.type(CTRL_D)
                assert await chat.ends() == 0
    assert [r.json["messages"][0]["content"] for r in local.requests] == ["remember me"] * 2


async def test_a_narrow_terminal_breaks_lines_between_words(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local, columns=16) as chat:
        await chat.enter("hi", "$0")
        assert "Hello dear\nfriend." in chat.text


async def test_no_colour_means_none(tmp_path: Path) -> None:
    async with scripted(refuses) as local:
        for settings, colours in (({}, True), ({"no_color": 1}, False)):
            async with chatting(tmp_path, local, **settings) as chat:
                await chat.enter("hi", "out of order")
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


def test_a_single_question_loads_nothing_that_only_a_terminal_needs() -> None:
    code = "import sys, chat.main; print({'rich', 'prompt_toolkit'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout == "set()\n"


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
async def test_unusable_input_is_one_line_and_status_2(
    tmp_path: Path, words: list[str], settings: dict[str, Any], said: str
) -> None:
    status, out, err = await run(tmp_path, None, *words, **settings)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err


async def test_a_question_and_a_pipe_are_sent_together(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        status, _, err = await run(tmp_path, local, "Summarize this", piped=b"notes\n```\nmore\n")
    assert (status, err) == (0, "")
    sent = local.requests[0].json["messages"][0]["content"]
    assert sent == "Summarize this\n\n````\nnotes\n```\nmore\n````"


async def test_a_pipe_that_holds_too_much_is_refused(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        piped = b"x" * 20_000
        status, out, err = await run(tmp_path, local, "hi", piped=piped, max_body_mb=0.01)
    assert (status, out, err) == (2, "", "The pipe holds more than MAX_BODY_MB=0.01.\n")
    assert local.requests == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp950"])
async def test_what_a_terminal_cannot_show_becomes_a_question_mark(
    tmp_path: Path, encoding: str
) -> None:
    async with scripted(says("It is ", "北京 \U0001f600.")) as local:
        status, out, err = await run(tmp_path, local, "hi", encoding=encoding)
    city = "北京" if encoding == "cp950" else "??"
    assert (status, out, err) == (0, f"It is {city} ?.\n", "")


async def test_an_argument_that_is_no_text_is_sent_as_text(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        status, _, err = await run(tmp_path, local, b"caf\xe9", piped=b"\xff")
    assert (status, err) == (0, "")
    assert local.requests[0].json["messages"][0]["content"] == "caf\ufffd\n\n```\n\ufffd\n```"


async def test_a_reader_that_leaves_early_ends_the_chat_quietly(tmp_path: Path) -> None:
    async with scripted(says(*["word "] * 50_000)) as local:
        process = await asyncio.create_subprocess_shell(
            f"{sys.executable} {ROOT / 'chat.py'} hi < /dev/null | head -c 10",
            env=environment(tmp_path, local),
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
    assert (out, err) == (b"word word ", b"")


async def test_a_single_answer_at_a_terminal_says_where_it_came_from(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        env = environment(tmp_path, local)
        async with terminal(ROOT / "chat.py", "hi", env=env) as shown:
            assert await shown.ends() == 0
            await shown.shows("local · local-model · score")


async def test_private_lines_are_never_kept(tmp_path: Path) -> None:
    key = "sk-ant-api03-" + "Ab3dE5gH7jK9" * 8
    history = tmp_path / "llm-router" / "chat_history"
    async with scripted(says_hello) as local:
        for privacy in ("on", "off"):
            async with chatting(
                tmp_path, local, private_patterns="falcon", privacy=privacy
            ) as chat:
                for n, line in enumerate(("plain", f"my key is {key}", "project falcon"), 1):
                    await chat.enter(line, "42 tokens", times=n)
                    await chat.enter("/clear", "forgotten", times=n)
                await chat.enter("/system Speak of the falcon.", "noted")
                chat.type(CTRL_D)
                assert await chat.ends() == 0
            kept = history.read_text()
            assert "plain" in kept
            assert key not in kept
            assert ("falcon" in kept) == (privacy == "off")


async def test_no_history_is_kept_where_it_is_switched_off(tmp_path: Path) -> None:
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, chat_history="off") as chat,
    ):
        await chat.enter("hi", "42 tokens")
        chat.type(UP)
        await chat.shows("hi", times=2)
        assert "are kept in" not in chat.text
    assert not (tmp_path / "llm-router" / "chat_history").exists()


async def test_a_new_history_is_announced_once(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        for new in (True, False):
            async with chatting(tmp_path, local) as chat:
                assert ("CHAT_HISTORY=off" in chat.text) is new


async def test_the_history_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "data"
    async with scripted(says_hello) as local, chatting(home, local):
        pass
    history = home / "llm-router" / "chat_history"
    assert history.stat().st_mode & 0o077 == 0
    assert history.parent.stat().st_mode & 0o077 == 0
