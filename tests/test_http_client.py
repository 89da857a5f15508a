"""The relay's HTTP client, over real sockets, on both event loops."""

import asyncio
import socket
import struct
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest

from router.http.answer import CutOff, Gone, NotConnected, Unreadable
from router.http.client import HttpClient

uvloop = pytest.importorskip("uvloop")
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    """Run a test's body on one of the loops."""

    def running(body: Awaitable[None]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(10):
                await body

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(limited())

    return running


class Server:
    """Answers each request on a connection with the next of `answers`, then hangs up."""

    def __init__(self, *answers: bytes, pause_s: float = 0) -> None:
        self.answers = answers
        self.pause_s = pause_s
        self.heads: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        for answer in self.answers:
            try:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            except asyncio.IncompleteReadError:
                break
            writer.write(answer)
            await asyncio.sleep(self.pause_s)
        writer.close()


@asynccontextmanager
async def asking(serve: Serve, login: str = "") -> AsyncIterator[tuple[HttpClient, str]]:
    """A client of such a server, and the server's address."""
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with suppress(ConnectionError):
                await serve(reader, writer)
                await writer.wait_closed()
        finally:
            with suppress(AttributeError):  # asyncio's own, once it is closed, cannot be again
                writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://{login}127.0.0.1:{server.sockets[0].getsockname()[1]}"
    client = HttpClient(url, {}, connect_s=2)
    try:
        yield client, client.url
    finally:
        await client.aclose()
        server.close()
        await asyncio.gather(*serving)
        await asyncio.sleep(0.01)


async def body_of(client: HttpClient, url: str) -> bytes:
    answer = await client.get(url + "/x", within_s=5)
    try:
        return await answer.read()
    finally:
        answer.close()


def test_a_connection_is_used_again(run: Callable[[Awaitable[None]], None]) -> None:
    async def body() -> None:
        server = Server(OK, OK, OK)
        async with asking(server.serve) as (client, url):
            for _ in range(3):
                assert await body_of(client, url) == b"hi"
        assert server.connections == 1

    run(body())


def test_requests_at_a_time_have_connections_of_their_own(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def body() -> None:
        server = Server(OK, pause_s=0.05)
        async with asking(server.serve) as (client, url):
            assert await asyncio.gather(*(body_of(client, url) for _ in range(5))) == [b"hi"] * 5
        assert server.connections == 5

    run(body())


def test_a_connection_that_the_server_gives_up_is_not_used_again(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def body() -> None:
        last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        server = Server(last, last, pause_s=0.2)
        async with asking(server.serve) as (client, url):
            for _ in range(2):
                assert await body_of(client, url) == b"hi"
        assert server.connections == 2

    run(body())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" + OK, b"hi"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, b"hi"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nhi\r\n0\r\n\r\n", b"hi"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\none\r\n3\r\ntwo\r\n0\r\nT: z\r\n\r\n",
            b"onetwo",
        ),
    ],
)
def test_each_kind_of_body_is_read_to_its_end(
    run: Callable[[Awaitable[None]], None], answer: bytes, expected: bytes
) -> None:
    async def body() -> None:
        async with asking(Server(answer).serve) as (client, url):
            assert await body_of(client, url) == expected

    run(body())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Gone),
        (b"HTTP/1.1 200", CutOff),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", CutOff),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", CutOff),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Unreadable),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Unreadable),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Unreadable),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, Unreadable),
        (b"HTTP/1.1 099 X\r\nContent-Length: 5\r\n\r\nevil!" + OK, Unreadable),
    ],
)
def test_each_way_to_fail_has_its_error(
    run: Callable[[Awaitable[None]], None], answer: bytes, error: type[Exception]
) -> None:
    async def body() -> None:
        async with asking(Server(answer).serve) as (client, url):
            with pytest.raises(error):
                await body_of(client, url)

    run(body())


def test_a_port_without_a_server_is_known_at_once(run: Callable[[Awaitable[None]], None]) -> None:
    async def body() -> None:
        client = HttpClient("http://127.0.0.1:9", {}, connect_s=2)
        with pytest.raises(NotConnected):
            await client.get("http://127.0.0.1:9/x", within_s=5)

    run(body())


def test_a_reader_gets_only_what_was_refused_by_the_function_that_it_was_offered_to(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def speaking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for pieces in (b"1", b"2"), (b"3",), (b"no",), (b"4", b"no"), (b"5",):
            await asyncio.sleep(0.01)
            writer.write(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))
        await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")
        writer.close()

    async def body() -> None:
        async with asking(speaking) as (client, url):
            answer = await client.get(url + "/x", within_s=5)
            came: list[tuple[str, bytes]] = []

            def take(piece: bytes) -> bool:
                if b"no" in piece:
                    return False
                came.append(("taken", piece))
                return True

            answer.offer_to(take)
            while piece := await answer.piece():
                came.append(("read", piece))
            assert came == [
                ("taken", b"12"),
                ("taken", b"3"),
                ("read", b"no"),
                ("read", b"4no"),
                ("taken", b"5"),
            ]

    run(body())


@pytest.mark.parametrize("pause_s", [0, 0.02])
def test_an_answer_that_is_over_keeps_nothing_of_its_caller(
    run: Callable[[Awaitable[None]], None], pause_s: float
) -> None:
    class Caller:
        def take(self, piece: bytes) -> bool:
            return True

    async def hesitating(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK[:-2])
        await asyncio.sleep(pause_s)
        writer.write(OK[-2:])
        writer.close()

    async def body() -> None:
        async with asking(hesitating) as (client, url):
            answer = await client.get(url + "/x", within_s=5)
            caller = Caller()
            gone = weakref.ref(caller)
            answer.offer_to(caller.take)
            await answer.read()
            del caller
            assert gone() is None, "a cycle would keep it until garbage is collected"

    run(body())


def test_a_server_waits_for_a_reader_that_is_slow(run: Callable[[Awaitable[None]], None]) -> None:
    piece = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)
    sent = 0

    async def flooding(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(300):
            writer.write(piece)
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")
        writer.close()

    async def body() -> None:
        async with asking(flooding) as (client, url):
            answer = await client.get(url + "/x", within_s=5)
            answer.flowing(idle_s=0.2, total_s=5)
            await asyncio.sleep(0.4)  # silent, but not by the server's fault
            assert sent < 250
            assert len(await answer.read()) == 300 * 100_000

    run(body())


def test_an_answer_without_a_request_closes_the_connection(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def body() -> None:
        server = Server(OK + OK, OK)
        async with asking(server.serve) as (client, url):
            assert await body_of(client, url) == b"hi"
            await asyncio.sleep(0.05)
            assert await body_of(client, url) == b"hi"
        assert server.connections == 2

    run(body())


def test_a_name_in_the_address_is_sent_as_a_login(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def body() -> None:
        server = Server(OK)
        async with asking(server.serve, login="me:p%40ss@") as (client, url):
            assert await body_of(client, url) == b"hi"
        assert b"Authorization: Basic bWU6cEBzcw==\r\n" in server.heads[0]
        assert server.heads[0].startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")

    run(body())


def test_a_model_that_hangs_is_noticed_after_its_caller_was_slow(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def hanging(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 800_000)
        await reader.read()
        writer.close()

    async def body() -> None:
        async with asking(hanging) as (client, url):
            answer = await client.get(url + "/x", within_s=5)
            answer.flowing(idle_s=0.2, total_s=5)
            await asyncio.sleep(0.3)
            began = asyncio.get_running_loop().time()
            with pytest.raises(TimeoutError):
                await answer.read()
            assert asyncio.get_running_loop().time() - began < 2

    run(body())


def test_a_connection_with_unread_bytes_is_not_used_again(
    run: Callable[[Awaitable[None]], None],
) -> None:
    """The event loop was busy and has not read them yet."""

    said_more = threading.Event()

    def serve(listener: socket.socket) -> None:
        with ExitStack() as links:
            for _ in range(2):
                link = links.enter_context(listener.accept()[0])
                link.recv(65536)
                link.sendall(OK)
                time.sleep(0.05)
                with suppress(OSError):
                    link.sendall(OK.replace(b"hi", b"no"))
                said_more.set()

    async def body() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.to_thread(serve, listener)
            task = asyncio.ensure_future(serving)
            client = HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}", {}, connect_s=2)
            assert await body_of(client, client.url) == b"hi"
            assert said_more.wait(5)
            assert await body_of(client, client.url) == b"hi"
            await client.aclose()
            await task

    run(body())


def test_callers_that_leave_while_it_connects_leave_nothing(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def body() -> None:
        server = Server(OK, pause_s=0.2)
        async with asking(server.serve) as (client, url):
            for steps in range(12):
                task = asyncio.ensure_future(client.get(url + "/x", within_s=5))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    (await task).close()
            await asyncio.sleep(0.1)
            assert client._open <= set(client._idle)  # a caller may have been answered already

    run(body())


def test_a_closed_client_sends_nothing(run: Callable[[Awaitable[None]], None]) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def body() -> None:
        async with asking(silent) as (client, url):
            task = asyncio.ensure_future(client.get(url + "/x", within_s=5))
            await asyncio.sleep(0.05)
            await client.aclose()
            with pytest.raises(Gone):
                await task
            with pytest.raises(NotConnected):
                await client.get(url + "/x", within_s=5)

    run(body())


def test_a_connection_that_is_reset_has_not_ended_its_answer(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def body() -> None:
        async with asking(resetting) as (client, url):
            with pytest.raises(CutOff):
                await body_of(client, url)

    run(body())


@pytest.mark.parametrize("value", ["a\r\nX: y", "tok\n", "a\x00b"])
def test_a_key_cannot_add_headers(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        HttpClient("http://127.0.0.1:9", {"Authorization": value}, connect_s=2)
