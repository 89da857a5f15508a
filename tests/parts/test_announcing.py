"""The start: a cloud whose settings are wrong hinders nothing else."""

import pytest

from router.clouds.claude_client import ClaudeBackend
from router.errors import BackendMisconfigured
from router.parts.assembly import Assembly
from tests.support.running_app import running_app


async def test_a_cloud_that_cannot_be_prepared_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(self: ClaudeBackend) -> None:
        raise BackendMisconfigured("The address of claude is not a URL.", backend=self.name)

    looked_up: list[Assembly] = []
    monkeypatch.setattr(ClaudeBackend, "warm", fails)
    monkeypatch.setattr(Assembly, "_look_up_prices", lambda self: looked_up.append(self))
    async with running_app() as app:
        await app.assembly.announce()
        assert looked_up == [app.assembly]
    assert "The address of claude is not a URL." in caplog.text
