"""Comments into a silence, and the order of what is sent after them."""

import asyncio

from web.keepalive import KeepAlive


async def test_what_follows_waits_for_the_comment_that_is_being_sent() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    sent: list[str] = []

    async def comment() -> None:
        begun.set()
        await may_end.wait()
        sent.append("comment")

    async def last_event() -> None:
        await keepalive.finish()
        sent.append("last event")

    keepalive = KeepAlive(comment, lambda: sent.append("hung up"), after_s=0.01, stall_s=9)
    try:
        async with asyncio.timeout(5):
            await begun.wait()
            sending = asyncio.create_task(last_event())
            await asyncio.sleep(0)
            assert sent == []
            may_end.set()
            await sending
        assert sent == ["comment", "last event"]
    finally:
        keepalive.stop()
