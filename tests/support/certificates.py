"""Certificates that openssl makes for a test."""

import shutil
import subprocess
from pathlib import Path

import pytest

REQUEST = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
    *("-days", "2"),
)


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Return a new certificate and its key, or skip the test.

    `name`: "IP:127.0.0.1", or "DNS:" and a host name.
    """
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = ("-subj", f"/CN={name.partition(':')[2]}", "-addext", f"subjectAltName={name}")
    files = ("-keyout", str(key), "-out", str(cert))
    subprocess.run([program, *REQUEST, *names, *files], check=True, capture_output=True)
    return cert, key
