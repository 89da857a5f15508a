"""bench.day, as far as it goes without minutes of traffic."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, is_folder: bool) -> None:
    folder = tmp_path / "day"
    if is_folder:
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    else:
        folder.write_text("mine")
    done = subprocess.run(
        [sys.executable, "-m", "bench.day", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{folder} is not empty: name a new folder.\n"
