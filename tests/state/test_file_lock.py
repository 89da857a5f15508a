"""The lock of a file that several processes write."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from router.state import file_lock
from router.state.file_lock import locked


def test_a_lock_is_had_when_its_holder_gives_it_back(tmp_path: Path) -> None:
    def wait_for_it() -> str:
        with locked(tmp_path / "marks"):
            return "had"

    with ThreadPoolExecutor(1) as other:
        with locked(tmp_path / "marks"):
            waiting = other.submit(wait_for_it)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        assert waiting.result(5) == "had"


def test_a_lock_that_is_never_given_back_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "WAIT_S", 0.01)
    with (
        locked(tmp_path / "marks"),
        pytest.raises(OSError, match=r"marks\.lock: database is locked"),
        locked(tmp_path / "marks"),
    ):
        pass


def test_a_lock_is_given_back_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "WAIT_S", 0.01)
    with pytest.raises(ValueError, match="broken"), locked(tmp_path / "marks"):
        raise ValueError("broken")
    with locked(tmp_path / "marks"):
        pass


def test_the_file_of_a_lock_is_for_its_owner_alone(tmp_path: Path) -> None:
    with locked(tmp_path / "marks"):
        modes = {file.name: file.stat().st_mode & 0o077 for file in tmp_path.iterdir()}
    assert "marks.lock" in modes
    assert set(modes.values()) == {0}


def test_a_file_that_is_no_lock_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "marks.lock").write_text("something else, which SQLite cannot read")
    with pytest.raises(OSError, match="not a database") as error, locked(tmp_path / "marks"):
        pass
    assert isinstance(error.value.__cause__, sqlite3.Error)
