"""Measures the memory that the router keeps over many requests, and its longest pause, as a curve.

    python -m bench.growth [--requests 500000]

All requests differ: three dialects, streams and whole answers, conversations of up to six turns,
tools, long prompts, secrets, many system prompts and clients. All are answered by a local mock.
Takes about a minute for 100,000 requests on two cores. Needs Linux.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson
import uvloop

from bench import targets
from bench.load import Caller, Seen
from bench.targets import Target

CALLERS: Final = 32
POINTS: Final = 20
"""Lines of the curve."""
MOST_TURNS: Final = 6
WORDS: Final = Path(__file__).with_name("prompts.jsonl").read_text("utf-8").split()
TOOLS: Final = [
    {"type": "function", "function": {"name": f"tool_{i}", "parameters": {"type": "object"}}}
    for i in range(8)
]


def said(chance: random.Random, words: int) -> str:
    start = chance.randrange(len(WORDS))
    return " ".join((WORDS[start:] + WORDS)[:words])


def conversations(chance: random.Random, numbers: Iterator[int]) -> Iterator[tuple[str, Any]]:
    """Yield path and body of each request of one conversation after the other."""
    while True:
        number = next(numbers)
        is_long = chance.random() < 0.01
        messages = [
            {"role": "system", "content": f"You are assistant {number % 500}."},
            {"role": "user", "content": f"{number}: {said(chance, 8000 if is_long else 40)}"},
        ]
        path = chance.choice(("chat/completions", "chat/completions", "messages", "responses"))
        has_tools = chance.random() < 0.2
        for _ in range(chance.randint(1, MOST_TURNS)):
            stream = chance.random() < 0.5
            yield path, body_of(path, messages, stream=stream, has_tools=has_tools)
            # Some pastes hold a key, as in real traffic; this one opens nothing.
            secret = f" AWS_SECRET_ACCESS_KEY={chance.randbytes(30).hex()}"
            is_private = chance.random() < 0.02
            # The number makes messages differ: one that private conversations share marks them.
            answer = {"role": "assistant", "content": f"{number}: {said(chance, 30)}"}
            more = f"{number}: {said(chance, 20)}" + (secret if is_private else "")
            messages = [*messages, answer, {"role": "user", "content": more}]


def body_of(
    path: str, messages: list[dict[str, str]], *, stream: bool, has_tools: bool
) -> dict[str, Any]:
    """Return the body of a request in the path's dialect."""
    if stream:  # the mock reads this
        messages = [*messages[:-1], {**messages[-1]}]
        messages[-1]["content"] += " tokens=5 pause_ms=0"
    body: dict[str, Any] = {"model": "auto", "stream": stream}
    match path:
        case "messages":
            return {
                **body,
                "system": messages[0]["content"],
                "messages": messages[1:],
                "max_tokens": 500,
            }
        case "responses":
            return {**body, "instructions": messages[0]["content"], "input": messages[1:]}
    return {**body, "messages": messages, **({"tools": TOOLS} if has_tools else {})}


def request(port: int, path: str, body: dict[str, Any], client: int) -> bytes:
    data = orjson.dumps(body)
    head = (
        f"POST /v1/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nUser-Agent: client/{client}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def grow(server: Target, requests: int) -> None:
    """Send so many requests; print the memory at even distances."""
    seen, numbers = Seen(), count()
    every = max(1, requests // POINTS)
    left = iter(range(requests))

    async def call(client: int) -> None:
        asks = conversations(random.Random(client), numbers)
        async with Caller(server.port, seen) as caller:
            for number in left:
                path, body = next(asks)
                await caller.ask(request(server.port, path, body, number % 200))
                if seen.answers % every == 0:
                    slowest = max(seen.took_ms)
                    line = f"{seen.answers:10,} {server.rss_mb:8.1f} MB {slowest:8.0f} ms at most"
                    print(line, flush=True)
                    seen.forget()

    async with asyncio.TaskGroup() as group:
        for client in range(CALLERS):
            group.create_task(call(client))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=500_000)
    asked = parser.parse_args()
    if not sys.platform.startswith("linux"):
        parser.exit(1, "Memory is read from /proc: this needs Linux.\n")
    with tempfile.TemporaryDirectory() as name:
        mock = targets.mock()
        try:
            server = targets.router(
                mock.port, Path(name), LOCAL_QUEUE=str(CALLERS), ANTHROPIC_API_KEY=""
            )
            try:
                print(f"{0:10,} {server.rss_mb:8.1f} MB")
                began = time.monotonic()
                uvloop.run(grow(server, asked.requests))
                print(f"{asked.requests / (time.monotonic() - began):,.0f} requests a second")
            finally:
                server.stop()
        finally:
            mock.stop()


if __name__ == "__main__":
    main()
