"""Requests to a cloud over the router's own HTTP client.

The request building, retries and HTTP layers of the SDKs take more CPU than the rest of the route
(bench/RESULTS.md). So the SDKs give the address, the headers and the meaning of errors, and this
module sends the bytes. Behind a proxy the SDKs send, because they also know proxies that are
reached over TLS, and logins in ~/.netrc.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from router.backend import TimeLimits
from router.clouds.calls import too_slow
from router.errors import BackendBroken, BackendError, BackendMisconfigured, BackendUnreachable
from router.events import Batch, Sink, Usage
from router.http.answer import (
    LAST_BYTES_S,
    MOST_ERROR_BYTES,
    Answer,
    CutOff,
    HttpError,
    Unreadable,
)
from router.http.client import HttpClient
from router.wire.decoder import WordDecoder, decoded
from router.wire.forward import forward
from router.wire.sse import Cutter, blocks


class Refused(Exception):
    """The cloud answered with another status than 200. `headers` holds its retry-after."""

    def __init__(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class AnswerBytes:
    """The bytes of an answer, to iterate over, with the answer's `offer_to`."""

    def __init__(self, answer: Answer, pieces: AsyncGenerator[bytes, None]) -> None:
        self.offer_to = answer.offer_to
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


class WordForwarder:
    """Forwards the words of a stream to a sink, so that its generators need not run."""

    def __init__(self, decoder: WordDecoder) -> None:
        """Take the stream's decoder."""
        self._cutter = Cutter()
        self._decoder = decoder
        self._pieces: AnswerBytes | None = None

    def usage_so_far(self) -> Usage | None:
        """Return the tokens that the stream has counted so far."""
        return self._decoder.usage

    def attach(self, pieces: AsyncIterable[bytes]) -> None:
        """Take the bytes of the stream. Those that an SDK reads are not forwarded."""
        if isinstance(pieces, AnswerBytes):
            self._pieces = pieces

    def events(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[Batch, None]:
        """Yield the events of the stream, for the reader."""
        return decoded(blocks(pieces, self._cutter), self._decoder)

    def forward_to(self, sink: Sink[Batch]) -> None:
        """Forward pieces that are only words while a reader waits for the next one."""
        if self._pieces is not None:
            forward(self._pieces.offer_to, self._cutter, self._decoder.words, sink)


class DirectClient:
    """Sends requests to one cloud and yields the bytes of their answers."""

    def __init__(
        self, base_url: str, connect_s: float, tls: ssl.SSLContext | None, backend: str
    ) -> None:
        """Read the address; open nothing. Raises BackendMisconfigured if it is not a URL."""
        try:
            self._client = HttpClient(base_url, {}, connect_s, tls)
        except ValueError:
            said = f"The address of {backend} is not a URL."
            raise BackendMisconfigured(said, backend=backend) from None
        self._backend = backend

    @asynccontextmanager
    async def answer(
        self, url: str, headers: bytes, body: bytes, limits: TimeLimits
    ) -> AsyncIterator[AnswerBytes]:
        """Send a body and yield the bytes of the answer. Leaving early closes the connection.

        Raises Refused on a status other than 200, and BackendError.
        """
        within_s = min(limits.first_byte_s, limits.total_s)
        try:
            answer = await self._client.post(url, body, within_s=within_s, headers=headers)
            if answer.status != 200:
                raise await self._refused(answer)
        except (HttpError, TimeoutError) as error:
            raise self._failure(error, limits, None) from None
        try:
            yield AnswerBytes(answer, self._chunks(answer, limits))
        except BaseException:
            answer.close()
            raise
        answer.close(linger_s=LAST_BYTES_S)

    async def _chunks(self, answer: Answer, limits: TimeLimits) -> AsyncGenerator[bytes, None]:
        try:
            piece = await answer.piece()
            answer.flowing(limits.idle_s, limits.total_s)
            while piece:
                yield piece
                piece = await answer.piece()
        except (HttpError, TimeoutError) as error:
            raise self._failure(error, limits, answer) from None

    async def _refused(self, answer: Answer) -> Refused:
        try:
            said = await answer.read(MOST_ERROR_BYTES)
        finally:
            answer.close()
        wait = answer.headers.get(b"retry-after", b"").decode("latin-1")
        return Refused(answer.status, said, {"retry-after": wait} if wait else {})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _failure(self, error: Exception, limits: TimeLimits, answer: Answer | None) -> BackendError:
        """Return the error for a failure; `answer` is None if none has begun."""
        name = self._backend
        match error:
            case TimeoutError():
                over = answer is not None and answer.is_overdue
                begun = answer is not None and answer.has_body
                return too_slow(limits, name, begun=begun, over=over)
            case CutOff() if answer is not None:
                return BackendBroken(f"The connection to {name} broke.", backend=name)
            case Unreadable():
                return BackendBroken(f"{name} sent an answer that cannot be read.", backend=name)
        return BackendUnreachable(f"{name} could not be reached.", backend=name)
