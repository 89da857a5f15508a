"""Two routers with one store, in one process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2

from tests.support.running_app import RunningApp, running_app
from tests.support.store import StoreServer
from tests.support.waiting import settled

SECRET = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"  # pragma: allowlist secret
HARD = "Prove that the set of real numbers is uncountable, and explain each step rigorously."
Messages = list[dict[str, Any]]


@asynccontextmanager
async def replicas(store: StoreServer, **settings: Any) -> AsyncIterator[list[RunningApp]]:
    """Start two routers that share the store."""
    async with AsyncExitStack() as stack:
        both = [
            await stack.enter_async_context(running_app(state_url=store.url, **settings))
            for _ in range(2)
        ]
        for one in both:
            await one.assembly.connect()
        yield both


def user(words: str) -> dict[str, Any]:
    return {"role": "user", "content": words}


async def ask(router: RunningApp, messages: Messages, **options: Any) -> str:
    """Return which side answered."""
    answer = await router.ask("", body={"messages": messages}, **options)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-router-target"]


async def respond(router: RunningApp, words: str, previous: str | None = None) -> httpx2.Response:
    """Send words to the Responses API, in reply to an earlier response."""
    body = {"input": words, "previous_response_id": previous}
    return await router.http.post("/v1/responses", json=body)


async def looked(*routers: RunningApp) -> None:
    """Let each router write, then read what the others have written."""
    stores = [one.assembly.store for one in routers]
    for store in stores * 2:
        assert store is not None
        await store.written()
        await store.look()


async def until_up(router: RunningApp, *, up: bool) -> None:
    found = router.assembly.store
    assert found is not None

    def is_so() -> bool:
        return found.up is up and (not up or found.is_complete)

    await settled(is_so, f"the store's state did not become up={up}", 10)
