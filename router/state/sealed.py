"""Contents that several routers share, encrypted so that the store cannot read them.

Ids of responses and tool calls cannot be guessed, and only their caller knows them. The key in the
store is a digest of the id, and the value is encrypted with another digest of it. So a reader of
the store learns sizes and times only, and a caller with the id gets the content from any router.
"""

import os
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from router.state.shared import Store

NONCE_BYTES: Final = 12


class SealedStore:
    """Keeps contents by kind and id."""

    def __init__(self, store: Store) -> None:
        """Load the cipher. Raises ImportError without the package cryptography."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._store = store
        self._cipher = AESGCM
        self._foreign = InvalidTag

    def put(self, kind: bytes, id: str, content: bytes, ttl_s: int) -> None:
        """Keep a content soon."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher(_digest(id, b"seal", 32)).encrypt(nonce, content, kind)
        self._store.put(_place(kind, id), nonce + sealed, ttl_s)

    async def written(self) -> None:
        """Wait until the contents that were kept so far are stored, or the store has failed."""
        await self._store.written()

    async def get(self, kind: bytes, ids: Sequence[str]) -> list[bytes | None]:
        """Return the contents of these ids; None for each that is not there or cannot be read."""
        places = [_place(kind, id) for id in ids]
        values = await self._store.read(places) or [None] * len(ids)
        return [
            self._opened(kind, id, value) if value else None
            for id, value in zip(ids, values, strict=True)
        ]

    def _opened(self, kind: bytes, id: str, value: bytes) -> bytes | None:
        cipher = self._cipher(_digest(id, b"seal", 32))
        try:
            return cipher.decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], kind)
        except (self._foreign, ValueError):
            return None


def _place(kind: bytes, id: str) -> bytes:
    return kind + _digest(id, b"place", 16)


def _digest(id: str, use: bytes, size: int) -> bytes:
    return blake2b(id.encode("utf-8", "surrogatepass"), digest_size=size, person=use).digest()
