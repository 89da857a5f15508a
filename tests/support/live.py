"""Real calls to every side that is configured: text, a stream, a tool, a picture, a schema.

Run by `python test_router.py --live`. Uses a few hundred tokens a side; prints a line a call.
"""

import base64
import struct
import sys
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import httpx2
import openai
import orjson
from pydantic import BaseModel

from config import Settings, SettingsError, load_settings
from router.build import assemble
from router.deciding.facts import Side
from web.app import create_app

Cloud = Literal["anthropic", "gemini"]
MOST_TOKENS: Final = 1000
"""Limit of an answer; thinking models need some tokens before it."""
ROOM: Final = 60
ROOM_FOR_FAILURES: Final = 300
"""Characters shown of an answer, and of a failure."""
Outcome = Literal["ok", "left out", "cannot", "FAILED"]

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city, now.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Person(BaseModel):
    """The answer that the schema call asks for."""

    name: str
    age: int


class Wrong(Exception):
    """An answer other than the requested one; the message shows it."""


class Caller:
    """The official client, forced to one side."""

    def __init__(self, client: openai.AsyncOpenAI, target: str) -> None:
        self._completions = client.chat.completions
        self._target = target

    async def text(self) -> str:
        return _said(await self._asked([_user("Say hello.")]))

    async def stream(self) -> str:
        chunks = await self._completions.create(
            model=self._target,
            messages=[_user("Count from one to five.")],
            max_completion_tokens=MOST_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        said, ended, counted = "", False, False
        async for chunk in chunks:
            counted = counted or chunk.usage is not None
            for choice in chunk.choices:
                said += choice.delta.content or ""
                ended = ended or choice.finish_reason is not None
        if not (said.strip() and ended and counted):
            raise Wrong(f"a stream without words, end or token counts: {said!r}")
        return said

    async def tools(self) -> str:
        asked = [_user("What is the weather in Paris? Use the tool, then tell me in a sentence.")]
        answer = await self._asked(asked, tools=[WEATHER])
        calls = answer.tool_calls or []
        if not calls:
            raise Wrong(f"no tool was called: {answer.content!r}")
        arguments = orjson.loads(calls[0].function.arguments)
        if calls[0].function.name != "weather" or "paris" not in str(arguments.get("city")).lower():
            raise Wrong(f"another call: {calls[0].function!r}")
        results = [
            {"role": "tool", "tool_call_id": call.id, "content": "18 °C, light rain"}
            for call in calls
        ]
        turn = answer.model_dump(exclude_none=True)
        return _said(await self._asked([*asked, turn, *results], tools=[WEATHER]))

    async def picture(self) -> str:
        url = f"data:image/png;base64,{base64.b64encode(red_square()).decode()}"
        question = {"type": "text", "text": "Which colour is this? Answer with one word."}
        picture = {"type": "image_url", "image_url": {"url": url}}
        said = _said(await self._asked([_user([question, picture])]))
        if "red" not in said.lower():
            raise Wrong(f"the picture is red, and it said {said!r}")
        return said

    async def schema(self) -> str:
        try:
            answer = await self._completions.parse(
                model=self._target,
                messages=[_user("Make up a person.")],
                max_completion_tokens=MOST_TOKENS,
                response_format=Person,
            )
        except openai.LengthFinishReasonError:
            raise Wrong(f"an answer of more than {MOST_TOKENS} tokens") from None
        person = answer.choices[0].message.parsed
        if person is None:
            raise Wrong(f"no person: {answer.choices[0].message.content!r}")
        return repr(person)

    async def _asked(self, messages: list[Any], **fields: Any) -> Any:
        answer = await self._completions.create(
            model=self._target, messages=messages, max_completion_tokens=MOST_TOKENS, **fields
        )
        return answer.choices[0].message


CALLS: Final[dict[str, Callable[[Caller], Awaitable[str]]]] = {
    "text": Caller.text,
    "stream": Caller.stream,
    "tools": Caller.tools,
    "picture": Caller.picture,
    "schema": Caller.schema,
}


async def live() -> bool:
    """Call every configured side; return whether all answers were right."""
    try:
        settings = load_settings(journal_path="off", log_decisions=False)
        if settings.anthropic_api_key and settings.gemini_api_key:
            other: Cloud = "anthropic" if settings.provider == "gemini" else "gemini"
            second = load_settings(
                journal_path="off", log_decisions=False, cloud_provider=other, embedded_model="off"
            )
            return all([await _called(settings), await _called(second, ("cloud",))])
        return await _called(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return False


async def _called(settings: Settings, targets: tuple[str, ...] = ("local", "cloud")) -> bool:
    assembly = assemble(settings)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(create_app(settings, assembly)))
    key = settings.router_api_key
    client = openai.AsyncOpenAI(
        api_key=key.get_secret_value() if key else "none",
        base_url="http://localhost/v1",
        max_retries=0,
        http_client=http,
        timeout=settings.total_timeout_s,
    )
    good = True

    def tell(side: Side, name: str, outcome: Outcome, said: str) -> None:
        nonlocal good
        good &= outcome != "FAILED"
        line = " ".join(assembly.redact(said).split())
        line = line[: ROOM if outcome == "ok" else ROOM_FOR_FAILURES]
        print(f"{side.target:6} {name:8} {outcome:8} {_who(side)}{line}", flush=True)

    try:
        await assembly.start()
        for side in await assembly.router.sides():
            if side.target not in targets:
                continue
            if not side.usable:
                wanted = side.target == "cloud" and side.status.state != "unconfigured"
                tell(side, "", "FAILED" if wanted else "left out", side.why_not)
                continue
            for name, call in CALLS.items():
                if side.backend == "embedded" and name in ("tools", "picture"):
                    tell(side, name, "left out", "it is too small for that.")
                else:
                    tell(side, name, *await _outcome(call(Caller(client, side.target)), side))
    finally:
        await client.close()
        await assembly.aclose()
    return good


async def _outcome(answer: Awaitable[str], side: Side) -> tuple[Outcome, str]:
    try:
        return "ok", await answer
    except openai.APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        # A local model may lack vision; a cloud that cannot take a request is a failure.
        can = side.target == "cloud" or error.code != "unsupported_by_backend"
        return "FAILED" if can else "cannot", f"{error.status_code}, {body.get('message', error)}"
    except (openai.OpenAIError, Wrong, ValueError) as error:
        return "FAILED", str(error)


def _who(side: Side) -> str:
    model = side.status.model
    who = model.id if model else side.backend
    return f"{who}: " if who else ""


def _user(content: Any) -> Any:
    return {"role": "user", "content": content}


def _said(message: Any) -> str:
    if not (message.content or "").strip():
        raise Wrong(f"an empty answer: {message!r}")
    return str(message.content)


def red_square(pixels: int = 64) -> bytes:
    """Return a PNG of one red square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    size = struct.pack(">IIBBBBB", pixels, pixels, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\xff\0\0" * pixels) * pixels
    picture = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + picture
