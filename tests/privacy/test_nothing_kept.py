"""Keys where no prompt is: nothing of them in the journal, the log or on the page."""

import logging
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.hiding import chat, messages, responses
from tests.support.keys import ALNUM, CANARIES, made_up
from tests.support.running_app import local_side, refusing, running_app
from tests.support.scripted import Connection, Request, Script

OWN = "vq" + made_up(ALNUM, 30, "own canary")
KNOWN = CANARIES["GitHub"]
LOOKS = ("/", "/metrics", "/decisions", "/stats", "/health", "/info")
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
Asked = tuple[str, dict[str, Any], dict[str, str]]


def forced(tool: Any) -> dict[str, Any]:
    return {"tool_choice": tool}


def asked(key: str) -> dict[str, Asked]:
    """Requests with a key somewhere else than in what is said."""
    item = {"type": key, "text": "Hello."}
    return {
        "a model for completions": (COMPLETIONS, {"prompt": "Hi", "model": key}, {}),
        "a model for embeddings": (EMBEDDINGS, {"input": "Hi", "model": key}, {}),
        "a client of completions": (COMPLETIONS, {"prompt": "Hi"}, {"user-agent": key}),
        "a client": (CHAT, chat(), {"user-agent": f"{key}/1.0"}),
        "a model": (CHAT, chat() | {"model": key}, {}),
        "a role": (CHAT, {"messages": [{"role": key, "content": "Hi"}]}, {}),
        "an earlier response": (RESPONSES, responses() | {"previous_response_id": key}, {}),
        "a forced tool": (RESPONSES, responses() | forced({"type": "function", "name": key}), {}),
        "a forced kind of tool": (RESPONSES, responses() | forced({"type": key}), {}),
        "a kind of item": (RESPONSES, {"input": [item]}, {}),
        "Claude's forced tool": (MESSAGES, messages() | forced({"type": "tool", "name": key}), {}),
        "a name of a field": (MESSAGES, messages() | {key: 1}, {}),
        "a value that is no number": (CHAT, chat() | {"temperature": key}, {}),
        "a coding of the body": (CHAT, chat(), {"content-encoding": key}),
        "a trace": (CHAT, chat(), {"traceparent": key, "tracestate": f"v={key}"}),
        "a forced side": (CHAT, chat(), {"x-force-route": key}),
    }


@pytest.mark.parametrize("key", [OWN, KNOWN], ids=["the user's own", "of a known format"])
@pytest.mark.parametrize("place", asked("").keys())
async def test_a_key_beside_what_is_said_is_not_kept(place: str, key: str, tmp_path: Path) -> None:
    path, body, headers = asked(key)[place]
    await nothing_is_kept_of(key, path, body, tmp_path, headers=headers)


async def quoting(connection: Connection, request: Request) -> None:
    said = {"message": f"I do not understand {request.body.decode()}", "type": "invalid"}
    await connection.answer(orjson.dumps({"error": said}), 400)


@pytest.mark.parametrize("key", [OWN, KNOWN], ids=["the user's own", "of a known format"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        (COMPLETIONS, lambda key: {"prompt": f"Use {key}."}),
        (EMBEDDINGS, lambda key: {"input": [key]}),
        (CHAT, lambda key: chat(f"Why is {key} refused?")),
        (RESPONSES, lambda key: responses(f"Why is {key} refused?")),
        (MESSAGES, lambda key: messages(f"Why is {key} refused?")),
    ],
)
async def test_an_error_that_quotes_a_request_is_not_kept(
    path: str, body: Any, key: str, tmp_path: Path
) -> None:
    await nothing_is_kept_of(key, path, body(key), tmp_path, local=quoting)


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
async def test_an_error_that_holds_another_secret_is_not_kept(path: str, tmp_path: Path) -> None:
    body = {CHAT: chat(), RESPONSES: responses(), MESSAGES: messages()}[path]
    side = refusing(400, f"the token {OWN} has ended")
    await nothing_is_kept_of(OWN, path, body, tmp_path, local=side, cloud=side)


async def nothing_is_kept_of(
    key: str,
    path: str,
    body: dict[str, Any],
    folder: Path,
    *,
    headers: dict[str, str] | None = None,
    local: Script = local_side,
    **sides: Script,
) -> None:
    (folder / "work.env").write_text(f"WORK_TOKEN={OWN}\n")
    settings: dict[str, Any] = {
        "private_files": str(folder / "work.env"),
        "journal_path": str(folder / "journal.db"),
    }
    out = StringIO()
    handler = logging.StreamHandler(out)
    log = logging.getLogger("router")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        async with running_app(local, **sides, **settings) as app:
            await app.http.post(path, json=body, headers=headers or {})
            assert len(app.assembly.ledger.journal.recent(9)) == 1
            seen = {look: (await app.http.get(look)).text for look in LOOKS}
            app.assembly.ledger.journal.flush()
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    seen |= files_of(folder)
    assert "journal.db" in seen
    seen["the log"] = out.getvalue()
    assert [where for where, text in seen.items() if key[:10] in text] == []


def files_of(folder: Path) -> dict[str, str]:
    """Return what the server has written, by file."""
    files = [file for file in folder.iterdir() if file.name != "work.env"]
    return {file.name: file.read_bytes().decode("latin-1") for file in files}
