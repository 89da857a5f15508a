"""A shutdown in the middle of streams that never end."""

import asyncio
import signal
from pathlib import Path

import httpx2

from tests.support.chaos.callers import DIALECTS
from tests.support.chaos.sides import HELLO, LOCAL, models
from tests.support.processes import in_thread, server
from tests.support.scripted import Connection, Request, scripted
from tests.support.waiting import settled


async def talking_for_ever(connection: Connection, request: Request) -> None:
    await connection.begin_stream()
    await connection.chunk(LOCAL.begin)
    await connection.silence()


async def test_a_shutdown_ends_an_endless_stream_with_an_error_event(checkout: Path) -> None:
    async with scripted(talking_for_ever, models) as local:
        starting = server(
            checkout,
            local_base_url=f"{local.url}/v1",
            embedded_model="off",
            complexity_threshold=100,
            shutdown_grace_s=1,
        )
        async with in_thread(starting) as running:
            async with httpx2.AsyncClient(
                base_url=running.url, timeout=30, trust_env=False
            ) as http:
                posts = [
                    asyncio.create_task(http.post(dialect.path, json=dialect.body(stream=True)))
                    for dialect in DIALECTS
                ]
                async with asyncio.timeout(30):
                    await settled(
                        lambda: len(local.answering) == len(DIALECTS), "a request is missing", 30
                    )
                    running.process.send_signal(signal.SIGTERM)
                    answers = await asyncio.gather(*posts)
            for dialect, answer in zip(DIALECTS, answers, strict=True):
                heard = dialect.hear(answer)
                assert (heard.text, heard.finish) == (HELLO, None)
                assert heard.error is not None
                assert "shutting down" in heard.error["message"]
                assert (dialect.name == "responses") == ("response.failed" in answer.text)
            code = await asyncio.to_thread(running.process.wait, 30)
            assert code in (0, -signal.SIGTERM)
            logged = running.log.read_text()
            assert "Waiting up to 1 s for the end of running requests (3)" in logged
            assert "ERROR" not in logged
            assert "Traceback" not in logged


async def test_a_shutdown_does_not_wait_for_listeners_to_events(checkout: Path) -> None:
    async with in_thread(server(checkout, embedded_model="off", shutdown_grace_s=60)) as running:
        async with (
            httpx2.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as http,
            http.stream("GET", "/events") as answer,
        ):
            pieces = answer.aiter_bytes()
            assert b"event: sides" in await anext(pieces)
            running.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(running.process.wait, 10)
            assert b"event" not in b"".join([piece async for piece in pieces])
        assert code in (0, -signal.SIGTERM)
        assert "Traceback" not in running.log.read_text()
