"""Callers in the three dialects, and how they read an answer."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import orjson

ANSWER_S = 10.0
"""Time for one silence at each limit, on a busy machine."""
Json = dict[str, Any]
_numbers = count(1)


@dataclass
class Heard:
    """An answer, read to its end."""

    status: int
    target: str | None
    text: str = ""
    finish: str | None = None
    """The reason why the model stopped, if the answer is complete."""
    error: Json | None = None
    """The error of any dialect; in a stream it must be the last event."""
    comments: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    """Data that is no JSON object; relayed streams may have such."""
    headers: Any = None


@dataclass(frozen=True)
class Dialect:
    """An endpoint: its requests, and the reading of its answers."""

    name: str
    path: str
    question: Callable[[str], Json]
    in_stream: Callable[[Heard, str, Json], None]
    in_document: Callable[[Heard, Json], None]

    def body(self, stream: bool) -> Json:
        """Return a new question; the router remembers which side answered an old one."""
        return self.question(f"Hi, I am number {next(_numbers)}.") | {"stream": stream}

    def error_of(self, body: Json) -> Json:
        """Return the error in a failure's body, which must have this dialect's shape."""
        error: Json = body["error"]
        if self.name == "messages":
            assert body["type"] == "error"
            assert set(error) == {"type", "message"}
        else:
            assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return error

    def hear(self, answer: httpx2.Response) -> Heard:
        """Read an answer. Fails on one that breaks its dialect's rules."""
        heard = Heard(answer.status_code, answer.headers.get("x-router-target"))
        heard.headers = answer.headers
        if answer.status_code != 200:
            heard.error = self.error_of(answer.json())
            assert answer.headers["x-should-retry"] == "false"
        elif "json" in answer.headers["content-type"]:
            self.in_document(heard, answer.json())
        else:
            for name, said in events(answer.text, heard.comments):
                data = _object(said)
                if data is None:
                    heard.unreadable.append(said)
                    continue
                assert heard.error is None, "something comes after the error"
                self.in_stream(heard, name, data)
                if name == "error" or "error" in data:
                    heard.error = self.error_of(data)
        assert heard.finish is None or heard.error is None
        return heard


def events(text: str, comments: list[str]) -> Iterator[tuple[str, str]]:
    """Yield name and data of each event of a stream, which must end with a whole one."""
    *blocks, rest = text.replace("\r\n", "\n").split("\n\n")
    assert not rest, "the last event has no end"
    for block in blocks:
        lines = block.split("\n")
        comments += [line[1:].strip() for line in lines if line.startswith(":")]
        fields = [line.partition(":") for line in lines if not line.startswith(":")]
        data = "\n".join(value.strip() for name, _, value in fields if name == "data")
        if data:
            name = next((value.strip() for name, _, value in fields if name == "event"), "")
            yield name, data


def _object(data: str) -> Json | None:
    try:
        body = {} if data == "[DONE]" else orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _chat_stream(heard: Heard, name: str, data: Json) -> None:
    for choice in data.get("choices") or ():
        heard.text += choice["delta"].get("content") or ""
        heard.finish = choice["finish_reason"] or heard.finish


def _chat_document(heard: Heard, body: Json) -> None:
    (choice,) = body["choices"]
    heard.text, heard.finish = choice["message"]["content"], choice["finish_reason"]


def _responses_stream(heard: Heard, name: str, data: Json) -> None:
    if name == "response.output_text.delta":
        heard.text += data["delta"]
    elif name == "response.completed":
        heard.finish = data["response"]["status"]


def _responses_document(heard: Heard, body: Json) -> None:
    ((part,),) = (item["content"] for item in body["output"])
    heard.text, heard.finish = part["text"], body["status"]


def _messages_stream(heard: Heard, name: str, data: Json) -> None:
    assert name == data["type"]
    if name == "content_block_delta":
        heard.text += data["delta"]["text"]
    elif name == "message_delta":
        heard.finish = data["delta"]["stop_reason"]
    elif name == "ping":
        heard.comments.append("ping")


def _messages_document(heard: Heard, body: Json) -> None:
    (block,) = body["content"]
    heard.text, heard.finish = block["text"], body["stop_reason"]


def _said(words: str) -> Json:
    return {"messages": [{"role": "user", "content": words}]}


CHAT = Dialect("chat", "/v1/chat/completions", _said, _chat_stream, _chat_document)
RESPONSES = Dialect(
    "responses",
    "/v1/responses",
    lambda words: {"input": words},
    _responses_stream,
    _responses_document,
)
MESSAGES = Dialect(
    "messages",
    "/v1/messages",
    lambda words: _said(words) | {"max_tokens": 99},
    _messages_stream,
    _messages_document,
)
DIALECTS = (CHAT, RESPONSES, MESSAGES)


async def ask(
    http: httpx2.AsyncClient,
    *,
    stream: bool,
    dialect: Dialect = CHAT,
    force: str = "",
    **fields: Any,
) -> Heard:
    """Ask with these additional fields and read the whole answer; fails if it takes too long."""
    headers = {"X-Force-Route": force} if force else {}
    async with asyncio.timeout(ANSWER_S):
        body = dialect.body(stream) | fields
        answer = await http.post(dialect.path, json=body, headers=headers)
    return dialect.hear(answer)
