"""A store that is reached over TLS."""

from pathlib import Path

import pytest

from router.state.shared import SharedStore
from tests.support.certificates import certificate
from tests.support.processes import free_port
from tests.support.store import PASSWORD, store_server


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_the_store_is_used_over_tls_if_its_certificate_is_trusted(
    scheme: str, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path, "IP:127.0.0.1")
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key))
    with store_server(tmp_path, *tls, "--tls-auth-clients", "no"):
        url = f"{scheme}://:{PASSWORD.replace('&', '%26')}@127.0.0.1:{port}/0"
        trusting = SharedStore(f"{url}?ssl_ca_certs={cert}")
        await trusting.start()
        assert trusting.up, trusting.trouble
        trusting.put(b"key", b"value", 60)
        await trusting.written()
        assert await trusting.ask([b"key"]) == [b"value"]
        await trusting.aclose()
        doubting = SharedStore(url)
        await doubting.start()
        assert "certificate" in doubting.trouble.lower()
        await doubting.aclose()
