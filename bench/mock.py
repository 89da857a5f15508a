"""A fast OpenAI-compatible mock server on loopback.

The prompt sets the answer: "tokens=100 pause_ms=20" is a stream of 100 tokens, 20 ms apart; other
prompts get a JSON answer of 1 KB. Each token carries the time at which it was sent (`t=`,
nanoseconds of the machine's steady clock). `GET /open` counts open streams.

    python bench/mock.py PORT
"""

import asyncio
import re
import sys
import time

import orjson
import uvloop

ASKED = re.compile(rb"tokens=(\d+) pause_ms=(\d+)")
USAGE = {"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110}
MODELS = orjson.dumps({"object": "list", "data": [{"id": "mock", "object": "model"}]})
ANSWER = orjson.dumps(
    {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": 0,
        "model": "mock",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": " ".join(map(str, range(200)))},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
)


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "chatcmpl-mock", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


BEFORE, AFTER = event({"content": "word t=@ "}).split(b"@")
ENDING = event({}, "stop")
ENDING += b"data: " + orjson.dumps({"id": "chatcmpl-mock", "choices": [], "usage": USAGE})
ENDING += b"\n\ndata: [DONE]\n\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One connection; its requests come one after the other."""

    open_streams = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.head = b""
        """The part of a request's head that has come."""
        self.parts: list[bytes] = []
        self.missing = 0
        self.stream: asyncio.Task[None] | None = None

    def connection_lost(self, error: Exception | None) -> None:
        if self.stream is not None:
            self.stream.cancel()

    def data_received(self, data: bytes) -> None:
        if not self.parts:
            head, blank, body = (self.head + data).partition(b"\r\n\r\n")
            if not blank:
                self.head = head
                return
            self.head = b""
            if head.startswith(b"GET"):
                self.answer_get(head)
                return
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            assert length is not None, "a request without a length"
            self.missing = int(length[1]) - len(body)
            data = body
        else:
            self.missing -= len(data)
        self.parts.append(data)
        if not self.missing:
            tail = b"".join(self.parts[-2:])[-1000:]
            self.parts.clear()
            self.answer_post(tail)

    def answer_get(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1]
        known = {b"/v1/models": MODELS, b"/open": b"%d" % Connection.open_streams}
        self.send_json(known.get(path, b"{}"), 200 if path in known else 404)

    def answer_post(self, tail: bytes) -> None:
        if asked := ASKED.search(tail):
            self.stream = asyncio.create_task(self.send_stream(int(asked[1]), int(asked[2]) / 1000))
        else:
            self.send_json(ANSWER)

    def send_json(self, body: bytes, status: int = 200) -> None:
        head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)

    async def send_stream(self, tokens: int, pause_s: float) -> None:
        Connection.open_streams += 1
        try:
            self.transport.write(STREAM_HEAD + chunk(event({"role": "assistant"})))
            for _ in range(tokens):
                if pause_s:
                    await asyncio.sleep(pause_s)
                token = b"%b%d%b" % (BEFORE, time.monotonic_ns(), AFTER)
                self.transport.write(chunk(token))
            self.transport.write(chunk(ENDING) + b"0\r\n\r\n")
        finally:
            Connection.open_streams -= 1


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        Connection, "127.0.0.1", port, backlog=2048
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
