"""The chat beside a server that runs already: which one it uses, and which one it does not."""

import re
from pathlib import Path
from typing import Any

import httpx2

from router.classifier import score_messages
from tests.support.chatting import (
    CTRL_C,
    chatting,
    environment,
    run,
    says_hello,
    server_process,
    server_running,
    talks_on,
)
from tests.support.scripted import Connection, Request, scripted

KEY = "sesame-0123456789"


def port_of(server: httpx2.AsyncClient) -> int:
    port = server.base_url.port
    assert port is not None
    return port


async def decisions(server: httpx2.AsyncClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await server.get("/decisions")).json()["decisions"]
    return rows


async def test_the_server_of_the_same_user_answers_with_everything_the_chat_shows(
    tmp_path: Path,
) -> None:
    settings = {"router_api_key": KEY, "prices": '{"local-model": {"input": 1, "output": 1}}'}
    async with (
        scripted(says_hello) as local,
        server_running(environment(tmp_path, local, **settings)) as server,
    ):
        port = port_of(server)
        async with chatting(tmp_path, local, columns=160, server_port=port, **settings) as chat:
            await chat.shows(f"The server at http://127.0.0.1:{port} answers; --in-process")
            asked = score_messages([{"role": "user", "content": "prove it"}]).total
            said = f"Hello dear friend.\nlocal · local-model · score {asked:.0f}"
            await chat.enter("prove it", said)
            await chat.shows("7 + 42 tokens · $0")
            for typed, said in {
                "/route": "prove",
                "/info": "ready, local-model",
                "/good": "noted",
                "/model local-model": "local-model >",
                "/cloud": "ANTHROPIC_API_KEY",
                "/auto": "auto >",
            }.items():
                await chat.enter(typed, said)
            local.script = talks_on
            assert "every request starts" not in chat.text
            await chat.enter("tell me", "It all began")
            chat.type(CTRL_C)
            await chat.shows("stopped")
            await local.all_closed()
        left, done = await decisions(server)
    assert (done["feedback"], done["user_agent"], done["outcome"]) == ("good", "chat.py", "done")
    assert left["outcome"] == "left"
    assert len(local.requests) == 2


async def test_the_server_answers_a_single_question_too(tmp_path: Path) -> None:
    async with (
        scripted(says_hello) as local,
        server_running(environment(tmp_path, local)) as server,
    ):
        answer = await run(tmp_path, local, piped=b"hi", server_port=port_of(server))
        assert answer == (0, "Hello **dear** friend.\n", "")
        assert len(await decisions(server)) == 1


async def test_a_server_that_is_not_the_same_is_left_alone(tmp_path: Path) -> None:
    home, other = tmp_path / "mine", tmp_path / "other"
    async with (
        scripted(says_hello) as local,
        server_running(environment(home, local, router_api_key=KEY)) as server,
    ):
        port = port_of(server)
        other_settings = f"The server at http://127.0.0.1:{port} has other settings"
        for whose, words, settings, said in (
            (home, ["--in-process"], {"router_api_key": KEY}, ""),
            (other, [], {"router_api_key": KEY}, ""),
            (home, [], {"router_api_key": "another-key-012345"}, other_settings),
            (home, [], {"router_api_key": KEY, "complexity_threshold": 99}, other_settings),
        ):
            async with chatting(
                whose, local, *words, columns=160, server_port=port, **settings
            ) as chat:
                await chat.shows(said)
                await chat.enter("hi", "42 tokens")
                assert ("The server at" in chat.text) == bool(said)
        assert await decisions(server) == []
    assert len(local.requests) == 4


async def test_a_program_that_passes_the_question_on_is_not_believed(tmp_path: Path) -> None:
    async with (
        scripted(says_hello) as local,
        server_running(environment(tmp_path, local, router_api_key=KEY)) as server,
    ):
        heard: list[Request] = []

        async def passes_on(connection: Connection, request: Request) -> None:
            heard.append(request)
            answer = await server.get(request.path)
            await connection.answer(answer.content, answer.status_code)

        async with scripted(passes_on, passes_on) as between:
            status, out, _ = await run(
                tmp_path, local, "hi", server_port=between.port, router_api_key=KEY
            )
    assert (status, out) == (0, "Hello **dear** friend.\n")
    assert [request.path.partition("?")[0] for request in heard] == ["/identity"]
    assert "authorization" not in heard[0].headers


async def test_a_server_that_stops_is_one_line(tmp_path: Path) -> None:
    async with scripted(says_hello) as local:
        async with server_running(environment(tmp_path, local)) as server:
            port = port_of(server)
            talking = chatting(tmp_path, local, columns=160, server_port=port)
            chat = await talking.__aenter__()
        await chat.enter("hi", f"The server at http://127.0.0.1:{port} does not answer any more.")
        await chat.enter("/info", "does not answer any more.", times=2)
        assert "Traceback" not in chat.text
        await talking.__aexit__(None, None, None)


async def test_a_server_that_dies_in_an_answer_is_one_line_below_what_came(tmp_path: Path) -> None:
    async with (
        scripted(talks_on) as local,
        server_process(environment(tmp_path, local)) as (process, server),
    ):
        port = port_of(server)
        async with chatting(tmp_path, local, columns=160, server_port=port) as chat:
            await chat.enter("tell me", "It all began")
            process.kill()
            await chat.shows(
                f"The server at http://127.0.0.1:{port} broke off its answer. If it has stopped,"
                " start it again; /retry asks again.\nauto >"
            )
            asked = score_messages([{"role": "user", "content": "tell me"}]).total
            came_from = rf"local · local-model · score {asked:.0f} · \w+ · \d+\.\d s · \$0\n"
            assert re.search(f"tell me\nIt all began\n{came_from}", chat.text)
