"""What calls to all clouds share: whole answers, time limits, proxies, errors of connections."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx2
import pytest

from router.backend import TimeLimits
from router.clouds.calls import (
    comes_whole,
    connection_failure,
    for_whole,
    has_proxy,
    paced,
    proxy_of,
    was_stale,
)
from router.errors import (
    BackendBroken,
    BackendError,
    BackendMisconfigured,
    BackendTimeout,
    BackendUnreachable,
)
from router.request import ChatRequest

LIMITS = TimeLimits(connect_s=1, first_byte_s=60, idle_s=30, total_s=600)
PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("body", "max_tokens", "whole"),
    [
        ({}, 1800, True),
        ({}, 1801, False),
        ({}, None, False),
        ({"stream": True}, 100, False),
        ({"reasoning_effort": "medium"}, 100, True),
        ({"reasoning_effort": "high"}, 100, False),
    ],
)
def test_an_answer_comes_whole_if_it_surely_ends_in_time(
    body: dict[str, Any], max_tokens: int | None, whole: bool
) -> None:
    request = ChatRequest({"messages": [{"role": "user", "content": "Hi"}], **body})
    assert comes_whole(request, max_tokens, LIMITS) is whole


def test_all_of_a_whole_answer_comes_within_the_limit_for_its_first_byte() -> None:
    assert for_whole(LIMITS).total_s == 60
    assert for_whole(TimeLimits(1, 60, 30, 45)).total_s == 45


@pytest.mark.parametrize(
    ("pauses_s", "limits", "message"),
    [
        ([0, 0], TimeLimits(1, 0.05, 0.05, 1), ""),
        ([0.5], TimeLimits(1, 0.05, 1, 1), "did not begin to answer within 0.05 s"),
        ([0, 0.5], TimeLimits(1, 1, 0.05, 1), "nothing for 0.05 s"),
        ([0, 0.5], TimeLimits(1, 0.05, 1, 5), ""),
        ([0.04] * 20, TimeLimits(1, 5, 5, 0.1), "did not end its answer within 0.1 s"),
    ],
    ids=["in time", "late start", "long pause", "pause within its own limit", "never ends"],
)
async def test_a_late_answer_is_an_error_that_names_its_limit(
    pauses_s: list[float], limits: TimeLimits, message: str
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for pause_s in pauses_s:
            await asyncio.sleep(pause_s)
            yield b"x"

    async def read() -> int:
        asked_at = asyncio.get_running_loop().time()
        return len([chunk async for chunk in paced(chunks(), limits, "claude", asked_at)])

    if not message:
        assert await read() == len(pauses_s)
        return
    began = time.monotonic()
    with pytest.raises(BackendTimeout, match=message):
        await read()
    assert time.monotonic() - began < sum(pauses_s) + 0.4


def refused() -> aiohttp.ClientConnectorError:
    key = aiohttp.client_reqrep.ConnectionKey("x", 1, False, True, None, None, None)
    return aiohttp.ClientConnectorError(key, ConnectionRefusedError("refused"))


@pytest.mark.parametrize(
    ("error", "after_s", "stale"),
    [
        (aiohttp.ServerDisconnectedError(), 0.01, True),
        (ConnectionResetError(), 0.01, True),
        (aiohttp.ServerDisconnectedError(), 0.2, False),
        (refused(), 0.01, False),
        (ValueError(), 0.01, False),
    ],
    ids=["closed", "reset", "closed later", "refused", "another error"],
)
def test_a_kept_connection_was_stale_if_it_failed_at_once(
    error: Exception, after_s: float, stale: bool
) -> None:
    assert was_stale(error, after_s) is stale
    wrapped = RuntimeError()
    wrapped.__cause__ = error
    assert was_stale(wrapped, after_s) is stale


@pytest.mark.parametrize(
    ("error", "begun", "kind"),
    [
        (httpx2.ConnectTimeout(""), False, BackendUnreachable),
        (httpx2.ReadTimeout(""), False, BackendTimeout),
        (httpx2.InvalidURL(""), False, BackendMisconfigured),
        (httpx2.ReadError(""), False, BackendBroken),
        (httpx2.DecodingError(""), False, BackendBroken),
        (ConnectionRefusedError(), False, BackendUnreachable),
        (ConnectionResetError(), True, BackendBroken),
    ],
    ids=["connect", "read timeout", "not a URL", "broke", "unreadable", "refused", "reset"],
)
def test_an_error_of_a_connection_has_a_kind(
    error: Exception, begun: bool, kind: type[BackendError]
) -> None:
    assert type(connection_failure(error, backend="claude", begun=begun)) is kind


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "direct.example")


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("https://api.example", PROXY),
        ("https://192.0.2.1:8443/v1", PROXY),
        ("http://api.example", ""),
        ("https://direct.example", ""),
        ("https://127.0.0.1:8443", ""),
        ("https://[::1]", ""),
        ("https://localhost/v1", ""),
        ("https://host.docker.internal/v1", ""),
        ("https://[not an address", ""),
    ],
)
@pytest.mark.usefixtures("proxies")
def test_a_proxy_is_used_for_other_machines_only(address: str, proxy: str) -> None:
    assert proxy_of(address) == proxy
    assert has_proxy(address) is bool(proxy)
