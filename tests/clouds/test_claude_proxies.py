"""ClaudeBackend with a proxy of the environment that it cannot use."""

import pytest

from router.backend import TimeLimits
from router.clouds.claude_client import ClaudeBackend
from router.errors import BackendMisconfigured
from router.request import ChatRequest
from tests.support.played_proxy import UNUSABLE, forget_proxies

HOST = "claude.example"


@pytest.mark.parametrize("proxy", UNUSABLE)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY"])
async def test_a_proxy_that_cannot_be_used_is_a_wrong_setting(
    variable: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_proxies(monkeypatch)
    monkeypatch.setenv(variable, proxy)
    limits = TimeLimits(connect_s=5)
    cloud = ClaudeBackend("a-key", "any", max_tokens=8, limits=limits, base_url=f"https://{HOST}")
    await cloud.warm()
    status = await cloud.probe()
    asked = ChatRequest({"messages": [{"role": "user", "content": "Hi"}]})
    with pytest.raises(BackendMisconfigured, match=rf"ALL_PROXY.*http://.*{HOST} to NO_PROXY"):
        await cloud.open(asked, "any")
    await cloud.aclose()
    assert (status.state, "ALL_PROXY" in status.detail) == ("down", True)
    assert "secret" not in status.detail
