"""A proof that a server belongs to the same user as the program that asks it.

Both can read a key in the user's data folder (mode 600). The program sends a nonce; the server
answers with a digest of the key, the nonce and the address at which it was reached. A program of
another user that listens there cannot make it, and gains nothing by passing the nonce on to the
right server, whose address is another one. A second digest covers the settings as well.
"""

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import platformdirs

from config import VERSION, Settings

KEY_BYTES: Final = 32
UNLIKE: Final = {"chat_history", "log_decisions", "server_host", "server_port"}
"""Settings that may differ: they change no answer."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The answer of a server. `settings` is the same only for the same version and settings."""

    user: str
    settings: str


def read_key(*, make: bool = False) -> bytes | None:
    """Return the user's key; None if there is none or it cannot be read. `make` writes one."""
    path = key_path()
    try:
        if make and not path.exists():
            _write(path, secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def key_path() -> Path:
    """Return where the key is kept."""
    return platformdirs.user_data_path("llm-router", appauthor=False) / "server-key"


def prove(key: bytes, settings: Settings, host: str, port: int, nonce: str) -> Proof:
    """Return the proof for a server that was reached at this address."""
    asked = f"{host} {port} {nonce}".encode()
    return Proof(_digest(key, b"user", asked), _digest(key, b"settings", asked, _said(settings)))


def _said(settings: Settings) -> bytes:
    """Return all settings as bytes, keys included."""
    file = settings.env_file
    said = [
        VERSION,
        settings.model_dump(mode="json", exclude=UNLIKE),
        sorted(settings.model_fields_set - UNLIKE),
        settings.keys,
        settings.passwords,
        str(file.path) if file else None,
    ]
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def _digest(key: bytes, *parts: bytes) -> str:
    return hmac.digest(key, b"\0".join(parts), "sha256").hex()


def _write(path: Path, key: bytes) -> None:
    """Write the key whole or not at all: another program may write it at the same time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)
    os.replace(beside, path)
