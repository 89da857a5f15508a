"""Answers from a server of the same user that runs already, so that no model is loaded twice."""

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import fields
from typing import Any, Final, Literal

import orjson

from chat.source import AGENT, Outcome, SideState, described
from config import Settings
from router.backend import Target
from router.errors import BackendBroken, BackendUnreachable, RouterError
from router.events import Finish, RefusalDelta, TextDelta, Usage, each_of
from router.http.answer import Answer, HttpError
from router.http.client import HttpClient, header_lines
from router.request import ChatRequest
from router.state.same_user import prove, read_key
from router.telemetry.record import Attempt, Feedback, Record
from router.wire import sse
from router.wire.chat import completions

HOSTS: Final = {
    "127.0.0.1": "127.0.0.1",
    "localhost": "127.0.0.1",
    "0.0.0.0": "127.0.0.1",
    "::1": "::1",
    "::": "::1",
}
"""Values of SERVER_HOST, and the address at which the chat looks for such a server."""
CONNECT_S: Final = 0.5
LOOK_S: Final = 1.0
"""Time limit of the first look. It is short because another program may listen there."""
READ_S: Final = 10.0
MOST_PROOF_BYTES: Final = 4096
RECORD_S: Final = (0.0, 0.02, 0.1, 0.3)
"""Pauses before each look for the record, which the server writes after the answer's end."""
LAST_RECORDS: Final = 20
Whose = Literal["ours", "other settings", "another's"]


class Served:
    """A server at this machine's SERVER_PORT.

    Before each request it has to prove that it belongs to this user: it may have stopped, and
    another program may have taken its port. Only then is ROUTER_API_KEY sent, or a prompt.
    """

    def __init__(self, settings: Settings, host: str, key: bytes) -> None:
        self._settings = settings
        self._address = host, settings.server_port
        self._key = key
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{settings.server_port}"
        self._http = HttpClient(self.url, {"User-Agent": AGENT}, CONNECT_S)
        secret = settings.router_api_key
        bearer = {"Authorization": f"Bearer {secret.get_secret_value()}"} if secret else {}
        self._bearer = header_lines(bearer)

    async def whose(self, within_s: float = READ_S) -> Whose:
        """Return whether the server is this user's and has the same version and settings.

        Raises HttpError and OSError.
        """
        nonce = secrets.token_hex(16)
        answer = await self._http.get(f"{self.url}/identity?nonce={nonce}", within_s=within_s)
        said = await _json(answer, MOST_PROOF_BYTES)
        proof = prove(self._key, self._settings, *self._address, nonce)
        if answer.status != 200 or not _same(said.get("user"), proof.user):
            return "another's"
        return "ours" if _same(said.get("settings"), proof.settings) else "other settings"

    async def ask(self, request: ChatRequest, outcome: Outcome) -> AsyncGenerator[str, None]:
        """Yield the answer in pieces."""
        options = {"stream_options": {"include_usage": True}}
        body = orjson.dumps({**request.body, **options})
        began = time.perf_counter()
        answer = await self._asking("POST", "/v1/chat/completions", body)
        request_id = answer.headers.get(b"x-request-id", b"").decode("latin-1")
        outcome.record.id = request_id
        try:
            if answer.status != 200:
                raise await _refusal(answer)
            self._note(answer, outcome.record, began)
            chunks = sse.blocks(_pieces(answer))
            async with aclosing(completions.decode(chunks, "the server")) as batches:
                async for event in each_of(batches):
                    if isinstance(event, TextDelta | RefusalDelta):
                        yield event.text
                    elif isinstance(event, Finish):
                        outcome.record.usage = event.usage
        except (HttpError, OSError):
            raise self._cut_off() from None
        finally:
            answer.close()
            outcome.record.total_ms = (time.perf_counter() - began) * 1000
            await self._fill_in(outcome, request_id)

    async def sides(self) -> tuple[SideState, SideState]:
        """Return both sides as the server last saw them."""
        info = await self._document("GET", "/info")
        return _state("local", info["local"]), _state("cloud", info["cloud"])

    async def models(self) -> list[str]:
        """Return every name that a request's `model` can have."""
        listed = await self._document("GET", "/v1/models")
        return [str(row["id"]) for row in listed["data"]]

    async def notice(self) -> str:
        """Return a sentence that says so if the built-in model answers, else an empty text."""
        return str((await self._document("GET", "/info")).get("notice") or "")

    async def rate(self, request_id: str, verdict: Feedback) -> None:
        """Send a verdict."""
        body = {"request_id": request_id, "feedback": verdict}
        await self._document("POST", "/feedback", orjson.dumps(body))

    async def aclose(self) -> None:
        """Close the connections; the server goes on."""
        await self._http.aclose()

    def _note(self, answer: Answer, record: Record, began: float) -> None:
        """Note what the headers say of an answer, in case the server ends before its record."""
        said = {
            name: answer.headers.get(b"x-router-" + name.encode(), b"").decode("latin-1")
            for name in ("target", "backend", "model", "score", "reason")
        }
        record.target = "cloud" if said["target"] == "cloud" else "local"
        record.backend, record.model, record.reason = said["backend"], said["model"], said["reason"]
        record.score = float(said["score"])
        record.threshold = self._settings.complexity_threshold
        record.outcome = "failed"
        record.first_byte_ms = (time.perf_counter() - began) * 1000
        record.cost_usd = 0 if record.target == "local" else None

    async def _fill_in(self, outcome: Outcome, request_id: str) -> None:
        """Take the server's own record of a request, for its side, reason, cost and privacy."""
        for pause_s in RECORD_S:
            await asyncio.sleep(pause_s)
            try:
                listed = await self._document("GET", f"/decisions?limit={LAST_RECORDS}")
            except RouterError:
                return
            for row in listed["decisions"]:
                if row["id"] == request_id:
                    outcome.record = _record(row)
                    outcome.private = outcome.record.private or outcome.record.target is None
                    return

    async def _document(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        """Return the JSON object of a route."""
        answer = await self._asking(method, path, body)
        try:
            if answer.status != 200:
                raise await _refusal(answer)
            return await _json(answer)
        except (HttpError, OSError):
            raise self._cut_off() from None

    async def _asking(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request once the server has proved to be this user's; return the begun answer."""
        url = self.url + path
        # The server enforces the shorter limits, and its error names the one that was exceeded.
        within_s = self._settings.total_timeout_s
        try:
            if await self.whose() != "ours":
                raise BackendUnreachable(
                    f"The server at {self.url} is not the one that this chat began with. Leave"
                    " and start the chat again.",
                    backend="server",
                )
            if method == "GET":
                return await self._http.get(url, within_s=READ_S, headers=self._bearer)
            return await self._http.post(url, body, within_s=within_s, headers=self._bearer)
        except (HttpError, OSError):
            raise BackendUnreachable(
                f"The server at {self.url} does not answer any more. Start it again, or leave and"
                " start the chat again.",
                backend="server",
            ) from None

    def _cut_off(self) -> RouterError:
        return BackendBroken(
            f"The server at {self.url} broke off its answer. If it has stopped, start it again;"
            " /retry asks again.",
            backend="server",
        )


async def find(settings: Settings) -> tuple[Served | None, str]:
    """Return this user's running server with the same settings, and a line to print about it.

    The line is empty if no server of this user runs.
    """
    host = HOSTS.get(settings.server_host)
    if settings.router_keys_file is not None and settings.router_api_key is None:
        host = None  # only the team's members have keys for it
    key = read_key(make=True) if host else None
    if host is None or key is None:
        return None, ""
    server = Served(settings, host, key)
    try:
        whose = await server.whose(LOOK_S)
    except (HttpError, OSError, RouterError):
        whose = "another's"
    if whose == "ours":
        said = f"The server at {server.url} answers; --in-process would answer without it."
        return server, said
    await server.aclose()
    if whose == "other settings":
        said = (
            f"The server at {server.url} has other settings or another version: not used."
            " Restart it to use it."
        )
        return None, said
    return None, ""


def _same(said: Any, expected: str) -> bool:
    return isinstance(said, str) and hmac.compare_digest(said.encode(), expected.encode())


async def _pieces(answer: Answer) -> AsyncIterator[bytes]:
    while piece := await answer.piece():
        yield piece


async def _json(answer: Answer, most_bytes: int | None = None) -> dict[str, Any]:
    """Return the JSON object in an answer; an empty one for anything else."""
    try:
        found = orjson.loads(await answer.read(most_bytes))
    except orjson.JSONDecodeError:
        return {}
    finally:
        answer.close()
    return found if isinstance(found, dict) else {}


async def _refusal(answer: Answer) -> RouterError:
    error = (await _json(answer)).get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return RouterError(str(message or f"The server answered with {answer.status}."))


def _record(row: Mapping[str, Any]) -> Record:
    """Return the record that a row of /decisions was made from."""
    known = {field.name for field in fields(Record)}
    values = {name: value for name, value in row.items() if name in known}
    values["attempts"] = tuple(Attempt(**attempt) for attempt in row["attempts"])
    values["gates"] = tuple(row["gates"])
    if usage := row["usage"]:
        values["usage"] = Usage(usage["prompt_tokens"], usage["completion_tokens"])
    return Record(**values)


def _state(target: Target, side: Mapping[str, Any]) -> SideState:
    context = (side["can"] or {}).get("context_tokens")
    said = described(side["state"], side["model"] or "", context, side["detail"])
    return SideState(target, side["up"], said, "" if side["up"] else side["detail"])
