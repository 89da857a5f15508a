"""The commands of the chat and its keys, typed in a terminal."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from chat.attachments import MOST_PICTURE_BYTES
from chat.commands import COMMANDS, KEYS
from tests.support.chatting import (
    CTRL_C,
    CTRL_D,
    DONE,
    TAB,
    USAGE,
    chatting,
    piece,
    says,
    says_hello,
)
from tests.support.processes import wait_until
from tests.support.scripted import Connection, Request, ScriptedServer, scripted

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
KEY = "sk-ant-api03-" + "Ab3dE5gH7jK9" * 8


def sessions(home: Path) -> Path:
    return home / "llm-router" / "sessions"


def asked(local: ScriptedServer) -> list[Any]:
    """Return the content of the last message of each request."""
    return [request.json["messages"][-1]["content"] for request in local.requests]


async def test_help_lists_every_command_and_key(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local, columns=40) as chat:
        await chat.enter("/help", "Tab")
        shown = chat.text.split()
        assert {word for name in (*COMMANDS, *KEYS) for word in name.split()} <= set(shown)


@pytest.mark.parametrize("newline", ["\x1b\r", "\n"], ids=["Alt-Enter", "Ctrl-J"])
async def test_a_line_can_be_broken_before_it_is_sent(tmp_path: Path, newline: str) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter(f"first{newline}second", "42 tokens")
    assert asked(local) == ["first\nsecond"]


async def test_what_is_typed_during_an_answer_is_sent_after_it(tmp_path: Path) -> None:
    typed = asyncio.Event()

    async def waits(connection: Connection, request: Request) -> None:
        await connection.begin_stream()
        await connection.chunk(piece("It began "))
        await typed.wait()
        await connection.chunk(piece("and ended.") + piece("", "stop") + USAGE + DONE)
        await connection.end_stream()

    async with scripted(waits) as local, chatting(tmp_path, local) as chat:
        await chat.enter("one", "It began")
        chat.type("two\r")
        await asyncio.sleep(0.1)
        assert b"two" not in chat.raw
        chat.type(CTRL_D)
        typed.set()
        await chat.shows("42 tokens", times=2)
        assert await chat.ends() == 0
    assert asked(local) == ["one", "two"]


async def test_tab_completes_commands_models_paths_and_sessions(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("hi", "42 tokens")
        await chat.enter("/save falcon", "saved as falcon")
        for typed, completed in {
            "/sess": "/sessions",
            "/model local-": "/model local-model",
            "/load fal": "/load falcon",
            "/retry cl": "/retry cloud",
            "/copy c": "/copy code",
            "/system o": "/system off",
            f"/file {tmp_path}/not": f"/file {tmp_path}/notes.txt",
        }.items():
            chat.type(typed + TAB)
            await chat.shows(f"auto > {completed}")
            chat.type(CTRL_C)
        chat.type("what is " + TAB + "it\r")
        await chat.shows("42 tokens", times=2)
    assert asked(local)[-1] == "what is it"


async def test_enter_takes_a_chosen_completion_and_sends_nothing(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("/model lo" + TAB)
        await chat.shows("local-model")
        chat.type(TAB + "\r")
        chat.type("-x")
        await chat.shows("auto > /model local-x")
        await chat.enter("\x7f\x7f", "local >")


async def test_a_model_can_be_chosen_by_its_name(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("/model", "local-model")
        await chat.enter("/model nonsense", "there is no model nonsense")
        await chat.enter("/model local-model", "local-model >")
        await chat.enter("hi", "forced")
        await chat.enter("/auto", "auto >", times=4)


async def test_a_system_text_goes_with_every_question_until_it_is_removed(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter("/system Answer in\nrhymes.", "noted")
        await chat.enter("one", "42 tokens")
        await chat.enter("/clear", "the system text stays")
        await chat.enter("/system", "Answer in\nrhymes.")
        await chat.enter("two", "42 tokens", times=2)
        await chat.enter("/system off", "removed")
        await chat.enter("three", "42 tokens", times=3)
    roles = [[message["role"] for message in one.json["messages"]] for one in local.requests]
    assert roles[:2] == [["system", "user"]] * 2
    assert "system" not in roles[2]
    assert local.requests[1].json["messages"][0]["content"] == "Answer in\nrhymes."


async def test_a_file_goes_with_the_next_question_only(tmp_path: Path) -> None:
    (tmp_path / "my notes.txt").write_bytes("```\nüber\n".encode())
    (tmp_path / "pic").write_bytes(PNG)
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        await chat.enter(f"/file '{tmp_path}/my notes.txt'", "auto +1 >")
        await chat.enter("/file ~/pic", "auto +2 >")
        await chat.enter("what is this", "42 tokens")
        await chat.enter("and now?", "42 tokens", times=2)
        await chat.enter("/file ~/pic", "auto +1 >", times=2)
        await chat.enter("/file off", "nothing is attached")
        await chat.enter("the end", "42 tokens", times=3)
    text, picture = asked(local)[0]
    assert text["text"] == "what is this\n\nmy notes.txt:\n````\n```\nüber\n````"
    data = base64.b64encode(PNG).decode()
    assert picture["image_url"]["url"] == f"data:image/png;base64,{data}"
    assert asked(local)[1:] == ["and now?", "the end"]


async def test_a_key_in_a_file_keeps_the_question_here(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text(f"the key: {KEY}")
    async with (
        scripted(says_hello) as local,
        scripted(says_hello) as cloud,
        chatting(tmp_path, local, **openai_cloud(cloud), complexity_threshold=0) as chat,
    ):
        await chat.enter("/file ~/keys.txt", "+1 >")
        await chat.enter("explain it", "private")
        await chat.enter("/clear", "forgotten")
    kept = (tmp_path / "llm-router" / "chat_history").read_text()
    assert "/clear" in kept
    assert "explain it" not in kept
    assert (len(local.requests), cloud.requests) == (1, [])


def openai_cloud(cloud: ScriptedServer) -> dict[str, Any]:
    """Return the settings of a cloud whose prices are known."""
    prices = {"gpt-x": {"input": 1000, "output": 2000}}
    url = f"{cloud.url}/v1"
    return {
        "openai_api_key": "sk-x", "openai_model": "gpt-x", "openai_base_url": url,
        "prices": json.dumps(prices),
    }  # fmt: skip


async def test_tokens_and_cost_of_each_answer_and_of_the_session_are_shown(tmp_path: Path) -> None:
    async with (
        scripted(says_hello) as local,
        scripted(says_hello) as cloud,
        chatting(tmp_path, local, "--cloud", **openai_cloud(cloud)) as chat,
    ):
        await chat.enter("one", "7 + 42 tokens · $0.09\n")
        await chat.enter("/local", "local >")
        await chat.enter("two", "7 + 42 tokens · $0 · session: 98 tokens, $0.09")
        await chat.enter("/info", "2 answers, 14 + 84 tokens")


async def test_an_unknown_price_is_not_shown_as_nothing(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, scripted(says_hello) as cloud:
        settings = openai_cloud(cloud) | {"prices": ""}
        async with chatting(tmp_path, local, "--cloud", columns=160, **settings) as chat:
            for question in "12":
                await chat.enter(question, "price unknown", times=int(question))
            await chat.shows("session: 98 tokens, at least $0")


async def test_a_conversation_can_be_saved_and_gone_on_with(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        async with chatting(tmp_path, local) as chat:
            await chat.enter("/save", "nothing was asked yet")
            await chat.enter("/system Rhyme.", "noted")
            await chat.enter("one", "42 tokens")
            await chat.enter("/save falcon", "saved as falcon")
            await chat.enter("two", "42 tokens", times=2)
            chat.type(CTRL_D)
            assert await chat.ends() == 0
        file = sessions(tmp_path) / "falcon.json"
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0
        async with chatting(tmp_path, local) as chat:
            await chat.enter("/sessions", "2 questions: one")
            await chat.enter("hi", "42 tokens")
            await chat.enter("/save falcon", "There is a session falcon already")
            await chat.enter("/save", "saved as 20")
            await chat.enter("/load falcon", "two\nHello dear friend.")
            await chat.enter("three", "session:")
    said = [message["content"] for message in local.requests[-1].json["messages"]]
    answer = "Hello **dear** friend."
    assert said == ["Rhyme.", "one", answer, "two", answer, "three"]


@pytest.mark.parametrize("privacy", ["on", "off"])
async def test_a_private_conversation_is_saved_only_when_the_user_says_so(
    tmp_path: Path, privacy: str
) -> None:
    def saved() -> bool:
        return KEY in (sessions(tmp_path) / "one.json").read_text()

    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, privacy=privacy) as chat,
    ):
        await chat.enter("plain", "42 tokens")
        await chat.enter("/save one", "saved as one")
        await chat.enter(f"my key is {KEY}", "This is private and not saved")
        assert not saved()
        await chat.enter("/save", "saved as one", times=2)
        assert saved()


async def test_nothing_private_in_a_command_is_kept(tmp_path: Path) -> None:
    history = tmp_path / "llm-router" / "chat_history"
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, private_patterns="falcon") as chat,
    ):
        for times, line in enumerate(("/system falcon is a secret", f"/system {KEY}"), 1):
            await chat.enter(line, "noted", times=times)
        await chat.enter("/system Rhyme.", "noted", times=3)
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    kept = history.read_text()
    assert "Rhyme." in kept
    assert "falcon" not in kept
    assert KEY not in kept


async def test_an_answer_or_its_code_can_be_copied(tmp_path: Path) -> None:
    programs, clipboard = tmp_path / "bin", tmp_path / "clipboard"
    programs.mkdir()
    for name, does in {"wl-copy": "exit 1", "xclip": f"/bin/cat > {clipboard}"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    answer = "So:\n\n```make\nall:\n\tcc\n```\n"
    async with (
        scripted(says(answer)) as local,
        chatting(tmp_path, local, path=programs) as chat,
    ):
        await chat.enter("/copy", "there is no answer")
        await chat.enter("hi", "42 tokens")
        for command, text in {"/copy": answer, "/copy code": "all:\n\tcc"}.items():
            await chat.enter(command, f"{len(text)} characters copied, by xclip and the terminal")
            assert clipboard.read_text() == text
            encoded = base64.b64encode(text.encode())
            assert b"\x1b]52;c;" + encoded + b"\x07" in chat.raw


async def test_a_command_that_cannot_be_carried_out_says_why_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "big.jpg").write_bytes(b"\xff\xd8\xff" + bytes(MOST_PICTURE_BYTES))
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "empty").write_bytes(b"\n")
    sessions(tmp_path).mkdir(parents=True)
    for name, text in {
        "broken": '{"messages": 1}',
        "silent": '{"messages": [{"role": "user"}], "model": "auto", "system": ""}',
        "binary": "\0",
    }.items():
        (sessions(tmp_path) / f"{name}.json").write_text(text)
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, columns=160, max_body_mb=6) as chat,
    ):
        for typed, said in {
            "/file ~/nowhere": "~/nowhere: No such file or directory.",
            "/file ~": "~ is not a file.",
            "/file /dev/zero": "/dev/zero is not a file.",
            "/file ~/big.jpg": "big.jpg is larger than 5 MB",
            "/file ~/program": "program is neither a text nor a picture",
            "/file ~/empty": "empty is empty.",
            "/load": "write /load NAME",
            "/load nowhere": "There is no session nowhere",
            "/load ../chat_history": "A session's name has letters",
            "/load broken": "broken.json is not a saved session",
            "/load silent": "silent.json is not a saved session",
            "/load binary": "binary.json is not a saved session",
            "/copy": "there is no answer to copy",
            "/copy that": "/copy takes no such words",
            "/retry that": "/retry takes no such words",
            "/info please": "/info takes no such words",
            "/nonsense": "there is no /nonsense",
        }.items():
            await chat.enter(typed, f"> {typed}\n{said}")
        await chat.enter("/sessions", "cannot be read", times=3)
        assert "Traceback" not in chat.text
        await chat.enter("/usr/bin is a path", "42 tokens")
    assert asked(local) == ["/usr/bin is a path"]


@pytest.mark.parametrize("settings", [{"term": "dumb"}, {"pythonioencoding": "cp1252"}])
async def test_a_simple_terminal_will_do(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with (
        scripted(says("Café, ", "北京.")) as local,
        chatting(tmp_path, local, **settings) as chat,
    ):
        await chat.enter("hi", "42 tokens")
        chat.type(CTRL_D)
        assert await chat.ends() == 0
    assert asked(local) == ["hi"]


async def test_ctrl_c_stops_a_command_and_keeps_the_chat(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "wl-copy").write_text("#!/bin/sh\nread line; echo > $0.asked; exec /bin/sleep 9\n")
    (programs / "wl-copy").chmod(0o755)
    asked = programs / "wl-copy.asked"
    async with scripted(says_hello) as local, chatting(tmp_path, local, path=programs) as chat:
        await chat.enter("hi", "42 tokens")
        chat.type("/copy\r")
        await asyncio.to_thread(wait_until, asked.exists, "the clipboard was not asked", 20)
        chat.type(CTRL_C)
        await chat.shows("stopped")
        await chat.enter("/retry", "42 tokens", times=2)


async def test_what_is_no_text_is_sent_as_text(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.send(b"caf\xe9\r")
        await chat.shows("42 tokens")
    assert asked(local) == ["caf\ufffd"]
