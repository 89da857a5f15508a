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
        chat.type("/help\r")
        await chat.shows("Tab")
        shown = chat.text.split()
        assert {word for name in (*COMMANDS, *KEYS) for word in name.split()} <= set(shown)


@pytest.mark.parametrize("newline", ["\x1b\r", "\n"], ids=["Alt-Enter", "Ctrl-J"])
async def test_a_line_can_be_broken_before_it_is_sent(tmp_path: Path, newline: str) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type(f"first{newline}second\r")
        await chat.shows("42 tokens")
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
        chat.type("one\r")
        await chat.shows("It began")
        chat.type("two\r")
        await asyncio.sleep(0.1)
        assert "two" not in chat.text
        chat.type(CTRL_D)
        typed.set()
        await chat.shows("42 tokens", times=2)
        assert await chat.ends() == 0
    assert asked(local) == ["one", "two"]


async def test_tab_completes_commands_models_paths_and_sessions(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("hi\r")
        await chat.shows("42 tokens")
        chat.type("/save falcon\r")
        await chat.shows("saved as falcon")
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
        chat.type(" \x7f")
        await chat.shows("auto > /model local")
        assert "local >" not in chat.text
        chat.type("\r")
        await chat.shows("local >")


async def test_a_model_can_be_chosen_by_its_name(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("/model\r")
        await chat.shows("local-model")
        chat.type("/model nonsense\r")
        await chat.shows("there is no model nonsense")
        chat.type("/model local-model\r")
        await chat.shows("local-model >")
        chat.type("hi\r")
        await chat.shows("forced")
        chat.type("/auto\r")
        await chat.shows("auto >", times=4)


async def test_a_system_text_goes_with_every_question_until_it_is_removed(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type("/system Answer in\nrhymes.\r")
        await chat.shows("noted")
        chat.type("one\r")
        await chat.shows("42 tokens")
        chat.type("/clear\r")
        await chat.shows("the system text stays")
        chat.type("/system\r")
        await chat.shows("Answer in\nrhymes.")
        chat.type("two\r")
        await chat.shows("42 tokens", times=2)
        chat.type("/system off\r")
        await chat.shows("removed")
        chat.type("three\r")
        await chat.shows("42 tokens", times=3)
    roles = [[message["role"] for message in one.json["messages"]] for one in local.requests]
    assert roles[:2] == [["system", "user"]] * 2
    assert "system" not in roles[2]
    assert local.requests[1].json["messages"][0]["content"] == "Answer in\nrhymes."


async def test_a_file_goes_with_the_next_question_only(tmp_path: Path) -> None:
    (tmp_path / "my notes.txt").write_bytes("```\nüber\n".encode())
    (tmp_path / "pic").write_bytes(PNG)
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.type(f"/file '{tmp_path}/my notes.txt'\r")
        await chat.shows("auto +1 >")
        chat.type("/file ~/pic\r")
        await chat.shows("auto +2 >")
        chat.type("what is this\r")
        await chat.shows("42 tokens")
        chat.type("and now?\r")
        await chat.shows("42 tokens", times=2)
        chat.type("/file ~/pic\r")
        await chat.shows("auto +1 >", times=2)
        chat.type("/file off\r")
        await chat.shows("nothing is attached")
        chat.type("the end\r")
        await chat.shows("42 tokens", times=3)
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
        chat.type("/file ~/keys.txt\r")
        await chat.shows("+1 >")
        chat.type("explain it\r")
        await chat.shows("private")
        await chat.shows("auto >", times=2)
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
        chat.type("one\r")
        await chat.shows("7 + 42 tokens · $0.09\n")
        chat.type("/local\r")
        await chat.shows("local >")
        chat.type("two\r")
        await chat.shows("7 + 42 tokens · $0 · session: 98 tokens, $0.09")
        chat.type("/info\r")
        await chat.shows("2 answers, 14 + 84 tokens")


async def test_an_unknown_price_is_not_shown_as_nothing(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, scripted(says_hello) as cloud:
        settings = openai_cloud(cloud) | {"prices": ""}
        async with chatting(tmp_path, local, "--cloud", columns=160, **settings) as chat:
            for question in "12":
                chat.type(f"{question}\r")
                await chat.shows("price unknown", times=int(question))
            await chat.shows("session: 98 tokens, at least $0")


async def test_a_conversation_can_be_saved_and_gone_on_with(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        async with chatting(tmp_path, local) as chat:
            chat.type("/save\r")
            await chat.shows("nothing was asked yet")
            chat.type("/system Rhyme.\r")
            await chat.shows("noted")
            chat.type("one\r")
            await chat.shows("42 tokens")
            chat.type("/save falcon\r")
            await chat.shows("saved as falcon")
            chat.type("two\r")
            await chat.shows("42 tokens", times=2)
            chat.type(CTRL_D)
            assert await chat.ends() == 0
        file = sessions(tmp_path) / "falcon.json"
        assert file.stat().st_mode & 0o077 == 0
        assert file.parent.stat().st_mode & 0o077 == 0
        async with chatting(tmp_path, local) as chat:
            chat.type("/sessions\r")
            await chat.shows("2 questions: one")
            chat.type("hi\r")
            await chat.shows("42 tokens")
            chat.type("/save falcon\r")
            await chat.shows("There is a session falcon already")
            chat.type("/save\r")
            await chat.shows("saved as 20")
            chat.type("/load falcon\r")
            await chat.shows("two\nHello dear friend.")
            chat.type("three\r")
            await chat.shows("session:")
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
        chat.type("plain\r")
        await chat.shows("42 tokens")
        chat.type("/save one\r")
        await chat.shows("saved as one")
        chat.type(f"my key is {KEY}\r")
        await chat.shows("This is private and not saved")
        assert not saved()
        chat.type("/save\r")
        await chat.shows("saved as one", times=2)
        assert saved()


async def test_nothing_private_in_a_command_is_kept(tmp_path: Path) -> None:
    history = tmp_path / "llm-router" / "chat_history"
    async with (
        scripted(says_hello) as local,
        chatting(tmp_path, local, private_patterns="falcon") as chat,
    ):
        for times, line in enumerate(("/system falcon is a secret", f"/system {KEY}"), 1):
            chat.type(f"{line}\r")
            await chat.shows("noted", times=times)
        chat.type("/system Rhyme.\r")
        await chat.shows("noted", times=3)
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
        chat.type("/copy\r")
        await chat.shows("there is no answer")
        chat.type("hi\r")
        await chat.shows("42 tokens")
        for command, text in {"/copy": answer, "/copy code": "all:\n\tcc"}.items():
            chat.type(f"{command}\r")
            await chat.shows(f"{len(text)} characters copied, by xclip and the terminal")
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
            chat.type(f"{typed}\r")
            await chat.shows(f"> {typed}\n{said}")
        chat.type("/sessions\r")
        await chat.shows("cannot be read", times=3)
        assert "Traceback" not in chat.text
        chat.type("/usr/bin is a path\r")
        await chat.shows("42 tokens")
    assert asked(local) == ["/usr/bin is a path"]


@pytest.mark.parametrize("settings", [{"term": "dumb"}, {"pythonioencoding": "cp1252"}])
async def test_a_simple_terminal_will_do(tmp_path: Path, settings: dict[str, Any]) -> None:
    async with (
        scripted(says("Café, ", "北京.")) as local,
        chatting(tmp_path, local, **settings) as chat,
    ):
        chat.type("hi\r")
        await chat.shows("42 tokens")
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
        chat.type("hi\r")
        await chat.shows("42 tokens")
        chat.type("/copy\r")
        await asyncio.to_thread(wait_until, asked.exists, "the clipboard was not asked", 20)
        chat.type(CTRL_C)
        await chat.shows("stopped")
        chat.type("/retry\r")
        await chat.shows("42 tokens", times=2)


async def test_what_is_no_text_is_sent_as_text(tmp_path: Path) -> None:
    async with scripted(says_hello) as local, chatting(tmp_path, local) as chat:
        chat.send(b"caf\xe9\r")
        await chat.shows("42 tokens")
    assert asked(local) == ["caf\ufffd"]
