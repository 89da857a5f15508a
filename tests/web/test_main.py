"""The server's command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from router.privacy.redact import RedactingFilter
from tests.support import paths
from web import main as command_line
from web.serve import url_of


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "server.py", *arguments],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_option_and_starts_nothing() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for option in ("--host", "--port", "--log-format", "--env-file", "--version"):
        assert option in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--bogus"], "--bogus"),
        (["-x"], "-x"),
        (["9000"], "9000"),
        (["--por", "9000"], "--por"),
        (["--port"], "--port"),
        (["--port", "http"], "SERVER_PORT"),
        (["--port", "0"], "SERVER_PORT"),
        (["--port", "65536"], "SERVER_PORT"),
        (["--port", "-1"], "SERVER_PORT"),
        (["--port", "²"], "SERVER_PORT"),
        (["--log-format", "xml"], "xml"),
        (["--env-file", "/nowhere/.env"], "/nowhere/.env"),
    ],
)
def test_a_wrong_option_is_named_and_starts_nothing(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit:
        command_line.main(arguments)
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The address of the server that would have been started."""
    monkeypatch.setattr(command_line, "set_up_logging", lambda *_, **__: RedactingFilter())
    monkeypatch.setattr(command_line, "listen", lambda *_: None)
    addresses: list[str] = []
    monkeypatch.setattr(command_line, "serve", lambda _app, s, *_: addresses.append(url_of(s)))
    return addresses


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--port", "9000"], "http://127.0.0.1:9000"),
        (["--port=9000", "--host", "localhost"], "http://localhost:9000"),
        (["--host", "::1"], "http://[::1]:8123"),
        ([], "http://127.0.0.1:8123"),
    ],
)
def test_an_option_wins_over_the_environment(
    arguments: list[str], address: str, served: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_PORT", "8123")
    monkeypatch.setenv("JOURNAL_PATH", "off")
    assert command_line.main(arguments) == 0
    assert served == [address]


def test_the_settings_are_read_from_the_file_that_is_named(
    served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "work.env"
    file.write_text("SERVER_PORT=8124\nJOURNAL_PATH=off\n")
    monkeypatch.delenv("SERVER_PORT", raising=False)
    assert command_line.main(["--env-file", str(file)]) == 0
    assert served == ["http://127.0.0.1:8124"]
