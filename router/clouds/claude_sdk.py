"""The anthropic SDK: its client, and one call that hands out the unread answer.

Importing this module imports nothing of the SDK: that takes a second or more.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from router.backend import TimeLimits
from router.clouds.calls import may_use_proxy, too_slow, was_stale
from router.deadlines import within
from router.http.trace_context import current_trace

if TYPE_CHECKING:
    import anthropic
    import httpx2

BEARER_SINCE: Final = "2026-10-21"
"""From this API version on the key is a bearer token; before it stands in x-api-key."""


def build(api_key: str | None, base_url: str, limits: TimeLimits) -> "anthropic.AsyncAnthropic":
    """Return a client that neither retries nor limits how long an answer may take."""
    import anthropic
    import httpx2

    # No read timeout: `paced` sets the time limits. aiohttp reads 0 connections as no limit.
    timeout = httpx2.Timeout(None, connect=limits.connect_s)
    http_client = anthropic.DefaultAioHttpClient(
        timeout=timeout,
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=30),
        verify=base_url.startswith("https:"),  # reading certificates takes time
        follow_redirects=False,
        trust_env=may_use_proxy(base_url),
    )
    client = anthropic.AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        http_client=http_client,
    )
    # The SDK adds what ANTHROPIC_CUSTOM_HEADERS says, which is meant for other programs and is
    # not scanned.
    client._custom_headers = {}
    return client


def headers_of(client: "anthropic.AsyncAnthropic") -> dict[str, str]:
    """Return the headers that the SDK sends with each request."""
    given = client.default_headers.items()
    return {
        name: value
        for name, value in given
        if isinstance(value, str) and name.lower() != "content-type"
    }


async def send(
    client: "anthropic.AsyncAnthropic",
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    limits: TimeLimits,
) -> "httpx2.Response":
    """Send a body; return the unread answer once its head is there.

    It is sent once more if its kept connection had been closed meanwhile. Raises the SDK's errors,
    and BackendTimeout.
    """
    import anthropic

    sent: dict[str, Any] = {**headers, **current_trace()}
    if sent.get("anthropic-version", BEARER_SINCE) < BEARER_SINCE:
        sent |= {"x-api-key": client.api_key, "Authorization": anthropic.Omit()}
    clock = asyncio.get_running_loop().time
    asked_at = clock()
    try:
        with within(limits.first_byte_s):
            try:
                return await _post(client, path, body, sent)
            except anthropic.APIConnectionError as error:
                if not was_stale(error, clock() - asked_at):
                    raise
            return await _post(client, path, body, sent)
    except TimeoutError:
        raise too_slow(limits, "claude") from None


async def _post(
    client: "anthropic.AsyncAnthropic", path: str, body: bytes, headers: Mapping[str, Any]
) -> "httpx2.Response":
    """Return the unread answer: with this cast_to the SDK hands out the response itself."""
    import anthropic
    import httpx2

    response = await client.post(
        path,
        cast_to=httpx2.Response,
        content=body,
        options={"headers": headers},
        stream=True,
        stream_cls=anthropic.AsyncStream[Any],
    )
    return cast("httpx2.Response", response)


def errors() -> "type[anthropic.AnthropicError]":
    """Return the class of all the SDK's errors."""
    import anthropic

    return anthropic.AnthropicError
