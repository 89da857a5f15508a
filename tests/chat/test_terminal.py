"""What the chat does with the terminal's signals, without a terminal."""

import asyncio
import signal

import pytest

from chat.terminal import _interrupts


async def test_ctrl_c_stops_only_the_task_and_shows_that_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    task = asyncio.create_task(asyncio.sleep(60))
    shown: list[str] = []
    with _interrupts(task, lambda: shown.append("stopping")):
        signal.raise_signal(signal.SIGINT)
        assert shown == ["stopping"]
        with pytest.raises(asyncio.CancelledError):
            await task
    assert signal.getsignal(signal.SIGINT) is before
