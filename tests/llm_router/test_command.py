"""The console command: its subcommands, and that it works from an unpacked wheel."""

import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from config import VERSION, Settings
from llm_router.cli import COMMANDS
from tests.support.paths import ROOT

HARD = "Design a queue and prove that it is lock-free."


def run(*words: str, path: Path = ROOT, piped: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with nothing set, from a folder that holds a config.py of another program."""
    ours = {name.upper() for name in Settings.model_fields}
    env = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    env |= {"PYTHONPATH": str(path), "EMBEDDED_MODEL": "off", "JOURNAL_PATH": "off"}
    return subprocess.run(
        [sys.executable, "-c", "import sys, llm_router; sys.exit(llm_router.main())", *words],
        env=env | {"LOCAL_BASE_URL": "http://127.0.0.1:9/v1"},
        cwd=path,
        input=piped,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an unpacked wheel, as site-packages would have it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"llm_router-{VERSION}-")
    site = folder / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    (site / "config.py").write_text("raise ImportError('of another program')")
    return site


def test_a_wheel_has_one_package_with_all_the_data_in_it(installed: Path) -> None:
    tops = {path.name for path in installed.iterdir()}
    assert tops == {"llm_router", f"llm_router-{VERSION}.dist-info", "config.py"}
    tracked = subprocess.run(
        ["git", "ls-files", "router", "web", "chat"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert [name for name in tracked if not (installed / "llm_router" / name).exists()] == []


def test_an_installed_copy_scores_a_prompt(installed: Path) -> None:
    done = run("classify", "--json", HARD, path=installed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["score"] >= 50
    assert "ANTHROPIC_API_KEY" in found["error"]


def test_the_points_that_every_request_has_are_not_listed_among_words() -> None:
    found = json.loads(run("classify", "--json", HARD).stdout)
    assert [one["words"] for one in found["evidence"] if one["count"] == "base"] == [[]]
    said = run("classify", HARD).stdout
    assert "prove" in said
    assert "every request starts" not in said


def test_an_installed_copy_reads_its_page_and_has_every_command(installed: Path) -> None:
    for command in COMMANDS:
        done = run(command, "--help", path=installed)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: llm-router {command}")
    page = installed / "llm_router" / "web" / "static" / "page.html"
    assert page.read_bytes() == (ROOT / "web" / "static" / "page.html").read_bytes()


def test_the_version_is_printed() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"llm-router {VERSION}\n")


def test_the_servers_options_win_over_settings_and_are_checked_like_them() -> None:
    done = run("serve", "--port", "http")
    assert done.returncode == 2
    assert done.stderr.startswith("SERVER_PORT must be ")
    missing = run("serve", "--env-file", "none.env")
    assert (missing.returncode, missing.stderr) == (2, "There is no file none.env.\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = run("serve", "--host", "127.0.0.1", "--port", port)
    assert busy.returncode == 2
    assert f"SERVER_PORT={port}: Address already in use" in busy.stderr


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["--fly"], ["classify", "--fly"], ["doctor", "now"], ["serve", "--fly"]]
)
def test_unknown_words_end_with_status_2(words: list[str]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: llm-router")


def test_a_prompt_is_scored_in_words() -> None:
    done = run("classify", *HARD.split())
    first, *rows = done.stdout.splitlines()
    assert first.startswith("score ")
    assert ", threshold 50: nowhere (Nothing answers at http://127.0.0.1:9/v1" in first
    words = next(row for row in rows if "complex_keywords" in row)
    assert {"design", "prove"} <= set(words.replace(",", "").split())


def test_a_word_behind_two_counts_is_named_once() -> None:
    rows = run("classify", "What is 2+2?").stdout.splitlines()
    words = next(row.split(maxsplit=2)[2] for row in rows if "simple_keywords" in row)
    assert words == "what is"


def test_a_prompt_may_come_through_a_pipe() -> None:
    assert run("classify", piped=HARD).stdout == run("classify", HARD).stdout
    empty = run("classify", piped=" \n")
    assert (empty.returncode, empty.stderr) == (
        2,
        "There is no prompt: pass one, or pipe one in.\n",
    )
