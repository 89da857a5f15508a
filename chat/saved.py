"""Saved sessions: files in the user's data folder that only the user can read."""

import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import platformdirs

from chat.errors import ChatError
from chat.text import counted
from router.errors import InvalidRequest
from router.request import checked, text_of

NAME: Final = re.compile(r"\w[\w.-]{0,79}")
SHOWN_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation as it is saved."""

    messages: list[dict[str, Any]]
    model: str
    system: str


def folder() -> Path:
    """Return where sessions are saved."""
    return platformdirs.user_data_path("llm-router", appauthor=False) / "sessions"


def new_name() -> str:
    """Return an unused name: the time, with a number if that is taken."""
    taken = set(names())
    name = time.strftime("%Y-%m-%d-%H%M")
    more = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (name, *more) if one not in taken)


def names() -> list[str]:
    """Return the names of all saved sessions, the latest first."""
    return [file.stem for _, file in _files()]


def listed() -> list[tuple[str, str]]:
    """Return the name and a description of each saved session, the latest first."""
    found = []
    for saved_at, file in _files():
        try:
            session = load(file.stem)
        except ChatError:
            description = "cannot be read"
        else:
            asked = [m for m in session.messages if m["role"] == "user"]
            first = " ".join(text_of(asked[0]["content"]).split())[:SHOWN_CHARS] if asked else ""
            description = f"{counted(len(asked), 'question')}: {first}"
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(saved_at))
        found.append((file.stem, f"{day}, {description}"))
    return found


def save(session: Session, name: str, *, replace: bool) -> None:
    """Save a session. Raises ChatError, also where the name is taken, unless `replace`."""
    path = _path(name)
    body = {"model": session.model, "system": session.system, "messages": session.messages}
    beside = path.with_name(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and not replace:
            raise ChatError(f"There is a session {name} already: choose another name.")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(orjson.dumps(body, option=orjson.OPT_INDENT_2))
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ChatError(f"{path}: {error.strerror}.") from None


def load(name: str) -> Session:
    """Return a saved session. Raises ChatError."""
    path = _path(name)
    try:
        body = orjson.loads(path.read_bytes())
        checked(body)
        messages = [{"role": one["role"], "content": one["content"]} for one in body["messages"]]
        return Session(messages, str(body["model"]), str(body["system"]))
    except FileNotFoundError:
        raise ChatError(f"There is no session {name}; /sessions lists them.") from None
    except OSError as error:
        raise ChatError(f"{path}: {error.strerror}.") from None
    except (orjson.JSONDecodeError, InvalidRequest, KeyError, TypeError, AttributeError):
        raise ChatError(f"{path.name} is not a saved session.") from None


def _path(name: str) -> Path:
    if NAME.fullmatch(name) is None:
        raise ChatError("A session's name has letters, digits, `.`, `_` and `-` only.")
    return folder() / f"{name}.json"


def _files() -> list[tuple[float, Path]]:
    """Return when each session was saved, and its file; the latest first."""
    try:
        files = [one for one in folder().glob("*.json") if NAME.fullmatch(one.stem)]
        return sorted(((one.stat().st_mtime, one) for one in files), reverse=True)
    except OSError:
        return []
