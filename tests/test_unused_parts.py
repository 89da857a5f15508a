"""One router on one machine: what only several routers need is not even imported."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

LIBRARIES = (
    *("cryptography", "libvalkey", "psycopg", "requests", "valkey"),
    *("opentelemetry.exporter", "opentelemetry.sdk"),  # FastAPI imports the rest of it
)
START = """
import asyncio, sys
from config import load_settings
from web.app import create_app

async def start(journal):
    app = create_app(load_settings(None, journal_path=journal))
    app.parts.start_tracing()
    await app.parts.connect()
    await app.aclose()

asyncio.run(start(sys.argv[1]))
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


def test_a_server_with_the_default_settings_imports_no_library_of_the_extras(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", START, str(tmp_path / "journal.db"), *LIBRARIES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
