"""Programs that cannot start say why in one line."""

import subprocess
import sys

import pytest

import launch
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    "program", [["server.py"], ["chat.py"], ["tune.py"], ["-m", "llm_router", "doctor"]]
)
def test_before_the_set_up_a_program_says_how_to_do_it(program: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-S", *program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert " is not installed. Run: make serve" in done.stderr


def test_an_old_python_is_named_with_the_command_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(SystemExit) as stopped:
        launch.run("chat.main")
    said = str(stopped.value)
    assert said.startswith("This is Python 3.9.2, and 3.11 is the oldest that works.")
    assert "make serve PYTHON=python3.12" in said


def test_a_missing_module_of_the_program_is_not_reported_as_a_missing_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(name="router.nothing")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(ModuleNotFoundError):
        launch.run("chat.main")
