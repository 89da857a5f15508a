"""Real models and servers for the end-to-end tests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.embedded.server import ROOT, EmbeddedServer
from tests.support.processes import copy_programs, llama


@pytest.fixture(scope="session")
def model_file() -> Path:
    """Return the file of the built-in model."""
    embedded = EmbeddedServer("auto")
    if embedded.unavailable_reason:
        pytest.skip(embedded.unavailable_reason)
    return embedded.path


@pytest.fixture(scope="session")
def model_url(model_file: Path) -> Iterator[str]:
    """Return the address, without /v1, of one llama.cpp server with the built-in model.

    It speaks Chat Completions, and Anthropic's Messages as a stand-in for Claude.
    """
    with llama(model_file) as running:
        yield running.url


@pytest.fixture(scope="session")
def tool_model_url(model_file: Path) -> Iterator[str]:
    """Return the address of the built-in model with a template that knows tools."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.tool_model", str(model_file)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the programs, so that a developer's own .env does not affect the tests."""
    folder = tmp_path_factory.mktemp("checkout")
    copy_programs(folder)
    return folder
