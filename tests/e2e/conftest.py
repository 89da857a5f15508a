"""Real parts for the end-to-end tests."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from router.embedded import BUILT_IN_TEMPERATURE, ROOT, EmbeddedServer


@pytest.fixture(scope="session")
def embedded() -> EmbeddedServer:
    """The built-in model, not started."""
    server = EmbeddedServer("auto")
    if server.unavailable_reason:
        pytest.skip(server.unavailable_reason)
    return server


@pytest.fixture(scope="session")
def model_url(embedded: EmbeddedServer) -> Iterator[str]:
    """Address of a llama.cpp server with the built-in model, without /v1; one for all tests."""
    with subprocess.Popen(
        [sys.executable, "-m", "router.embedded", str(embedded.path), str(BUILT_IN_TEMPERATURE)],
        cwd=ROOT,
        env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address, "the embedded model did not start"
        yield address
        assert child.stdin is not None
        child.stdin.close()
